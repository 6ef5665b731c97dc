"""`python -m tests.calibration [--repetitions N] [--record]`: simulate, print, check, record."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.calibration import simulate
from tests.calibration.simulate import Row

RESULTS = Path(__file__).parent / "RESULTS.md"
HEAD = """\
# Calibration

Percent, over {repetitions:,} made-up results a line (corpus metrics and families: 2,000 or
more), by `python -m tests.calibration --record`; `worlds.py` says what is made up. The last column
is what a line comes to:

- **right**: as often as it says, within one percent: 95 % of intervals hold the truth, 5 % of tests
  reject where nothing differs, 80 % find what is detectable.
- **conservative**: intervals hold the truth more often, tests reject less often.
- **said to be rough**: outside of that, and the screen says so in most of these results.
- **why seeds**: one training against another; the screen says "this checkpoint".
- **wrong**: none of these. The command fails.
"""
ROUGH = "said to be rough"
ONE_SEED = "one seed"


class Table(NamedTuple):
    title: str
    rows: Iterator[Row]


def tables(repetitions: int) -> list[Table]:
    return [
        Table("Intervals of one value", simulate.coverage(repetitions)),
        Table("Two sides that do not differ", simulate.nulls(repetitions)),
        Table("Two sides that differ", simulate.differing(repetitions)),
        Table("Methods that do not differ, by seeds", simulate.by_seeds(repetitions)),
        Table("Means of tasks that do not differ", simulate.means(repetitions)),
        Table("Corpus metrics that do not differ", simulate.corpora(repetitions)),
        Table("Power at what is said to be detectable", simulate.power(repetitions)),
        Table("Families that do not differ", simulate.families(repetitions)),
    ]


def judged(row: Row) -> str:
    """What a row comes to."""
    rates, said = row.rates, row.rates.get(ROUGH) or 0.0
    if "power" in rates:
        good = rates["power"] is None or 78 <= rates["power"] <= 82
        return "right" if good else "wrong"
    rejected = [
        100 - rate if name == "coverage" else rate
        for name, rate in rates.items()
        if name in ("coverage", "rejected", "any after Holm") and rate is not None
    ]
    if (rates.get("agree") or 100.0) < 98:
        return "wrong"
    if max(rejected, default=0.0) <= 6:
        return "right" if min(rejected, default=0.0) >= 4 else "conservative"
    if row.size == ONE_SEED:
        return "why seeds"
    return ROUGH if said > 50 else "wrong"


def lines(table: Table) -> Iterator[str]:
    """A table as Markdown, line by line as it is simulated."""
    yield f"\n## {table.title}\n"
    names: list[str] = []
    for row in table.rows:
        if not names:
            names = list(row.rates)
            yield f"| | | {' | '.join(names)} | |"
            yield "|---" * (len(names) + 3) + "|"
        cells = ("-" if rate is None else f"{rate:.1f}" for rate in map(row.rates.get, names))
        yield f"| {row.name} | {row.size} | {' | '.join(cells)} | {judged(row)} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.calibration", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=10_000)
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    kept = [HEAD.format(repetitions=options.repetitions)]
    for table in tables(options.repetitions):
        for line in lines(table):
            print(line, flush=True)
            kept.append(f"{line}\n")
    if options.record:
        RESULTS.write_text("".join(kept), encoding="utf-8")
    if any(line.endswith("| wrong |\n") for line in kept):
        sys.exit(1)


if __name__ == "__main__":
    main()
