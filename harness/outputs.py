"""Outputs that were made elsewhere: read from a file, matched to a task's items, scored."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.entries import Reporter, keep, make_entry
from harness.errors import DataError, suggestion
from harness.files import recorded_name
from harness.parallel import read_lines
from harness.plan import Scored, scored_task
from harness.provenance import options, provenance
from harness.records import SUFFIXES, Record, is_missing, kind_of, nearest_file, read_records
from harness.report.progress import Quiet
from harness.schema import Cost, Entry, ModelRef, RunConfig, digest
from harness.shown import shown
from harness.store import Store
from harness.task import Item, Prediction

METHOD = "outputs"
"""What an entry says in place of a method."""

FIELDS = (
    *("res", "output", "outputs", "prediction", "hypothesis", "translation", "answer", "response"),
    *("text", "choices.0.turns"),
)
"""Where a record's output is looked for when no field is named: the first that is there. BPO writes
its own (`res`) into rows that have an annotator's `output`; FastChat's are a list of turns."""

IDS = ("id", "question_id", "idx")
"""Where a record says which item it answers."""

ASKED = ("prompt", "instruction")
"""Where a record without an id repeats the prompt that it answers."""

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
        name: what the leaderboard calls the outputs; the file's name without it, and the field's.

    Returns:
        An entry per system.
    """
    if not file.exists():
        raise DataError(f"{file}: no such file. {nearest_file(file)}".rstrip())
    scored = scored_task(config.tasks[0], config)
    store = Store(config.runs / "store")
    entries = []
    for system, predictions in read_outputs(file, scored, field, config.limit).items():
        said = digest([list(each.outputs) for each in predictions])
        who = {
            "method": METHOD,
            "config": {"field": field} if field else {},
            "model": ModelRef(name=_called(file, field, name, system), base=said, weights=said),
            "dataset": None,
            "dataset_fingerprint": None,
            "seed": None,
            "cost": Cost(total_parameters=0),
            "provenance": provenance(config, _command(config, file, field, name)),
        }
        entry, rows = make_entry(config, scored, predictions, who, store)
        folder = config.runs / f"{METHOD}-{shown(entry.model.name.replace('/', '-'))[:80]}"
        keep(config, entry, rows, folder, reporter or Quiet())
        entries.append(entry)
    return entries


def _called(file: Path, field: str | None, name: str | None, system: str) -> str:
    """What a leaderboard calls a system: another field of the same file is another one."""
    if not name:
        name = recorded_name(Path(file.name.removesuffix(".gz")).stem)
        system = system or (field or "").rpartition(".")[2]
    return "/".join(filter(None, (name, system)))


def _command(config: RunConfig, file: Path, field: str | None, name: str | None) -> str:
    (task,) = config.tasks
    asked = {
        "task": task,
        "predictions": recorded_name(str(file)),
        "field": field,
        "name": name,
        "source": recorded_name(config.source.get(task, "")),
    }
    own = [part for key, value in asked.items() if value for part in (f"--{key}", value)]
    for key, value in config.option.items():
        own += ["--option", f"{key.removeprefix(f'{task}.')}={value}"]
    said = {"method": ["x"], "tasks": ["x"], "source": {}, "option": {}}
    return shlex.join(["harness", "score", *own, *options(config.model_copy(update=said))])


def read_outputs(
    file: Path, scored: Scored, field: str | None = None, limit: int | None = None
) -> dict[str, list[Prediction]]:
    """System -> its predictions in the order of the items; one system without a name, mostly.

    With a limit, records past it are not looked at where they go by their order.

    Raises `DataError` naming the line of an output that is missing or no text, and where the
    outputs are not as many as the items or their requests, or not the same items.
    """
    records = matched(file, scored.items, limit)
    systems: dict[str, list[Prediction]] = {}
    for item, record in zip(scored.items, records, strict=True):
        said = outputs_in(record, field)
        if systems and said.keys() != systems.keys():
            odd = min(said.keys() ^ systems.keys())
            has, lacks = (record, records[0]) if odd in said else (records[0], record)
            raise DataError(f"{lacks.place}: no output of system '{odd}', which {has.place} has.")
        asked = len(scored.task.requests(item))
        given = record.fields.get("details")
        details = given if isinstance(given, Mapping) else {}
        for system, texts in said.items():
            if len(texts) != asked:
                raise DataError(
                    f"{record.place}: item '{item.id}' asks {asked} times, but there are "
                    f"{len(texts)} outputs: {_fix(scored, len(texts), asked)}."
                )
            systems.setdefault(system, []).append(Prediction(item.id, tuple(texts), details))
    return systems


def _fix(scored: Scored, given: int, asked: int) -> str:
    """What to do where a record has another number of outputs than its item asks for."""
    if given > asked == 1:
        return "name the one to score by --field, as outputs.0"
    general = "give a list of one per request, in their order"
    if given == 1 and scored.task.card.options.get("baseline") == "":
        return f"{general}, or the file of the answers to compare with by --option baseline=FILE"
    return general


