"""The tasks on real questions and real answers, from files alone."""

from collections import Counter
from pathlib import Path

import pytest

from tests.tasks.preference.preference_user import card, items_of, plain

DATA = Path(__file__).parents[4] / "shared" / "data" / "preference"
SETS, BENCH = DATA / "bpo_testsets", DATA / "mt_bench_vicuna_bench"
VICUNA = DATA / "vicuna80_answers_gpt4_reviews"

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the real data sets (../shared/data) are not on this machine"
)

COUNTS = {
    "vicuna_eval.jsonl": (80, 9),
    "dolly_eval.json": (200, 8),
    "self_instruct_eval.json": (252, 71),
    "bpo_test.json": (200, 1),
}


@pytest.mark.parametrize("name", COUNTS)
def test_bpos_sets_are_read(name):
    items = items_of(plain(Path(name).stem), SETS / name)
    count, categories = COUNTS[name]
    assert len(items) == count
    assert len({item.category for item in items}) == categories
    assert all(item.inputs["prompt"].strip() for item in items)
    assert all(set(item.inputs) == {"prompt"} for item in items)


def test_contexts_stand_below_their_instruction():
    items = items_of(plain("dolly_eval"), SETS / "dolly_eval.json")
    question, _, context = items[0].inputs["prompt"].partition("\n")
    assert question == "Who owns the largest share of the Vancouver Whitecaps FC?"
    assert context.startswith("Vancouver Whitecaps FC is owned by a group of four investors")
    assert [item.id for item in items[:3]] == ["0", "1", "2"]


def test_mt_bench_is_read_with_gpt4s_references():
    references = BENCH / "mt_bench__reference_answer__gpt-4.jsonl"
    items = items_of(
        card("mtbench", references=str(references)), BENCH / "mt_bench__question.jsonl"
    )
    assert Counter(item.category for item in items if item.reference) == {
        "math": 10,
        "coding": 10,
        "reasoning": 10,
    }
    assert len(items) == 80 and items[0].reference is None
    assert items[20].reference[0].startswith("If you have just overtaken the second person")
    bare = items_of(plain("mtbench"), BENCH / "mt_bench__question.jsonl")
    assert sum(item.reference is not None for item in bare) == 29


def test_vicuna_bench_is_read_with_gpt4s_references():
    references = BENCH / "vicuna_bench__reference_answer__gpt-4.jsonl"
    task = card("vicuna_bench", references=str(references))
    items = items_of(task, BENCH / "vicuna_bench__question.jsonl")
    assert len(items) == 80 and sum(item.reference is not None for item in items) == 10


def test_reference_answers_are_right_by_known_truth(harness):
    references = BENCH / "vicuna_bench__reference_answer__gpt-4.jsonl"
    asked = harness.folder / "asked.jsonl"
    rows = (BENCH / "vicuna_bench__question.jsonl").read_text().splitlines(keepends=True)
    asked.write_text("".join(rows[60:70]))
    entry = harness.entry(
        "vicuna_bench",
        *("score", "--task", "vicuna_bench", "--source", asked, "--predictions", references),
        *("--option", f"references={references}", "--judge", "lab"),
    )
    assert entry.metrics["score"].value == 10 and entry.metrics["score"].n == 10


RATES = {
    "gpt35": (0.688, 0.597, 0.766),
    "bard": (0.438, 0.338, 0.542),
    "alpaca-13b": (0.044, 0.016, 0.112),
    "llama-13b": (0.038, 0.013, 0.107),
}


@pytest.mark.parametrize("model", RATES)
def test_real_answers_with_real_reviews_have_a_win_rate(model, harness):
    sides = [VICUNA / f"answer_{name}.jsonl" for name in (model, "vicuna-13b")]
    entry = harness.entry(
        "vicuna_eval",
        *("score", "--task", "vicuna_eval", "--source", SETS / "vicuna_eval.jsonl"),
        *("--predictions", sides[0], "--option", f"baseline={sides[1]}"),
        *("--option", "orders=model_first", "--judge", "recorded"),
        *("--judge-option", f"reviews={VICUNA / f'review_{model}_vicuna-13b.jsonl'}"),
        *("--judge-option", f"questions={VICUNA / 'question.jsonl'}"),
        *("--judge-option", f"answers={sides[0]},{sides[1]}"),
    )
    rate = entry.metrics["win_rate"]
    assert (rate.value, rate.low, rate.high) == pytest.approx(RATES[model], abs=6e-4)
    assert rate.n == 80 and entry.metrics["failed"].value == 0
    assert entry.metrics["first_wins"].value is None
    assert len(entry.categories) == 9
    if model == "gpt35":
        found = {name: round(each["win_rate"].value, 2) for name, each in entry.categories.items()}
        assert found == {
            "coding": 0.93, "common-sense": 0.55, "counterfactual": 0.45, "fermi": 1,
            "generic": 0.7, "knowledge": 0.6, "math": 1, "roleplay": 0.65, "writing": 0.6,
        }  # fmt: skip
