"""Rows that are too long or teach nothing: refused, left out or cut, counted and named."""

import json
from pathlib import Path

import pytest

from harness.errors import DataError
from harness.selection import FILE, Notes, by_difference, by_length, summary


def place(index: int) -> str:
    return f"rows.jsonl line {index + 1}"


def kept(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / FILE).read_text().splitlines()]


EXCESS = [-5, 3, 0, 1]


def test_what_is_too_long_is_refused_with_its_place_and_a_way_out(tmp_path):
    with pytest.raises(DataError) as found:
        by_length(Notes(tmp_path), EXCESS, "refuse", place)
    assert str(found.value).startswith("rows.jsonl line 2: 3 tokens too long. 1 more. Set too_long")
    assert not (tmp_path / FILE).exists()


def test_what_is_too_long_is_left_out_or_cut_and_said_once(tmp_path, caplog):
    notes = Notes(tmp_path)
    assert by_length(notes, EXCESS, "drop", place) == [0, 2]
    said = "left out 2 rows to train on: rows.jsonl line 2: 3 tokens too long. 1 more."
    assert caplog.messages == [said]
    assert by_length(notes, EXCESS, "cut", place, "titles") == [0, 1, 2, 3]
    assert by_length(notes, EXCESS, "cut", place, "titles") == [0, 1, 2, 3]
    assert caplog.messages[1:] == [said.replace("left out 2 rows", "cut 2 titles")]
    lines = [f"{place(1)}: 3 tokens too long.", f"{place(3)}: 1 tokens too long."]
    assert kept(tmp_path) == [{did: line} for did in ("left_out", "cut") for line in lines]


def test_where_all_fits_nothing_is_said(tmp_path, caplog):
    for how in ("refuse", "drop", "cut"):
        assert by_length(Notes(tmp_path), [0, -1], how, place) == [0, 1]
    assert by_difference(Notes(tmp_path), [False, False], place) == [0, 1]
    assert caplog.messages == []
    assert not (tmp_path / FILE).exists()


def test_pairs_with_the_same_answers_are_left_out_and_none_left_is_an_error(tmp_path, caplog):
    assert by_difference(Notes(tmp_path), [True, False, True], place) == [1]
    (said,) = caplog.messages
    assert said.startswith("left out 2 pairs to train on: rows.jsonl line 1: both answers are the")
    with pytest.raises(
        DataError, match=r"^no pairs are left to train on: rows.jsonl line 1: .* 1 m"
    ):
        by_difference(Notes(tmp_path), [True, True], place)
    with pytest.raises(DataError, match=r"^no rows are left"):
        by_length(Notes(tmp_path), [1], "drop", place)


def test_a_training_takes_over_what_its_stages_noted(tmp_path, caplog):
    whole, stage = Notes(tmp_path / "fit"), Notes(tmp_path / "stage")
    stage.said = whole.said
    for notes in (whole, stage):
        by_length(notes, EXCESS, "drop", place)
    by_difference(stage, [True, False], place)
    assert caplog.text.count("line 2: 3 tokens") == 1
    whole.take(tmp_path / "stage")
    whole.take(tmp_path / "absent")
    assert kept(tmp_path / "fit") == kept(tmp_path / "stage") and len(whole.lines) == 3


def test_a_summary_counts_all_that_was_left_out_and_cut(tmp_path):
    assert summary(tmp_path) == []
    notes = Notes(tmp_path)
    by_length(notes, EXCESS, "drop", place)
    by_difference(notes, [True, False], place)
    by_length(notes, [0, 7], "cut", place)
    assert summary(tmp_path) == [
        "left out 3 rows to train on: rows.jsonl line 2: 3 tokens too long. 2 more.",
        "cut 1 rows to train on: rows.jsonl line 2: 7 tokens too long.",
    ]
