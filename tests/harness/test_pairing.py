"""What two states, or two of anything, have to do with each other."""

import json
from pathlib import Path

import launch
import numpy as np
import pytest
from builders import entry

from harness import leaderboard
from harness.compare import Comparison, compare, compare_boards
from harness.errors import HarnessError
from harness.packing import pack
from harness.report.comparison import comparison_summary, comparison_table
from harness.report.terminal import render
from harness.schema import Entry

RNG = np.random.default_rng(3)
BASE = [int(bit) for bit in RNG.random(300) < 0.9]
LEAST = [bit if i % 5 else 0 for i, bit in enumerate(BASE)]
LOWER = [bit if i % 30 else 0 for i, bit in enumerate(BASE)]


def boards(*entries: Entry) -> dict[tuple[bool, str], dict[str, Entry]]:
    found: dict[tuple[bool, str], dict[str, Entry]] = {}
    for each in entries:
        found.setdefault((each.lab, each.task.name), {})[each.place] = each
    return found


def runs(lower: bool, count: int = 5) -> list[Entry]:
    """Five seeds, each with some items of its own wrong, and 2 points lower or not."""
    made = []
    for seed in range(count):
        bits = [0 if i % 45 == 9 * seed % 45 else bit for i, bit in enumerate(BASE)]
        fall = range(11 + seed, 300, 43) if lower else ()
        made.append(entry([0 if i in fall else bit for i, bit in enumerate(bits)], seed=seed))
    return made


def test_seeds_of_one_question_are_one_comparison() -> None:
    old, new = boards(*runs(False)), boards(*runs(True))
    (row,) = compare_boards(old, new).rows
    assert (row.seeds, row.verdict) == ([0, 1, 2, 3, 4], "worse")
    assert row.contrast is not None
    assert (row.contrast.test, row.contrast.checkpoint) == ("seeds", False)
    assert row.contrast.p_holm == row.contrast.p
    assert "seed" not in row.question


def test_each_seed_by_itself_on_request(tmp_path: Path) -> None:
    for name, lower in (("a", False), ("b", True)):
        for each in runs(lower):
            leaderboard.record(tmp_path / name, each)
    sides = str(tmp_path / "a"), str(tmp_path / "b")
    assert len(compare(*sides).rows) == 1
    rows = compare(*sides, per_seed=True).rows
    assert [row.question[-6:] for row in rows] == [f"seed={seed}" for seed in range(5)]
    assert all(row.contrast and row.contrast.checkpoint for row in rows)


def test_equal_scores_are_no_comparisons_whatever_else_changed() -> None:
    """One real drop among fifty results hides behind no new field of the others' config."""
    others = [entry(BASE, task=f"t{i}") for i in range(50)]
    newer = [each.model_copy(update={"config": {**each.config, "new": 1}}) for each in others]
    dropped = entry(LOWER, task="dropped")
    found = []
    for rest in (others, newer):
        result = compare_boards(
            boards(*others, entry(BASE, task="dropped")), boards(*rest, dropped)
        )
        verdicts = {row.task: row.verdict for row in result.rows}
        assert verdicts.pop("dropped") == "worse"
        assert set(verdicts.values()) == {"unchanged"}
        found.append(result)
    first, second = ([row.contrast for row in each.rows if row.contrast] for each in found)
    assert first == second
    text = render(comparison_summary(found[1]), 140)
    assert "unchanged scores, but other fields differ in 50 results: config 50." in text
    assert "this checkpoint: worse" in text
    assert "--seeds 3 says more" in text


def test_seeds_that_did_not_change_say_nothing_of_those_that_did() -> None:
    old = [entry(BASE, seed=seed) for seed in range(3)]
    result = compare_boards(boards(*old), boards(entry(LOWER, seed=0), *old[1:]))
    assert [(row.seeds, row.verdict) for row in result.rows] == [
        ([0], "worse"),
        ([1, 2], "unchanged"),
    ]


def test_sides_without_a_common_seed_stand_against_each_other() -> None:
    old = [entry(BASE, seed=seed) for seed in range(2)]
    new = [entry(LOWER, seed=seed) for seed in range(2, 5)]
    result = compare_boards(boards(*old), boards(*new))
    (row,) = result.rows
    assert row.contrast is not None
    assert row.contrast.seeds == (2, 3)
    assert (result.new, result.vanished) == ([], [])
    more = compare_boards(boards(*old), boards(*old, *new))
    assert [row.verdict for row in more.rows] == ["unchanged"]
    assert [single.seeds for single in more.new] == [[2, 3, 4]]


