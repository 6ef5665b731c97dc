"""The command line: every mistake is one line with the fix, and nothing else is said."""

import json
import os
import subprocess
import sys
from pathlib import Path

import launch
import pytest
from tiny_llava import tiny_llava


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = launch.little_world(tmp_path_factory.mktemp("world") / "data", 12, 12)
    model = tiny_llava(folder / "model")
    broken = folder / "broken"
    broken.mkdir()
    for file in model.iterdir():
        data = file.read_bytes()
        cut = len(data) // 2 if file.suffix == ".safetensors" else len(data)
        (broken / file.name).write_bytes(data[:cut])
    (folder / "empty").mkdir()
    (folder / "notes.txt").write_text("[unclosed")
    (folder / "list.yaml").write_text("- method\n")
    (folder / "broken.yaml").write_text("method: [dpo\n")
    (folder / "unknown.yaml").write_text("method: dpo\ntasks: pope\nlimt: 3\n")
    (folder / "odd.yaml").write_text("method: dpo\ntasks: [[pope]]\nset:\nsource: 3\n")
    (folder / "cut.jsonl").write_text('{"image": "0.png", "quest')
    (folder / "gone.jsonl").write_text('{"image": "x.png", "question": "what ?"}\n')
    return folder


FAST = "--set pairs.max_new_tokens=4 --set pairs.equal_sentences=false --set loss.alpha=0 "
FAST += "--set loss.encoder=null --set pairs.chosen_temperature=1 --set train.batch_size=4"
GOOD = "--method dpo --tasks pope --model model --dataset pairs.jsonl --source pope=pope.jsonl"


def one_line(run):
    assert run.status == 2, run.stderr + run.stdout
    assert run.stderr.startswith("harness: ")
    assert run.stderr.count("\n") == 1, run.stderr
    assert run.stdout == ""
    return run.stderr.removeprefix("harness: ").strip()


