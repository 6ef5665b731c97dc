"""Real answers of five models with GPT-4's reviews: win rates from the files alone."""

from pathlib import Path

import pytest

from harness.judges import Case, verdicts
from harness.records import read_records
from harness.scoring import by_category, clusters
from harness.task import Item
from tasks.preference.judges.recorded import OTHER_ORDER, Recorded, RecordedConfig
from tasks.preference.length_control import length_controlled
from tasks.preference.win_rate import Comparison, judgement, metrics, preference, shares

DATA = (
    Path(__file__).parents[4] / "shared" / "data" / "preference" / "vicuna80_answers_gpt4_reviews"
)

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the real data sets (../shared/data) are not on this machine"
)


def judge(other: str) -> Recorded:
    sides = ",".join(str(DATA / f"answer_{name}.jsonl") for name in (other, "vicuna-13b"))
    config = RecordedConfig.model_validate(
        {
            "reviews": str(DATA / f"review_{other}_vicuna-13b.jsonl"),
            "questions": str(DATA / "question.jsonl"),
            "answers": sides,
        }
    )
    return Recorded("recorded", config, DATA)


def answers(model: str) -> dict[str, str]:
    records = read_records(DATA / f"answer_{model}.jsonl")
    return {record.fields["question_id"]: record.fields["text"] for record in records}


def read(other: str, turned: bool = False) -> list[Comparison]:
    """A model against vicuna-13b, with whom each was reviewed; turned: vicuna-13b against it."""
    questions = {r.fields["question_id"]: r.fields for r in read_records(DATA / "question.jsonl")}
    first, second = answers(other), answers("vicuna-13b")
    cases = [Case.of(row["text"], first[key], second[key]) for key, row in questions.items()]
    found = verdicts(judge(other), cases)
    own, baseline = (second, first) if turned else (first, second)
    return [
        Comparison(
            str(key),
            row["text"],
            own[key],
            baseline[key],
            [judgement(verdict.decision, not turned)],
            row["category"],
        )
        for (key, row), verdict in zip(questions.items(), found, strict=True)
    ]


def items_of(comparisons: list[Comparison]) -> list[Item]:
    return [Item(each.id, {}, None, each.instruction, each.category) for each in comparisons]


@pytest.mark.parametrize(
    ("model", "wins", "ties", "losses"),
    [
        ("llama-13b", 3, 0, 77),
        ("alpaca-13b", 3, 1, 76),
        ("bard", 30, 10, 40),
        ("gpt35", 44, 22, 14),
    ],
)
def test_recorded_pairs_have_the_win_rates_of_their_score_pairs(model, wins, ties, losses):
    comparisons = read(model)
    scores = [shares(each, "single") for each in comparisons]
    found = metrics(scores, clusters(items_of(comparisons)))
    counts = [found[name].value * 80 for name in ("wins", "ties", "losses")]
    assert counts == pytest.approx([wins, ties, losses])
    rate = found["win_rate"]
    assert rate.value == pytest.approx((wins + ties / 2) / 80)
    assert rate.low < rate.value < rate.high and rate.n == 80
    assert found["delta_win_rate"].value == pytest.approx((wins - losses) / 80)
    assert found["failed"].value == 0 and found["agreement"].n == 0


def test_the_order_that_was_not_reviewed_is_not_made_up():
    first, second = answers("gpt35"), answers("vicuna-13b")
    texts = {
        r.fields["question_id"]: r.fields["text"] for r in read_records(DATA / "question.jsonl")
    }
    cases = [Case.of(texts[key], second[key], first[key]) for key in texts]
    assert {(v.decision, v.reason) for v in verdicts(judge("gpt35"), cases)} == {
        (None, OTHER_ORDER)
    }


def test_the_reviewers_are_the_identity():
    assert judge("gpt35").identity().model == (
        "gpt-4-0328-coding, gpt-4-0328-generic, gpt-4-0328-math"
    )


def test_categories_of_a_recorded_pair():
    comparisons = read("gpt35")
    scores = [shares(each, "single") for each in comparisons]
    found = by_category(items_of(comparisons), scores)
    rates = {name: round(group["win_rate"].value, 2) for name, group in found.items()}
    assert rates == {
        "coding": 0.93, "common-sense": 0.55, "counterfactual": 0.45, "fermi": 1, "generic": 0.7,
        "knowledge": 0.6, "math": 1, "roleplay": 0.65, "writing": 0.6,
    }  # fmt: skip
    assert found["coding"]["win_rate"].n == 7


def test_the_other_side_of_a_recorded_pair_has_the_rest():
    here, back = read("gpt35"), read("gpt35", turned=True)
    assert [preference(each, "single") for each in here] == [
        1 - preference(each, "single") for each in back
    ]
    assert back[0].judgements[0].model_first is False


def test_length_control_of_a_recorded_pair_is_antisymmetric():
    rates = [
        length_controlled(
            [preference(each, "single") for each in side],
            [len(each.answer) for each in side],
            [len(each.baseline) for each in side],
        ).value
        for side in (read("bard"), read("bard", turned=True))
    ]
    assert 0 < rates[0] < 1
    assert sum(rates) == pytest.approx(1, abs=1e-3)