def test_new_results_stand_against_the_baseline_of_their_own_state() -> None:
    base, new = entry(LOWER, method="base", seed=None), entry(BASE)
    result = compare_boards(boards(base), boards(base, new))
    (single,) = result.new
    assert single.contrast is not None
    assert single.contrast.difference == pytest.approx(np.mean(BASE) - np.mean(LOWER))
    text = render(comparison_summary(result), 140)
    assert "New in b: 1" in text
    assert f"accuracy {np.mean(BASE):.3f}" in text
    assert f"+{single.contrast.difference:.3f} [+" in text
    assert result.failures() == set()


def test_what_fails_a_check() -> None:
    def failures(old: list[Entry], new: list[Entry]) -> set[str]:
        return compare_boards(boards(*old), boards(*new)).failures()

    other = entry(BASE, method="dpo")
    assert failures([entry(BASE)], [entry(BASE)]) == set()
    assert failures([entry(BASE)], [entry(LOWER)]) == {"worse"}
    assert failures([entry(BASE), other], [entry(BASE)]) == {"missing"}
    assert failures([entry(BASE), other], [entry(BASE), other.model_copy(update={"limit": 9})]) == {
        "refused"
    }
    # A changed card, or a new name of everything, turns no check green.
    assert failures([entry(BASE)], [entry(BASE, card="c1")]) == {"worse", "refused"}
    assert failures([entry(BASE)], [other]) == {"worse", "missing"}
    assert failures([], [other]) == set()


@pytest.mark.parametrize(
    ("fail_on", "status"),
    [("worse", 0), ("missing", 1), ("worse,refused", 0), ("refused,missing", 1)],
)
def test_check_on_the_command_line(tmp_path: Path, fail_on: str, status: int) -> None:
    for name, entries in (("a", [entry(BASE), entry(BASE, method="dpo")]), ("b", [entry(BASE)])):
        for each in entries:
            leaderboard.record(tmp_path / name, each)
    done = launch.run(["compare", "a", "b", "--fail-on", fail_on], tmp_path)
    assert done.status == status, done.stderr


def test_a_summary_fits_one_screen() -> None:
    old = boards(
        *(entry(BASE, task=f"t{i}", method=f"m{j}") for i in range(30) for j in range(20)),
        *(entry(BASE, task=f"v{i}") for i in range(30)),
        *(entry(BASE, task=f"c{i}") for i in range(30)),
    )
    new = boards(
        *(entry(LEAST, task=f"t{i}", method=f"m{j}") for i in range(30) for j in range(20)),
        *(entry(BASE, task=f"n{i}") for i in range(30)),
        *(entry(BASE, task=f"c{i}", card="c1") for i in range(30)),
    )
    result = compare_boards(old, new)
    for width in (80, 140):
        lines = render(comparison_summary(result), width).splitlines()
        assert len(lines) <= 40
    total = next(line for line in lines if line.startswith("all "))
    assert total.split() == ["all", "600", "30", "30", "30"]
    assert "not compared: task card differs (30)." in lines
    assert "1 more: --details" not in lines
    assert "596 more: --details" in lines
    assert len(render(comparison_table(result), 140).splitlines()) > 600


def test_the_family_of_holm_is_named_and_what_is_outside_marked(tmp_path: Path) -> None:
    old = [entry(BASE, task=name) for name in "ab"]
    new = [entry(LOWER, task=name) for name in "ab"]
    text = render(comparison_table(compare_boards(boards(*old), boards(*new))), 200)
    assert "p after Holm over 2 comparisons: all whose scores changed" in text


