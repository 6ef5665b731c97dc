"""Where sentences begin and end: a partition of a text, and of its tokens.

Rules and no model. A sentence keeps the white space behind it, so that the pieces add up to the
text. A line break always ends a sentence. A stop ends one unless it belongs to an abbreviation, an
initial, a number or a list marker, or closes a quotation that the sentence goes on after.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence

Span = tuple[int, int]

CLOSERS = "\"'”’»›)\\]}」』）】*_"
STOP = re.compile(
    rf"(?P<wide>[。！？｡]+[{CLOSERS}]*)"
    rf"|(?<![.!?…।۔؟])(?P<stop>[.!?…।۔؟]+)(?P<closers>[{CLOSERS}]*)(?=\s|$)"
    r"|(?P<line>[\n\r])"
)


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


NEVER_LAST = _words(
    "mr mrs ms dr prof st mt fr gen col sgt capt lt rev hon sen rep gov pres messrs mme mlle",
    "vs v cf viz e.g i.e eg ie approx ca no nos fig figs eq sec ch vol pp p al ed eds est dept",
    "jan feb mar apr jun jul aug sep sept oct nov dec",
)
"""Abbreviations that something follows."""
SELDOM_LAST = _words("etc inc ltd co corp jr sr bros a.m p.m ave blvd rd ft oz lb")
"""Abbreviations that end a sentence only before a capital letter."""
OPENING_WORDS = _words(
    "a an the this that these those there here it its he his she her they their we our you your",
    "i in on at with from for to of by as if when while where what who how why some many most",
    "all both each one two three and but or so then however overall additionally also",
)
"""What a sentence after an initial or an acronym begins with, if it is a new one."""
NUMERIC = frozenset({"no", "nos", "fig", "figs", "eq", "sec", "ch", "vol", "pp", "p", "v"})
"""Abbreviations only before a number; else they are words."""
WORD_BEFORE = re.compile(r"[\w.&-]*$")
WORD_AFTER = re.compile(r"[^\w\n]*(\w[\w'’-]*)?")
ACRONYM = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
MARKER = re.compile(r"\s*[(\[]?(?:\d{1,3}|[A-Za-z])")


def sentences(text: str) -> list[Span]:
    """Offsets (start, end) of the sentences of a text, in order, without gaps.

    Every piece but an empty text's holds at least one letter or digit, if the text does.
    """
    cuts = [0]
    for match in STOP.finditer(text):
        end = match.end()
        while end < len(text) and text[end].isspace():
            end += 1
        between_words = _has_word(text[cuts[-1] : match.end()]) and _has_word(text[end:])
        ends = match["stop"] is None or _ends_sentence(text, cuts[-1], match, end)
        if between_words and ends:
            cuts.append(end)
    return list(zip(cuts, [*cuts[1:], len(text)], strict=True))


def sentence_ids(spans: Sequence[Span], pieces: Sequence[Span]) -> list[int]:
    """The sentence of each token: the one that holds its last character.

    Tokens carry the white space before them, sentences the white space behind them, so that a
    token's last character decides. An empty token, such as end-of-sequence, belongs to what
    precedes it.

    Args:
        spans: (start, end) of each token in the text.
        pieces: the text's sentences.
    """
    starts = [start for start, _ in pieces]
    return [max(bisect_right(starts, max(start, end) - 1) - 1, 0) for start, end in spans]


def _ends_sentence(text: str, start: int, match: re.Match[str], after: int) -> bool:
    """Whether a stop before white space or the end closes the sentence begun at `start`."""
    before = _group(WORD_BEFORE.search(text, start, match.start()))
    following = WORD_AFTER.match(text, after)
    word = (following and following[1]) or ""
    lower = word[:1].islower()
    if match["closers"] and lower:
        return False
    if not before and text[match.start() - 1 : match.start()].isspace():
        return match["stop"] == "." or not lower
    if match["stop"] != ".":
        return not (lower and match["stop"][0] in ".…")
    known = before.lower()
    if MARKER.fullmatch(text, start, match.start()):
        return False
    if known in NUMERIC:
        return not word[:1].isdigit()
    if known in NEVER_LAST:
        return False
    if known in SELDOM_LAST:
        return word[:1].isupper()
    if ACRONYM.fullmatch(before):
        return not lower and word.lower() in OPENING_WORDS
    return True


def _group(match: re.Match[str] | None) -> str:
    return match[0] if match else ""


def _has_word(text: str) -> bool:
    return any(character.isalnum() for character in text)
