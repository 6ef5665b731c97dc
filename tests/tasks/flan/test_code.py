"""Programs of a model: what they may do, how they are scored, and who lets them run."""

import itertools
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import launch
import pytest

from harness import leaderboard
from harness.cards import load_task
from harness.errors import HarnessError
from harness.items import read_items
from harness.sources import open_dataset
from harness.task import Prediction, Ratio, Task
from tasks.flan import sandbox
from tasks.flan.sandbox import pass_at_k, passed

CARDS = Path(sandbox.__file__).parent / "cards"
SECONDS = 1
"""For programs that would never end."""

HUMANEVAL = [
    {
        "task_id": f"HumanEval/{index}",
        "prompt": f'def {name}(a, b):\n    """{name} of two numbers"""\n',
        "test": f"def check(candidate):\n    assert candidate(2, 3) == {value}\n",
        "entry_point": name,
        "canonical_solution": f"    return a {sign} b\n",
    }
    for index, (name, sign, value) in enumerate((("add", "+", 5), ("times", "*", 6)))
]
MBPP = [
    {
        "task_id": 11,
        "text": "Write a function to double a number.",
        "code": "def double(a): return 2 * a",
        "test_list": [f"assert double({n}) == {2 * n}" for n in (1, 2, 3)],
    }
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, rows in (("humaneval", HUMANEVAL), ("mbpp", MBPP)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text)
    return tmp_path


def allowed(name: str) -> Task:
    task = load_task(CARDS / f"{name}.yaml")
    options = {**task.card.options, "run_code": True}
    return type(task)(task.card.model_copy(update={"options": options}))


def scored(task: Task, file: Path, outputs: Sequence[str]) -> list[float]:
    items = read_items(task, open_dataset(str(file)))
    found = [
        task.score(item, Prediction(item.id, (output,)))
        for item, output in zip(items, outputs, strict=True)
    ]
    assert all(set(score) == {task.card.primary} for score in found)
    assert all(score[task.card.primary].denominator == 1 for score in found)
    return [score[task.card.primary].numerator for score in found]


def test_a_right_program_passes_and_a_wrong_one_does_not() -> None:
    assert passed(["assert sorted([2, 1]) == [1, 2]", "assert 1 == 2", "no program", ""]) == [
        True,
        False,
        False,
        True,
    ]


def test_the_standard_library_and_numpy_can_be_used() -> None:
    libraries = "import collections, dataclasses, functools, hashlib, heapq, itertools, math, re"
    numpy = "import numpy\nassert (numpy.ones((3, 3)) @ numpy.ones((3, 3))).sum() == 27"
    recursive = "def f(n): return n and f(n - 1)\nassert f(900) == 0"
    assert all(passed([libraries, numpy, recursive]))


@pytest.mark.parametrize(
    "program",
    [
        "while True: pass",
        "while True: print('x' * 10**6)",
        "import time\ntime.sleep(60)",
        "try:\n    while True: pass\nexcept BaseException: pass\nwhile True: pass",
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))\nwhile True: pass",
    ],
)
def test_a_program_without_end_ends_in_time_and_fails(program: str) -> None:
    started = time.monotonic()
    assert passed([program], SECONDS) == [False]
    assert time.monotonic() - started < SECONDS + 5