# Two of anything


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Two models, two methods with three seeds each, a setting, a judge."""
    kept = {"judged": {"judge": {"name": "llm", "model": "one"}}}
    root = tmp_path / "leaderboards"
    entries = [entry(LOWER, method="base", seed=None, model=model) for model in ("m1", "m2")]
    for model, scores in (("m1", LOWER), ("m2", BASE)):
        entries += [entry(scores, model=model, seed=seed) for seed in range(3)]
        entries.append(entry(BASE, model=model, seed=0, method="dpo"))
    entries.append(entry(BASE, model="m1", overrides={"train.lr": 0.1}))
    for judge in ("one", "two"):
        task = entries[0].task.model_copy(
            update={"judge": {**kept["judged"]["judge"], "model": judge}}
        )
        scores = BASE if judge == "one" else LOWER
        entries.append(entry(scores, model="m3").model_copy(update={"task": task}))
    for each in entries:
        leaderboard.record(root, each)
    return root


def across(root: Path, a: str, b: str, kind: str) -> Comparison:
    return compare(a, b, root, across=kind)


def test_two_models_on_the_same_items(kept: Path) -> None:
    result = across(kept, "m1", "m2", "model")
    rows = {row.question.split()[0]: row for row in result.rows}
    assert {name: row.verdict for name, row in rows.items()} == {
        "base": "unchanged",
        "aspo": "better",
        "dpo": "unchanged",
    }
    assert rows["aspo"].contrast is not None
    assert rows["aspo"].contrast.seeds == (3, 3)
    assert [each.question for each in result.vanished] == ["aspo lab/scenes-pairs train.lr=0.1"]
    assert render(comparison_summary(result)).startswith("model: m1 -> m2\n")


def test_two_methods_of_the_same_model_whatever_they_learn_from(kept: Path) -> None:
    rows = across(kept, "base", "aspo", "method").rows
    assert [(row.question, row.verdict) for row in rows] == [("m1", "unchanged"), ("m2", "better")]
    assert [row.verdict for row in across(kept, "aspo", "base", "method").rows][1] == "worse"


def test_two_seeds_and_two_values_of_a_setting(kept: Path) -> None:
    rows = across(kept, "0", "1", "seed").rows
    assert {row.verdict for row in rows} == {"unchanged"}
    result = across(kept, "default", "0.1", "train.lr")
    assert [row.verdict for row in result.rows] == ["better"]
    assert (result.vanished, result.new) == ([], [])


def test_two_judges_of_the_same_answers(kept: Path) -> None:
    (row,) = across(kept, "llm one", "llm two", "judge").rows
    assert row.verdict == "worse"


def test_models_in_two_folders(kept: Path, tmp_path: Path) -> None:
    for name, model, scores in (("x", "m8", BASE), ("y", "m9", LOWER)):
        leaderboard.record(tmp_path / name, entry(scores, model=model))
    (row,) = across(kept, str(tmp_path / "x"), str(tmp_path / "y"), "model").rows
    assert row.verdict == "worse"


def test_what_differs_in_more_is_refused_with_what_differs(kept: Path) -> None:
    leaderboard.record(kept, entry(BASE, model="m4", seed=0, fingerprint="f9"))
    result = across(kept, "m2", "m4", "model")
    (refusal,) = result.refused
    assert refusal.reason == "fingerprint of the items differs: f0 / f9"
    # One method with two settings: which of them, the values do not say.
    result = across(kept, "aspo", "dpo", "method")
    assert [row.question for row in result.rows] == ["m1", "m2"]


def test_values_that_no_result_has(kept: Path) -> None:
    with pytest.raises(HarnessError, match=r"has the model 'm7'.*There are: m1, m2, m3\."):
        across(kept, "m1", "m7", "model")
    with pytest.raises(HarnessError, match=r"no result in .* says its modle"):
        across(kept, "m1", "m2", "modle")


def test_a_task_that_neither_side_has_is_refused(kept: Path) -> None:
    with pytest.raises(HarnessError, match=r"task 'popo' on either side\. Did you mean 'pope'\?"):
        compare("m1", "m2", kept, tasks=["popo"], across="model")


def test_compare_works_from_a_sub_folder(kept: Path) -> None:
    below = kept.parent / "a" / "b"
    below.mkdir(parents=True)
    done = launch.run(["compare", "m1", "m2", "--across", "model", "--json"], below)
    assert done.status == 0, done.stderr
    assert len(json.loads(done.stdout)["rows"]) == 3


def test_differences_of_further_metrics_do_not_make_a_comparison() -> None:
    old = entry(BASE, paired={"f1": pack([(bit, 1) for bit in BASE])})
    new = entry(BASE, paired={"f1": pack([(bit, 1) for bit in LOWER])})
    (row,) = compare_boards(boards(old), boards(new)).rows
    assert (row.verdict, row.changed) == ("unchanged", {"paired": 1})
