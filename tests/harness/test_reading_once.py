"""A run reads weights, pictures and training sets once, and sees when they change."""

import os
import re
import sys
import time
from collections import Counter

import launch
import pytest
from tiny_llava import tiny_llava

from harness import files
from harness.configs import run_config
from harness.errors import HarnessError
from harness.files import hash_file
from harness.fitting import fit, fit_folder
from harness.opening import training_set
from harness.plan import make_plan
from harness.report.plan import plan_text
from harness.store import Store

opened: list[str] = []
listening: set[bool] = set()


def _hear(event, arguments):
    if listening and event == "open" and isinstance(arguments[0], str):
        opened.append(arguments[0])


@pytest.fixture(scope="module", autouse=True)
def _audit():
    sys.addaudithook(_hear)  # for good: none can be removed
    listening.add(True)
    yield
    listening.clear()


@pytest.fixture
def settled(monkeypatch):
    """Files that tests have just written count as old."""
    monkeypatch.setattr(files, "SETTLED_NS", 0)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = launch.little_world(tmp_path_factory.mktemp("world") / "data", 4, 6)
    tiny_llava(folder / "model")
    return folder


def asked(world, folder, *methods, seeds=5):
    return run_config(
        {
            "method": list(methods),
            "tasks": ["pope"],
            "model": str(world / "model"),
            "dataset": str(world / "pairs.jsonl"),
            "source": {"pope": str(world / "pope.jsonl")},
            "seeds": seeds,
            "runs": folder / "runs",
            "leaderboards": folder / "leaderboards",
        }
    )


def test_a_dry_run_of_many_fits_reads_each_file_once(world, tmp_path, settled):
    opened.clear()
    text = plan_text(make_plan(asked(world, tmp_path, "dpo", "aspo", "aspo-s")))
    assert len(re.findall(r"seed \d: train", text)) == 15
    counts = Counter(os.path.relpath(path, world) for path in opened if path.startswith(str(world)))
    looks = {name: counts.pop(name) for name in ("pairs.jsonl", "pope.jsonl")}
    assert looks == {"pairs.jsonl": 2, "pope.jsonl": 2}  # one for its kind, one for its rows
    assert counts.pop("model/config.json") == 4  # for its hash, and for each method's shapes
    assert {"model/model.safetensors", "images/0.png"} < counts.keys()
    assert set(counts.values()) == {1}


def test_a_new_plan_reads_a_training_set_again(world, tmp_path, settled):
    pairs = world / "pairs.jsonl"
    text = pairs.read_text()
    make_plan(asked(world, tmp_path, "dpo"))
    before = training_set(str(pairs))
    try:
        pairs.write_text(text.replace("what", "who"))
        assert training_set(str(pairs)) == before  # within a run, as it was planned
        make_plan(asked(world, tmp_path, "dpo"))
        assert training_set(str(pairs)).fingerprint != before.fingerprint
    finally:
        pairs.write_text(text)


def test_a_training_set_that_changes_during_a_run_is_refused(world, tmp_path, settled):
    pairs = world / "pairs.jsonl"
    text = pairs.read_text()
    _, arm = make_plan(asked(world, tmp_path, "dpo", seeds=1)).arms
    fit_folder(arm, 0, Store(tmp_path / "store"))
    try:
        pairs.write_text(text.replace("what", "who"))
        with pytest.raises(HarnessError, match=r"pairs\.jsonl' changed during the run: run again"):
            fit(arm, 0, Store(tmp_path / "store"), lambda *_: None)
    finally:
        pairs.write_text(text)


def change(path, content):
    """Write other bytes of the same length and set the times back, as some tools do."""
    before = path.stat()
    with open(path, "r+b") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_file_is_read_once_for_as_long_as_it_stays(tmp_path, settled):
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    opened.clear()
    first = hash_file(path)
    (tmp_path / "link").symlink_to(path)
    assert [hash_file(path), hash_file(tmp_path / "link")] == [first, first]
    assert opened.count(str(path)) == 1
    time.sleep(0.02)  # what a file system's clock needs to tell two writes apart
    change(path, b"two")
    assert hash_file(path) != first


def test_a_file_that_was_just_written_is_read_each_time(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    first = hash_file(path)
    change(path, b"two")  # perhaps within the same tick of the clock
    assert hash_file(path) != first
    opened.clear()
    hash_file(path)
    assert str(path) in opened
