"""Killed at any moment, a run continues to the same leaderboard bytes; nothing false is reused."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import launch
import pytest
from foreign import CARD, CARDS, package
from paper_user import guessing_llava
from tiny_llava import tiny_llava

BOARD = "leaderboards/pope.json"
ROWS = 64  # about half give a pair: a guess is often the same for both pictures
QUESTIONS = 300  # more than one chunk of a task
SETTINGS = {
    "pairs.limit": ROWS,
    "pairs.noise_step": 900,
    "pairs.chosen_temperature": 1.0,
    "pairs.equal_sentences": "false",
    "pairs.max_new_tokens": 6,
    "loss.encoder": "null",
    "loss.alpha": 0,
    "train.batch_size": 8,
    "train.micro_batch": 8,
    "train.epochs": 1,
    "train.save_steps": 1,
    "train.lr": 1e-2,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = launch.little_world(tmp_path_factory.mktemp("world") / "data", ROWS, QUESTIONS)
    guessing_llava(folder / "model")  # which answers in a word, where random weights go on and on
    return folder


def command(world, *more, method="dpo", task="pope", model=None, **settings):
    options = ["run", "--method", method, "--tasks", task, "--model", model or world / "model"]
    options += ["--dataset", world / "pairs.jsonl", "--source", f"{task}={world / 'pope.jsonl'}"]
    for name, value in {**(SETTINGS if method != "base" else {}), **settings}.items():
        options += ["--set", f"{name}={value}"]
    return [*options, *more]


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):
    """The folder of a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    done = launch.run(command(world), folder)
    assert done.status == 0, done.stderr
    return folder


@pytest.fixture
def copy(whole, tmp_path):
    """A folder with all that the run left but its leaderboard, so that it is made again."""
    shutil.copytree(whole / "runs", tmp_path / "runs", symlinks=True)
    for path in (tmp_path / "runs").rglob("*"):
        if path.is_symlink():
            path.unlink()
    return tmp_path


def ends_as(run, folder, whole):
    assert run.status == 0, run.stderr
    assert (folder / BOARD).read_bytes() == (whole / BOARD).read_bytes()


def count(folder, kind):
    return len(list((folder / "runs/store" / kind).iterdir()))


def one_line(run):
    """The one line of a user's error."""
    assert run.status == 2, run.stderr
    assert run.stderr.startswith("harness: ")
    assert run.stderr.count("\n") == 1, run.stderr
    return run.stderr


PHASES = {
    "first answers": ("os.rename", "answers/*/chunk-000000.jsonl"),
    "joining the answers": ("os.rename", "answers/*/rows.jsonl"),
    "removing the answers' chunks": ("os.remove", "answers/*/chunk-*.jsonl"),
    "references": ("os.rename", "reference/*/chunk-000002.jsonl"),
    "before the first checkpoint": ("os.mkdir", "steps/checkpoint-1"),
    "within a checkpoint": ("open", "steps/*checkpoint-2/generation_config.json"),
    "ending a checkpoint": ("open", "steps/*checkpoint-3/trainer_state.json"),
    "before the trained weights": ("os.mkdir", "checkpoint.partial"),
    "within the trained weights": ("open", "checkpoint.partial/tokenizer_config.json"),
    "naming the trained weights": ("os.rename", "fits/*/checkpoint"),
    "before the curves": ("os.rename", "curves.jsonl"),
    "before fit.json": ("os.rename", "fit.json"),
    "after fit.json": ("os.rmdir", "checkpoint-*"),
    "first prediction of the base": ("os.rename", "predictions/*/chunk-000000.jsonl"),
    "between predictions": ("os.rename", "predictions/*/chunk-000001.jsonl"),
    "joining the predictions": ("os.rename", "predictions/*/rows.jsonl"),
    "recording the base": ("os.rename", "leaderboards/pope.json"),
    "after recording the base": ("os.rename", "outputs/*.jsonl"),
    "recording the method": ("os.rename", "leaderboards/pope.json", 2),
    "at the end": ("os.rename", "timing.json"),
}


@pytest.mark.parametrize("phase", PHASES)
def test_a_run_killed_in_any_phase_continues_to_the_same_bytes(phase, world, whole, tmp_path):
    killed = launch.run(command(world), tmp_path, before=partial(launch.kill_at, *PHASES[phase]))
    assert killed.status == -signal.SIGKILL, f"never came there: {killed.stderr}"
    ends_as(launch.run(command(world), tmp_path), tmp_path, whole)


def test_a_run_killed_again_and_again_comes_to_its_end(world, whole, tmp_path):
    times = 0
    while times < 40:
        times += 1
        run = launch.run(
            command(world), tmp_path, before=partial(launch.kill_at, "os.rename", "", 7)
        )
        if run.status == 0:
            break
    assert times > 4
    ends_as(run, tmp_path, whole)


