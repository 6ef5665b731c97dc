"""Leaderboards whose numbers contradict each other."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import entry
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import leaderboard
from harness.agreement import contradiction
from harness.compare import compare
from harness.errors import HarnessError
from harness.packing import pack, totals
from harness.schema import Entry, Metric
from harness.scoring import metrics

ROOT = Path(__file__).parents[2]
BOARDS = sorted((ROOT / "leaderboards").rglob("*.json"))
SCORES = [(1.0, 1.0), (0.0, 1.0), (1.0, 2.0), (0.0, 0.0), (1.0, 1.0)] * 4


def whole() -> Entry:
    """An entry with everything that can be recomputed: paired shares and categories."""
    other = [(0.1 * index, 1.0) for index in range(20)]
    names = [str(index) for index in range(20)]
    parts = {"one": range(8), "two": range(8, 20)}
    of_parts = {
        part: metrics([{"accuracy": SCORES[i]} for i in members], [names[i] for i in members])  # type: ignore[dict-item]
        for part, members in parts.items()
    }
    made = entry(SCORES, paired={"length": pack(other)}, categories=of_parts)
    more = metrics([{"length": pair} for pair in other], names)  # type: ignore[dict-item]
    extra = {"bleu": Metric(value=9.0, low=1.0, high=2.0, n=20, signature="sacrebleu")}
    return made.model_copy(update={"metrics": {**made.metrics, **more, **extra}})


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_committed_leaderboards_agree_with_themselves(path: Path) -> None:
    board = leaderboard.read(path)
    assert board.entries
    assert all(contradiction(each) is None for each in board.entries.values())


def test_what_is_recorded_can_be_read(tmp_path: Path) -> None:
    assert leaderboard.record(tmp_path, whole()) == "added"
    assert leaderboard.record(tmp_path, whole()) == "unchanged"


def _set(*path: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(raw: dict[str, Any]) -> None:
        for key in path[:-1]:
            raw = raw[key]
        raw[path[-1]] = to

    return change


def _swap(raw: dict[str, Any]) -> None:
    metric = raw["metrics"]["accuracy"]
    metric["low"], metric["high"] = metric["high"], metric["low"]


DAMAGES = {
    "value": (_set("metrics", "accuracy", "value", to=0.65), "metrics.accuracy.value is 0.65, but"),
    "last digit of a value": (
        _set("metrics", "accuracy", "value", to=0.60001),
        "metrics.accuracy.value is 0.60001",
    ),
    "no value": (_set("metrics", "accuracy", "value", to=None), "metrics.accuracy.value is None"),
    "n": (_set("metrics", "accuracy", "n", to=20), "metrics.accuracy.n is 20, but 16 of"),
    "swapped ends": (_swap, "metrics.accuracy: the interval"),
    "low": (_set("metrics", "accuracy", "low", to=0.61), "outside its interval"),
    "high": (_set("metrics", "accuracy", "high", to=0.2), "metrics.accuracy"),
    "one end": (_set("metrics", "accuracy", "low", to=None), "one end of an interval"),
    "paired value": (_set("metrics", "length", "value", to=1.0), "metrics.length.value is 1, but"),
    "paired n": (_set("metrics", "length", "n", to=4), "metrics.length.n is 4"),
    "paired metric": (lambda raw: raw["metrics"].pop("length"), "metrics has no 'length'"),
    "paired items": (_set("paired", "length", "n", to=19), "paired.length"),
    "primary": (_set("primary", to="length"), "metrics.length"),
    "items": (
        lambda raw: raw["items"].update(numerator=pack([(0, 1)] * 19 + [(1, 1)]).numerator),
        "packed items give",
    ),
    "a category's n": (_set("categories", "one", "accuracy", "n", to=3), "categories.*.accuracy.n"),
    "a category's value": (
        _set("categories", "one", "accuracy", "value", to=0.0),
        "categories.one.accuracy",
    ),
    "a category's interval": (
        _set("categories", "two", "accuracy", "low", to=0.99),
        "categories.two.accuracy",
    ),
    "a corpus metric's interval": (_set("metrics", "bleu", "low", to=3.0), "metrics.bleu"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_number_changed_by_hand_is_refused_with_file_and_place(name: str, tmp_path: Path) -> None:
    change, said = DAMAGES[name]
    leaderboard.record(tmp_path, whole())
    path = tmp_path / "lab" / "pope.json"
    value = json.loads(path.read_text())
    (place,) = value["entries"]
    change(value["entries"][place])
    path.write_text(json.dumps(value))
    with pytest.raises(HarnessError) as error:
        leaderboard.read(path)
    message = str(error.value)
    assert message.startswith(f"{path}: entry '{place}': ") and said in message, message
    assert "\n" not in message
    with pytest.raises(HarnessError, match="entry"):
        compare(path, path)
    with pytest.raises(HarnessError, match="entry"):
        leaderboard.record(tmp_path, entry(method="dpo"))


@pytest.mark.parametrize("path", BOARDS[::6], ids=lambda path: path.stem)
def test_any_changed_value_of_a_committed_leaderboard_is_found(path: Path) -> None:
    for each in list(leaderboard.read(path).entries.values())[::29]:
        for name in [each.primary, *each.paired]:
            metric = each.metrics[name]
            assert metric.value is not None
            changed = [{"n": metric.n + 1}, {"value": metric.value * 1.001 + 1e-6}]
            if metric.low is not None and metric.low != metric.high:
                changed += [{"low": metric.high, "high": metric.low}, {"high": metric.low}]
            for update in changed:
                other = {**each.metrics, name: metric.model_copy(update=update)}
                assert contradiction(each.model_copy(update={"metrics": other})), (name, update)


def test_a_task_whose_primary_metric_is_not_its_items_is_not_recorded(tmp_path: Path) -> None:
    wrong = entry([1, 0]).model_copy(update={"metrics": {"accuracy": Metric(value=0.9, n=2)}})
    with pytest.raises(HarnessError, match=r"task 'pope': .* contradicts itself: .*0\.9, but"):
        leaderboard.record(tmp_path, wrong)
    assert not (tmp_path / "lab" / "pope.json").exists()


numbers = st.one_of(
    st.integers(0, 5).map(float), st.floats(-1e6, 1e6), st.floats(-1e-3, 1e-3), st.floats(0, 1e-40)
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(numbers, st.floats(0.01, 1e3) | st.sampled_from([0.0, 1.0, 2.0]))))
def test_rounding_alone_is_no_contradiction(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[float, float]]
) -> None:
    pairs = [(num if den else 0.0, den) for num, den in pairs]
    leaderboard.record(tmp_path_factory.mktemp("boards"), entry(pairs or [(1.0, 1.0)]))


@given(st.lists(st.tuples(numbers, st.sampled_from([0.0, 1.0, 2.5]))))
def test_totals_are_the_sums_within_their_error(pairs: list[tuple[float, float]]) -> None:
    found = totals(pack(pairs))
    columns = np.array(pairs).reshape(-1, 2)
    for place, total, error in ((0, found[0], found[3]), (1, found[1], found[4])):
        exact = float(columns[:, place].sum())
        assert abs(total - exact) <= error + 1e-9 * abs(columns[:, place]).sum()
    assert found.counted == np.count_nonzero(columns[:, 1])
