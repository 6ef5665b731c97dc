"""Outputs that were made elsewhere: read from a file, matched to a task's items, scored."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.entries import Reporter, keep, make_entry
from harness.errors import DataError, suggestion
from harness.files import hash_file, recorded_name
from harness.parallel import read_lines
from harness.plan import scored_task
from harness.provenance import options, provenance
from harness.records import SUFFIXES, Record, is_missing, kind_of, read_records
from harness.report.progress import Quiet
from harness.schema import Cost, Entry, ModelRef, RunConfig, digest
from harness.store import Store
from harness.task import Item, Prediction

METHOD = "outputs"
"""What an entry says in place of a method."""

FIELDS = ("output", "outputs", "prediction", "hypothesis", "translation", "answer", "response")
"""Where a record's output is looked for when no field is named."""

Said = list[str]
"""The answers to the requests of one item; mostly one."""


def score_outputs(
    config: RunConfig,
    file: Path,
    field: str | None = None,
    name: str | None = None,
    reporter: Reporter | None = None,
) -> list[Entry]:
    """Score the outputs of a file on a task, as a run scores those of a model, and record them.

    Args:
        config: one task, its source and options; the method is `outputs`.
        file: a data file with a record per item, matched by the records' `id` where they have
            one, else by order; or plain text with a line per item.
        field: where a record has its output, dotted: `systems.Online-W`. Where it holds a mapping,
            each of its keys is a system of its own.
        name: what the leaderboard calls the outputs; the file's name without it.

    Returns:
        An entry per system.
    """
    task = scored_task(config.tasks[0], config)
    store = Store(config.runs / "store")
    entries = []
    for system, predictions in read_outputs(file, task.items, field).items():
        called = "/".join(filter(None, (name or recorded_name(file.stem), system)))
        weights = digest([hash_file(file), field, system])
        who = {
            "method": METHOD,
            "config": {"field": field} if field else {},
            "model": ModelRef(name=called, base=weights, weights=weights),
            "dataset": None,
            "dataset_fingerprint": None,
            "seed": None,
            "cost": Cost(total_parameters=0),
            "provenance": provenance(config, _command(config, file, field, name)),
        }
        entry, rows = make_entry(config, task, predictions, who, store)
        folder = config.runs / f"{METHOD}-{entry.model.name.replace('/', '-')}"
        keep(config, entry, rows, folder, reporter or Quiet())
        entries.append(entry)
    return entries


def _command(config: RunConfig, file: Path, field: str | None, name: str | None) -> str:
    asked = {"predictions": recorded_name(str(file)), "field": field, "name": name}
    own = [part for key, value in asked.items() if value for part in (f"--{key}", value)]
    rest = options(config.model_copy(update={"method": ["x"]}))
    return shlex.join(["harness", "score", *own, *rest])


def read_outputs(
    file: Path, items: Sequence[Item], field: str | None = None
) -> dict[str, list[Prediction]]:
    """System -> its predictions in the order of the items; one system without a name, mostly.

    Raises `DataError` naming the line of an output that is missing or no text, and where the
    outputs are not as many as the items, or not the same items.
    """
    if kind_of(file) not in SUFFIXES:
        lines = read_lines(file)
        _check_count(file, len(lines), items)
        return {"": [Prediction(item.id, (line,)) for item, line in zip(items, lines, strict=True)]}
    records = _in_order(file, read_records(file), items)
    systems: dict[str, list[Prediction]] = {}
    for item, record in zip(items, records, strict=True):
        for system, said in _said(record, field).items():
            systems.setdefault(system, []).append(Prediction(item.id, tuple(said)))
    for system, predictions in systems.items():
        if len(predictions) != len(items):
            raise DataError(
                f"{file.name}: system '{system}' has {len(predictions)} outputs, the task has "
                f"{len(items)} items."
            )
    return systems


def _in_order(file: Path, records: Sequence[Record], items: Sequence[Item]) -> list[Record]:
    """Records by the items' ids, where every one names an item; else in the file's order."""
    named: dict[str, Record] = {}
    for record in records:
        name = record.fields.get("id")
        if is_missing(name):
            _check_count(file, len(records), items)
            return list(records)
        if str(name) in named:
            place = named[str(name)].place
            raise DataError(f"{record.place}: id '{name}' stands at {place} already.")
        named[str(name)] = record
    missing = [item.id for item in items if item.id not in named]
    if len(missing) == len(items):
        _check_count(file, len(records), items)
        return list(records)
    if missing:
        raise DataError(
            f"{file.name}: no output for item '{missing[0]}'. {suggestion(missing[0], named)}"
            f"{len(missing)} of {len(items)} items lack one."
        )
    return [named[item.id] for item in items]


def _check_count(file: Path, count: int, items: Sequence[Item]) -> None:
    if count != len(items):
        raise DataError(
            f"{file.name}: has {count} outputs, the task has {len(items)} items: give one per "
            "item, in their order or with the items' 'id'."
        )


def _said(record: Record, field: str | None) -> Mapping[str, Said]:
    """System -> what a record says."""
    value = _value(record, field)
    if isinstance(value, Mapping) and value:
        return {str(name): _texts(record, f"{field}.{name}", said) for name, said in value.items()}
    return {"": _texts(record, field or "the output", value)}


def _value(record: Record, field: str | None) -> Any:
    if field is None:
        found = [name for name in FIELDS if name in record.fields]
        if not found:
            raise DataError(
                f"{record.place}: no output: none of {', '.join(FIELDS)} is there. Give --field; "
                f"it has {', '.join(record.fields)}."
            )
        return record.fields[found[0]]
    value: Any = record.fields
    for part in field.split("."):
        if not isinstance(value, Mapping) or part not in value:
            known = list(value) if isinstance(value, Mapping) else []
            raise DataError(
                f"{record.place}: there is no '{field}'. {suggestion(part, known)}".rstrip()
            )
        value = value[part]
    return value


def _texts(record: Record, field: str, value: Any) -> Said:
    """An output as the answers to an item's requests; an empty text is one."""
    said = value if isinstance(value, list) else [value]
    if not said or not all(isinstance(text, str) for text in said):
        raise DataError(f"{record.place}: '{field}' is no text (got {value!r:.60}).")
    return said
