"""AlpacaEval from its files: weighted win rates, and those of answers of one length."""

import json

import pytest

from harness.errors import DataError
from harness.task import Prediction
from tasks.preference.length_control import Gamed, length_controlled
from tests.tasks.preference.preference_user import card, items_of, plain
from tests.tasks.preference.recorded_files import array

COUNT = 60
PREFERENCES = [2, 1.9, 1.8, 1.5, None, 1.55, 1.97, 0, 1.4, 1.9, 1.85, 1.99] * 5
"""As AlpacaEval writes them: 2 where the model wins; 0 was a tie once; null failed."""


def instruction(number):
    return f"do {number}"


def outputs(name):
    """A model's file of outputs, with answers of different lengths."""
    grow = 7 if name == "own" else 3
    return [
        {
            "dataset": "koala",
            "instruction": instruction(i),
            "output": f"{name} {i} {'x' * (i * grow % 31)}",
            "generator": name,
        }
        for i in range(COUNT)
    ]


def annotations():
    own, base = outputs("own"), outputs("base")
    return [
        {
            "instruction": instruction(i),
            "output_1": base[i]["output"],
            "generator_1": "base",
            "output_2": own[i]["output"],
            "generator_2": "own",
            "annotator": "weighted_gpt4",
            "preference": PREFERENCES[i],
        }
        for i in range(COUNT)
    ]


def gamed(folder, count=COUNT, name="df_gamed.csv"):
    """Two gamed baselines' rows, as AlpacaEval's file has them."""
    lines = ["index,preference,instruction_difficulty,not_gamed_baseline,std_delta_len,model"]
    for model, sign in (("concise", 1), ("verbose", -1)):
        lines += [
            f"{i},{0.5 - 0.005 * sign * i},{i / 10 - 0.5},False,{sign * (0.3 + i / 20)},{model}"
            for i in range(count)
        ]
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def files(tmp_path):
    found = {name: array(tmp_path / f"{name}.json", outputs(name)) for name in ("own", "base")}
    return {**found, "annotations": array(tmp_path / "annotations.json", annotations())}


def words(files, *more):
    return [
        *("score", "--task", "alpaca_eval", "--source", files["base"]),
        *("--predictions", files["own"], "--judge", "recorded"),
        *("--judge-option", f"annotations={files['annotations']}", *more),
    ]


def told():
    """Index -> preference for the model, without what failed; by hand."""
    return {i: {0: 0.5}.get(p, (p or 1) - 1) for i, p in enumerate(PREFERENCES) if p is not None}


def preferences():
    """The same of every item, None where the judgement failed."""
    return [told().get(i) for i in range(COUNT)]


def lengths(name):
    return [len(row["output"]) for row in outputs(name)]


def test_files_alone_give_both_rates(harness, files):
    entry = harness.entry("alpaca_eval", *words(files))
    expected = list(told().values())
    found = entry.metrics
    assert entry.primary == "win_rate"
    assert found["win_rate"].value == pytest.approx(sum(expected) / len(expected))
    wins = [(p > 0.5) + (p == 0.5) / 2 for p in expected]
    assert found["discrete_win_rate"].value == pytest.approx(sum(wins) / len(wins))
    fitted = length_controlled(preferences(), lengths("own"), lengths("base"))
    controlled = found["length_adjusted_win_rate"]
    assert found["length_controlled_win_rate"].value is None
    assert "gamed=df_gamed.csv" in found["length_controlled_win_rate"].signature
    assert controlled.value == pytest.approx(fitted.value, abs=1e-6)
    assert controlled.n == COUNT - 5 and controlled.low < controlled.value < controlled.high
    assert found["failed"].value == pytest.approx(5 / COUNT)
    # The order in which AlpacaEval showed the two is in none of its files.
    assert found["first_wins"].value is None
    assert entry.task.judge["model"] == "weighted_gpt4"


def test_the_screen_says_what_the_rate_without_gamed_baselines_is_not(harness, files):
    _, shown, _ = harness(*words(files))
    said = " ".join(shown.split())
    assert "length_adjusted_win_rate 0." in said and "length_controlled_win_rate -" in said
    assert "length_adjusted_win_rate is fitted without them and is not comparable" in said
    _, shown, _ = harness(*words(files, "--option", f"gamed={gamed(harness.folder)}"))
    assert "length_adjusted_win_rate" not in shown and "not comparable" not in shown


def test_gamed_baselines_and_difficulty_join_the_fit(harness, files):
    path = gamed(harness.folder)
    entry = harness.entry("alpaca_eval", *words(files, "--option", f"gamed={path}"))
    rows = [
        Gamed(0.5 - 0.005 * sign * i, sign * (0.3 + i / 20), i / 10 - 0.5)
        for sign in (1, -1)
        for i in range(COUNT)
    ]
    hard = [i / 10 - 0.5 for i in range(COUNT)]
    fitted = length_controlled(preferences(), lengths("own"), lengths("base"), hard, rows)
    assert "length_adjusted_win_rate" not in entry.metrics
    found = entry.metrics["length_controlled_win_rate"].value
    assert found == pytest.approx(fitted.value, abs=1e-6)
    plainly = length_controlled(preferences(), lengths("own"), lengths("base")).value
    assert abs(found - plainly) > 1e-3


