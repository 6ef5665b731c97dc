"""Files of outputs as users have them: FastChat's, AlpacaEval's, BPO's, a run's own."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import DataError
from harness.output_files import matched, outputs_in
from harness.outputs import read_outputs
from harness.records import Record
from harness.task import Item


def asked(*prompts: str, ids: Any = None) -> list[Item]:
    names = ids or [f"item {i}" for i in range(len(prompts))]
    return [Item(name, {"prompt": text}, None) for name, text in zip(names, prompts, strict=True)]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


FORMS = {
    "FastChat, one turn": ({"question_id": 1, "text": "A"}, ["A"]),
    "FastChat, two turns": ({"choices": [{"index": 0, "turns": ["A", "B"]}]}, ["A", "B"]),
    "AlpacaEval": ({"instruction": "Q", "output": "A", "generator": "g"}, ["A"]),
    "BPO beside an annotator's": ({"instruction": "Q", "output": "gold", "res": "A"}, ["A"]),
    "a run's own": ({"id": "1", "outputs": ["A", "B"], "reference": None}, ["A", "B"]),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_usual_field_is_found(form):
    row, expected = FORMS[form]
    assert outputs_in(Record("x line 1", row)) == {"": expected}


def test_a_path_leads_into_lists():
    record = Record("x line 1", {"outputs": ["A", "B"], "choices": [{"turns": ["C"]}]})
    assert outputs_in(record, "outputs.1") == {"": ["B"]}
    assert outputs_in(record, "choices.0.turns.0") == {"": ["C"]}
    for path in ("outputs.2", "outputs.x", "choices.1.turns", "outputs.-1"):
        with pytest.raises(DataError, match=f"^x line 1: there is no '{path}'"):
            outputs_in(record, path)


def test_records_without_ids_are_found_by_the_prompts_that_they_repeat(tmp_path):
    items = asked("one", "two", "one")
    rows = [{"instruction": text, "output": text.upper() + mark} for text, mark in
            (("two", ""), ("one", "1"), ("three", ""), ("one", "2"))]  # fmt: skip
    found = matched(write(tmp_path / "said.jsonl", rows), items)
    assert [record.fields["output"] for record in found] == ["ONE1", "TWO", "ONE2"]


def test_a_record_in_the_place_of_another_prompts_is_refused(tmp_path):
    items = asked("one", "two")
    rows = [{"prompt": "two", "output": "A"}, {"prompt": "else", "output": "B"}]
    with pytest.raises(DataError, match=r"said.jsonl line 1: answers another prompt than item"):
        matched(write(tmp_path / "said.jsonl", rows), items)


def test_records_that_repeat_other_texts_go_by_their_order(tmp_path):
    items = asked("one\ncontext", "two")
    rows = [{"instruction": "one", "output": "A"}, {"instruction": "two", "output": "B"}]
    found = matched(write(tmp_path / "said.jsonl", rows), items)
    assert [record.fields["output"] for record in found] == ["A", "B"]


def test_ids_stand_over_prompts(tmp_path):
    items = asked("one", "two", ids=["0", "1"])
    rows = [
        {"idx": "1", "instruction": "one", "res": "A"},
        {"idx": "0", "instruction": "two", "res": "B"},
    ]
    found = matched(write(tmp_path / "said.jsonl", rows), items)
    assert [record.fields["res"] for record in found] == ["B", "A"]


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=6), st.randoms())
def test_any_order_of_the_same_prompts_is_put_right(tmp_path_factory, prompts, random):
    rows = [{"instruction": text, "output": f"{text}!"} for text in prompts]
    random.shuffle(rows)
    file = write(tmp_path_factory.mktemp("any") / "said.jsonl", rows)
    found = matched(file, asked(*prompts))
    assert [record.fields["output"] for record in found] == [f"{text}!" for text in prompts]


COUNTS = {
    "one too few": (2, ["A"], {"baseline": ""}, r"compare with by --option baseline=FILE\."),
    "two for one": (1, ["A", "B"], {"baseline": "x"}, r"by --field, as outputs\.0\."),
    "no such option": (2, ["A"], {}, r"one per request, in their order\."),
    "three for two": (2, ["A"] * 3, {"baseline": ""}, r"one per request, in their order\."),
}


@pytest.mark.parametrize("kind", COUNTS)
def test_another_number_of_outputs_is_one_line_with_the_fix(kind, tmp_path):
    requests, outputs, options, message = COUNTS[kind]
    task = SimpleNamespace(
        requests=lambda item: ["Q"] * requests, card=SimpleNamespace(options=options)
    )
    scored = SimpleNamespace(task=task, items=asked("one"))
    file = write(tmp_path / "said.jsonl", [{"outputs": outputs}])
    with pytest.raises(DataError, match=rf"^said.jsonl line 1: item 'item 0' asks .*{message}$"):
        read_outputs(file, scored)