def test_a_run_killed_after_a_save_by_the_clock_continues_to_the_same_result(
    world, whole, tmp_path
):
    by_clock = {"train.save_steps": 1000, "train.save_minutes": 1e-9}
    kill = partial(launch.kill_at, "open", "steps/*checkpoint-3/trainer_state.json")
    killed = launch.run(command(world, **by_clock), tmp_path, before=kill)
    assert killed.status == -signal.SIGKILL, killed.stderr
    assert list(tmp_path.glob("runs/store/fits/*/steps/checkpoint-2/trainer_state.json"))
    done = launch.run(command(world, **by_clock), tmp_path)
    assert done.status == 0, done.stderr
    assert results(tmp_path) == results(whole)
    log = next(tmp_path.glob("runs/dpo_*/run.log")).read_text()
    assert "dpo-seed0 train 4/" in log.split("saved_mib")[-2], (
        "it went on, and said what saves take"
    )


def results(folder):
    """What came out, without how often the training saved."""
    entries = json.loads((folder / BOARD).read_text())["entries"]
    found = entries.values()
    return [(each["method"], each["model"]["weights"], each["items"]) for each in found]


def test_a_run_killed_from_outside_continues(world, whole, tmp_path):
    run = launch.start(command(world), tmp_path)
    run.wait_for(lambda: list(tmp_path.glob("runs/store/fits/*/steps/checkpoint-*")))
    run.kill()
    assert not (tmp_path / "timing.json").exists()
    ends_as(launch.run(command(world), tmp_path), tmp_path, whole)


def test_an_interrupted_run_says_so_in_one_line_and_continues(world, whole, tmp_path):
    run = launch.start(command(world), tmp_path)
    run.wait_for(lambda: list(tmp_path.glob("runs/store/fits/*/steps/checkpoint-*")))
    run.kill(signal.SIGINT)
    assert run.status == 130, run.stderr
    assert run.stderr == "harness: interrupted: the same command continues where it stopped.\n"
    ends_as(launch.run(command(world), tmp_path), tmp_path, whole)


def test_the_second_run_changes_no_byte_and_loads_no_model(world, whole, tmp_path):
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in (whole / BOARD).parent.iterdir()}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "harness", *map(str, command(world))],
        cwd=whole,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "harness.pipeline" in imported
    assert "transformers" not in imported
    after = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in (whole / BOARD).parent.iterdir()}
    assert after == before


def answers(folder, label="base"):
    return [path.read_bytes() for path in folder.glob(f"runs/*/{label}/pope.jsonl")]


def test_two_models_at_one_place_never_share_an_answer(world, tmp_path):
    place, moved = tmp_path / "model", tmp_path / "elsewhere"
    run = partial(launch.run, command(world, method="base", model=place), tmp_path)
    shutil.copytree(world / "model", place)
    assert run().status == 0
    first = answers(tmp_path)
    place.rename(moved)
    tiny_llava(place, seed=1)
    assert run().status == 0
    assert answers(tmp_path) != first
    assert count(tmp_path, "predictions") == 2
    shutil.rmtree(place)
    shutil.copytree(moved, place)
    assert run().status == 0
    assert answers(tmp_path) == first
    assert count(tmp_path, "predictions") == 2


@pytest.mark.parametrize("change", ["generation_config.json", "tokenizer.json", "config.json"])
def test_a_model_with_other_settings_is_another_model(change, world, tmp_path):
    from harness.models.loading import identity

    shutil.copytree(world / "model", tmp_path / "model")
    assert identity(tmp_path / "model") == identity(world / "model")
    file = tmp_path / "model" / change
    file.write_text(file.read_text().replace("{", '{"changed": 1, ', 1))
    assert identity(tmp_path / "model") != identity(world / "model")


def test_an_adapter_with_another_scale_is_another_model(world, tmp_path):
    from harness.models.loading import identity

    adapter = tmp_path / "adapter"
    adapter.mkdir()
    settings = adapter / "adapter_config.json"
    text = '{"base_model_name_or_path": "%s", "lora_alpha": %d}'
    settings.write_text(text % (world / "model", 16))
    first = identity(adapter)
    settings.write_text(text % (world / "model", 32))
    assert identity(adapter) != first
    shutil.copytree(world / "model", tmp_path / "moved")
    settings.write_text(text % (tmp_path / "moved", 16))
    assert identity(adapter) == first


def test_another_limit_predicts_again_and_trains_not(world, copy):
    assert launch.run(command(world, "--limit", 50), copy).status == 0
    assert count(copy, "fits") == 1
    assert count(copy, "predictions") == 4


def test_another_seed_or_setting_trains_again(world, copy):
    assert launch.run(command(world, "--seeds", "0,3"), copy).status == 0
    assert count(copy, "fits") == 2
    assert launch.run(command(world, **{"loss.beta": 0.2}), copy).status == 0
    assert count(copy, "fits") == 3


