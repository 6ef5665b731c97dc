"""Open answers about a picture, graded from 1 to 10 by a judge that reads and does not see."""

import os
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.dataset import Dataset, Row
from harness.errors import DataError, PluginError, suggestion
from harness.judges import Case
from harness.models.prompts import VisionPrompt
from harness.records import is_missing, read_records, require
from harness.schema import TaskCard
from harness.sources import pictured
from harness.task import Item, Prediction, Ratio, Score
from tasks.multimodal.format import Format, _picture

CAPABILITIES = ("rec", "ocr", "know", "gen", "spat", "math")
"""MM-Vet's: recognition, text in pictures, knowledge, generation, space, mathematics."""
JOINED = re.compile(r"\s*<(AND|OR)>\s*")
"""What joins the parts of MM-Vet's references."""
OUTSIDE = Ratio(0, 0)


class Graded(Format):
    """What both formats share: one question on a picture, and grades of answers to it."""

    Options = None  # each checks its own

    def requests(self, item: Item) -> Sequence[VisionPrompt]:
        return [self.asked(item, question=item.inputs["question"])]

    @abstractmethod
    def cases(self, item: Item, prediction: Prediction) -> Sequence[Case]:
        """The answers to be graded, each in a case of its own."""

    def grades(self, prediction: Prediction) -> tuple[list[float | None], Ratio]:
        """The grades of an item's cases, None where the judgement failed; and how many failed."""
        grades = [verdict["decision"] for verdict in prediction.details["verdicts"]]
        return grades, Ratio(sum(grade is None for grade in grades), len(grades))


class MMVet(Graded):
    """MM-Vet's questions, each graded beside its reference answer.

    Rows have question_id, image (`imagename` in MM-Vet's own file), question, answer, and
    capability: a list, or names by comma. An item counts for each of its capabilities; its category
    is all of them together.
    """

    def read(self, data: Dataset, split: str | None) -> Iterator[tuple[str, Item]]:
        rows = data.rows(split)
        own = "image" not in rows[0] and "imagename" in rows[0]
        for index, row in enumerate(pictured(data, split, "imagename") if own else rows):
            place = data.place(split, index)
            for item in self.items(row, place):
                yield place, item

    def items(self, row: Row, place: str) -> Sequence[Item]:
        number = require(row, place, "question_id", "id")
        question, answer = (_text(row, place, name) for name in ("question", "answer"))
        given = row.get("capability")
        names = given if isinstance(given, list) else str(given or "").split(",")
        capabilities = sorted(str(name).strip() for name in names if str(name).strip())
        for name in capabilities:
            if name not in CAPABILITIES:
                raise DataError(
                    f"{place}: no capability '{name}'. {suggestion(name, CAPABILITIES)}"
                    f"There are {', '.join(CAPABILITIES)}."
                )
        image, cluster = _picture(row, place)
        inputs = {"image": image, "question": question, "capabilities": capabilities}
        return [Item(str(number), inputs, answer, cluster, "+".join(capabilities))]

    def cases(self, item: Item, prediction: Prediction) -> Sequence[Case]:
        """As MM-Vet, with blanks around what joins the parts of a reference."""
        reference = JOINED.sub(r" <\1> ", item.reference)
        return [Case((item.inputs["question"],), (tuple(prediction.outputs),), (reference,))]

    def score(self, item: Item, prediction: Prediction) -> Score:
        (grade,), failed = self.grades(prediction)
        share = OUTSIDE if grade is None else Ratio(grade)
        of_each = {
            name: share if name in item.inputs["capabilities"] else OUTSIDE for name in CAPABILITIES
        }
        return {"score": share, **of_each, "failed_judgements": failed}


class LlavaBench(Graded):
    """LLaVA-Bench's questions: the answer's grade as a share of the reference answer's own.

    Rows have question_id, image, question (text), category, caption (a text or a list, what the
    judge knows of the picture) and gpt_answer (of GPT-4, which read the caption). LLaVA's own files
    have the last two apart: the options `context` and `references` name them.
    """

    def __init__(self, card: TaskCard) -> None:
        super().__init__(card)
        for name in ("context", "references"):
            if not isinstance(card.options.get(name), str):
                raise PluginError(f"task '{card.name}': option '{name}': the name of a file.")

    def identity(self) -> str:
        """What the two files hold stands in the items: where they lie does not count."""
        options = {**self.card.options, "context": "", "references": ""}
        return self.card.model_copy(update={"options": options}).identity()

    def read(self, data: Dataset, split: str | None) -> Iterator[tuple[str, Item]]:
        captions = self._texts("context", "image", "caption")
        references = self._texts("references", "question_id", "text")
        for index, row in enumerate(data.rows(split)):
            place = data.place(split, index)
            more = {}
            if captions is not None:
                picture = str(require(row, place, "image_name", "image"))
                more["caption"] = _of(captions, picture, place, "context")
            if references is not None:
                number = str(require(row, place, "question_id", "id"))
                more["gpt_answer"] = _of(references, number, place, "references")
            for item in self.items({**row, **more}, place):
                yield place, item

    def items(self, row: Row, place: str) -> Sequence[Item]:
        number = require(row, place, "question_id", "id")
        captions = require(row, place, "caption", "captions")
        lines = captions if isinstance(captions, list) else [captions]
        image, cluster = _picture(row, place)
        inputs = {
            "image": image,
            "question": _text(row, place, "question", "text"),
            "context": "\n".join(map(str, lines)),
        }
        category = "" if is_missing(row.get("category")) else str(row["category"])
        return [Item(str(number), inputs, _text(row, place, "gpt_answer"), cluster, category)]

    def cases(self, item: Item, prediction: Prediction) -> Sequence[Case]:
        """The answer, then the reference, each on its own: neither is seen beside the other."""
        shown = f"[Context]\n{item.inputs['context']}\n\n[Question]\n{item.inputs['question']}"
        (output,) = prediction.outputs
        return [Case((shown,), ((text,),)) for text in (output, item.reference)]

    def score(self, item: Item, prediction: Prediction) -> Score:
        """`relative_score`: sum of grades / sum of the references' grades, over the items in which
        neither judgement failed."""
        (own, reference), failed = self.grades(prediction)
        relative = OUTSIDE if own is None or reference is None else Ratio(own, reference)
        return {
            "relative_score": relative,
            "score": OUTSIDE if own is None else Ratio(own),
            "reference_score": OUTSIDE if reference is None else Ratio(reference),
            "failed_judgements": failed,
        }

    def _texts(self, option: str, key: str, field: str) -> Mapping[str, Any] | None:
        """What a file that an option names says of each picture or question."""
        if not self.card.options[option]:
            return None
        records = read_records(Path(os.path.expanduser(self.card.options[option])))
        return {str(require(row, at, key)): require(row, at, field) for at, row in records}


def _of(texts: Mapping[str, Any], key: str, place: str, option: str) -> Any:
    if key not in texts:
        raise DataError(
            f"{place}: the file of the option '{option}' says nothing of '{key}'. "
            f"{suggestion(key, texts)}".rstrip()
        )
    return texts[key]


def _text(row: Row, place: str, *names: str) -> str:
    found = require(row, place, *names)
    if not isinstance(found, str):
        raise DataError(f"{place}: '{names[0]}' is no text (got {found!r:.60}).")
    return found