def test_a_baseline_file_stands_over_the_rows_own_outputs(harness, files, tmp_path):
    bare = array(tmp_path / "eval.json", [{"instruction": instruction(i)} for i in range(COUNT)])
    shuffled = array(tmp_path / "shuffled.json", outputs("base")[::-1])
    for source, baseline in ((bare, files["base"]), (files["own"], shuffled)):
        items = items_of(card("alpaca_eval", baseline=str(baseline)), source)
        assert [each.inputs["baseline"] for each in items] == [
            row["output"] for row in outputs("base")
        ]
    assert "baseline" not in items_of(plain("alpaca_eval"), bare)[0].inputs


def test_outputs_in_another_order_are_matched_by_their_instruction(harness, files, tmp_path):
    entry = harness.entry("alpaca_eval", *words(files))
    turned = {**files, "own": array(tmp_path / "turned.json", outputs("own")[::-1])}
    assert harness(*words(turned, "--name", "turned"))[0] == 0
    both = harness.entries("alpaca_eval")
    assert len(both) == 2
    assert {each.metrics["win_rate"].value for each in both} == {entry.metrics["win_rate"].value}


def test_fewer_judged_items_than_folds_have_no_length_controlled_rate(harness, files):
    entry = harness.entry("alpaca_eval", *words(files, "--limit", "4"))
    assert entry.metrics["length_adjusted_win_rate"].value is None
    assert entry.metrics["win_rate"].value == pytest.approx((1 + 0.9 + 0.8 + 0.5) / 4)


def test_without_any_judgement_all_is_counted_as_failed(harness, files, tmp_path):
    other = [{**row, "instruction": f"{row['instruction']}?"} for row in annotations()]
    files = {**files, "annotations": array(tmp_path / "other.json", other)}
    status, _, said = harness(*words(files))
    assert status == 1
    decided = f"decided 0 of {COUNT} judgements and 0 of {COUNT} items, fewer than half"
    assert f"judge 'recorded' {decided}; the first that failed: " in said
    assert said.count("\n") == 1
    assert not list(harness.folder.glob("leaderboards/*.json"))


WRONG = {
    "short": (3, "eval.json entry 4: .* has 3 instructions and no index 3"),
    "missing": (0, "option 'gamed': .*: no such file"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_file_of_gamed_baselines_is_one_line(kind, tmp_path):
    count, message = WRONG[kind]
    path = gamed(tmp_path, count) if count else tmp_path / "no.csv"
    task = card("alpaca_eval", gamed=str(path))
    with pytest.raises(DataError, match=message) as error:
        items_of(task, array(tmp_path / "eval.json", outputs("base")))
    assert "\n" not in str(error.value)


def test_rows_with_and_without_a_baseline_are_one_line(tmp_path):
    rows = outputs("base")
    del rows[2]["output"]
    with pytest.raises(DataError, match=r"eval.json entry 3: has no 'output', others have one"):
        items_of(plain("alpaca_eval"), array(tmp_path / "eval.json", rows))


def test_what_a_file_of_gamed_baselines_holds_is_the_identity(tmp_path):
    (tmp_path / "other").mkdir()
    same = [gamed(tmp_path), gamed(tmp_path / "other")]
    found = {card("alpaca_eval", gamed=str(path)).identity() for path in same}
    other = card("alpaca_eval", gamed=str(gamed(tmp_path, 5, "short.csv"))).identity()
    assert len(found) == 1 and other not in found
    assert plain("alpaca_eval").identity() not in {other, *found}


def test_both_orders_of_one_recorded_preference_do_not_pass_for_agreement(harness, files):
    entry = harness.entry("alpaca_eval", *words(files, "--option", "orders=both"))
    expected = list(told().values())
    assert entry.metrics["win_rate"].value == pytest.approx(sum(expected) / len(expected))
    assert entry.metrics["agreement"].value is None


def test_hostile_answers_have_a_length_controlled_rate():
    task = plain("alpaca_eval")
    items = [task.items({"instruction": "a", "output": ""}, str(i))[0] for i in range(6)]
    texts = ["", "\x00", "x" * 10_000, "[[A]]", "é\n", " "]
    predictions = [
        Prediction(item.id, (text,), {"verdicts": [{"decision": "first"}] if text else []})
        for item, text in zip(items, texts, strict=True)
    ]
    scores = [task.score(*pair) for pair in zip(items, predictions, strict=True)]
    found = task.aggregate(items, predictions, scores)["length_adjusted_win_rate"]
    assert 0 < found.value < 1
    json.dumps(found.model_dump(), allow_nan=False)


@pytest.mark.parametrize(("judged", "status"), [(COUNT // 2 - 1, 1), (-(-COUNT // 2), 0)])
def test_a_result_rests_on_half_of_its_items_or_more(harness, files, tmp_path, judged, status):
    """Of the rows that have a preference, so many are left."""
    kept = [row for row in annotations() if row["preference"] is not None][:judged]
    files = {**files, "annotations": array(tmp_path / "some.json", kept)}
    done, _, said = harness(*words(files))
    assert done == status
    assert ("fewer than half" in said) == bool(status)


def test_what_rests_on_enough_is_recorded_beside_what_does_not(harness, files, tmp_path):
    rows = [{**row, "systems": {"own": row["output"], "new": "?"}} for row in outputs("own")]
    files = {**files, "own": array(tmp_path / "both.json", rows)}
    status, shown, said = harness(*words(files, "--field", "systems"))
    assert status == 1
    assert "outputs" in shown and "win_rate" in shown
    assert said.splitlines()[-1].startswith("harness: outputs on alpaca_eval: judge 'recorded'")
    (entry,) = harness.entries("alpaca_eval")
    assert entry.model.name.endswith("own")
