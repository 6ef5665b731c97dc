"""Win rates: answers to rewritten prompts, or a model's own, against others' by a judge."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.cards import checked_function, checked_options
from harness.dataset import Dataset, Row
from harness.errors import DataError
from harness.judges import Case
from harness.output_files import IDS, matched, outputs_in
from harness.records import is_missing, require, require_text
from harness.schema import Metric, TaskCard, digest
from harness.scoring import clusters
from harness.task import Item, Prediction, Ratio, Score, Task
from tasks.preference import win_rate
from tasks.preference.options import (
    WinRateOptions,
    check_prompt,
    file_of,
    generation_problem,
    without_places,
)
from tasks.preference.responders import answering, check_key, responders
from tasks.preference.win_rate import OUTSIDE, TIE, Comparison, Judgement

SHOWN = 3
"""Rewrites that are shown when a run ends."""
FIRST_ORDERS = {"both": [True, False], "model_first": [True], "baseline_first": [False]}
"""Orders -> in each, whether the model's answer is shown first."""


class WinRate(Task):
    """Two answers to a prompt, compared by a judge; a share of items on which the model's wins.

    What is compared with what:
    - a checkpoint that rewrites prompts: the responder's answers to the new and to the unchanged
      prompt;
    - any other checkpoint: its own answers, and the responder's;
    - an untrained model: the responder's answers to the unchanged prompt, twice: all are ties;
    - with the option `baseline`: the first of these, and the answers of that file.

    An item's outputs are the answer and, unless it stands in a file, the one to compare with.
    Equal answers are a tie that nobody is asked about.
    """

    role = "causal-lm"
    Options: type[WinRateOptions] = WinRateOptions

    def __init__(self, card: TaskCard) -> None:
        super().__init__(card)
        self.options: Any = checked_options(self.Options, card)
        check_prompt(card)
        if self.options.kind:
            self._kind = checked_function(card, "kind", self.options.kind)

    def identity(self) -> str:
        return without_places(self.card, baseline="").identity()

    def models(self) -> Sequence[str]:
        return responders(self.options)

    def read(self, data: Dataset, split: str | None) -> Iterator[tuple[str, Item]]:
        check_key(self.options)
        rows = data.rows(split)
        places = [data.place(split, index) for index in range(len(rows))]
        items = [
            self._item(row, place, str(index))
            for index, (row, place) in enumerate(zip(rows, places, strict=True))
        ]
        if self.options.baseline:
            records = matched(file_of("baseline", self.options.baseline), items)
            items = [
                replace(item, inputs={**item.inputs, "baseline": _first_output(record)})
                for item, record in zip(items, records, strict=True)
            ]
        lacking = [
            place
            for place, each in zip(places, items, strict=True)
            if "baseline" not in each.inputs
        ]
        if 0 < len(lacking) < len(items):
            raise DataError(
                f"{lacking[0]}: has no '{self.options.baseline_field}', others have one."
            )
        yield from zip(places, items, strict=True)

    def items(self, row: Row, place: str) -> Sequence[Item]:
        return [self._item(row, place, place)]

    def _item(self, row: Row, place: str, name: str) -> Item:
        known = next((row[field] for field in IDS if not is_missing(row.get(field))), name)
        instruction = require_text(row, place, *self.options.instruction)
        contexts = (row[n] for n in self.options.context if not is_missing(row.get(n)))
        context = str(next(contexts, ""))
        inputs = {"prompt": f"{instruction}\n{context}".strip() if context else instruction}
        other = self.options.baseline_field
        if other and not self.options.baseline and row.get(other) is not None:
            inputs["baseline"] = answer_text(row, place, other)
        if self.options.kind:
            try:
                self._kind(inputs["prompt"], inputs["prompt"])
            except ValueError as error:
                raise DataError(f"{place}: {error}.") from None
        wanted = self.options.reference
        return Item(
            str(known),
            inputs,
            str(require(row, place, wanted)) if wanted else None,
            instruction,
            str(row.get(self.options.category) or ""),
        )

    def requests(self, item: Item) -> Sequence[str]:
        return [item.inputs["prompt"]] * (1 if "baseline" in item.inputs else 2)

    def predict(self, model: Any, items: Sequence[Item], **generation: Any) -> list[Prediction]:
        who = answering(self.options, model, self.card.prompt, generation)
        prompts = [item.inputs["prompt"] for item in items]
        new = who.prompts(model, prompts, [item.id for item in items])
        compared = [] if "baseline" in items[0].inputs else prompts
        if who.own is who.responder:
            said = who.own([(each,) for each in [*new, *compared]])
            sides = [said[: len(items)], said[len(items) :]]
        else:
            sides = [
                respond([(each,) for each in some])
                for respond, some in ((who.own, new), (who.responder, compared))
            ]
        outputs = zip(*filter(None, sides), strict=True)
        return [
            Prediction(item.id, tuple(texts), {"prompt": prompt})
            for item, texts, prompt in zip(items, outputs, new, strict=True)
        ]

    def cases(self, item: Item, prediction: Prediction) -> Sequence[Case]:
        answer, baseline = pair(item, prediction)
        if answer == baseline:
            return []
        references = () if item.reference is None else (item.reference,)
        return [
            Case(
                (item.inputs["prompt"],),
                ((answer,), (baseline,)) if model_first else ((baseline,), (answer,)),
                references,
            )
            for model_first in self._orders(item)
        ]

    def score(self, item: Item, prediction: Prediction) -> Score:
        answer, baseline = pair(item, prediction)
        orders = self._orders(item)
        if answer == baseline:
            judgements = [Judgement(TIE, model_first) for model_first in orders]
        else:
            judgements = [
                win_rate.judgement(verdict["decision"], model_first)
                for verdict, model_first in zip(prediction.details["verdicts"], orders, strict=True)
            ]
        comparison = Comparison(item.id, item.inputs["prompt"], answer, baseline, judgements)
        shares = dict(win_rate.shares(comparison, "both" if len(orders) == 2 else "single"))
        if answer == baseline:
            shares |= {"agreement": OUTSIDE, "failed_judgements": OUTSIDE}
        elif not all(each.get("ordered", True) for each in prediction.details["verdicts"]):
            shares |= {"agreement": OUTSIDE, "first_wins": OUTSIDE}
        if self.options.orders in ("model_first", "baseline_first"):
            # Always the same place: how good the answers are cannot be told from where they stood.
            shares["first_wins"] = OUTSIDE
        shares["identical"] = Ratio(answer == baseline)
        if item.reference is not None:
            shares["right"] = Ratio(answer.strip() == item.reference)
            shares["right_before"] = Ratio(baseline.strip() == item.reference)
        return shares | self._of_prompt(item.inputs["prompt"], prediction.details.get("prompt"))

    def _of_prompt(self, before: str, after: Any) -> dict[str, Ratio]:
        """What became of the prompt; outside where the outputs were made elsewhere."""
        kinds = [*self.options.kept, *self.options.lost]
        if not isinstance(after, str):
            return dict.fromkeys(
                ["unchanged", "length", *(["kept"] if kinds else []), *kinds], OUTSIDE
            )
        found = {
            "unchanged": Ratio(after == before),
            "length": Ratio(len(after) / max(len(before), 1)),
        }
        if kinds:
            kind = self._kind(before, after)
            found["kept"] = Ratio(kind in self.options.kept)
            found |= {name: Ratio(name == kind) for name in kinds}
        return found

    def generation_problem(self, settings: Mapping[str, Any]) -> str:
        return generation_problem(settings)

    def aggregate(
        self, items: Sequence[Item], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> dict[str, Metric]:
        return win_rate.metrics(scores, clusters(items))

    def examples(self, items: Sequence[Item], predictions: Sequence[Prediction]) -> Sequence[str]:
        """The first prompts that were changed, before and after, with what was answered."""
        changed = (
            (item, prediction, new)
            for item, prediction in zip(items, predictions, strict=True)
            if (new := prediction.details.get("prompt")) not in (None, item.inputs["prompt"])
        )
        lines = []
        for _, (item, prediction, new) in zip(range(SHOWN), changed, strict=False):
            answer, baseline = pair(item, prediction)
            lines += [
                f"before: {_short(item.inputs['prompt'])}  ->  {_short(baseline)}",
                f"after:  {_short(new)}  ->  {_short(answer)}",
            ]
        return lines

    def _orders(self, item: Item) -> list[bool]:
        """Of each order that is judged, whether the model's answer is shown first."""
        if self.options.orders == "random":
            return [int(digest(["order", item.id]), 16) % 2 == 0]
        return FIRST_ORDERS[self.options.orders]


def pair(item: Item, prediction: Prediction) -> tuple[str, str]:
    """The answer, and the one that it is compared with."""
    answer, *rest = prediction.outputs
    return answer, rest[0] if rest else item.inputs["baseline"]


def answer_text(row: Mapping[str, Any], place: str, name: str) -> str:
    """An answer, which may be blank."""
    if row.get(name) is None:
        require(row, place, name)
    if not isinstance(row[name], str):
        raise DataError(f"{place}: '{name}' is no text (got {row[name]!r:.60}).")
    return str(row[name])


def _first_output(record: Any) -> str:
    """A record's output; of several systems, or of an answer with what it was compared with, the
    first."""
    said: Mapping[str, Sequence[str]] = outputs_in(record)
    return next(iter(said.values()))[0]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 120 else f"{line[:117]}..."
