"""Formats of questions on a picture: yes or no, multiple choice, detailed description."""

import string
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from harness.cards import check_placeholders, checked_function, checked_options
from harness.dataset import Row
from harness.errors import DataError, PluginError, suggestion
from harness.models.pictures import Picture, picture_key
from harness.models.prompts import VisionPrompt
from harness.records import is_missing, require
from harness.schema import TaskCard
from harness.task import Item, Prediction, Ratio, Score, Task
from tasks.multimodal import coco, score
from tasks.multimodal.judges import Judgement
from tasks.multimodal.options import ChoiceOptions, DescribeOptions, NoOptions

CATEGORIES = ("random", "popular", "adversarial")
"""How POPE picks absent objects; its files' names end with it."""

LETTERS = string.ascii_uppercase
ROTATION = 1_000_000
"""Rotation k of question i has index i + k * ROTATION in VLMEvalKit's files."""


class Format(Task):
    """What the formats share: one picture per item, and rows that give none, one or more items."""

    role = "vision-language"
    fields: tuple[str, ...] = ("question",)
    """What the card's prompt may hold."""
    asks = True
    """Whether the prompt must hold the question."""
    Options: type[BaseModel] | None = NoOptions

    def __init__(self, card: TaskCard) -> None:
        super().__init__(card)
        if self.Options is not None:
            checked_options(self.Options, card)
        where = f"task '{card.name}': prompt"
        check_placeholders(card.prompt, self.fields, where)
        if self.asks and "{question}" not in card.prompt:
            raise PluginError(f"{where}: has no {{question}}: all items would be asked the same.")

    def item(self, row: Row, place: str) -> Item:
        """The row's first item, for rows that give one at least."""
        return self.items(row, place)[0]

    @abstractmethod
    def items(self, row: Row, place: str) -> Sequence[Item]:
        """The items of one raw row; raises `DataError` beginning with `place`."""

    def asked(self, item: Item, **fields: str) -> VisionPrompt:
        """The card's prompt about the item's picture."""
        return VisionPrompt(item.inputs["image"], self.card.prompt.format(**fields))


class YesNo(Format):
    """Questions with the answer yes or no, in POPE's format.

    Rows have question_id (index, id), image, text (question), label (answer) and a category:
    `category`, `strategy`, or what the file's name ends with. A question of several categories
    (`random,popular`, in VLMEvalKit's file) is an item of each. An id has its category or file
    name before it, since POPE counts from 1 in every category.
    """

    rules = ("vlmeval-yes-no",)

    def items(self, row: Row, place: str) -> Sequence[Item]:
        number = require(row, place, "question_id", "index", "id")
        label = str(require(row, place, "label", "answer")).strip().lower()
        if label not in ("yes", "no"):
            raise DataError(f"{place}: the label is '{label}', it must be 'yes' or 'no'.")
        image, cluster = _picture(row, place)
        inputs = {"image": image, "question": _text(row, place, "text", "question")}
        named = next(
            (row[key] for key in ("category", "strategy") if not is_missing(row.get(key))), ""
        )
        stem = str(row.get("file", "")).rpartition(".")[0]
        ending = stem.rpartition("_")[2]
        categories = [part.strip() for part in str(named).split(",") if part.strip()]
        pairs = [(part, part) for part in categories] or [
            (stem, ending if ending in CATEGORIES else "")
        ]
        return [
            Item(f"{prefix}/{number}" if prefix else str(number), inputs, label, cluster, category)
            for prefix, category in pairs
        ]

    def requests(self, item: Item) -> Sequence[VisionPrompt]:
        return [self.asked(item, question=item.inputs["question"])]

    def score(self, item: Item, prediction: Prediction) -> Score:
        """An answer that says neither is wrong, and no `yes` in precision, recall and F1."""
        (output,) = prediction.outputs
        answer = score.yes_or_no(output)
        said_yes, is_yes = int(answer == "yes"), int(item.reference == "yes")
        hit = said_yes * is_yes
        return {
            "accuracy": Ratio(int(answer == item.reference)),
            "precision": Ratio(hit, said_yes),
            "recall": Ratio(hit, is_yes),
            "f1": Ratio(2 * hit, said_yes + is_yes),
            "yes_rate": Ratio(said_yes),
            "unparsed": Ratio(int(answer is None)),
        }


class Choice(Format):
    """Multiple choice under every rotation of the options, in MMBench's format.

    Rows have index (id), image, question, an optional hint, options as columns A, B, ... or as
    `options` by letter, answer (a letter) and category. Options without text are left out. The
    rotations are made here, so rows that are rotations already give no item.
    """

    rules = ("vlmeval-option-letter-or-text",)
    fields = ("question", "options")
    Options = ChoiceOptions

    def __init__(self, card: TaskCard) -> None:
        super().__init__(card)
        chinese = card.options.get("chinese") or ""
        check_placeholders(chinese, self.fields, f"task '{card.name}': option 'chinese'")

    def items(self, row: Row, place: str) -> Sequence[Item]:
        number = require(row, place, "index", "id")
        if str(number).isdigit() and int(number) >= ROTATION:
            return []
        question = _text(row, place, "question")
        if not is_missing(row.get("hint")):
            question = f"{row['hint']}\n{question}"
        options = _options(row, place)
        answer = str(require(row, place, "answer")).strip()
        if answer not in options:
            has = ", ".join(options)
            raise DataError(f"{place}: 'answer' is '{answer}', but the item has options {has}.")
        image, cluster = _picture(row, place)
        inputs = {"image": image, "question": question, "options": list(options.values())}
        category = "" if is_missing(row.get("category")) else str(row["category"])
        return [Item(str(number), inputs, list(options).index(answer), cluster, category)]

    def requests(self, item: Item) -> Sequence[VisionPrompt]:
        return [self._request(item, options) for options in _rotations(item)]

    def _request(self, item: Item, options: Mapping[str, str]) -> VisionPrompt:
        lines = "\n".join(f"{letter}. {text}" for letter, text in options.items())
        question = item.inputs["question"]
        chinese = self.card.options.get("chinese")
        if chinese and score.is_chinese(question + lines):
            return VisionPrompt(
                item.inputs["image"], chinese.format(question=question, options=lines)
            )
        return self.asked(item, question=question, options=lines)

    def score(self, item: Item, prediction: Prediction) -> Score:
        """`accuracy`: right under every rotation; `vanilla`: in the order of the row."""
        count = len(item.inputs["options"])
        chosen = [
            score.chosen_option(output, options)
            for output, options in zip(prediction.outputs, _rotations(item), strict=True)
        ]
        right = [
            letter == LETTERS[(item.reference - shift) % count]
            for shift, letter in enumerate(chosen)
        ]
        unparsed = sum(letter not in LETTERS[:count] if letter else True for letter in chosen)
        return {
            "accuracy": Ratio(int(all(right))),
            "vanilla": Ratio(int(right[0])),
            "unparsed": Ratio(unparsed, count),
        }


