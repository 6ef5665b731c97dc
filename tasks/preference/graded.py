"""Answers graded one at a time, from 1 to 10: MT-bench's single-answer grading."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.cards import checked_options
from harness.dataset import Dataset, Row
from harness.errors import DataError
from harness.judges import Case
from harness.output_files import matched, outputs_in
from harness.records import is_missing, require
from harness.schema import TaskCard
from harness.task import Item, Prediction, Ratio, Score, Task
from tasks.preference.options import (
    GradeOptions,
    check_prompt,
    file_of,
    generation_problem,
    without_places,
)
from tasks.preference.responders import answering, check_key, responders
from tasks.preference.win_rate import OUTSIDE


class SingleAnswer(Task):
    """Questions of one turn or two, answered in one conversation, each turn graded from 1 to 10.

    Rows are FastChat's: `question_id`, `category`, `turns`, `reference`. A turn is graded with what
    was said before it, questions of some categories beside a reference answer. A checkpoint that
    rewrites prompts is graded by its responder's answers to what it makes of each turn.
    """

    role = "causal-lm"

    def __init__(self, card: TaskCard) -> None:
        super().__init__(card)
        self.options: GradeOptions = checked_options(GradeOptions, card)
        check_prompt(card)

    def identity(self) -> str:
        return without_places(self.card, references="").identity()

    def models(self) -> Sequence[str]:
        return responders(self.options)

    def read(self, data: Dataset, split: str | None) -> Iterator[tuple[str, Item]]:
        check_key(self.options)
        found = list(super().read(data, split))
        if self.options.references:
            found = self._with_references(found)
        yield from found

    def items(self, row: Row, place: str) -> Sequence[Item]:
        category = str(row.get(self.options.category) or "")
        turns = require(row, place, "turns")
        wanted = self.options.turns
        if not _texts(turns) or len(turns) != wanted:
            raise DataError(
                f"{place}: 'turns' is not a list of {wanted} {'text' if wanted == 1 else 'texts'}."
            )
        reference = None
        if category in self.options.referred and not is_missing(row.get("reference")):
            reference = row["reference"]
            if not _texts(reference) or len(reference) != wanted:
                raise DataError(f"{place}: 'reference' is not a list of one text per turn.")
        known = require(row, place, "question_id", "id")
        return [Item(str(known), {"turns": list(turns)}, reference, "", category)]

    def _with_references(self, found: Sequence[tuple[str, Item]]) -> list[tuple[str, Item]]:
        """Items with the answers of the file of references, where they are graded beside one."""
        file = file_of("references", self.options.references)
        referred = [item for _, item in found if item.category in self.options.referred]
        given = {}
        for item, record in zip(referred, matched(file, referred), strict=True):
            texts = next(iter(outputs_in(record).values()))
            if len(texts) != self.options.turns:
                raise DataError(f"{record.place}: not one answer per turn of item '{item.id}'.")
            given[item.id] = texts
        return [(place, replace(item, reference=given.get(item.id))) for place, item in found]

    def generation_problem(self, settings: Mapping[str, Any]) -> str:
        return generation_problem(settings)

    def requests(self, item: Item) -> Sequence[str]:
        return list(item.inputs["turns"])

    def predict(self, model: Any, items: Sequence[Item], **generation: Any) -> list[Prediction]:
        who = answering(self.options, model, self.card.prompt, generation)
        ids = [item.id for item in items]
        dialogues: list[list[str]] = [[] for _ in items]
        for turn in range(self.options.turns):
            prompts = [item.inputs["turns"][turn] for item in items]
            new = who.prompts(model, prompts, [f"{turn} {each}" for each in ids])
            for dialogue, prompt in zip(dialogues, new, strict=True):
                dialogue.append(prompt)
            for dialogue, answer in zip(dialogues, who.own(dialogues), strict=True):
                dialogue.append(answer)
        return [
            Prediction(item.id, tuple(dialogue[1::2]), {"prompts": dialogue[::2]})
            for item, dialogue in zip(items, dialogues, strict=True)
        ]

    def cases(self, item: Item, prediction: Prediction) -> Sequence[Case]:
        turns, answers = tuple(item.inputs["turns"]), tuple(prediction.outputs)
        references = tuple(item.reference or ())
        return [
            Case(turns[:count], (answers[:count],), references[:count])
            for count in range(1, len(turns) + 1)
        ]

    def score(self, item: Item, prediction: Prediction) -> Score:
        """`score`: the mean grade of all turns; a failed judgement is in none but its own share."""
        grades = [verdict["decision"] for verdict in prediction.details["verdicts"]]
        given = [grade for grade in grades if grade is not None]
        turns = {
            f"turn_{number}": OUTSIDE if grade is None else Ratio(grade)
            for number, grade in enumerate(grades, start=1)
        }
        return {
            "score": Ratio(sum(given), len(given)),
            **(turns if len(turns) > 1 else {}),
            "failed_judgements": Ratio(len(grades) - len(given), len(grades)),
        }


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)
