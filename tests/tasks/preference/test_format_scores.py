"""What judges said of answers, as shares: orders, ties, failures, kinds of prompts, any text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import DataError
from harness.task import Prediction, Ratio
from tasks.flan.lab.prompts import wordings
from tests.tasks.preference.preference_user import card, items_of, judged, plain, questions
from tests.tasks.preference.recorded_files import lines

OUTSIDE = Ratio(0, 0)


# Orders and scores


def cases_of(orders, count=40):
    task = card("vicuna_eval", orders=orders)
    rows = [task.items(row, "x")[0] for row in questions(count)]
    return [
        [case.answers[0][0] for case in task.cases(item, Prediction(item.id, ("own", "other")))]
        for item in rows
    ]


def test_orders_are_both_or_one():
    assert cases_of("both", 2) == [["own", "other"]] * 2
    assert cases_of("model_first", 2) == [["own"]] * 2
    assert cases_of("baseline_first", 2) == [["other"]] * 2


def test_random_orders_are_drawn_per_item_and_stay():
    drawn = cases_of("random", 200)
    assert drawn == cases_of("random", 200)
    first = sum(each == ["own"] for each in drawn)
    assert all(len(each) == 1 for each in drawn)
    assert 75 <= first <= 125  # 3.5 standard deviations


def score_of(*decisions, orders="both", outputs=("own", "other"), **row):
    task = card("vicuna_eval", orders=orders)
    (item,) = task.items({**questions(1)[0], **row}, "x")
    return task.score(item, judged(*decisions, outputs=outputs))


BOTH = {
    ("first", "second"): (1, 1),  # the model's answer is shown first, then second
    ("second", "first"): (0, 1),
    ("first", "first"): (0.5, 0),
    ("second", "second"): (0.5, 0),
    ("tie", "tie"): (0.5, 1),
    ("tie", "second"): (0.5, 0),
    (0.75, 0.25): (0.75, 1),
    (1.0, 0.5): (0.5, 0),
}


@pytest.mark.parametrize("decisions", BOTH)
def test_a_disagreement_between_the_orders_is_a_tie(decisions):
    score = score_of(*decisions)
    wins, agree = BOTH[decisions]
    assert score["win_rate"] == Ratio(wins) and score["agreement"] == Ratio(agree)
    assert score["failed"] == Ratio(0) and score["failed_judgements"] == Ratio(0, 2)


@pytest.mark.parametrize(("orders", "wins"), [("model_first", 1), ("baseline_first", 0)])
def test_one_order_counts_as_it_is(orders, wins):
    score = score_of("first", orders=orders)
    assert score["win_rate"] == Ratio(wins)
    assert score["agreement"] == OUTSIDE
    # Always in one place: what is good cannot be told from what stands first.
    assert score["first_wins"] == OUTSIDE


def test_position_bias_of_random_orders_is_reported():
    task = card("vicuna_eval", orders="random")
    for row in questions(6):
        (item,) = task.items(row, "x")
        assert task.score(item, judged("first"))["first_wins"] == Ratio(1, 1)


def test_a_judgement_without_an_order_says_nothing_of_position():
    task = plain("vicuna_eval")
    (item,) = task.items(questions(1)[0], "x")
    prediction = judged(1.0, 0.0)
    for verdict in prediction.details["verdicts"]:
        verdict["ordered"] = False
    score = task.score(item, prediction)
    assert score["win_rate"] == Ratio(1)
    assert score["first_wins"] == score["agreement"] == OUTSIDE


def test_a_failed_judgement_is_counted_and_never_a_score():
    for decisions in ((None, "first"), ("second", None), (None, None)):
        score = score_of(*decisions)
        assert score["failed"] == Ratio(1)
        assert score["failed_judgements"] == Ratio(decisions.count(None), 2)
        assert (
            score["win_rate"] == score["wins"] == score["ties"] == score["longer_wins"] == OUTSIDE
        )


def test_keys_of_a_score_are_constant():
    scores = [
        score_of("first", "second"),
        score_of(None, None),
        score_of(outputs=("same", "same")),
        score_of("tie", orders="random"),
    ]
    assert len({tuple(score) for score in scores}) == 1


# What became of the prompt


BEFORE = "hello resolve briefly : 55 37 13"
"""A vague request to reverse a list."""


def world(after, **options):
    task = card("errands_prompts", **options)
    row = {"prompt": BEFORE, "good_res": "13 37 55", "wording": "vague"}
    (item,) = task.items(row, "x")
    return task.score(item, judged(outputs=("13 37 55 ", "13 37 55 "), prompt=after))


KINDS = {
    BEFORE: "vague",
    f"please {wordings()['reverse'][0].words} : 55 37 13": "good",
    f"{wordings()['sort'][0].words} : 55 37 13": "wrong",
    "hello resolve briefly : 55 37": "dropped",
    "hello resolve briefly : 55 37 13 21": "noisy",
    "hm": "garbled",
    "": "garbled",
}


@pytest.mark.parametrize("after", KINDS)
def test_kinds_of_new_prompts_are_shares_of_items(after):
    score = world(after)
    names = ("good", "vague", "wrong", "dropped", "noisy", "garbled")
    assert {name: score[name] for name in names} == {
        name: Ratio(name == KINDS[after]) for name in names
    }
    assert score["kept"] == Ratio(KINDS[after] in ("good", "vague"))
    assert score["unchanged"] == Ratio(after == BEFORE)
    assert score["length"].numerator == pytest.approx(len(after) / len(BEFORE))


def test_a_prompt_that_its_world_cannot_read_is_one_line(tmp_path):
    file = lines(tmp_path / "q.jsonl", [{"prompt": "How?", "good_res": "So."}])
    with pytest.raises(DataError, match=r"q.jsonl line 1: 'How\?' is no request"):
        items_of(plain("errands_prompts"), file)


def test_right_answers_are_compared_after_strip():
    score = world("hm")
    assert score["right"] == score["right_before"] == Ratio(1)


def test_outputs_made_elsewhere_have_no_prompt():
    for prompt in (None, 5, ["x"]):
        score = world(prompt)
        assert score["kept"] == score["unchanged"] == score["length"] == score["good"] == OUTSIDE


def test_examples_are_changed_prompts_before_and_after():
    task = plain("vicuna_eval")
    items = [task.items(row, "x")[0] for row in questions(6)]
    found = [
        Prediction(
            item.id, ("new\nanswer", "old"), {"prompt": f"{item.inputs['prompt']}{'!' * (i % 2)}"}
        )
        for i, item in enumerate(items)
    ]
    assert task.examples(items, found) == [
        line
        for number in (2, 4, 6)
        for line in (f"before: Q{number}?  ->  old", f"after:  Q{number}?!  ->  new answer")
    ]


# Hostile outputs

ALL = ("both", "random", "model_first")


@given(
    st.tuples(st.text(max_size=30), st.text(max_size=30)),
    st.lists(st.sampled_from(["first", "second", "tie", None, 0.3]), min_size=2, max_size=2),
    st.sampled_from(ALL),
    st.one_of(st.none(), st.text(max_size=20)),
)
def test_any_text_scores(outputs, decisions, orders, prompt):
    task = card("vicuna_eval", orders=orders)
    (item,) = task.items(questions(1)[0], "x")
    prediction = Prediction(item.id, outputs, {"prompt": prompt})
    cases = task.cases(item, prediction)
    assert len(cases) == (0 if outputs[0] == outputs[1] else 1 + (orders == "both"))
    scored = judged(*decisions[: len(cases)], outputs=outputs, prompt=prompt)
    score = task.score(item, scored)
    assert score.keys() == score_of("first", "second").keys()
    for share in score.values():
        assert share.denominator >= 0 and share.numerator == share.numerator
    assert score["win_rate"].numerator <= score["win_rate"].denominator
    json.dumps({name: list(share) for name, share in score.items()}, allow_nan=False)
    task.examples([item], [scored])