class Describe(Format):
    """Detailed descriptions, judged sentence by sentence.

    Rows have id (image_id), image, an optional question, and the truth about the picture under
    one of the fields that the card's `judges` name, each with the function that judges by it.
    """

    rules = ("facts by grammar, objects by name",)
    asks = False  # a card may ask all the same: to describe
    Options = DescribeOptions

    def __init__(self, card: TaskCard) -> None:
        super().__init__(card)
        self._judges: dict[str, Callable[[Any, str], Judgement]] = {
            kind: checked_function(card, f"judges.{kind}", reference)
            for kind, reference in card.options["judges"].items()
        }

    def items(self, row: Row, place: str) -> Sequence[Item]:
        number = require(row, place, "id", "image_id")
        judges = self.card.options["judges"]
        kind = next((name for name in judges if row.get(name) is not None), None)
        if kind is None:
            raise DataError(
                f"{place}: nothing says what is in the picture: there is no "
                f"{' or '.join(map(repr, judges))}. It has: {', '.join(map(str, row))}."
            )
        image, cluster = _picture(row, place)
        question = row.get("question")
        if is_missing(question):
            question = self.card.options["question"]
        inputs = {"image": image, "question": str(question)}
        return [Item(str(number), inputs, {kind: self._truth(kind, row[kind], place)}, cluster)]

    def requests(self, item: Item) -> Sequence[VisionPrompt]:
        return [self.asked(item, question=item.inputs["question"])]

    def score(self, item: Item, prediction: Prediction) -> Score:
        """An answer without a sentence counts as one wrong sentence: silence is no virtue."""
        (output,) = prediction.outputs
        ((kind, truth),) = item.reference.items()
        found = self._judges[kind](truth, output)
        empty = int(found.sentences == 0)
        sentences = found.sentences or 1
        return {
            "wrong_sentences": Ratio(found.wrong + empty, sentences),
            "object_recall": Ratio(found.recalled, found.present),
            "sentences_per_answer": Ratio(found.sentences),
            "unparsed": Ratio(found.unparsed + empty, sentences),
        }

    def _truth(self, kind: str, truth: Any, place: str) -> Any:
        """What is known of a picture, once its judge can read it."""
        if kind == "objects":
            truth = _categories(truth, place)
        try:
            self._judges[kind](truth, "")
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{place}: '{kind}' cannot be read ({error!r}).") from None
        return truth


def _text(row: Row, place: str, *names: str) -> str:
    return str(require(row, place, *names))


def _picture(row: Row, place: str) -> tuple[Picture, str]:
    """The row's picture and what tells it from other pictures."""
    image = require(row, place, "image")
    if "image_name" in row:
        return image, str(row["image_name"])
    if isinstance(image, list | dict | int | float):
        raise DataError(f"{place}: 'image' is a {type(image).__name__}, not one picture.")
    return image, str(image) if isinstance(image, str) else picture_key(image)[:16]


def _options(row: Row, place: str) -> dict[str, str]:
    """Letter -> text of the options that have one."""
    given = row.get("options", row)
    if not isinstance(given, Mapping):
        raise DataError(f"{place}: 'options' is a {type(given).__name__}, not letter -> text.")
    options = {
        letter: str(given[letter]) for letter in LETTERS if not is_missing(given.get(letter))
    }
    if len(options) < 2:
        raise DataError(f"{place}: has {len(options)} options, but a choice needs 2 or more.")
    return options


def _rotations(item: Item) -> list[dict[str, str]]:
    """Letter -> text, for each rotation of the item's options; the first is the row's order."""
    texts = item.inputs["options"]
    turns = (texts[shift:] + texts[:shift] for shift in range(len(texts)))
    return [dict(zip(LETTERS, turn, strict=False)) for turn in turns]


def _categories(objects: Any, place: str) -> list[str]:
    """COCO categories, sorted; a mistyped one would make true sentences wrong."""
    if not isinstance(objects, list):
        raise DataError(f"{place}: 'objects' is a {type(objects).__name__}, not a list.")
    found = set()
    for entry in objects:
        name = entry.get("category") if isinstance(entry, Mapping) else entry
        if not isinstance(name, str) or name not in coco.SYNONYMS:
            near = suggestion(str(name), coco.SYNONYMS)
            raise DataError(f"{place}: '{name}' is no category of COCO. {near}".rstrip())
        found.add(name)
    return sorted(found)