def stranger(site, prompt="{question}", beta_code="pass"):
    return package(
        site,
        "stranger",
        {
            "stranger/__init__.py": CARDS,
            "stranger/cards/asked.yaml": CARD.format(name="asked", prompt=prompt),
            "stranger/deep/plugin.py": "from methods.aspo.plugin import Dpo\n"
            "from stranger import helper\n\nclass Mine(Dpo):\n    '''Theirs.'''\n",
            "stranger/deep/__init__.py": "",
            "stranger/helper.py": beta_code + "\n",
        },
        {
            "harness.methods": {"theirs": "stranger.deep.plugin:Mine"},
            "harness.tasks": {"asked": "stranger:asked"},
        },
    )


def test_changed_prompts_and_changed_plugins_make_results_anew(world, tmp_path):
    site = tmp_path / "site"
    run = partial(
        launch.run, command(world, method="theirs", task="asked"), tmp_path, path=[stranger(site)]
    )
    assert run().status == 0
    assert (count(tmp_path, "predictions"), count(tmp_path, "fits")) == (2, 1)
    assert run().status == 0
    assert (count(tmp_path, "predictions"), count(tmp_path, "fits")) == (2, 1)
    stranger(site, prompt="{question} or not")
    assert run().status == 0
    assert (count(tmp_path, "predictions"), count(tmp_path, "fits")) == (4, 1)
    stranger(site, prompt="{question} or not", beta_code="CHANGED = 1")
    assert run().status == 0
    assert count(tmp_path, "fits") == 2


def halve(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def drop_last_line(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def empty(path: Path) -> None:
    path.write_bytes(b"")


STORED = {
    "answers": "answers/*/rows.jsonl",
    "references": "reference/*/rows.jsonl",
    "predictions": "predictions/*/rows.jsonl",
    "fit": "fits/*/fit.json",
    "weights": "fits/*/checkpoint/model.safetensors",
    "settings": "fits/*/checkpoint/config.json",
    "tokenizer": "fits/*/checkpoint/tokenizer.json",
}


DAMAGES = [(halve, stored) for stored in STORED]
DAMAGES += [(drop_last_line, "answers"), (drop_last_line, "predictions"), (empty, "fit")]


@pytest.mark.parametrize(("damage", "stored"), DAMAGES)
def test_a_damaged_file_is_an_error_that_says_what_to_remove(damage, stored, world, whole, copy):
    store = copy / "runs/store"
    if stored in ("weights", "settings", "tokenizer"):
        shutil.rmtree(store / "predictions")
    elif stored not in ("predictions", "fit"):
        shutil.rmtree(store / "fits")
    for path in store.glob(STORED[stored]):
        damage(path)
    for _ in range(3):
        run = launch.run(command(world), copy)
        if run.status == 0:
            break
        folder = one_line(run).rpartition("remove ")[2].split()[0].rstrip(".")
        assert (copy / folder).is_dir(), run.stderr
        assert stored != "answers" or "answers" in folder
        shutil.rmtree(copy / folder)
    ends_as(run, copy, whole)


def test_a_damaged_chunk_of_a_killed_run_is_an_error_that_says_what_to_remove(
    world, whole, tmp_path
):
    before = partial(launch.kill_at, "os.rename", "predictions/*/rows.jsonl")
    assert launch.run(command(world), tmp_path, before=before).status == -signal.SIGKILL
    halve(next(tmp_path.glob("runs/store/predictions/*/chunk-000000.jsonl")))
    folder = one_line(launch.run(command(world), tmp_path)).rpartition("remove ")[2].split()[0]
    shutil.rmtree(tmp_path / folder.rstrip("."))
    ends_as(launch.run(command(world), tmp_path), tmp_path, whole)


def limit_files(size: int) -> None:
    """No file of this process may grow beyond a size: what a full disk looks like from inside."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.mark.parametrize("size", [1500, 20_000, 150_000])
def test_a_full_disk_is_one_line_and_loses_nothing(size, world, whole, tmp_path):
    run = launch.run(command(world), tmp_path, before=partial(limit_files, size))
    assert "cannot be written" in one_line(run)
    assert "Traceback" not in run.stdout
    ends_as(launch.run(command(world), tmp_path), tmp_path, whole)


def test_a_leaderboard_that_cannot_grow_stays_as_it_was(world, whole, copy):
    shutil.copytree(whole / "leaderboards", copy / "leaderboards")
    before = (copy / BOARD).read_bytes()
    more = command(world, "--limit", 50)
    size = len(before) - 1
    assert "cannot be written" in one_line(
        launch.run(more, copy, before=partial(limit_files, size))
    )
    assert (copy / BOARD).read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_one_line(world, tmp_path):
    tmp_path.chmod(0o555)
    out = tmp_path.parent / "out"
    run = launch.run(command(world, "--runs", tmp_path / "runs"), out)
    tmp_path.chmod(0o755)
    assert "cannot be written" in one_line(run)


def test_a_file_where_a_folder_should_be_is_one_line(world, tmp_path):
    (tmp_path / "runs").write_text("")
    assert "cannot be written" in one_line(launch.run(command(world), tmp_path))
