"""Zero-shot classification: a picture belongs to the class whose prompt is most like it."""

from collections.abc import Iterator, Sequence
from typing import Any

from harness.cards import checked_options
from harness.dataset import Dataset, Row
from harness.errors import DataError
from harness.records import is_missing, require
from harness.schema import Metric, TaskCard
from harness.sources import pictured
from harness.task import Item, Prediction, Ratio, Score, Task
from tasks.retrieval.options import LabelOptions
from tasks.retrieval.pictures import checked, skipped


class ZeroShot(Task):
    """One picture, one of a card's classes.

    A row has a picture and its class, by number or name. The answer is the class whose prompt has
    the greatest cosine with the picture, the first of equal ones.
    """

    role = "dual-encoder"
    chunk = None  # the prompts are encoded once

    def __init__(self, card: TaskCard) -> None:
        super().__init__(card)
        self.options: LabelOptions = checked_options(LabelOptions, card)

    def read(self, data: Dataset, split: str | None) -> Iterator[tuple[str, Item]]:
        rows = pictured(data, split, self.options.image)
        places = (data.place(split, index) for index in range(len(rows)))
        located = ((place, self._item(row, place)) for row, place in zip(rows, places, strict=True))
        return checked(located, self.options.skip_broken)

    def items(self, row: Row, place: str) -> Sequence[Item]:
        return [self._item(row, place)]

    def requests(self, item: Item) -> Sequence[Any]:
        return [item.inputs.get("image")]

    def predict(self, model: Any, items: Sequence[Item], **generation: Any) -> list[Prediction]:
        """The name of each picture's class; none of a picture that was left out."""
        labels = self.options.labels
        asked = [item for item in items if "image" in item.inputs]
        texts = model.encode_texts([self.options.prompt.replace("{label}", n) for n in labels])
        images = model.encode_images([item.inputs["image"] for item in asked])
        best = (images @ texts.T).argmax(1).tolist()
        found = {item.id: (labels[index],) for item, index in zip(asked, best, strict=True)}
        return [Prediction(item.id, found.get(item.id, ())) for item in items]

    def score(self, item: Item, prediction: Prediction) -> Score:
        right = tuple(prediction.outputs) == (item.reference,)
        return {"accuracy": Ratio(right, "image" in item.inputs)}

    def aggregate(
        self, items: Sequence[Item], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> dict[str, Metric]:
        """Accuracy; and how many pictures were left out, where that is allowed."""
        found = super().aggregate(items, predictions, scores)
        return found | ({"skipped": skipped(items)} if self.options.skip_broken else {})

    def _item(self, row: Row, place: str) -> Item:
        image = require(row, place, *dict.fromkeys(("image", self.options.image)))
        label = self._label(require(row, place, self.options.label), place)
        name = place if is_missing(row.get("id")) else str(row["id"])
        return Item(name, {"image": image}, label, category=label)

    def _label(self, value: Any, place: str) -> str:
        """A class's name, from its name or its number."""
        labels, text = self.options.labels, str(value).strip()
        if text in labels:
            return text
        if text.isdecimal() and int(text) < len(labels):
            return labels[int(text)]
        raise DataError(
            f"{place}: '{self.options.label}' is '{text}', not 0 to {len(labels) - 1} nor one of "
            f"{', '.join(labels)}."
        )
