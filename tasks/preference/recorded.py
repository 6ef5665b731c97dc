"""Judgements that were recorded elsewhere: FastChat's reviews, AlpacaEval's files.

A file that is malformed or belongs to another one is a `DataError` of one line with its place. A
judgement that its own format marks as failed is a failed judgement, never a score.
"""

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import DataError
from harness.judges import Decision
from harness.records import Record, read_records, require
from tasks.preference.length_control import Gamed

UNPARSED = -1
"""FastChat's score where a review has none that could be read."""


class Pair(NamedTuple):
    """An instruction and two answers to it in the order in which they were shown."""

    instruction: str
    first: str
    second: str

    def turned(self) -> "Pair":
        """The same in the other order."""
        return Pair(self.instruction, self.second, self.first)


class Judged(NamedTuple):
    """What somebody once judged of a pair."""

    pair: Pair
    decision: Decision | None
    """None: the judgement failed."""
    by: str
    """Who judged, empty where the file does not say."""
    text: str = ""
    """What was written with it."""


class Answer(NamedTuple):
    """A recorded answer and the question that it belongs to."""

    question: str
    text: str


def read_reviews(reviews: Sequence[Path], questions: Path, answers: Sequence[Path]) -> list[Judged]:
    """FastChat's and LLaVA's pairwise reviews with score pairs: the higher score wins.

    Args:
        reviews: `question_id`, `answer1_id`, `answer2_id`, and `score` or `tuple`, a pair.
        questions: `question_id`, `text`.
        answers: `question_id`, `answer_id`, `text`; a file per model.
    """
    asked = {
        key: str(require(record.fields, record.place, "text"))
        for key, record in _by_id([questions], "question_id").items()
    }
    given = {
        key: Answer(str(record.fields.get("question_id")), _text(record, "text"))
        for key, record in _by_id(answers, "answer_id").items()
    }
    found: list[Judged] = []
    places: dict[tuple[str, str], str] = {}
    for path in reviews:
        for record in read_records(path):
            place, fields = record
            question = str(require(fields, place, "question_id"))
            if question not in asked:
                raise DataError(f"{place}: question {question} is not in {questions.name}.")
            first, second = (
                _reviewed(record, f"answer{number}_id", question, given) for number in (1, 2)
            )
            shown = str(fields["answer1_id"]), str(fields["answer2_id"])
            if shown in places:
                raise DataError(
                    f"{place}: question {question} is reviewed twice in this order, "
                    f"{places[shown]} too."
                )
            places[shown] = place
            text = str(fields.get("text") or fields.get("content") or "")
            by = str(fields.get("reviewer_id") or "")
            pair = Pair(asked[question], first, second)
            found.append(Judged(pair, _winner(record), by, text))
    return found


def read_annotations(annotations: Path) -> list[Judged]:
    """AlpacaEval's annotations of one model by one annotator.

    `preference` lies between 1 (`output_1` is better) and 2, 1.5 or 0 is a tie, null failed. The
    order in which the two were shown is not recorded, so a row stands here in both.
    """
    records = read_records(annotations)
    for name in ("generator_1", "generator_2", "annotator"):
        _one(records, name)
    return [each for record in records for each in _annotated(record)]


def read_gamed(path: Path) -> tuple[list[Gamed], dict[str, float]]:
    """AlpacaEval's rows of its gamed baselines (`df_gamed.csv`), and the difficulty g_x by index.

    Columns: `index` of the instruction, `preference` in [0, 1], `std_delta_len`,
    `instruction_difficulty`.
    """
    rows: list[Gamed] = []
    difficulty: dict[str, float] = {}
    for record in read_records(path):
        cells = (_number(record, "preference"), _number(record, "std_delta_len"))
        if not 0 <= cells[0] <= 1:
            raise DataError(f"{record.place}: 'preference' is {cells[0]}, not between 0 and 1.")
        hard = _number(record, "instruction_difficulty")
        rows.append(Gamed(*cells, hard))
        difficulty.setdefault(str(require(record.fields, record.place, "index")), hard)
    return rows, difficulty


def _by_id(paths: Sequence[Path], name: str) -> dict[str, Record]:
    found: dict[str, Record] = {}
    for record in (record for path in paths for record in read_records(path)):
        key = str(require(record.fields, record.place, name))
        if key in found:
            raise DataError(f"{record.place}: {name} '{key}' stands twice, {found[key].place} too.")
        found[key] = record
    return found


def _reviewed(record: Record, name: str, question: str, given: dict[str, Answer]) -> str:
    """The text of an answer that a review names, which must be one to its question."""
    place, fields = record
    key = str(require(fields, place, name))
    if key not in given:
        raise DataError(
            f"{place}: no answer has the id '{key}': give the files of answers that were reviewed."
        )
    if given[key].question != question:
        raise DataError(
            f"{place}: answer '{key}' is to question {given[key].question}, not {question}."
        )
    return given[key].text


def _winner(record: Record) -> Decision | None:
    """The better answer by a review's scores; None where one is FastChat's mark of failure."""
    name = "tuple" if "tuple" in record.fields and "score" not in record.fields else "score"
    scores = record.fields.get(name)
    if not isinstance(scores, list) or len(scores) != 2 or not all(map(_is_number, scores)):
        raise DataError(f"{record.place}: '{name}' is not a pair of numbers like [9, 8.5].")
    if UNPARSED in scores:
        return None
    if min(scores) < 0:
        raise DataError(f"{record.place}: '{name}' has {min(scores)}, scores are not negative.")
    first, second = scores
    return "tie" if first == second else "first" if first > second else "second"


def _annotated(record: Record) -> list[Judged]:
    """A row as it is read where `output_2` was shown first, and where `output_1` was."""
    place, fields = record
    if "preference" not in fields:
        require(fields, place, "preference")
    value = fields["preference"]
    if value == 0 and _is_number(value):
        value = 1.5
    if value is not None and not (_is_number(value) and 1 <= value <= 2):
        raise DataError(f"{place}: 'preference' is {value!r}, not between 1 and 2 and not null.")
    pair = Pair(_text(record, "instruction"), _text(record, "output_2"), _text(record, "output_1"))
    by = str(fields.get("annotator") or "")
    of_second = None if value is None else value - 1
    of_first = None if value is None else 2 - value
    return [Judged(pair, of_second, by), Judged(pair.turned(), of_first, by)]


def _one(records: Sequence[Record], name: str) -> None:
    """Refuses records of which some name another generator or annotator than the first."""
    first = records[0].fields.get(name)
    for record in records:
        if record.fields.get(name) != first:
            raise DataError(
                f"{record.place}: '{name}' is {record.fields.get(name)!r}, {records[0].place} has "
                f"{first!r}: keep each in a file of its own."
            )


def _text(record: Record, name: str) -> str:
    """A text that may be blank, as a model's answer may."""
    value: Any = record.fields.get(name)
    if isinstance(value, str):
        return value
    if value is None:
        require(record.fields, record.place, name)
    raise DataError(f"{record.place}: '{name}' is not a text.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _number(record: Record, name: str) -> float:
    value = require(record.fields, record.place, name)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not isfinite(number):
        raise DataError(f"{record.place}: '{name}' is '{value}', not a number.")
    return number