@pytest.mark.parametrize(
    "program",
    [
        "import sys\nsys.exit(0)\nassert False",
        "raise SystemExit",
        "import os\nos._exit(0)",
        "import os\nos.write(1, b'ready')\nos.abort()",
        "text = ' ' * 2**31",
        "lines = []\nwhile True: lines.append(bytearray(2**20))",
        "import os\nfor _ in range(3):\n    if os.fork() == 0: os._exit(0)",
        "import threading\nthreading.Thread(target=print).start()",
        "import subprocess\nsubprocess.run(['true'])",
        "import os\nos.execv('/bin/true', ['true'])",
        "import os\nos.kill(os.getppid(), 0)",
        "import socket\nsocket.socket()",
        "import socket\nsocket.create_connection(('127.0.0.1', 80))",
        "import asyncio\nasyncio.new_event_loop()",
        "open('here', 'w')",
        "import os\nos.open('FOLDER/there', os.O_CREAT)",
        "import os\nos.mkdir('here')",
        "import os\nos.remove('FOLDER/mark')",
        "open('FOLDER/mark', 'a')",
        "import shutil\nshutil.rmtree('FOLDER')",
        "open(__import__('os').environ['PATH'])",
        "open(__import__('os').path.expanduser('~/.bashrc'))",
        "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (9, 9))",
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
        "assert input()",
    ],
)
def test_what_a_program_may_not_do_fails_and_leaves_nothing(program: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    mark.write_text("here")
    before = processes()
    started = time.monotonic()
    assert passed([program.replace("FOLDER", str(tmp_path))], SECONDS) == [False]
    assert time.monotonic() - started < SECONDS + 5
    assert processes() <= before, "a process is left"
    assert list(tmp_path.iterdir()) == [mark] and mark.read_text() == "here"


def processes() -> set[str]:
    """Those that run programs here."""
    found = set()
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdecimal() and b"sandboxed" in (path / "cmdline").read_bytes():
                found.add(path.name)
        except OSError:  # ended meanwhile
            continue
    return found


def test_a_program_sees_an_empty_home_and_no_variable_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECRET", "xyz")
    look = (
        "import os, pathlib\n"
        "assert 'SECRET' not in os.environ and 'xyz' not in str(os.environ)\n"
        "assert os.listdir() == [] and pathlib.Path.home() == pathlib.Path.cwd()\n"
    )
    assert passed([look]) == [True]


def test_the_empty_folders_are_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert passed(["pass", "while True: pass"], 1) == [True, False]
    assert list(tmp_path.iterdir()) == []


def test_programs_run_side_by_side() -> None:
    count = os.cpu_count() or 1
    started = time.monotonic()
    assert passed(["import time\ntime.sleep(1)"] * 2 * count) == [True] * 2 * count
    assert time.monotonic() - started < 2 * count * 0.9 or count == 1


def test_where_programs_cannot_be_kept_apart_none_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.sandboxed, "__file__", "/no/such/file.py")
    with pytest.raises(HarnessError, match="cannot keep a model's programs apart") as error:
        passed(["pass"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("total", "right", "size"), [(5, 2, 1), (5, 2, 3), (4, 4, 2), (3, 0, 3)])
def test_pass_at_k_is_the_share_of_draws_with_a_right_sample(
    total: int, right: int, size: int
) -> None:
    draws = list(itertools.combinations([True] * right + [False] * (total - right), size))
    assert pass_at_k(total, right, size) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_humaneval_scores_completions_of_its_prompts(source: Path) -> None:
    right = [row["canonical_solution"] for row in HUMANEVAL]
    task, file = allowed("humaneval"), source / "humaneval.jsonl"
    assert scored(task, file, right) == [1, 1]
    assert scored(task, file, [right[0], right[0]]) == [1, 0]
    assert scored(task, file, ["", "    return ("]) == [0, 0]
    assert read_items(task, open_dataset(str(file)))[0].id == "HumanEval/0"


def test_mbpp_scores_programs_after_three_examples(source: Path) -> None:
    task, file = allowed("mbpp"), source / "mbpp.jsonl"
    assert scored(task, file, ["def double(a):\n    return a + a\n"]) == [1]
    assert scored(task, file, ["def double(a):\n    return a * a\n"]) == [0]
    (item,) = read_items(task, open_dataset(str(file)))
    (question,) = task.requests(item)
    assert question.context.count("[BEGIN]") == 4 and "similar_elements" in question.context


def test_scores_of_many_items_are_those_of_each(source: Path) -> None:
    task = allowed("humaneval")
    items = read_items(task, open_dataset(str(source / "humaneval.jsonl")))
    said = [Prediction(item.id, ("    return a + b\n",)) for item in items]
    assert task.scores(items, said) == [{"pass@1": Ratio(1.0)}, {"pass@1": Ratio(0.0)}]


@pytest.mark.parametrize("name", ["humaneval", "mbpp"])
def test_without_the_flag_nothing_is_run_and_no_model_asked(name: str, source: Path) -> None:
    task = load_task(CARDS / f"{name}.yaml")
    with pytest.raises(HarnessError) as error:
        read_items(task, open_dataset(str(source / f"{name}.jsonl")))
    assert str(error.value) == (
        f"task '{name}' runs the programs that the model writes: give --option "
        f"{name}.run_code=true to have them run, in processes that may only compute."
    )


def test_lm_evals_own_code_tasks_need_the_flag_too_and_run_here(source: Path) -> None:
    words = ["score", "--task", "lm_eval/humaneval", "--source", "humaneval.jsonl"]
    outputs = "".join(json.dumps({"output": "    return a * b\n"}) + "\n" for _ in HUMANEVAL)
    (source / "outputs.jsonl").write_text(outputs)
    words += ["--predictions", "outputs.jsonl"]
    refused = launch.run(words, source)
    assert refused.status == 2 and len(refused.stderr.splitlines()) == 1
    assert "--option lm_eval/humaneval.run_code=true" in " ".join(refused.stderr.split())
    done = launch.run([*words, "--option", "run_code=true"], source)
    assert done.status == 0, done.stderr
    (path,) = (source / "leaderboards").rglob("*.json")
    (entry,) = leaderboard.read(path).entries.values()
    assert entry.primary == "pass@1" and entry.metrics["pass@1"].value == 0.5
