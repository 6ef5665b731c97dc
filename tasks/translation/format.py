"""The format of a translation task: a text, its references, and what is known of its repeats."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from harness.cards import checked_options
from harness.dataset import Row
from harness.errors import DataError, PluginError, suggestion
from harness.models.prompts import TranslationPrompt
from harness.parallel import parallel_texts
from harness.records import is_missing
from harness.schema import CorpusTest, Metric, Names, TaskCard
from harness.task import Item, Prediction, Ratio, Score, Task
from tasks.translation import score
from tasks.translation.comet import checkpoint_identity, comet, comet_scores
from tasks.translation.corpus import (
    Tokenizer,
    corpus_metrics,
    default_tokenizer,
    paired_tests,
    sentence_chrf,
    what_lacks,
)
from tasks.translation.text import tokens

UNKNOWN = Ratio(0, 0)


def _code(value: str) -> str:
    if re.fullmatch("[A-Za-z]{2,3}([-_][A-Za-z0-9]+)*", value) is None:
        raise ValueError(f"'{value}' is no language code like en, zh-CN or zho_Hans")
    return value


Code = Annotated[str, AfterValidator(_code)]


class Options(BaseModel):
    """What a card says about its task beside the card's own fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Code
    """Language of the texts, as the rows' columns call it."""
    target: Code
    """Language to translate into."""
    tokenizer: Tokenizer | None = None
    """What BLEU cuts words by; None: what sacrebleu takes for the target language."""
    references: Annotated[Names, Field(min_length=1)] | None = None
    """Names of the references to score against, the first for what takes one; None: all."""
    concepts: bool = False
    """Whether rows may know their rightful repeats (the lab's do): scored where they do."""
    separator: str | None = None
    """Where the source is a path, what stands between its levels; the first is the category."""
    ngram: Annotated[int, Field(ge=1)] = 4
    threshold: Annotated[int, Field(ge=1)] = 2
    """A text oscillates whose top n-gram stands this much more often than the source's."""


