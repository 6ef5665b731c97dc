"""The `lab` judge knows the truth, and nothing where there is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.judges import Case, verdicts
from tasks.preference.judges.lab import Lab

texts = st.sampled_from(["four", " four\n", "five", "Four", ""])


def decided(case: Case):
    (verdict,) = verdicts(Lab("lab", Lab.Config(), None), [case])
    return verdict.decision


@pytest.mark.parametrize(
    ("first", "second", "decision"),
    [
        ("four", "five", "first"),
        ("five", " four\n", "second"),
        ("four", "four ", "tie"),
        ("five", "six", "tie"),
        ("", "four", "second"),
        ("Four", "four", "second"),
    ],
)
def test_of_two_answers_the_right_one_wins(first, second, decision):
    assert decided(Case(("2 + 2?",), ((first,), (second,)), ("four",))) == decision


def test_one_answer_is_right_or_wrong():
    assert decided(Case(("2 + 2?",), (("four\n",),), (" four",))) == 10
    assert decided(Case(("2 + 2?",), (("for",),), ("four",))) == 1


def test_an_answer_is_right_in_every_turn():
    right, half = ("four", "nine"), ("four", "ten")
    assert decided(Case(("2 + 2?", "3 * 3?"), (half, right), right)) == "second"
    assert decided(Case(("2 + 2?", "3 * 3?"), (half,), right)) == 1


@given(st.tuples(texts, texts), st.tuples(texts, texts), st.tuples(texts, texts))
def test_the_place_of_an_answer_does_not_matter(one, other, references):
    turned = {"first": "second", "second": "first", "tie": "tie"}
    there = decided(Case(("a", "b"), (one, other), references))
    assert decided(Case(("a", "b"), (other, one), references)) == turned[there]


def test_without_a_reference_nothing_is_known():
    with pytest.raises(HarnessError) as caught:
        decided(Case.of("2 + 2?", "four", "five"))
    assert str(caught.value) == (
        "judge 'lab': knows what is right only where the task has right answers: "
        "choose another with --judge."
    )