def _records(file: Path) -> Sequence[Record]:
    """The records of a file: a line of plain text is one; an empty cell of a table is a text."""
    if kind_of(file) not in SUFFIXES:
        lines = enumerate(read_lines(file), start=1)
        return [Record(f"{file.name} line {n}", {FIELDS[0]: line}) for n, line in lines]
    records = read_records(file)
    if kind_of(file) in (".tsv", ".csv"):
        return [Record(place, {k: v or "" for k, v in cells.items()}) for place, cells in records]
    return records


def matched(file: Path, items: Sequence[Item], limit: int | None = None) -> list[Record]:
    """The records of a file of outputs in the order of the items.

    By the items' ids, where one of them names an item; else by the prompts that they repeat, where
    all items' are among them; else in the file's order.
    """
    records = _records(file)
    ids = [_id(record) for record in records]
    if {item.id for item in items}.isdisjoint(ids):
        if answering := _by_prompt(records, items):
            return answering
        chosen = list(records[:limit])
        _check_count(file, len(chosen), items)
        _check_prompts(chosen, items)
        return chosen
    named: dict[str, Record] = {}
    for name, record in zip(ids, records, strict=True):
        if name is None:
            raise DataError(f"{record.place}: there is no 'id', which other records have.")
        if name in named:
            raise DataError(f"{record.place}: id '{name}' stands at {named[name].place} already.")
        named[name] = record
    missing = [item.id for item in items if item.id not in named]
    if missing:
        raise DataError(
            f"{file.name}: no output for item '{missing[0]}'. {suggestion(missing[0], named)}"
            f"{len(missing)} of {len(items)} items lack one."
        )
    return [named[item.id] for item in items]


def _id(record: Record) -> str | None:
    found = (record.fields.get(name) for name in IDS)
    return next((str(value) for value in found if not is_missing(value)), None)


def _by_prompt(records: Sequence[Record], items: Sequence[Item]) -> list[Record] | None:
    """The records that repeat the items' prompts; of equal prompts each its own, in their order."""
    found: dict[str | None, list[Record]] = {}
    for record in reversed(records):
        found.setdefault(_asked(record), []).append(record)
    found.pop(None, None)
    prompts = [item.inputs.get("prompt") for item in items]
    if any(count > len(found.get(prompt, ())) for prompt, count in Counter(prompts).items()):
        return None
    return [found[prompt].pop() for prompt in prompts]


def _check_prompts(records: Sequence[Record], items: Sequence[Item]) -> None:
    """Raises `DataError` where a record in an item's place answers another item's prompt."""
    prompts = [item.inputs.get("prompt") for item in items]
    known = set(prompts) - {None}
    for record, item, prompt in zip(records, items, prompts, strict=True):
        if (asked := _asked(record)) in known and asked != prompt:
            raise DataError(
                f"{record.place}: answers another prompt than item '{item.id}', which stands in "
                "its place: give the records of all items, in their order or with their 'id'."
            )


def _asked(record: Record) -> str | None:
    found = (record.fields.get(name) for name in ASKED)
    return next((value for value in found if isinstance(value, str)), None)


def _check_count(file: Path, count: int, items: Sequence[Item]) -> None:
    if count != len(items):
        raise DataError(
            f"{file.name}: has {count} outputs, the task has {len(items)} items: give one per "
            "item, in their order or with the items' 'id'."
        )


def outputs_in(record: Record, field: str | None = None) -> Mapping[str, Said]:
    """System -> what a record says; one system without a name, mostly."""
    name = field or _usual_field(record)
    value = _value(record, name)
    if isinstance(value, Mapping) and value:
        return {str(key): _texts(record, f"{name}.{key}", said) for key, said in value.items()}
    return {"": _texts(record, name, value)}


def _usual_field(record: Record) -> str:
    found = [name for name in FIELDS if name.partition(".")[0] in record.fields]
    if not found:
        raise DataError(
            f"{record.place}: no output: none of {', '.join(FIELDS)} is there. Give --field; "
            f"it has {', '.join(record.fields)}."
        )
    return found[0]


def _value(record: Record, field: str) -> Any:
    """What stands under a column of that name, else under the dotted path: `choices.0.turns`."""
    if field in record.fields:
        return record.fields[field]
    value: Any = record.fields
    for part in field.split("."):
        if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
            continue
        if not isinstance(value, Mapping) or part not in value:
            known = list(map(str, value)) if isinstance(value, Mapping) else []
            has = f"It has: {', '.join(known)}." if known else ""
            raise DataError(
                f"{record.place}: there is no '{field}'. {suggestion(part, known)}{has}".rstrip()
            )
        value = value[part]
    return value


def _texts(record: Record, field: str, value: Any) -> Said:
    """An output as the answers to an item's requests; an empty text is one."""
    said = value if isinstance(value, list) else [value]
    if not said or not all(isinstance(text, str) for text in said):
        raise DataError(f"{record.place}: '{field}' is no text (got {value!r:.60}).")
    return said
