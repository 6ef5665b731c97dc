"""Repetition: by hand, and against a second, slow implementation of the definitions."""

import time
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.task import Ratio
from tasks.translation import score
from tasks.translation.text import is_by_characters, tokens

TOKENS = st.lists(st.sampled_from("abcd"), max_size=40)


def slow_count(words: Sequence[str], gram: Sequence[str]) -> int:
    """How often an n-gram stands, by looking at every place."""
    return sum(list(words[at : at + len(gram)]) == list(gram) for at in range(len(words)))


def slow_grams(words: Sequence[str], n: int) -> list[list[str]]:
    return [list(words[at : at + n]) for at in range(len(words)) if at + n <= len(words)]


def slow_oscillates(hypothesis: Sequence[str], other: Sequence[str], n: int, t: int) -> bool:
    top = [
        max([slow_count(words, gram) for gram in slow_grams(words, n)] + [0])
        for words in (hypothesis, other)
    ]
    return top[0] >= top[1] + t


def slow_rep_n(words: Sequence[str], n: int) -> Fraction:
    grams = slow_grams(words, n)
    again = sum(gram in grams[:at] for at, gram in enumerate(grams))
    return Fraction(again, len(grams)) if grams else Fraction(0)


def slow_rep_w(words: Sequence[str], window: int) -> Fraction:
    seen = sum(word in words[max(0, at - window) : at] for at, word in enumerate(words))
    return Fraction(seen, len(words)) if words else Fraction(0)


def slow_rep_r(words: Sequence[str]) -> Fraction:
    """Fu et al. 2021: tokens with another place of the same token and the same neighbour."""
    inside = 0
    for i, word in enumerate(words):
        others = [j for j, other in enumerate(words) if other == word and j != i]
        after = any(list(words[i + 1 : i + 2]) == list(words[j + 1 : j + 2]) != [] for j in others)
        before = any(i and j and words[i - 1] == words[j - 1] for j in others)
        inside += after or before
    return Fraction(inside, len(words)) if words else Fraction(0)


@given(TOKENS, TOKENS, st.integers(1, 5), st.integers(1, 3))
def test_oscillation_equals_a_slow_count(
    hypothesis: list[str], other: list[str], n: int, t: int
) -> None:
    assert score.oscillates(hypothesis, other, n, t) == slow_oscillates(hypothesis, other, n, t)


@given(TOKENS, st.integers(1, 20))
def test_repetition_equals_a_slow_count(words: list[str], window: int) -> None:
    found = score.repetition(words)
    for n in (1, 2, 3, 4):
        assert found[f"rep_{n}"] == pytest.approx(float(slow_rep_n(words, n)), abs=1e-12)
    assert score.rep_w(words, window) == pytest.approx(float(slow_rep_w(words, window)))
    assert found["rep_w"] == pytest.approx(float(slow_rep_w(words, 16)))
    assert found["rep_r"] == pytest.approx(float(slow_rep_r(words)))
    kept = [1 - slow_rep_n(words, n) for n in (2, 3, 4)]
    assert found["diversity"] == pytest.approx(float(kept[0] * kept[1] * kept[2]))


@pytest.mark.parametrize(
    ("hypothesis", "source", "flagged"),
    [
        ("a b c d a b c d a b c d", "x y z w", True),
        ("a b c d a b c d a b c d", "x y z w x y z w", False),
        ("a b c d a b c d", "x y z w", False),
        ("a b c d a b c d", "x y z", True),
        ("a a a a a", "", True),
        ("a a a a", "", False),
        ("", "", False),
        ("a", "a b c d a b c d a b c d", False),
    ],
)
def test_oscillation_by_hand(hypothesis: str, source: str, flagged: bool) -> None:
    assert score.oscillates(hypothesis.split(), source.split()) is flagged


def test_repetition_by_hand() -> None:
    found = score.repetition(["red", "dress", "red", "dress", "blue"])
    assert found == pytest.approx(
        {
            "rep_1": 2 / 5,
            "rep_2": 1 / 4,
            "rep_3": 0,
            "rep_4": 0,
            "rep_w": 2 / 5,
            "rep_r": 4 / 5,
            "diversity": 3 / 4,
        }
    )
    seventeen = [str(number) for number in range(17)]
    assert score.rep_w(["0", *seventeen[1:16], "0"]) == pytest.approx(1 / 17)
    assert score.rep_w(["0", *seventeen[1:17], "0"]) == 0


def test_excess_is_over_the_reference() -> None:
    scores = score.repetition_scores(["a", "b", "a", "b"], ["a", "b", "c", "a"])
    assert scores["rep_1"] == Ratio(1 / 2)
    assert scores["rep_1_excess"] == Ratio(1 / 2 - 1 / 4)
    assert scores["rep_2_excess"].numerator == pytest.approx(1 / 3)
    assert scores["diversity_excess"].numerator == pytest.approx(-1 / 3)
    same = score.repetition_scores(["a", "b", "a", "b"], ["a", "b", "a", "b"])
    assert all(share == Ratio(0) for name, share in same.items() if name.endswith("excess"))


