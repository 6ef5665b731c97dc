"""What is kept, chosen and rejected of a prompt's rewrites: pure functions of texts and scores."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.poir.choice import Pair, best, pair, unusable
from methods.poir.config import Collect

PLAIN = Collect()
RANDOM = Collect(pairs="random")
names = st.sampled_from(["a", "b", "c", "d", "e"])
numbers = st.floats(-9, 9, width=16)


def candidate(name, score):
    return {"text": f"said {name}", "prompt": name, "score": score}


@st.composite
def histories(draw):
    """Rounds of candidates, some dropped; equal new prompts have equal scores."""
    scores = {name: draw(numbers) for name in "abcde"}
    drawn = st.lists(st.tuples(names, st.booleans()), max_size=6)
    rounds = draw(st.lists(drawn, min_size=1, max_size=3))
    return {
        "prompt": "p",
        "score": 0.0,
        "rounds": [
            {"candidates": [candidate(n, scores[n] if kept else None) for n, kept in one]}
            for one in rounds
        ],
    }


def counted(history):
    """new prompt -> score of what counts."""
    every = [each for one in history["rounds"] for each in one["candidates"]]
    return {each["prompt"]: each["score"] for each in every if each["score"] is not None}


@given(histories(), st.floats(0, 4), st.integers(0, 9))
def test_the_best_and_the_worst_of_all_rounds_are_a_pair(history, margin, seed):
    scores = counted(history)
    found = pair(history, Collect(margin=margin), seed)
    gap = max(scores.values(), default=0) - min(scores.values(), default=0)
    if len(scores) < 2 or gap <= 0 or gap < margin:
        assert found is None
        return
    chosen, rejected = (text.removeprefix("said ") for text in (found.chosen, found.rejected))
    assert (found.prompt, scores[chosen]) == ("p", max(scores.values()))
    assert scores[rejected] == min(scores.values())


@given(histories(), st.integers(0, 9))
def test_a_random_pair_is_of_two_that_count_and_differ_whatever_their_scores(history, seed):
    scores = counted(history)
    found = pair(history, RANDOM, seed)
    assert (found is None) == (len(scores) < 2)
    if found is not None:
        assert found.chosen != found.rejected
        assert {found.chosen, found.rejected} <= {f"said {name}" for name in scores}


@given(histories(), st.integers(0, 9), st.sampled_from([PLAIN, RANDOM]))
def test_a_choice_depends_on_nothing_else_and_changes_nothing(history, seed, settings):
    before = copy.deepcopy(history)
    first = pair(history, settings, seed)
    assert pair(copy.deepcopy(history), settings, seed) == first
    assert history == before


def test_random_pairs_are_evenly_drawn_by_prompt_and_seed():
    rounds = [{"candidates": [candidate(name, float(i)) for i, name in enumerate("abc")]}]
    drawn = [pair({"prompt": f"p{i}", "rounds": rounds}, RANDOM, 0)[1:] for i in range(600)]
    counts = {each: drawn.count(each) for each in set(drawn)}
    assert len(counts) == 6 and all(60 < count < 140 for count in counts.values())
    again = [pair({"prompt": f"p{i}", "rounds": rounds}, RANDOM, 1)[1:] for i in range(600)]
    assert again != drawn


def test_chosen_and_rejected_may_be_of_different_rounds():
    rounds = [
        {"candidates": [candidate("a", 1.0), candidate("b", -2.0)]},
        {"candidates": [candidate("c", 3.0), candidate("d", 0.0)]},
    ]
    assert pair({"prompt": "p", "rounds": rounds}, PLAIN, 0) == Pair("p", "said c", "said b")


def test_one_new_prompt_said_twice_is_no_pair():
    twice = [{"text": text, "prompt": "a", "score": 1.0} for text in ("one: a", "two: a")]
    history = {"prompt": "p", "rounds": [{"candidates": twice}]}
    assert pair(history, PLAIN, 0) is None
    assert pair(history, RANDOM, 0) is None


def test_equal_scores_are_no_pair_and_the_margin_itself_is_enough():
    history = {"prompt": "p", "rounds": [{"candidates": [candidate("a", 1), candidate("b", 1)]}]}
    assert pair(history, PLAIN, 0) is None
    history["rounds"][0]["candidates"][1]["score"] = 0
    assert pair(history, Collect(margin=1.0), 0) == Pair("p", "said a", "said b")
    assert pair(history, Collect(margin=1.5), 0) is None


@given(st.lists(st.tuples(names, st.none() | numbers)))
def test_the_best_is_the_first_of_the_highest(drawn):
    candidates = [candidate(*each) for each in drawn]
    scored = [each for each in candidates if each["score"] is not None]
    found = best(candidates)
    assert (found is None) == (not scored)
    if found is not None:
        assert all(each["score"] <= found["score"] for each in scored)
        first = next(each for each in scored if each["score"] == found["score"])
        assert found is first


@pytest.mark.parametrize(
    ("rewrite", "prompt", "why"),
    [
        ("", "sort it", "empty"),
        ("", "", "empty"),
        ("sort it", "sort it", "identical"),
        ("x" * 42, "sort it", ""),
        ("x" * 43, "sort it", "too long"),
        ("xxxx", "sort it", ""),
        ("xxx", "sort it", "too short"),
        ("sort it ", "sort it", ""),
    ],
)
def test_what_does_not_count_and_why(rewrite, prompt, why):
    assert unusable(rewrite, prompt, PLAIN) == why