class Translate(Task):
    """One text per item, translated as a whole.

    Rows are what `harness.parallel` reads; they may have id (or seg_id), doc, category and
    concepts. Items of one `doc` are a cluster. Several references: all count in sacrebleu's
    metrics, the first alone in lengths and repetition.
    """

    role = "translator"

    def __init__(self, card: TaskCard) -> None:
        super().__init__(card)
        self.options = _options(card)
        self.tokenizer = self.options.tokenizer or default_tokenizer(self.options.target)
        if lack := what_lacks(self.tokenizer):
            raise PluginError(f"task '{card.name}': tokenizer '{self.tokenizer}' {lack}.")

    def items(self, row: Row, place: str) -> Sequence[Item]:
        options = self.options
        text, references = parallel_texts(row, options.source, options.target, place)
        for name in options.references or ():
            if name not in references:
                near = suggestion(name, references)
                has = ", ".join(references)
                raise DataError(f"{place}: there is no reference '{name}'. {near}It has: {has}.")
        expected: dict[str, Any] = {
            "references": [references[name] for name in options.references or references]
        }
        if options.concepts and not is_missing(row.get("concepts")):
            expected["concepts"] = _concepts(row["concepts"], place)
        category = _plain(row, "category")
        if not category and options.separator:
            category = text.partition(options.separator)[0].strip()
        name = self._name(row) or place
        return [Item(name, {"source": text}, expected, _plain(row, "doc"), category)]

    def _name(self, row: Row) -> str:
        """What the row calls itself; `id` is also Indonesian."""
        if "id" not in (self.options.source, self.options.target) and _plain(row, "id"):
            return _plain(row, "id")
        segment, document = _plain(row, "seg_id"), _plain(row, "doc")
        return f"{document}/{segment}" if segment and document else segment

    def requests(self, item: Item) -> Sequence[TranslationPrompt]:
        text = item.inputs["source"]
        return [TranslationPrompt(text, self.options.source, self.options.target)]

    def predict(self, model: Any, items: Sequence[Item], **generation: Any) -> list[Prediction]:
        """Answers of `model.translate`, with whether each came to an end."""
        prompts = [prompt for item in items for prompt in self.requests(item)]
        translations = model.translate(prompts, **generation)
        return [
            Prediction(item.id, (each.text,), {"finished": each.finished})
            for item, each in zip(items, translations, strict=True)
        ]

    def score(self, item: Item, prediction: Prediction) -> Score:
        (output,) = prediction.outputs
        options, references = self.options, item.reference["references"]
        source = tokens(item.inputs["source"], options.source)
        reference, hypothesis = (tokens(text, options.target) for text in (references[0], output))
        finished = prediction.details.get("finished")
        limit = (options.ngram, options.threshold)
        return {
            "oscillation": Ratio(int(score.oscillates(hypothesis, source, *limit))),
            "oscillation_over_reference": Ratio(
                int(score.oscillates(hypothesis, reference, *limit))
            ),
            "sentence_chrf": Ratio(sentence_chrf(output, references)),
            "length_ratio": Ratio(len(hypothesis), len(reference)),
            "length_limit": UNKNOWN if finished is None else Ratio(int(not finished)),
            **self._concept_scores(item, output),
            **score.repetition_scores(hypothesis, reference),
        }

    def _concept_scores(self, item: Item, output: str) -> Score:
        if not self.options.concepts:
            return {}
        concepts = item.reference.get("concepts")
        scores = score.concept_scores(output.split(), concepts or ())
        return scores if concepts else dict.fromkeys(scores, UNKNOWN)

    def aggregate(
        self, items: Sequence[Item], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> dict[str, Metric]:
        """The means with intervals over clusters, then sacrebleu's metrics with its own."""
        references = [item.reference["references"] for item in items]
        outputs = [prediction.outputs[0] for prediction in predictions]
        means = super().aggregate(items, predictions, scores)
        return {**means, **corpus_metrics(outputs, references, self.tokenizer)}

    def engine_identity(self, engine: str, setting: str) -> str:
        if engine != comet.name:
            return super().engine_identity(engine, setting)
        return f"{comet.version}, {checkpoint_identity(setting)}"

    def engine_scores(
        self, engine: str, setting: str, items: Sequence[Item], predictions: Sequence[Prediction]
    ) -> list[float]:
        """COMET against the first reference."""
        return comet_scores(
            [item.inputs["source"] for item in items],
            [prediction.outputs[0] for prediction in predictions],
            [item.reference["references"][0] for item in items],
            setting,
        )

    def corpus_tests(
        self, references: Sequence[Any], a: Sequence[Prediction], b: Sequence[Prediction]
    ) -> Mapping[str, CorpusTest]:
        """sacrebleu's paired tests between two systems' outputs."""
        first, second = ([each.outputs[0] for each in side] for side in (a, b))
        texts = [reference["references"] for reference in references]
        return paired_tests(texts, first, second, self.tokenizer)


def _options(card: TaskCard) -> Options:
    options = checked_options(Options, card)
    if options.source == options.target:
        raise PluginError(
            f"task '{card.name}': options 'source' and 'target' are both '{options.source}'."
        )
    return options


def _plain(row: Row, name: str) -> str:
    """A cell of text or a number as text; empty where there is none."""
    value = row.get(name)
    return str(value) if isinstance(value, str | int) and not is_missing(value) else ""


def _concepts(given: Any, place: str) -> list[dict[str, Any]]:
    """The truth about a title, once it can be counted by."""
    words: set[str] = set()
    try:
        for concept in given:
            forms, count = concept["forms"], concept["count"]
            if isinstance(forms, str) or not forms or words.intersection(forms) or count < 1:
                raise ValueError(f"{concept}")
            words.update(forms)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{place}: 'concepts' must be a list of {{forms, count}}, count 1 or more, no form in "
            f"two of them ({type(error).__name__}: {error})."
        ) from None
    return [{"forms": list(each["forms"]), "count": each["count"]} for each in given]
