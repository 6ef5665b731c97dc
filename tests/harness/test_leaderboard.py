import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from builders import entry
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import leaderboard
from harness.errors import HarnessError
from harness.schema import Entry

ROOT = Path(__file__).parents[2]
WRITER = """
import sys; from pathlib import Path; from builders import entry; from harness import leaderboard
root, method, start, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
for seed in range(start, start + count):
    leaderboard.record(root, entry([seed % 2, 1, 0], method=method, seed=seed))
    if seed == start:
        print("begun", flush=True)
"""


def writer(root: Path, method: str, start: int, count: int) -> "subprocess.Popen[bytes]":
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, root, method, str(start), str(count)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
    )


def test_lab_results_lie_apart(tmp_path: Path) -> None:
    assert leaderboard.record(tmp_path, entry(lab=True)) == "added"
    assert leaderboard.record(tmp_path, entry(lab=False)) == "added"
    public, lab = tmp_path / "pope.json", tmp_path / "lab" / "pope.json"
    assert json.loads(lab.read_text())["lab"] is True
    assert json.loads(public.read_text())["lab"] is False
    assert {key: list(value) for key, value in leaderboard.load_all(tmp_path).items()} == {
        (False, "pope"): [entry(lab=False).place],
        (True, "pope"): [entry().place],
    }


def test_file_reads_well(tmp_path: Path) -> None:
    leaderboard.record(tmp_path, entry([1, 0, 1] * 300, metrics={"yes_rate": 1 / 3}))
    text = (tmp_path / "lab" / "pope.json").read_text()
    lines = text.split("\n")
    assert lines[-2:] == ["}", ""]
    metric = '"yes_rate": {"high": null, "low": null, "n": 900, "value": 0.333333}'
    assert metric in [line.strip() for line in lines]
    assert sum('"numerator": "u1:' in line for line in lines) == 1
    assert max(map(len, lines)) < 200
    assert [line for line in lines if line.startswith('  "')] == [
        '  "entries": {',
        '  "lab": true,',
        '  "schema": 1,',
        '  "task": "pope"',
    ]


def test_equal_result_changes_no_byte(tmp_path: Path) -> None:
    path = tmp_path / "lab" / "pope.json"
    leaderboard.record(tmp_path, entry([0.1 + 0.2, 1 / 3], commit="aaaaaaa"))
    before = path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino
    # Another commit, another last digit, other last bits of the trained weights.
    again = entry([0.3, 1 / 3 + 1e-12], commit="bbbbbbb", weights="w1")
    assert leaderboard.record(tmp_path, again) == "unchanged"
    assert (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) == before
    assert leaderboard.record(tmp_path, entry([0.3, 0.4], commit="bbbbbbb")) == "changed"
    assert leaderboard.read(path).entries[again.place].provenance.commit == "bbbbbbb"


def test_settings_are_kept_exactly_and_measurements_to_six_digits(tmp_path: Path) -> None:
    asked = {"loss.beta": 0.123456789012, "lr": 1e-5, "names": ["é", "b"], "deep": {"a": [[1], {}]}}
    given_entry = entry([2 / 3, 0], overrides=asked, config=asked)
    leaderboard.record(tmp_path, given_entry)
    board = leaderboard.read(tmp_path / "lab" / "pope.json")
    kept = board.entries[given_entry.place]
    assert (kept.overrides, kept.config) == (asked, asked)
    assert kept.metrics["accuracy"].value == 0.333333


@st.composite
def some_entries(draw: st.DrawFn) -> list[Entry]:
    keys = st.tuples(st.sampled_from(["base", "dpo"]), st.integers(0, 11), st.booleans())
    return [
        entry(
            [draw(st.floats(-2, 2)), 1],
            method=method,
            seed=seed,
            lab=lab,
            overrides=draw(st.dictionaries(st.sampled_from("ab"), st.floats(0, 1))),
        )
        for method, seed, lab in draw(st.lists(keys, unique=True, max_size=5))
    ]


@settings(max_examples=25, deadline=None)
@given(some_entries(), st.randoms())
def test_order_and_repetition_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory, entries: list[Entry], order: random.Random
) -> None:
    first, second = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    shuffled = order.sample(entries, len(entries))
    for each in entries:
        assert leaderboard.record(first, each) == "added"
    for each in shuffled:
        leaderboard.record(second, each)
    for each in shuffled:
        assert leaderboard.record(second, each) == "unchanged"
    for name in ("pope.json", "lab/pope.json"):
        one, two = first / name, second / name
        assert one.exists() == two.exists()
        if one.exists():
            assert one.read_bytes() == two.read_bytes()
            assert leaderboard.dump(leaderboard.read(one)) == one.read_text()


