"""A small version of the simulations: wide bounds, few results, every kind of line."""

from itertools import islice

import pytest

from tests.calibration import simulate
from tests.calibration.__main__ import judged, lines, tables
from tests.calibration.simulate import Row

FEW = 60


@pytest.mark.parametrize("index", range(len(tables(1))))
def test_every_table_is_made(index: int) -> None:
    table = tables(FEW)[index]
    if table.title.startswith(("Corpus", "Families")):
        pytest.skip("at least 2,000 results a line: by the command alone")
    made = [line for line in lines(table) if line.startswith("| ")]
    assert len(made) > 3
    assert len({line.count("|") for line in made}) == 1


def test_rates_are_near_what_they_say() -> None:
    """Standard errors of 1.5 percent: bounds that a calibrated method misses once in 10,000."""
    held = [row.rates["coverage"] for row in islice(simulate.coverage(200), 4)]
    assert all(rate is not None and rate >= 88 for rate in held)
    rejected = [row.rates["rejected"] for row in islice(simulate.nulls(200), 8)]
    assert all(rate is not None and rate <= 12 for rate in rejected)
    agree = [row.rates["agree"] for row in islice(simulate.nulls(100), 44)]
    assert all(rate in (None, 100.0) for rate in agree)


@pytest.mark.parametrize(
    ("rates", "size", "comes_to"),
    [
        ({"coverage": 95.3, "said to be rough": 0.0}, "20", "right"),
        ({"coverage": 98.0, "said to be rough": 0.0}, "20", "conservative"),
        ({"coverage": 91.0, "said to be rough": 80.0}, "20", "said to be rough"),
        ({"coverage": 91.0, "said to be rough": 20.0}, "20", "wrong"),
        ({"rejected": 5.4, "agree": 100.0, "said to be rough": 0.0}, "20", "right"),
        ({"rejected": 5.4, "agree": 90.0, "said to be rough": 0.0}, "20", "wrong"),
        ({"rejected": 2.0, "agree": None, "said to be rough": 0.0}, "20", "conservative"),
        ({"rejected": 50.0, "agree": 100.0, "said to be rough": 0.0}, "one seed", "why seeds"),
        ({"rejected": 50.0, "agree": 100.0, "said to be rough": 0.0}, "2 seeds", "wrong"),
        ({"rejected": 5.0, "any after Holm": 8.0}, "10", "wrong"),
        ({"power": 81.0}, "50", "right"),
        ({"power": 70.0}, "50", "wrong"),
    ],
)
def test_what_a_row_comes_to(rates: dict[str, float | None], size: str, comes_to: str) -> None:
    assert judged(Row("world", size, rates)) == comes_to
