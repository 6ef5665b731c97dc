"""What a run's judge says of predictions, between them and their scores."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from harness import processes
from harness.code_keys import reached
from harness.computations import of_verdicts
from harness.errors import HarnessError
from harness.judges import Case, Judge, verdicts
from harness.plan import Scored
from harness.schema import digest
from harness.seals import read_rows, write_rows
from harness.shown import shown
from harness.store import ROWS, Store, turn
from harness.task import Prediction


def judged(scored: Scored, predictions: Sequence[Prediction], store: Store) -> list[Prediction]:
    """Predictions with the verdicts on their cases in `details`; as they are without a judge.

    Verdicts are kept in the store, and nobody is asked twice; where one failed the judge is asked
    again next time.
    """
    if scored.judge is None:
        return list(predictions)
    cases = [
        list(scored.task.cases(item, prediction))
        for item, prediction in zip(scored.items, predictions, strict=True)
    ]
    rows = _verdicts(scored.judge, [case for some in cases for case in some], store)
    _say_failed(scored.judge, rows)
    found = iter(rows)
    return [
        replace(each, details={**each.details, "verdicts": [next(found) for _ in some]})
        for each, some in zip(predictions, cases, strict=True)
    ]


def reason(failed: Sequence[Mapping[str, Any]]) -> str:
    """Return why the first of some failed verdicts has no decision, without a period."""
    return shown(failed[0]["reason"] or "it does not say why").rstrip(".")


def _say_failed(judge: Judge, rows: Sequence[Mapping[str, Any]]) -> None:
    """Say why judgements failed: a table of results says how many alone. Where most failed nothing
    is recorded, and the command's last line says why."""
    failed = [row for row in rows if row["decision"] is None]
    if 0 < 2 * len(failed) <= len(rows) and processes.is_main():
        print(
            f"judge '{shown(judge.name)}': {len(failed)} of {len(rows)} judgements failed, the "
            f"first: {reason(failed)}. The same command asks again where no answer came.",
            file=sys.stderr,
        )


def _verdicts(judge: Judge, cases: Sequence[Case], store: Store) -> list[dict[str, Any]]:
    inputs = {
        "judge": asdict(judge.identity()),
        "cases": digest([asdict(case) for case in cases]),
        **reached(of_verdicts(judge)).key(),
    }
    folder = store.folder("verdicts", inputs)
    path = folder / ROWS

    def known() -> list[dict[str, Any]]:
        rows = read_rows(path, remove=folder) if path.exists() else [{}] * len(cases)
        if len(rows) != len(cases):
            raise HarnessError(f"{path}: {len(rows)} rows for {len(cases)} cases: remove {folder}.")
        return rows

    def missing() -> list[int]:
        return [i for i, row in enumerate(known()) if row.get("decision") is None]

    with turn(folder, lambda: not missing()) as todo:
        if todo and processes.is_main():
            asked = missing()
            found = verdicts(judge, [cases[i] for i in asked])
            rows = dict(enumerate(known())) | dict(zip(asked, map(asdict, found), strict=True))
            write_rows(path, rows.values())
    return known()
