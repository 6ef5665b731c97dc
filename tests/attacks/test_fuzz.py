"""A small version of the fuzzer: no input ends in a traceback, a hang or an endless message."""

from pathlib import Path

from harness.errors import HarnessError
from tests.attacks import fuzz


def test_hostile_inputs_are_used_or_refused_in_one_line(tmp_path: Path) -> None:
    found = fuzz.run(3 * len(fuzz.KINDS), 7, tmp_path)
    failures = (tmp_path / "failures.txt").read_text(encoding="utf-8")
    assert {name: found[name] for name in fuzz.FAILED} == dict.fromkeys(fuzz.FAILED, 0), failures
    assert found["inputs"] == 3 * len(fuzz.KINDS)
    assert found["refused"] > found["inputs"] / 3, "most are hostile"
    assert found["used"] > 0


def test_the_fuzzer_tells_failures_apart(tmp_path: Path) -> None:
    def refused() -> None:
        raise HarnessError("x: is wrong.")

    def wrong() -> None:
        raise KeyError("x")

    def unsaid() -> None:
        raise SystemExit(2)

    readers = {"used": list, "refused": refused, "traceback": wrong, "broken line": unsaid}
    for outcome, read in readers.items():
        assert fuzz._ended(read)[0] == outcome


def test_a_case_is_made_from_the_seed_and_its_number_alone(tmp_path: Path) -> None:
    import os
    import random

    here = os.getcwd()
    made = []
    for place in ("a", "b"):
        folder = tmp_path / place
        folder.mkdir()
        rows = [{"id": 1, "text": "x"}] * 3
        made.append([fuzz.fuzz_files.written(rows, folder, random.Random(5)).read_bytes()])
    os.chdir(here)
    assert made[0] == made[1]
