"""Outputs made elsewhere are scored as a model's own; what does not fit is one line."""

import csv
import gzip
import json
import shlex
import shutil
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import launch
import pytest
from tiny_llava import tiny_llava

from harness import leaderboard
from harness.configs import run_config
from harness.errors import DataError, NoResultError
from harness.kept import outputs_path
from harness.outputs import score_outputs

TASKS = ("pope", "mmbench")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = launch.little_world(tmp_path_factory.mktemp("world") / "data", 6, 12)
    tiny_llava(folder / "model")
    questions = [
        {
            "index": i,
            "image": f"{i % 6}.png",
            "question": "what is this ?",
            **{letter: f"thing {letter}" for letter in "ABCD"[: 2 + i % 3]},
            "answer": "AB"[i % 2],
            "category": ("odd", "even")[i % 2],
        }
        for i in range(5)
    ]
    write(folder / "mmbench.jsonl", questions)
    return folder


@pytest.fixture(scope="module")
def ran(world, tmp_path_factory):
    """Task -> the entry of a model that was run, and the file with its outputs."""
    folder = tmp_path_factory.mktemp("ran")
    words = ["run", "--method", "base", "--tasks", ",".join(TASKS), "--model", world / "model"]
    for task in TASKS:
        words += ["--source", f"{task}={world / task}.jsonl"]
    done = launch.run(words, folder)
    assert done.status == 0, done.stderr
    entries = {task: board(folder, task)[0] for task in TASKS}
    return {task: (e, outputs_path(folder / "runs", e)) for task, e in entries.items()}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: row[name] for name in row.keys() - {"hash"}} for row in rows]


def board(folder, task):
    entries = leaderboard.read(folder / "leaderboards" / f"{task}.json").entries
    return list(entries.values())


def score(world, folder, file, *more, task="pope"):
    words = ["score", "--task", task, "--source", world / f"{task}.jsonl", "--predictions", file]
    return launch.run([*words, *more], folder)


def scored(world, folder, file, *more, task="pope"):
    done = score(world, folder, file, *more, task=task)
    assert done.status == 0, done.stderr
    return board(folder, task)


def results(entry):
    """What came out, apart from whose it is."""
    return entry.metrics, entry.categories, entry.items, entry.task


@pytest.mark.parametrize("task", TASKS)
def test_the_outputs_of_a_run_score_as_in_the_run(task, world, ran, tmp_path):
    entry, kept = ran[task]
    (again,) = scored(world, tmp_path, kept, task=task)
    assert results(again) == results(entry)
    assert again.method == "outputs" and again.seed is None
    assert rows_of(outputs_path(tmp_path / "runs", again)) == rows_of(kept)


def test_a_primary_metric_without_a_value_records_nothing(world, tmp_path):
    """F1 without a yes on either side is 0 / 0."""
    for name in ("images", "mmbench.jsonl"):
        (tmp_path / name).symlink_to(world / name)
    rows = [{**row, "label": "no"} for row in rows_of(world / "pope.jsonl")]
    write(tmp_path / "pope.jsonl", rows)
    said = write(tmp_path / "said.jsonl", [{"output": "no"}] * len(rows))
    done = score(tmp_path, tmp_path, said)
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr == (
        "harness: outputs on pope: 'f1' has no value, since no item counts in it (0 / 0). "
        "Nothing is recorded for it.\n"
    )
    assert not (tmp_path / "leaderboards").exists()
    config = run_config(
        {"method": ["outputs"], "tasks": ["pope"], "source": {"pope": "pope.jsonl"}}
    )
    with pytest.raises(NoResultError, match="'f1' has no value"), chdir(tmp_path):
        score_outputs(config, said)


def as_text(folder, rows):
    (folder / "said.txt").write_text("".join(f"{row['output']}\n" for row in rows))
    return "said.txt"


