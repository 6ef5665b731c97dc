"""Outputs that were made elsewhere, scored as a run scores those of a model."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from harness.entries import Reporter, keep, make_entry, unfounded
from harness.errors import DataError, NoResultError
from harness.files import recorded_name
from harness.output_files import matched, outputs_in
from harness.participants import Participants
from harness.plan import Scored, scored_task
from harness.provenance import options, provenance
from harness.records import nearest_file
from harness.report.progress import Quiet
from harness.run_config import RunConfig
from harness.schema import Cost, Entry, ModelRef, digest
from harness.shown import shown
from harness.store import Store
from harness.task import Prediction

METHOD = "outputs"
"""What an entry says in place of a method."""


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
        An entry per system. Raises `NoResultError` where one had nothing to rest on.
    """
    if not os.path.exists(file):
        raise DataError(f"{file}: no such file. {nearest_file(file)}".rstrip())
    scored = scored_task(config.tasks[0], config)
    store = Store(config.runs / "store")
    entries: list[Entry] = []
    reasons: list[str] = []
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
            "provenance": provenance(config, _command(config, file, field, name), Participants()),
        }
        entry, rows = make_entry(config, scored, predictions, who, store)
        if reason := unfounded(scored, entry, rows):
            reasons.append(reason)
            continue
        folder = config.runs / f"{METHOD}-{shown(entry.model.name.replace('/', '-'))[:80]}"
        keep(config, entry, rows, folder, reporter or Quiet())
        entries.append(entry)
    if reasons:
        raise NoResultError(reasons, entries)
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
