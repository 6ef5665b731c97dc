"""What a run keeps is refused where it is damaged, or made again; a right entry stays."""

import json
import os
import random
import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path

import launch
import pytest
from paper_user import guessing_llava
from test_resume import BOARD, command, ends_as, limit_files, one_line

ROWS, QUESTIONS = 32, 40
STORE = "runs/store"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = launch.little_world(tmp_path_factory.mktemp("world") / "data", ROWS, QUESTIONS)
    guessing_llava(folder / "model")
    return folder


@pytest.fixture(scope="module")
def words(world):
    small = {"pairs.limit": ROWS, "train.batch_size": 4, "train.micro_batch": 4}
    return command(world, **small)


@pytest.fixture(scope="module")
def whole(words, tmp_path_factory):
    """The folder of a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    done = launch.run(words, folder)
    assert done.status == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def trained(words, tmp_path_factory):
    """A run that was killed after its last step of training."""
    folder = tmp_path_factory.mktemp("trained")
    killed = launch.run(
        words, folder, before=partial(launch.kill_at, "os.rename", "fits/*/checkpoint")
    )
    assert killed.status == -signal.SIGKILL, killed.stderr
    assert len(steps(folder)) == 2
    return folder


def copied(folder, place, without=()):
    shutil.copytree(folder, place, symlinks=True)
    for kind in without:
        shutil.rmtree(place / STORE / kind)
    return place


def steps(folder):
    """The folders of the steps of a training, the last one first."""
    found = folder.glob(f"{STORE}/fits/*/steps/checkpoint-*")
    return sorted(found, key=lambda path: -int(path.name.split("-")[1]))


def flip(path):
    data = bytearray(path.read_bytes())
    data[random.Random(0).randrange(len(data) // 2, len(data))] ^= 4
    path.write_bytes(data)


def swap(path):
    lines = path.read_text().split("\n")
    at = next(i for i in range(len(lines)) if lines[i] != lines[i + 1])
    lines[at : at + 2] = lines[at + 1], lines[at]
    path.write_text("\n".join(lines))


def digit(path):
    text = path.read_text()
    at = text.rindex(".") + 1
    path.write_text(f"{text[:at]}{(int(text[at]) + 1) % 10}{text[at + 1 :]}")


def other_answer(path):
    text = path.read_text()
    first, *_ = (word for word in ("yes", "no", "Yes", "No") if f'"{word}' in text)
    other = {"yes": "no", "no": "yes"}[first.lower()]
    path.write_text(text.replace(f'"{first}', f'"{other}', 1))


def more_tokens(path):
    record = json.loads(path.read_text())
    record["cost"]["train_tokens"] += 1
    path.write_text(json.dumps(record, indent=1) + "\n")


FITS, PREDICTIONS = "fits", "predictions"
DAMAGES = {
    "an answer is another": (other_answer, f"{PREDICTIONS}/*/rows.jsonl", ()),
    "two answers are exchanged": (swap, f"{PREDICTIONS}/*/rows.jsonl", ()),
    "a digit of references": (digit, "reference/*/rows.jsonl", (FITS, PREDICTIONS)),
    "two references are exchanged": (swap, "reference/*/rows.jsonl", (FITS, PREDICTIONS)),
    "two generated rows are exchanged": (swap, "answers/*/rows.jsonl", (FITS, PREDICTIONS)),
    "tokens of a fit": (more_tokens, "fits/*/fit.json", ()),
    "a bit of the weights": (flip, "fits/*/checkpoint/model.safetensors", (PREDICTIONS,)),
    "the curves of a fit": (swap, "fits/*/curves.jsonl", ()),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damage_that_would_change_a_result_is_one_line_and_the_entry_stays(
    case, words, whole, tmp_path
):
    damage, files, without = DAMAGES[case]
    copy = copied(whole, tmp_path / "copy", without)
    for path in (copy / STORE).glob(files):
        damage(path)
    run = launch.run(words, copy)
    folder = one_line(run).rpartition("remove ")[2].strip().rstrip(".")
    assert (copy / folder).parent.parent == copy / STORE, run.stderr
    assert (copy / BOARD).read_bytes() == (whole / BOARD).read_bytes()


STEP_DAMAGES = {
    "a bit of the optimizer": lambda step: flip(step / "optimizer.pt"),
    "a bit of the weights": lambda step: flip(step / "model.safetensors"),
    "no scheduler": lambda step: (step / "scheduler.pt").unlink(),
    "an empty scheduler": lambda step: (step / "scheduler.pt").write_bytes(b""),
    "no random state": lambda step: (step / "rng_state.pth").unlink(),
    "another state": lambda step: digit(step / "trainer_state.json"),
    "no seal": lambda step: (step / "seal.json").unlink(),
}


@pytest.mark.parametrize("case", STEP_DAMAGES)
def test_a_damaged_step_falls_back_to_the_one_before(case, words, whole, trained, tmp_path):
    copy = copied(trained, tmp_path / "copy")
    last, before = steps(copy)
    STEP_DAMAGES[case](last)
    run = launch.run(words, copy)
    ends_as(run, copy, whole)
    assert f"{last.relative_to(copy)} (" in run.stderr
    assert f"goes on after step {before.name.split('-')[1]}" in run.stderr
    assert run.stderr.count("harness: ") == 1


def test_where_all_steps_are_damaged_the_training_starts_again(words, whole, trained, tmp_path):
    copy = copied(trained, tmp_path / "copy")
    for step in steps(copy):
        flip(step / "optimizer.pt")
    run = launch.run(words, copy)
    ends_as(run, copy, whole)
    assert "goes on at its start" in run.stderr


def test_a_second_run_of_the_same_command_waits_and_takes_the_result(words, whole, tmp_path):
    first = launch.start(words, tmp_path)
    first.wait_for(lambda: list(tmp_path.glob("runs/*/run.log")))
    os.kill(first.process.pid, signal.SIGSTOP)
    second = launch.start(words, tmp_path)
    second.wait_for(lambda: second.stderr)
    os.kill(first.process.pid, signal.SIGCONT)
    ends_as(first.end(), tmp_path, whole)
    ends_as(second.end(), tmp_path, whole)
    assert second.stderr.count("waiting for another run of this command") == 1
    assert second.stderr.count("harness: ") == 1


def test_another_command_waits_for_the_fit_that_it_shares(words, whole, tmp_path):
    first = launch.start(words, tmp_path)
    first.wait_for(lambda: steps(tmp_path))
    os.kill(first.process.pid, signal.SIGSTOP)
    second = launch.start([*words, "--limit", "10"], tmp_path)
    second.wait_for(lambda: second.stderr)
    os.kill(first.process.pid, signal.SIGCONT)
    assert first.end().status == 0, first.stderr
    assert second.end().status == 0, second.stderr
    assert "waiting for another run, which works on runs/store/fits/" in second.stderr
    assert len(list((tmp_path / STORE / FITS).iterdir())) == 1


def test_what_killed_writers_left_goes_at_the_next_start(words, whole, trained, tmp_path):
    copy = copied(trained, tmp_path / "copy")
    (fit,) = (copy / STORE / FITS).iterdir()
    (run,) = (path.parent for path in copy.glob("runs/*/config.json"))
    left = [
        fit / ".fit.json.0123456789ab.tmp",
        fit / "checkpoint.partial/model.safetensors",
        fit / "steps/checkpoint-99/model.safetensors",
        fit / "steps/tmp-checkpoint-3/optimizer.pt",
        run / ".config.json.0123456789ab.tmp",
        copy / "runs/outputs/.a.jsonl.0123456789ab.tmp",
        copy / "leaderboards/.other.json.0123456789ab.tmp",
        *(each / ".rows.jsonl.0123456789ab.tmp" for each in (copy / STORE).glob("answers/*")),
    ]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    ends_as(launch.run(words, copy), copy, whole)
    assert not [path for path in left if path.exists()]
    assert not [*copy.rglob("*.tmp"), *copy.rglob("*.partial"), *copy.rglob("chunk-*")]


def test_a_disk_that_is_full_when_the_optimizer_is_written_is_one_line(
    words, whole, trained, tmp_path
):
    sizes = {path.name: path.stat().st_size for path in steps(trained)[0].iterdir()}
    assert sizes["optimizer.pt"] > sizes["model.safetensors"] + 5000
    for size in (sizes["model.safetensors"] + 1000, sizes["optimizer.pt"] - 500):
        folder = tmp_path / str(size)
        run = launch.run(words, folder, before=partial(limit_files, size))
        assert "cannot be written" in one_line(run)
        assert list(folder.glob(f"{STORE}/fits/*/steps/checkpoint-1/optimizer.pt")), "came there"
        ends_as(launch.run(words, folder), folder, whole)


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=False)
    if made.returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_file_system_that_is_full_is_one_line_and_nothing_is_lost(
    words, whole, small_disk, tmp_path
):
    run = launch.run([*words, "--runs", small_disk / "runs"], tmp_path)
    assert "cannot be written" in one_line(run)
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    ends_as(launch.run([*words, "--runs", small_disk / "runs"], tmp_path), tmp_path, whole)


def remove_at(event: str, ending: str, folder: str) -> None:
    """Remove a folder right before this process's first event on a path with that ending."""
    import sys
    from fnmatch import fnmatch

    def hook(name: str, arguments: tuple[object, ...]) -> None:
        if name == event and fnmatch(str(arguments[0]), f"*{ending}") and Path(folder).exists():
            shutil.rmtree(folder)

    sys.addaudithook(hook)


@pytest.mark.parametrize(
    "moment",
    [
        ("open", "steps/checkpoint-2/optimizer.pt"),
        ("open", "steps/checkpoint-2/trainer_state.json"),
        ("open", "checkpoint.partial/tokenizer_config.json"),
        ("os.rename", "checkpoint.partial"),
    ],
)
def test_a_folder_that_is_removed_during_the_run_is_one_line(moment, words, whole, tmp_path):
    run = launch.run(words, tmp_path, before=partial(remove_at, *moment, "runs/store/fits"))
    if run.status:
        assert "he same command makes it again" in one_line(run)
    ends_as(launch.run(words, tmp_path), tmp_path, whole)