def as_table(folder, rows):
    with (folder / "said.tsv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["id", "output"], delimiter="\t")
        table.writeheader()
        table.writerows(rows)
    return "said.tsv"


def as_gzip(folder, rows):
    data = write(folder / "said", rows).read_bytes()
    (folder / "said.jsonl.gz").write_bytes(gzip.compress(data))
    return "said.jsonl.gz"


FORMS = {
    "as they are": lambda folder, rows: write(folder / "said.jsonl", rows),
    "in another order": lambda folder, rows: write(folder / "said.jsonl", rows[::-1]),
    "without ids": lambda folder, rows: write(
        folder / "said.jsonl", [{"output": row["output"]} for row in rows]
    ),
    "with ids of others": lambda folder, rows: write(
        folder / "said.jsonl", [{**row, "id": i} for i, row in enumerate(rows)]
    ),
    "among others": lambda folder, rows: write(
        folder / "said.jsonl", [*rows[5:], {"id": "else", "output": "no"}, *rows[:5]]
    ),
    "as lists": lambda folder, rows: write(
        folder / "said.jsonl", [{**row, "output": [row["output"]]} for row in rows]
    ),
    "as text": as_text,
    "as a table": as_table,
    "packed": as_gzip,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_file_of_any_form_says_the_same(form, world, tmp_path):
    """Answers whose accuracy is known: yes to all, but silence, `no` and nonsense at the first."""
    items = rows_of(world / "pope.jsonl")
    said = ["", "no", "maybe\tnot", *["yes"] * 9]
    if form == "as text":
        said[2] = "maybe not"
    rows = [
        {"id": f"pope/{item['question_id']}", "output": text}
        for item, text in zip(items, said, strict=True)
    ]
    (entry,) = scored(world, tmp_path, FORMS[form](tmp_path, rows))
    assert entry.model.name == "said"
    # Labels go yes, no, yes, no ...: right are number 1 (no) and the five `yes` from 3 on at 4, 6.
    assert entry.metrics["accuracy"].value == pytest.approx((1 + 4) / 12, abs=1e-6)
    assert entry.metrics["yes_rate"].value == 0.75
    assert entry.metrics["unparsed"].value == pytest.approx(2 / 12, abs=1e-6)


def test_the_second_call_changes_no_byte(world, ran, tmp_path):
    _, kept = ran["pope"]
    scored(world, tmp_path, kept)
    files = [path for path in sorted(tmp_path.rglob("*.json*")) if not path.is_symlink()]
    before = [(path.read_bytes(), path.name) for path in files]
    time = (tmp_path / "leaderboards/pope.json").stat().st_mtime_ns
    scored(world, tmp_path, kept)
    assert [(path.read_bytes(), path.name) for path in files] == before
    assert (tmp_path / "leaderboards/pope.json").stat().st_mtime_ns == time


def test_the_recorded_command_asks_for_the_same_again(world, tmp_path):
    rows = [{"said": {"mine": "yes", "theirs 2": "no"}}] * 5
    write(tmp_path / "my answers.jsonl", rows)
    for file in ("pope.jsonl", "images"):
        (tmp_path / file).symlink_to(world / file)
    words = ["score", "--task", "pope", "--source", "pope.jsonl", "--field", "said"]
    words += ["--limit", "5", "--name", "A & B", "--predictions", "my answers.jsonl"]
    first = launch.run(words, tmp_path)
    assert first.status == 0, first.stderr
    text = (tmp_path / "leaderboards/pope.json").read_bytes()
    commands = {entry.provenance.command for entry in board(tmp_path, "pope")}
    (command,) = commands
    shutil.rmtree(tmp_path / "leaderboards")
    harness, *words = shlex.split(command)
    assert harness == "harness"
    done = launch.run(words, tmp_path)
    assert done.status == 0, done.stderr
    assert (tmp_path / "leaderboards/pope.json").read_bytes() == text
    assert str(tmp_path) not in text.decode()


def test_each_system_of_a_file_is_an_entry_however_it_is_named(world, tmp_path):
    systems = {"good": "yes", "bad": "no"}
    said = write(tmp_path / "said.jsonl", [{"output": "x", "systems": systems}] * 12)
    both = scored(world, tmp_path, said, "--field", "systems")
    assert [entry.model.name for entry in both] == ["said/bad", "said/good"]
    assert [entry.metrics["yes_rate"].value for entry in both] == [0, 1]
    assert len({outputs_path(tmp_path / "runs", entry) for entry in both}) == 2
    one = scored(world, tmp_path, said, "--field", "systems.good")
    assert [results(entry) for entry in one] == [results(entry) for entry in both]
    named = scored(world, tmp_path, said, "--field", "systems", "--name", "new")
    assert {entry.model.name for entry in named} == {
        *("said/good", "said/bad"),
        *("new/good", "new/bad"),
    }
    more = scored(world, tmp_path, said)
    assert len(more) == 5 and "said" in {entry.model.name for entry in more}


def test_a_column_may_have_a_dot_in_its_name(world, tmp_path):
    said = write(tmp_path / "said.jsonl", [{"mt.de": "yes", "mt": {"de": "no"}}] * 12)
    (entry,) = scored(world, tmp_path, said, "--field", "mt.de")
    assert entry.metrics["yes_rate"].value == 1


def test_a_limit_takes_the_first_items_and_is_another_entry(world, ran, tmp_path):
    _, kept = ran["pope"]
    whole, first = scored(world, tmp_path, kept), scored(world, tmp_path, kept, "--limit", 5)
    assert len(whole) == 1 and len(first) == 2
    limited = next(entry for entry in first if entry.limit == 5)
    assert limited.items.n == 5 and whole[0].items.n == 12
    assert outputs_path(tmp_path, limited) != outputs_path(tmp_path, whole[0])
    lines = write(
        tmp_path / "lines.jsonl", [{"output": row["outputs"][0]} for row in rows_of(kept)]
    )
    by_order = scored(world, tmp_path, lines, "--limit", 5, "--name", "by order")
    (found,) = [entry for entry in by_order if entry.model.name == "by order"]
    assert results(found) == results(limited)


def test_names_are_no_paths(world, ran, tmp_path):
    _, kept = ran["pope"]
    inside = tmp_path / "inside"
    for name in ("../../up", "x" * 300, "a b/ü"):
        entries = scored(world, inside, kept, "--name", name)
        assert name in {entry.model.name for entry in entries}
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]


def test_nothing_heavy_is_imported(world, ran, tmp_path):
    words = ["score", "--task", "pope", "--source", world / "pope.jsonl"]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "harness"]
        + [str(word) for word in [*words, "--predictions", ran["pope"][1]]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "harness.outputs" in imported
    assert not {"torch", "transformers"} & imported


YES = [{"id": f"pope/{i}", "output": "yes"} for i in range(12)]
BAD = {
    "too few": (YES[:11], "no output for item 'pope/11'. Did you mean 'pope/1'? 1 of 12 items"),
    "too few in order": ([{"output": "yes"}] * 11, "said.jsonl: has 11 outputs, the task has 12"),
    "too many in order": ([{"output": "yes"}] * 13, "said.jsonl: has 13 outputs, the task has 12"),
    "an id twice": ([*YES, YES[3]], "said.jsonl line 13: id 'pope/3' stands at said.jsonl line 4"),
    "an id missing": (
        [*YES[:2], {"output": "yes"}, *YES[3:]],
        "said.jsonl line 3: there is no 'id', which other records have",
    ),
    "an id of nothing": (
        [*YES[:2], {**YES[2], "id": None}, *YES[3:]],
        "said.jsonl line 3: there is no 'id'",
    ),
    "no output": ([{"said": "yes", "n": 1}] * 12, "line 1: no output: none of res, output,"),
    "a number": ([*YES[:4], {**YES[4], "output": 1}, *YES[5:]], "line 5: 'output' is no text (g"),
    "nothing": ([*YES[:4], {**YES[4], "output": None}, *YES[5:]], "line 5: 'output' is no text"),
    "an empty list": ([{**row, "output": []} for row in YES], "line 1: 'output' is no text"),
    "a list of numbers": ([{**row, "output": [1]} for row in YES], "line 1: 'output' is no text"),
    "no system": ([{**row, "output": {}} for row in YES], "line 1: 'output' is no text (got {})"),
    "a system's number": (
        [{**row, "output": {"a": 1}} for row in YES],
        "line 1: 'output.a' is no text (got 1)",
    ),
    "a system that lacks": (
        [{"output": {"a": "x", "b": "y"}}] * 7 + [{"output": {"a": "x"}}] * 5,
        "said.jsonl line 8: no output of system 'b', which said.jsonl line 1 has",
    ),
    "a system that comes late": (
        [{"output": {"a": "x"}}] * 7 + [{"output": {"a": "x", "b": "y"}}] * 5,
        "said.jsonl line 1: no output of system 'b', which said.jsonl line 8 has",
    ),
    "two outputs": (
        [{**row, "output": ["yes", "no"]} for row in YES],
        "said.jsonl line 1: item 'pope/0' asks 1 times, but there are 2 outputs",
    ),
    "half a character": (
        [*YES[:4], {**YES[4], "output": "\ud83d"}, *YES[5:]],
        "said.jsonl line 5: ",
    ),
    "no object": ([3] * 12, "said.jsonl line 1: not an object"),
}


def one_line(run, folder):
    assert run.status == 2, run.stderr + run.stdout
    assert run.stderr.startswith("harness: ") and run.stderr.count("\n") == 1, run.stderr
    assert run.stdout == ""
    assert not list(folder.glob("leaderboards/*.json")), "nothing is recorded"
    return run.stderr.removeprefix("harness: ")


def refused(world, folder, file):
    """What is said to outputs that do not fit, without a process."""
    asked = {"method": "outputs", "tasks": "pope", "source": {"pope": str(world / "pope.jsonl")}}
    places = {"runs": folder / "runs", "leaderboards": folder / "leaderboards"}
    with pytest.raises(DataError) as caught:
        score_outputs(run_config({**asked, **places}), file)
    assert not list(folder.glob("leaderboards/*.json")), "nothing is recorded"
    text = str(caught.value)
    assert "\n" not in text and len(text) < 300
    return text


@pytest.mark.parametrize("kind", BAD)
def test_outputs_that_do_not_fit_are_one_line_with_the_place(kind, world, tmp_path):
    rows, message = BAD[kind]
    assert message in refused(world, tmp_path, write(tmp_path / "said.jsonl", rows))


def cut(data):
    return gzip.compress(data, mtime=0)[:-12]


def spoilt(data):
    packed = bytearray(gzip.compress(data * 500, 0, mtime=0))
    packed[10:15] = b"\xff" * 5
    return bytes(packed)


TEXT = b"yes\n" * 12
LINES = "".join(json.dumps(row) + "\n" for row in YES).encode()
FILES = {
    "empty.jsonl": (b"", "empty.jsonl: is empty, it has no record"),
    "empty.txt": (b"", "empty.txt: has 0 outputs, the task has 12 items"),
    "few.txt": (b"yes\n", "few.txt: has 1 outputs, the task has 12 items"),
    "latin.txt": (b"yes\nj\xe4\n", "latin.txt line 2: no UTF-8 (byte 2 of the line)"),
    "latin.jsonl": (b'{"output": "j\xe4"}\n', "latin.jsonl line 1: no UTF-8"),
    "wide.txt": ("yes\n".encode("utf-16"), "wide.txt line 1: the file is UTF-16"),
    "cut.jsonl": (LINES[:-4], "cut.jsonl line 12: no valid JSON"),
    "cut.jsonl.gz": (cut(LINES), "cut.jsonl.gz: cannot be read"),
    "cut.txt.gz": (cut(TEXT), "cut.txt.gz: cannot be read"),
    "plain.jsonl.gz": (LINES, "plain.jsonl.gz: cannot be read (Not a gzipped file"),
    "spoilt.jsonl.gz": (spoilt(LINES), "spoilt.jsonl.gz: cannot be read"),
    "spoilt.txt.gz": (spoilt(TEXT), "spoilt.txt.gz: cannot be read"),
    "no.tsv": (b"id\toutput\nyes\n", "no.tsv line 2: has 1 cells, the header has 2"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_cannot_be_read_are_one_line(name, world, tmp_path):
    data, message = FILES[name]
    (tmp_path / name).write_bytes(data)
    assert message in refused(world, tmp_path, tmp_path / name)


ASKED = {
    "--field outptu": "line 1: there is no 'outptu'. Did you mean 'output'? It has: id, output.",
    "--field output.a": "line 1: there is no 'output.a'",
    "--field": "Option '--field' requires an argument",
    "--option prompt=x": "task 'pope' has no option 'prompt'",
    "--option prompt": "--option takes NAME=VALUE, not 'prompt'",
    "--predictions sad.jsonl": "sad.jsonl: no such file. Did you mean 'said.jsonl'?",
    "--predictions folder": "folder: cannot be read (Is a directory)",
    "--predictions folder.jsonl": "folder.jsonl: cannot be read (Is a directory)",
    "--task pop": "no task 'pop'. Did you mean 'pope'?",
    "--limit 0": "limit: ",
    "--split dev": "no dev split",
    "--source nowhere.jsonl": "nowhere.jsonl: no such file",
    "--engine x": "--engine takes NAME=VALUE, not 'x'",
    "--engine commet=x": "no engine 'commet'. Did you mean 'comet'?",
    "--engine comet=x": "task 'pope' cannot be scored by the engine 'comet'",
}


@pytest.mark.parametrize("words", ASKED)
def test_what_is_asked_wrongly_is_one_line(words, world, tmp_path):
    said = write(tmp_path / "said.jsonl", YES)
    for name in ("folder", "folder.jsonl"):
        (tmp_path / name).mkdir()
    run = score(world, tmp_path, said, *words.split())
    assert ASKED[words] in one_line(run, tmp_path)


def test_rotations_need_an_output_each(world, ran, tmp_path):
    entry, kept = ran["mmbench"]
    rows = rows_of(kept)
    assert [len(row["outputs"]) for row in rows] == [2, 3, 4, 2, 3]
    rows[2]["outputs"].pop()
    said = write(tmp_path / "said.jsonl", rows)
    message = "said.jsonl line 3: item '2' asks 4 times, but there are 3 outputs"
    assert message in one_line(score(world, tmp_path, said, task="mmbench"), tmp_path)
    text = tmp_path / "said.txt"
    text.write_text("A\n" * 5)
    message = "said.txt line 1: item '0' asks 2 times, but there are 1 outputs"
    assert message in one_line(score(world, tmp_path, text, task="mmbench"), tmp_path)
    assert entry.items.n == len(rows)


def test_a_full_disk_records_no_entry_without_its_outputs(world, ran, tmp_path):
    (tmp_path / "runs").write_text("")
    run = score(world, tmp_path, ran["pope"][1])
    assert run.status == 2 and "cannot be written" in run.stderr
    (tmp_path / "runs").unlink()
    (entry,) = scored(world, tmp_path, ran["pope"][1])
    assert Path(outputs_path(tmp_path / "runs", entry)).is_file()