MISTAKES = {
    "rum": "no command 'rum'. Did you mean 'run'?",
    "run --methd dpo": "No such option",
    "run --limit": "--limit",
    "run --limit many": "'--limit': 'many' is not a valid int",
    "list": "Missing argument 'kind'",
    "list taks": "no kind 'taks'. Did you mean 'tasks'?",
    "show": "Missing argument 'name'",
    "show pop": "no plugin 'pop'. Did you mean 'pope'?",
    "build lab/scene-vlm": "no model 'lab/scene-vlm'. Did you mean 'lab/scenes-vlm'?",
    "compare one": "Missing argument 'after'",
    "compare one two": "one",
    "compare . . --fail-on better": "--fail-on takes worse, missing, refused",
    "run": "'method' is missing: give --method",
    "run --method dpo": "'tasks' is missing: give --tasks",
    "run --method dpoo --tasks pope": "no method 'dpoo'. Did you mean 'dpo'?",
    "run --method dpo --tasks popp": "no task 'popp'. Did you mean 'pope'?",
    "run --method , --tasks pope": "method",
    "run missing.yaml": "missing.yaml: no such config file",
    "run empty": "empty: cannot be read",
    "run list.yaml": "list.yaml: a config is a mapping",
    "run broken.yaml": "broken.yaml: not YAML",
    "run notes.txt": "notes.txt: not YAML",
    "run unknown.yaml": "unknown.yaml: no setting 'limt'. Did you mean 'limit'?",
    "run odd.yaml": "odd.yaml: ",
    f"run {GOOD} --limit 0": "limit: Input should be greater than or equal to 1 (got 0)",
    f"run {GOOD} --seeds x": "seeds: ",
    f"run {GOOD} --set loss.beta": "--set takes NAME=VALUE, not 'loss.beta'",
    f"run {GOOD} --set =3": "--set takes NAME=VALUE",
    f"run {GOOD} --set loss.beta=much": "method 'dpo': loss.beta",
    f"run {GOOD} --source pope": "--source takes NAME=VALUE, not 'pope'",
    f"run {GOOD} --split half": "split",
    f"run {GOOD} --profile vast --set loss.betta=1": "Did you mean 'loss.beta'?",
    f"run {GOOD} --model nowhere": "no model 'nowhere': no such folder",
    f"run {GOOD} --model ./no/where": "no model './no/where': no such folder",
    f"run {GOOD} --model empty": "empty: no model: neither config.json nor",
    f"run {GOOD} --model broken": "broken/model.safetensors: damaged",
    f"run {GOOD} --model pope.jsonl": "no model 'pope.jsonl'",
    f"run {GOOD} --dataset nothing.jsonl": "nothing.jsonl: no such file",
    f"run {GOOD} --dataset cut.jsonl": "cut.jsonl line 1",
    f"run {GOOD} --dataset gone.jsonl": "x.png",
    f"run {GOOD} --dataset empty": "empty: has no data file",
    f"run {GOOD} --dataset pope.jsonl": "pope.jsonl line 1: no 'question'",
    f"run {GOOD} --source pope=nothing.jsonl": "nothing.jsonl: no such file",
    f"run {GOOD} --source pope=pairs.jsonl": "pairs.jsonl line 1",
    f"run {GOOD} --source shr=pope.jsonl": "source for 'shr'",
    f"run {GOOD} --option limit=3": "option 'limit': give TASK.FIELD=VALUE with a task of this run",
    f"run {GOOD} --option shr.question=x": "option 'shr.question': give TASK.FIELD=VALUE",
    f"run {GOOD} --option pope.promt=x": "task 'pope' has no option 'promt'. It has none",
    f"run {GOOD} --option pope": "--option takes NAME=VALUE, not 'pope'",
    f"run {GOOD} --engine comet": "--engine takes NAME=VALUE, not 'comet'",
    f"run {GOOD} --engine comet=x": "task 'pope' cannot be scored by the engine 'comet'",
    f"run {GOOD} --engine commet=x": "no engine 'commet'. Did you mean 'comet'?",
    "score": "Missing option '--task'",
    "score --task pope": "Missing option '--predictions'",
    "score --task popp --predictions x": "no task 'popp'. Did you mean 'pope'?",
    "score --task pope --predictions ppe.jsonl": "no such file. Did you mean 'pope.jsonl'?",
    "score --task pope --source pope.jsonl --predictions pairs.jsonl": "line 1: no output: none of",
    "engines instal comet": "No such command 'instal'",
    "engines remove commet": "no engine 'commet'. Did you mean 'comet'?",
    "engines install commet": "no engine 'commet'. Did you mean 'comet'?",
    f"run {GOOD} {FAST} --set train.batch_size=500": "fewer than one batch of 500",
    f"run {GOOD} {FAST} --set train.micro_batch=3": "micro-batches of 3",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_one_line_with_the_fix_and_exit_status_2(words, world, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    for file in world.iterdir():
        (here / file.name).symlink_to(file)
    assert MISTAKES[words] in one_line(launch.run(words.split(), here))


def test_a_hub_name_that_cannot_be_had_is_one_line(world, monkeypatch):
    done = process("run", *GOOD.replace("--model model", "--model no/where").split(), cwd=world)
    assert done.returncode == 2
    assert done.stderr.startswith("harness: model 'no/where' is neither here nor on the hub")
    assert done.stderr.count("\n") == 1


def process(*words, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, words)],
        cwd=cwd,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_without_a_terminal_a_run_says_only_its_result(world, tmp_path):
    written = ["--runs", tmp_path / "runs", "--leaderboards", tmp_path / "boards"]
    done = process("run", *GOOD.split(), *FAST.split(), *written, cwd=world)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("pope: f1")
    assert "dpo" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout
    log = next((tmp_path / "runs").glob("*/run.log")).read_text()
    assert "dpo-seed0 train 1/" in log


def test_json_is_all_that_stands_on_stdout(world, tmp_path):
    written = ["--runs", tmp_path / "runs", "--leaderboards", tmp_path / "boards"]
    run = launch.run(["run", *GOOD.split(), *FAST.split(), "--json", *written], world)
    assert run.status == 0, run.stderr
    assert run.stderr == ""
    entries = json.loads(run.stdout)
    assert [entry["method"] for entry in entries] == ["base", "dpo"]
    board = json.loads((tmp_path / "boards" / "pope.json").read_text())
    assert len(board["entries"]) == 2


def test_python_does_the_same_as_the_command_line(world, tmp_path, monkeypatch):
    import harness

    monkeypatch.chdir(world)
    done = {"runs": tmp_path / "runs", "leaderboards": tmp_path / "line"}
    line = launch.run(
        ["run", *GOOD.split(), *FAST.split()]
        + [word for name, path in done.items() for word in (f"--{name}", path)],
        world,
    )
    assert line.status == 0, line.stderr
    settings = dict(pair.split("=") for pair in FAST.split() if "=" in pair)
    entries = harness.run(
        method="dpo",
        tasks="pope",
        model="model",
        dataset="pairs.jsonl",
        source={"pope": "pope.jsonl"},
        set=settings,
        runs=tmp_path / "runs",
        leaderboards=tmp_path / "python",
    )
    assert [entry.method for entry in entries] == ["base", "dpo"]
    boards = [(tmp_path / name / "pope.json").read_bytes() for name in ("line", "python")]
    assert boards[0] == boards[1]


def test_a_dry_run_writes_nothing(world, tmp_path):
    done = process(
        *["run", *GOOD.split(), "--dry-run", "--runs", tmp_path / "runs"],
        *["--leaderboards", tmp_path / "boards"],
        cwd=world,
    )
    assert done.returncode == 0, done.stderr
    assert "dpo seed 0: train model on pairs.jsonl (12 rows)" in done.stdout
    assert "pope: 12 items" in done.stdout
    assert not list(tmp_path.iterdir())


def test_listing_as_json(tmp_path):
    done = process("list", "tasks", "--json", cwd=tmp_path)
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert {"pope", "mmbench", "shr"} <= set(rows)
    assert rows["pope"]["distribution"] == "harness"


@pytest.mark.parametrize("name", ["dpo", "pope", "lab/scenes-vlm"])
def test_show_tells_what_a_plugin_is(name, tmp_path):
    run = launch.run(["show", name], tmp_path)
    assert run.status == 0, run.stderr
    assert run.stdout.startswith(f"{name} (")


def test_a_reader_that_goes_away_is_no_traceback(tmp_path):
    command = f"{sys.executable} -m harness list methods | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=tmp_path)
    assert done.stderr == ""


def test_no_arguments_are_help(tmp_path):
    done = process(cwd=tmp_path)
    assert done.stderr.startswith("Usage: ") and done.stderr.count("\n") > 10
    assert "Traceback" not in done.stderr
    assert Path(tmp_path).is_dir()
