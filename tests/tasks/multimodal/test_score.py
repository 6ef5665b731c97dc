"""What an answer says: examples by hand, and properties for any text."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.task import Item, Prediction
from tasks.multimodal import coco, judges, mmbench, pope, score, shr

FACTS = [
    {"color": "red", "shape": "circle", "place": "top left"},
    {"color": "blue", "shape": "ring", "place": "bottom right"},
]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Yes, there is.", "yes"),
        ("no", "no"),
        ("NO!", "no"),
        ("", None),
        ("yes and no", None),
        ("not at all", None),
        ("是的", None),
    ],
)
def test_yes_or_no(answer: str, expected: str | None) -> None:
    assert score.yes_or_no(answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("B", "B"),
        ("(B)", "B"),
        ("The answer is B.", "B"),
        ("a blue ring", "B"),
        ("b", None),
        ("A or B", None),
        ("", None),
        ("Z", score.REFUSED),
        ("Cannot determine the answer", score.REFUSED),
    ],
)
def test_chosen_option(answer: str, expected: str | None) -> None:
    assert score.chosen_option(answer, {"A": "red circle", "B": "blue ring"}) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A dog. A cat!", ["A dog.", "A cat!"]),
        ("It is 3.5 m long. Mr. Smith, e.g. him, is there", 2),
        ("一只狗。一只猫。", ["一只狗。", "一只猫。"]),
        ("one\n\n- two\n", ["one", "- two"]),
        ('He says "stop." Then he goes.', 2),
        ("", []),
        (" ... !\n", []),
    ],
)
def test_sentences(text: str, expected: list[str] | int) -> None:
    found = score.sentences(text)
    assert (found if isinstance(expected, list) else len(found)) == expected


@given(st.text(max_size=200))
def test_sentences_keep_every_letter(text: str) -> None:
    def solid(value: str) -> str:
        return "".join(char for char in value if char.isalnum())

    assert solid("".join(score.sentences(text))) == solid(text)


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Two dogs and a puppy beside a couch.", {"dog", "couch"}),
        ("A hot dog on a table.", {"hot dog"}),
        ("A teddy bear, no bear.", {"teddy bear"}),
        ("There are no cars and a bus stop.", set()),
        ("An orange cat with an orange.", {"cat", "orange"}),
        ("Women hold wine glasses and knives.", {"person", "wine glass", "knife"}),
        ("A train on the train tracks.", {"train"}),
        ("The carpet is carefully categorized.", set()),
        ("A man’s TV", {"tv"}),
        ("", set()),
    ],
)
def test_named_categories(sentence: str, expected: set[str]) -> None:
    assert coco.named(sentence) == expected


def test_every_category_of_coco_is_named_by_its_own_word() -> None:
    assert len(coco.SYNONYMS) == 80
    for category in set(coco.SYNONYMS) - {"orange"}:
        assert coco.named(f"There is one {category} here.") == {category}


def test_judging_by_name_counts_sentences_that_name_what_is_absent() -> None:
    found = judges.by_name(
        ["dog", "person"], "A man walks a dog. A cat sits by. It is a sunny day."
    )
    assert found == judges.Judgement(sentences=3, wrong=1, unparsed=1, recalled=2, present=2)


def test_judging_by_grammar_counts_sentences_that_are_untrue_or_garbled() -> None:
    answer = (
        "there is a red circle at the top left . there is a blue cross at the bottom right . "
        "the image has two objects . red red red ."
    )
    found = judges.by_grammar(FACTS, answer)
    assert found == judges.Judgement(sentences=4, wrong=2, unparsed=1, recalled=1, present=2)


def item_of(task: Any, reference: Any, **inputs: Any) -> Item:
    return Item("1", {"image": b"", "question": "?", **inputs}, reference)


ITEMS = [
    (pope, item_of(pope, "yes")),
    (pope, item_of(pope, "no")),
    (mmbench, item_of(mmbench, 1, options=["red", "blue", "green"])),
    (shr, item_of(shr, {"facts": FACTS})),
    (shr, item_of(shr, {"objects": ["dog"]})),
    (shr, item_of(shr, {"objects": []})),
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ITEMS), st.lists(st.text(max_size=60), min_size=3, max_size=3))
def test_any_answer_has_finite_scores_under_constant_names(case: Any, answers: list[str]) -> None:
    task, item = case
    outputs = tuple(answers if task is mmbench else answers[:1])
    shares = task.score(item, Prediction(item.id, outputs))
    silent = task.score(item, Prediction(item.id, ("",) * len(outputs)))
    assert list(shares) == list(silent)
    assert task.card.primary in shares
    for name, (numerator, denominator) in shares.items():
        assert math.isfinite(numerator)
        assert math.isfinite(denominator)
        assert numerator >= 0
        if name != "sentences_per_answer":
            assert numerator <= denominator


@pytest.mark.parametrize(("task", "item"), ITEMS)
@pytest.mark.parametrize("answer", ["", " \n", "...", "\x00"])
def test_silence_never_looks_perfect(task: Any, item: Item, answer: str) -> None:
    outputs = (answer,) * (3 if task is mmbench else 1)
    numerator, denominator = task.score(item, Prediction("1", outputs))[task.card.primary]
    best = 1 if task.card.higher_is_better else 0
    assert denominator == 0 or numerator / denominator == 1 - best
    unparsed = task.score(item, Prediction("1", outputs))["unparsed"]
    assert unparsed.numerator == unparsed.denominator > 0
