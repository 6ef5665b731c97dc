"""The store: rows by the hash of what they depend on, resumable in chunks."""

import json
import multiprocessing
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.store import Store, link


def doubled(calls):
    def function(items, start):
        calls.append((list(items), start))
        return [{"value": 2 * item, "at": start + i} for i, item in enumerate(items)]

    return function


@settings(deadline=None, max_examples=40)
@given(items=st.lists(st.integers(), max_size=12), chunk=st.integers(1, 13), stop=st.integers(0, 5))
def test_rows_do_not_depend_on_where_a_computation_was_broken_off(
    items, chunk, stop, tmp_path_factory
):
    store = Store(tmp_path_factory.mktemp("store"))
    expected = [{"value": 2 * item, "at": i} for i, item in enumerate(items)]
    calls = []

    def breaking(part, start):
        if len(calls) == stop:
            raise KeyboardInterrupt
        return doubled(calls)(part, start)

    with suppress(KeyboardInterrupt):
        store.mapped("rows", {"a": 1}, items, breaking, chunk=chunk)
    seen = []
    assert store.mapped("rows", {"a": 1}, items, doubled(calls), chunk, seen.append) == expected
    assert sum(seen) == len(items)
    assert [item for part, _ in calls for item in part] == items  # each was computed once
    store.mapped("rows", {"a": 1}, items, doubled(calls), chunk)
    assert sum(len(part) for part, _ in calls) == len(items)


def test_other_inputs_or_another_kind_are_other_rows(tmp_path):
    calls = []
    store = Store(tmp_path)
    for kind, inputs in (("a", {"x": 1}), ("a", {"x": 2}), ("b", {"x": 1}), ("a", {"x": "1"})):
        store.mapped(kind, inputs, [1], doubled(calls))
    assert len(calls) == 4
    store.mapped("a", {"x": 2}, [1], doubled(calls))
    assert len(calls) == 4


def test_a_function_that_forgets_a_row_is_an_error_and_nothing_is_kept(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(HarnessError, match="1 results for 2 items"):
        store.mapped("rows", {}, [1, 2], lambda items, _: [{}])
    assert not list(tmp_path.rglob("*.jsonl"))


def test_rows_for_another_number_of_items_are_an_error(tmp_path):
    store = Store(tmp_path)
    store.mapped("rows", {}, [1, 2], doubled([]))
    with pytest.raises(HarnessError, match="2 rows for 3 items: remove"):
        store.mapped("rows", {}, [1, 2, 3], doubled([]))


def _compute(root, gate, calls):
    def counted(items, start):
        with calls.get_lock():
            calls.value += 1
        return doubled([])(items, start)

    for number in range(20):
        gate.wait()
        Store(root).mapped("rows", {"number": number}, list(range(6)), counted, chunk=2)


def test_of_two_runs_at_once_one_computes(tmp_path):
    context = multiprocessing.get_context("fork")
    gate, calls = context.Barrier(2, timeout=20), context.Value("i", 0)
    workers = [context.Process(target=_compute, args=(tmp_path, gate, calls)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert calls.value == 20 * 3
    for path in tmp_path.glob("rows/*/rows.jsonl"):
        assert [json.loads(text)["value"] for text in path.open()] == [0, 2, 4, 6, 8, 10]


def test_a_link_replaces_what_stood_there(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    place = tmp_path / "run" / "checkpoint"
    link(tmp_path / "one", place)
    link(tmp_path / "two", place)
    assert place.resolve() == tmp_path / "two"
    place.unlink()
    place.mkdir()
    (place / "file").write_text("copied")
    link(tmp_path / "one", place)
    assert place.resolve() == tmp_path / "one"
