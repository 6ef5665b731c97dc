"""The benchmarks still run: what they measure is recorded by hand, not asserted."""

import importlib

import pytest

from tests.benchmarks import evaluation
from tests.benchmarks.__main__ import NAMES
from tests.benchmarks.measure import CLOCKS


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_can_be_imported(name: str) -> None:
    assert callable(importlib.import_module(f"tests.benchmarks.{name}").run)


def test_the_engine_answers_as_a_bare_loop_does() -> None:
    found = list(evaluation.run(1, CLOCKS["cpu"], limit=6))
    assert [len(each.ours) for each in found] == [1, 1]
    assert all(each.bound == evaluation.BOUND for each in found)