def test_two_processes_lose_nothing(tmp_path: Path) -> None:
    writers = [writer(tmp_path, method, 0, 25) for method in ("aspo", "dpo")]
    assert [process.wait(timeout=120) for process in writers] == [0, 0]
    board = leaderboard.read(tmp_path / "lab" / "pope.json")
    assert len(board.entries) == 50


def test_killed_writer_leaves_a_readable_file(tmp_path: Path) -> None:
    path, seen = tmp_path / "lab" / "pope.json", 0
    leaderboard.record(tmp_path, entry(seed=0, method="base"))
    for attempt in range(6):
        process = writer(tmp_path, f"m{attempt}", 0, 10_000)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.005 + 0.017 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        entries = leaderboard.read(path).entries
        assert len(entries) >= seen
        seen = len(entries)
    assert seen > 6
    leaderboard.record(tmp_path, entry(seed=1, method="base"))
    left = {item.name for item in tmp_path.rglob("*") if item.is_file()}
    assert left == {"pope.json", ".pope.json.lock"}


def damaged(tmp_path: Path, change: object) -> Path:
    leaderboard.record(tmp_path, entry())
    path = tmp_path / "lab" / "pope.json"
    value = json.loads(path.read_text())
    assert callable(change)
    change(value)
    path.write_text(json.dumps(value, indent=2))
    return path


PLACE = entry().place


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(schema=2), "has schema 2, this harness reads up to 1. Update"),
        (lambda v: v.update(schema="1"), "not a leaderboard"),
        (lambda v: v.update(schema=True), "not a leaderboard"),
        (lambda v: v.update(entries=[]), "'entries' is missing or wrong"),
        (lambda v: v.pop("task"), "'task' is missing or wrong"),
        (lambda v: v.update(extra=1), "unknown field 'extra'"),
        (lambda v: v.update(task="mmbench"), "belongs to another leaderboard"),
        (lambda v: v["entries"][PLACE].update(extra=1), "extra: Extra inputs .* Update"),
        (lambda v: v["entries"][PLACE].pop("items"), "items: Field required"),
        (lambda v: v["entries"][PLACE].update(seed=7), "has the settings of .*seed=7"),
    ],
)
def test_wrong_content_is_a_one_line_error(tmp_path: Path, change: object, message: str) -> None:
    path = damaged(tmp_path, change)
    before = path.read_bytes()
    for act in (lambda: leaderboard.read(path), lambda: leaderboard.record(tmp_path, entry())):
        with pytest.raises(HarnessError, match=message) as caught:
            act()
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ('{"schema": 1', "not JSON"),
        ("[]", "not a leaderboard"),
        ('{\n<<<<<<< HEAD\n"a": 1\n=======\n"a": 2\n>>>>>>> x\n}', "merge-conflict markers"),
        ('{"schema": 1, "task": "pope", "schema": 1}', "'schema' stands there twice"),
    ],
)
def test_text_that_is_no_leaderboard(text: str, message: str) -> None:
    with pytest.raises(HarnessError, match=f"^pope.json: .*{message}"):
        leaderboard.parse(text, "pope.json")


def test_file_in_the_wrong_place_and_wrong_bytes(tmp_path: Path) -> None:
    leaderboard.record(tmp_path, entry())
    (tmp_path / "lab" / "pope.json").rename(tmp_path / "pope.json")
    with pytest.raises(HarnessError, match="Move the file there"):
        leaderboard.load_all(tmp_path)
    (tmp_path / "pope.json").write_bytes(b"\xff")
    with pytest.raises(HarnessError, match="not UTF-8"):
        leaderboard.load_all(tmp_path)


def test_results_that_cannot_be_written(tmp_path: Path) -> None:
    for wrong in (
        entry(metrics={"f1": float("nan")}),
        entry(config={"lr": [float("inf")]}),
    ):
        with pytest.raises(HarnessError, match="not finite"):
            leaderboard.record(tmp_path, wrong)
    for name in ("../pope", "a/b/pope", "/pope", ".hidden", ""):
        with pytest.raises(HarnessError, match="cannot name a leaderboard"):
            leaderboard.record(tmp_path, entry(task=name))
    assert leaderboard.load_all(tmp_path) == {}
