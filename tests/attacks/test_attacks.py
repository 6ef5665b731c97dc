"""Small versions of the attacks, which `python -m tests.attacks` makes at full length."""

import pytest

from tests.attacks import FAULTS, __main__, full_disk, kills, writers


@pytest.mark.parametrize(("attack", "count"), [(kills, 1), (writers, 16), (full_disk, 1)])
def test_an_attack_finds_no_fault(attack, count, tmp_path):
    outcomes = attack.run(count, 3, tmp_path)
    assert sum(outcomes.values()) == count
    assert not any(outcomes.get(fault) for fault in FAULTS), outcomes


def test_results_keep_a_row_for_each_attack_the_last_one(tmp_path):
    path = tmp_path / "RESULTS.md"
    for name, row in (
        ("kills", "| kills | 1 |"),
        ("fuzz", "| fuzz | 2 |"),
        ("kills", "| kills | 3 |"),
    ):
        __main__.record(path, name, row)
    assert path.read_text().endswith("|---|---|---|---|---|\n| fuzz | 2 |\n| kills | 3 |\n")
