"""What an answer says, by rule: pure functions of strings, equal to VLMEvalKit's extraction."""

import re
from collections.abc import Mapping
from typing import Literal

CLOSING_MARKS = ';/[]"{}()=+\\_-><@`,?!'
"""Punctuation that the yes-no rule takes out of an answer, in this order."""

OPTION_MARKS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
"""Punctuation that the option rule reads as a space."""

PERIODS_REMOVED = 32
"""How many periods the yes-no rule takes out of one answer: VLMEvalKit's own limit."""

REFUSED = "Z"
"""What stands for an answer that says that no option fits."""

REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
API_FAILURE = "Failed to obtain answer via API"

TAIL = 5
"""An option's letter counts only among the last words of an answer, this many less one."""


def yes_or_no(answer: str) -> Literal["yes", "no"] | None:
    """Whether an answer says yes or no; None where it says neither or both.

    The rule of VLMEvalKit's `YOrN_Extraction`: punctuation goes, then exactly one of the two
    words must stand alone.
    """
    text = answer.lower()
    cleaned = text
    comma_in_number = re.search(r"\d,\d", text) is not None
    for mark in CLOSING_MARKS:
        beside_space = f"{mark} " in text or f" {mark}" in text
        cleaned = cleaned.replace(mark, "" if beside_space or comma_in_number else " ")
    cleaned = re.sub(r"(?<!\d)\.(?!\d)", "", cleaned, count=PERIODS_REMOVED)
    words = set(cleaned.split())
    if ("yes" in words) == ("no" in words):
        return None
    return "yes" if "yes" in words else "no"


def chosen_option(answer: str, options: Mapping[str, str]) -> str | None:
    """The letter of the option that an answer chooses.

    The rule of VLMEvalKit's `can_infer`: the only option letter that stands alone, if it stands
    near the end; else the only option whose text the answer contains.

    Args:
        answer: what the model said.
        options: letter -> text, in the order in which they were asked.

    Returns:
        A letter of `options`, `REFUSED` where the answer says that none fits, None where it
        cannot be told.
    """
    return _by_letter(answer, options) or _by_text(answer, options)


def _by_letter(answer: str, options: Mapping[str, str]) -> str | None:
    if API_FAILURE in answer:
        return None
    if any(refusal in answer for refusal in REFUSALS):
        return REFUSED
    words = answer.translate(OPTION_MARKS).split()
    named = [letter for letter in options if letter in words]
    if not named:
        return REFUSED if REFUSED in words else None
    if len(named) == 1 and words.index(named[0]) > len(words) - TAIL:
        return named[0]
    return None


def _by_text(answer: str, options: Mapping[str, str]) -> str | None:
    answer = answer.lower()
    if len(answer) > 2 * sum(map(len, options.values())):
        return None
    named = [letter for letter, text in options.items() if text.lower() in answer]
    return named[0] if len(named) == 1 else None


def is_chinese(text: str) -> bool:
    """Whether a text has a Chinese character, by VLMEvalKit's range."""
    return re.search("[\u4e00-\u9fff]", text) is not None


_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+|(?<=[。！？])|\n+")
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|vs|mr|mrs|ms|dr|st|approx|[a-z])\.$", re.IGNORECASE)


def sentences(text: str) -> list[str]:
    """The sentences of a description: cut at stops and new lines, not in `3.5` or at `e.g.`.

    Pieces without a letter or a digit are no sentences.
    """
    found: list[str] = []
    start = 0
    for end in _SENTENCE_END.finditer(text):
        if "\n" not in end[0] and _ABBREVIATION.search(text[start : end.start()]):
            continue
        found.append(text[start : end.end()])
        start = end.end()
    found.append(text[start:])
    return [piece.strip() for piece in found if any(char.isalnum() for char in piece)]