CONCEPTS = [
    {"forms": ["boro", "borim"], "count": 2},
    {"forms": ["nata"], "count": 1},
    {"forms": ["ve"], "count": 3},
]


@pytest.mark.parametrize(
    ("title", "rendered", "lost", "needless"),
    [
        ("boro nata ve borim ve ve", (3, 3), (0, 3), (0, 6)),
        ("boro nata ve", (3, 3), (3, 3), (0, 3)),
        ("boro boro boro nata nata ve ve", (3, 3), (1, 3), (2, 7)),
        ("dunno dunno dunno nata", (1, 3), (3, 3), (2, 4)),
        ("", (0, 3), (3, 3), (0, 0)),
    ],
)
def test_concepts_by_hand(
    title: str, rendered: tuple[int, int], lost: tuple[int, int], needless: tuple[int, int]
) -> None:
    scores = score.concept_scores(title.split(), CONCEPTS)
    assert scores == {
        "concepts_rendered": rendered,
        "lost_repeats": lost,
        "needless_repeats": needless,
    }


@given(st.lists(st.sampled_from(["boro", "borim", "nata", "ve", "x", "0", "1"]), max_size=30))
def test_concepts_equal_a_slow_count(words: list[str]) -> None:
    def found(concept: dict[str, object]) -> int:
        return sum(words.count(form) for form in concept["forms"])  # type: ignore[attr-defined]

    pairs = [(found(concept), int(str(concept["count"]))) for concept in CONCEPTS]
    known = {"boro", "borim", "nata", "ve"}
    lost = sum(n - 1 - max(0, min(have - 1, n - 1)) for have, n in pairs if n >= 2)
    needless = sum(have - n for have, n in pairs if have > n)
    needless += sum(words.count(word) - 1 for word in set(words) - known)
    scores = score.concept_scores(words, CONCEPTS)
    assert scores["concepts_rendered"] == (sum(have >= 1 for have, _ in pairs), 3)
    assert scores["lost_repeats"] == (lost, 3)
    assert scores["needless_repeats"] == (needless, len(words))


def test_a_title_that_needs_no_repeat_can_lose_none() -> None:
    scores = score.concept_scores(["nata"], [{"forms": ["nata"], "count": 1}])
    assert scores["lost_repeats"] == (0, 0)


def test_an_endless_loop_takes_no_time() -> None:
    words = ["blue", "red"] * 50_000
    start = time.process_time()
    assert score.oscillates(words, [])
    found = score.repetition_scores(words, words[:10])
    score.concept_scores(words, CONCEPTS)
    assert time.process_time() - start < 2
    assert found["rep_1"].numerator == pytest.approx(1, abs=1e-4)


@settings(max_examples=200)
@given(st.text(max_size=60), st.sampled_from(["en", "zh-CN", "th", "qab"]))
def test_any_text_has_tokens_that_hold_all_but_its_blanks(text: str, language: str) -> None:
    found = tokens(text, language)
    assert "".join(found) == "".join(character for character in text if not character.isspace())
    assert all(found)
    score.repetition(found)


def test_control_characters_and_lone_surrogates_are_tokens() -> None:
    assert tokens("a\x00\x00 \ud800b", "en") == ["a", "\x00", "\x00", "\ud800", "b"]


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Blue T-shirt, 3.5 m", "en", ["Blue", "T", "-", "shirt", ",", "3", ".", "5", "m"]),
        ("服饰 > 服装", "zh-CN", ["服", "饰", ">", "服", "装"]),
        ("iPad 套", "zho_Hans", ["i", "P", "a", "d", "套"]),
        ("ファッション", "ja-JP", list("ファッション")),
        ("เสื้อ", "tha_Thai", list("เสื้อ")),
        ("हिन्दी कपड़े", "hi", ["हिन्दी", "कपड़े"]),
        ("의류 액세서리", "ko", ["의류", "액세서리"]),
    ],
)
def test_tokens_by_language(text: str, language: str, expected: list[str]) -> None:
    assert tokens(text, language) == expected


@pytest.mark.parametrize(
    "code", ["zh", "zh-CN", "zh_TW", "zho_Hant", "ja", "ja-JP", "jpn_Jpan", "th", "th_TH", "ZH-cn"]
)
def test_characters_for_chinese_japanese_thai(code: str) -> None:
    assert is_by_characters(code)


@pytest.mark.parametrize("code", ["en", "de_DE", "ko", "kor_Hang", "deu_Latn", "qab", "zu"])
def test_words_for_the_others(code: str) -> None:
    assert not is_by_characters(code)
