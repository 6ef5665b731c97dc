"""Which rewrites are kept, chosen and rejected: pure, from texts and scores."""

import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from methods.poir.config import Collect

Candidate = Mapping[str, Any]
"""`text` (what the model said), `prompt` (the new prompt in it), `score`."""


class Pair(NamedTuple):
    """A prompt, and what the model said that is to be preferred to what else it said."""

    prompt: str
    chosen: str
    rejected: str


def unusable(rewrite: str, prompt: str, settings: Collect) -> str:
    """Why a rewrite of a prompt does not count; empty where it does."""
    if not rewrite:
        return "empty"
    if rewrite == prompt:
        return "identical"
    if len(rewrite) > settings.longest * len(prompt):
        return "too long"
    return "too short" if len(rewrite) < settings.shortest * len(prompt) else ""


def best(candidates: Sequence[Candidate]) -> Candidate | None:
    """The candidate with the highest score, the first of equal ones; None of none."""
    scored = [each for each in candidates if each["score"] is not None]
    return max(scored, key=lambda each: each["score"]) if scored else None


def pair(history: Mapping[str, Any], settings: Collect, seed: int) -> Pair | None:
    """The pair that a prompt's history gives (see `methods.poir.collect`); None where it has none.

    Chosen and rejected are the best and the worst of all rounds, or any two different ones.
    """
    scored = [
        each for one in history["rounds"] for each in one["candidates"] if each["score"] is not None
    ]
    different = list({each["prompt"]: each for each in reversed(scored)}.values())[::-1]
    if len(different) < 2:
        return None
    if settings.pairs == "random":
        drawn = random.Random(f"{seed} {history['prompt']}").sample(different, 2)
        return Pair(history["prompt"], drawn[0]["text"], drawn[1]["text"])
    chosen = max(different, key=lambda each: each["score"])
    rejected = min(different, key=lambda each: each["score"])
    gap = chosen["score"] - rejected["score"]
    if gap <= 0 or gap < settings.margin:
        return None
    return Pair(history["prompt"], chosen["text"], rejected["text"])
