"""`python -m tests.attacks NAME [--count N] [--seed S]`: attack, print the counts, record them."""

import argparse
import importlib
import platform
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.attacks import FAULTS

COUNTS = {"fuzz": 10_400, "damage": 300, "kills": 100, "writers": 64, "full_disk": 20}
"""Modules with a `run`, and how many attempts each makes by default."""
RESULTS = Path(__file__).parent / "RESULTS.md"
HEAD = """\
# Attacks

Each row was measured by `python -m tests.attacks NAME --record`; the module of that name says what
an attempt is. Outcomes that must not be seen: {faults}.

| attack | attempts | seed | outcomes | minutes |
|---|---|---|---|---|
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    parser.add_argument("name", choices=COUNTS)
    parser.add_argument("--count", type=int, help="attempts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    count = COUNTS[options.name] if options.count is None else options.count
    attack = importlib.import_module(f"tests.attacks.{options.name}")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"{options.name}-") as folder:
        outcomes = attack.run(count, options.seed, Path(folder))
    minutes = (time.monotonic() - started) / 60
    row = _row(options.name, count, options.seed, outcomes, minutes)
    print(row)
    if options.record:
        record(RESULTS, options.name, row)
    if any(outcomes.get(fault) for fault in FAULTS):
        sys.exit(1)


def _row(name: str, count: int, seed: int, outcomes: Mapping[str, int], minutes: float) -> str:
    seen = ", ".join(f"{what} {number:,}" for what, number in sorted(outcomes.items()) if number)
    return f"| {name} | {count:,} | {seed} | {seen} | {minutes:.1f} ({platform.machine()}) |"


def record(path: Path, name: str, row: str) -> None:
    """Put an attack's row into the table of results, in place of its last one."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    rows = {known: line for line, known in re.findall(r"^(\| (\w+) \|.*)$", text, re.MULTILINE)}
    rows[name] = row
    body = "".join(rows[each] + "\n" for each in COUNTS if each in rows)
    path.write_text(HEAD.format(faults=", ".join(FAULTS)) + body, encoding="utf-8")


if __name__ == "__main__":
    main()
