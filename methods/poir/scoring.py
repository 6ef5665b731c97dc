"""How good a prompt is by the model's own logits."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from harness.errors import HarnessError
from harness.models.causal_lm import CausalLM
from harness.models.prefixes import mean_log_probs
from methods.poir.config import Collect

YES, NO = "Yes", "No"


class Question(NamedTuple):
    """A prompt with a good and a bad answer; both empty where the data have none."""

    prompt: str
    good: str
    bad: str


class Scored(NamedTuple):
    """A prompt's score, and what it was made of: mean log-probabilities of the two answers."""

    score: float
    good: float
    bad: float


def scores(
    model: CausalLM,
    questions: Sequence[Question],
    prompts: Sequence[Sequence[str]],
    settings: Collect,
) -> list[list[Scored]]:
    """Scores of the prompts that stand for each question's, by `settings.score`.

    The answers of all prompts of a question are read in one pass over what they share.
    """
    groups = [
        _asked(question, each, settings) for question, each in zip(questions, prompts, strict=True)
    ]
    texts = model.prompt_texts([text for group in groups for text, _, _ in group])
    said = iter(texts)
    pairs = [[(next(said), good, bad) for _, good, bad in group] for group in groups]
    found = mean_log_probs(
        model,
        [
            [each for text, good, bad in group for each in ((text, good), (text, bad))]
            for group in pairs
        ],
        ends=settings.score != "yes-no",
    )
    return [
        [
            Scored(combined(good, bad, settings), good, bad)
            for good, bad in zip(of[::2], of[1::2], strict=True)
        ]
        for of in found
    ]


def _asked(
    question: Question, prompts: Sequence[str], settings: Collect
) -> list[tuple[str, str, str]]:
    """Each prompt's text with the two answers that are compared."""
    if settings.score == "yes-no":
        asked = settings.question
        return [
            (filled(asked, prompt=question.prompt, rewrite=prompt), YES, NO) for prompt in prompts
        ]
    return [
        (filled(settings.response, prompt=prompt), question.good, question.bad)
        for prompt in prompts
    ]


def filled(template: str, **values: str) -> str:
    """A template with its fields filled; braces of the values' own stay as they are."""
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), template)


def combined(good: float, bad: float, settings: Collect) -> float:
    """A prompt's score from the mean log-probabilities of the two answers."""
    if settings.score == "good":
        return good
    if settings.score == "clamped":
        return max(good, settings.floor) - max(bad, settings.floor)
    return good - bad


def check_yes_no(model: CausalLM) -> None:
    """Raise `HarnessError` where a model cannot tell the two answers of `yes-no` apart."""
    yes, no = model.tokenizer([YES, NO], add_special_tokens=False)["input_ids"]
    if yes == no:
        raise HarnessError(
            "the tokenizer reads Yes and No alike: score by answers (collect.score=margin) with "
            "data that have good and bad ones."
        )
