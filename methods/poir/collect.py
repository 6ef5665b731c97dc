"""Collection: rewrites sampled, scored by the model's own logits, and rewritten again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from harness.dataset import Dataset, Row
from harness.errors import DataError
from harness.models.causal_lm import CausalLM
from harness.models.rewriting import Rewriting
from harness.records import is_missing, require_text
from harness.schema import digest
from harness.selection import by_length
from harness.settings import TooLong
from harness.store import JsonRow
from harness.training import Fit
from methods.poir.choice import best, unusable
from methods.poir.config import Collect
from methods.poir.sampling import Sample, sampler
from methods.poir.scoring import Question, check_yes_no, scores

PROMPT = ("prompt", "instruction", "question", "text")
GOOD, BAD = ("good_res", "chosen"), ("bad_res", "rejected")
"""Fields that a row may have, the first that is there counts."""
PROMPTS_AT_ONCE = 64
"""Prompts whose rewrites are sampled and kept together."""


class Models(NamedTuple):
    """Who does what in a collection; in the first round both are the initial model."""

    rewriter: CausalLM
    scorer: CausalLM


@dataclass
class _State:
    """How far a prompt's collection has come."""

    question: Question
    now: str
    """What is rewritten next: the prompt, or its best rewrite so far."""
    score: float
    first: float
    rounds: list[dict[str, Any]] = field(default_factory=list)


def questions(rows: Sequence[Row], dataset: Dataset, settings: Collect) -> list[Question]:
    """Prompts with their answers; raises `DataError` with the place of a row that lacks one."""
    found = []
    for index, row in enumerate(rows):
        place = dataset.place(None, index)
        prompt = require_text(row, place, *PROMPT)
        if settings.score == "yes-no":
            found.append(Question(prompt, "", ""))
            continue
        answers = []
        for names in (GOOD, BAD):
            if all(is_missing(row.get(name)) for name in names):
                raise DataError(
                    f"{place}: there is no {' or '.join(map(repr, names))}, which the score "
                    f"'{settings.score}' reads: give both answers, or set collect.score=yes-no."
                )
            answers.append(require_text(row, place, *names))
        found.append(Question(prompt, *answers))
    return found


def scorable(fit: Fit, asked: Sequence[Question], too_long: TooLong = "refuse") -> list[int]:
    """Return the indices of the prompts whose answers the model reads as a whole.

    Raises:
        DataError: at an answer that is too long, unless such prompts are left out: a score is of
            whole answers, so that none is cut.
    """
    encoded = [
        fit.model.encode_whole([""] * len(asked), [getattr(each, name) for each in asked])
        for name in ("good", "bad")
    ]
    room = fit.model.longest() - 1  # a token of the prompt stands before them
    excess = [max(len(each.answer) for each in both) - room for both in zip(*encoded, strict=True)]
    how: TooLong = "drop" if too_long == "drop" else "refuse"
    return by_length(fit.notes, excess, how, lambda i: fit.dataset.place(None, i), "prompts")


def collected(
    fit: Fit,
    models: Models,
    asked: Sequence[Question],
    rewriting: Rewriting,
    settings: Collect,
    inputs: Mapping[str, Any],
) -> list[JsonRow]:
    """The history of each prompt, computed once and kept as JSON lines, in chunks.

    A row has `prompt`, its `score`, and `rounds`: in each, what was rewritten, the `candidates`
    with text, new prompt, score, mean log-probabilities of both answers, or why a candidate does
    not count (`dropped`), and the `decision`: how the collection goes on.

    Args:
        inputs: what the rows depend on beside base model, dataset, seed and these settings.
    """
    if settings.score == "yes-no":
        check_yes_no(models.scorer)
    sample = sampler(models.rewriter, rewriting, settings, fit.folder / "samples")

    def collect(part: Sequence[Question], start: int) -> list[JsonRow]:
        seed = digest([fit.seed, dict(inputs), start])
        return _collect(sample, models.scorer, part, rewriting, settings, seed)

    apart = {"pairs", "margin", "limit", "endpoint", "endpoint_key"}
    key = {
        **inputs,
        "questions": digest([list(each) for each in asked]),
        "rewriting": rewriting.model_dump(
            include={"template", "by_model", "after", "max_new_tokens"}
        ),
        "collect": settings.model_dump(mode="json", exclude=apart),
        "seed": fit.seed,
    }
    return fit.mapped("collection", key, asked, collect, chunk=PROMPTS_AT_ONCE)


def _collect(
    sample: Sample,
    scorer: CausalLM,
    asked: Sequence[Question],
    rewriting: Rewriting,
    settings: Collect,
    seed: str,
) -> list[JsonRow]:
    own = scores(scorer, asked, [[each.prompt] for each in asked], settings)
    states = [
        _State(each, each.prompt, of_prompt.score, of_prompt.score)
        for each, (of_prompt,) in zip(asked, own, strict=True)
    ]
    active = states
    for number in range(settings.recirculations):
        drawn = int(digest([seed, number]), 16) >> 1
        _note(sample([state.now for state in active], drawn), active, rewriting, settings)
        _score(scorer, active, settings)
        last = number + 1 == settings.recirculations
        active = [state for state in active if _goes_on(state, settings, last)]
        if not active:
            break
    return [
        {"prompt": each.question.prompt, "score": each.first, "rounds": each.rounds}
        for each in states
    ]


def _note(
    said: Sequence[str], states: Sequence[_State], rewriting: Rewriting, settings: Collect
) -> None:
    """A new round of candidates for each state, from what was sampled."""
    for index, state in enumerate(states):
        texts = said[index * settings.candidates : (index + 1) * settings.candidates]
        candidates: list[dict[str, Any]] = []
        for text in texts:
            prompt = rewriting.prompt_in(text)
            # Also of a later round: it is still the first prompt that is to be kept.
            why = unusable(prompt, state.question.prompt, settings)
            candidates.append({"text": text, "prompt": prompt, "score": None, "dropped": why})
        state.rounds.append({"rewritten": state.now, "candidates": candidates})


def _score(model: CausalLM, states: Sequence[_State], settings: Collect) -> None:
    """Scores of what counts of the last round's candidates; equal ones are scored once."""
    usable = [
        [each for each in state.rounds[-1]["candidates"] if not each["dropped"]] for state in states
    ]
    prompts = [list(dict.fromkeys(each["prompt"] for each in some)) for some in usable]
    wanted = [i for i, some in enumerate(prompts) if some]
    found = scores(
        model, [states[i].question for i in wanted], [prompts[i] for i in wanted], settings
    )
    for i, values in zip(wanted, found, strict=True):
        of_prompt = dict(zip(prompts[i], values, strict=True))
        for each in usable[i]:
            value = of_prompt[each["prompt"]]
            del each["dropped"]
            each |= {"score": value.score, "good": value.good, "bad": value.bad}


def _goes_on(state: _State, settings: Collect, last: bool) -> bool:
    """Note what is decided after a round; whether there is to be another one."""
    top = best(state.rounds[-1]["candidates"])
    better = top is not None and top["score"] > state.score + settings.threshold
    if top is not None and better:
        state.now, state.score = top["prompt"], top["score"]
    decision = "the best takes its place" if better else "none is better: stop"
    state.rounds[-1]["decision"] = "the best was found: stop" if better and last else decision
    return better
