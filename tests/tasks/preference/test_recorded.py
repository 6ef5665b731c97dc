"""Recorded judgements are read as they are; what is wrong with a file is one line."""

from pathlib import Path
from typing import Any

import pytest

from harness.errors import DataError
from tasks.preference.length_control import Gamed
from tasks.preference.recorded import Judged, Pair, read_annotations, read_gamed, read_reviews
from tests.tasks.preference.recorded_files import (
    Rows,
    annotation,
    answers,
    array,
    lines,
    questions,
    reviews,
)


def read(folder: Path, *files: Rows, **changed: Rows) -> list[Judged]:
    rows = {"question": questions(), "own": answers("own"), "base": answers("base")} | changed
    asked, *given = (lines(folder / f"{name}.jsonl", rows[name]) for name in rows)
    paths = [lines(folder / f"review_{i}.jsonl", each) for i, each in enumerate(files)]
    return read_reviews(paths, asked, given)


def decisions(found: list[Judged]) -> list[Any]:
    return [each.decision for each in found]


def refused(call, *arguments: Any, **changed: Any) -> str:
    with pytest.raises(DataError) as caught:
        call(*arguments, **changed)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
    return message


def test_the_higher_score_wins(tmp_path):
    found = read(tmp_path, reviews([9, 8.5], [7, 7], [2, 10]))
    assert decisions(found) == ["first", "tie", "second"]
    assert found[1] == Judged(Pair("Why?", "own 2", "base 2"), "tie", "gpt-4", "7 7\nSo.")


def test_the_places_are_those_of_the_review(tmp_path):
    found = read(tmp_path, reviews([9, 8], [1, 2], first="base", second="own"))
    assert decisions(found) == ["first", "second"]
    assert found[0].pair == Pair("How?", "base 1", "own 1")


def test_files_of_both_orders_follow_each_other(tmp_path):
    there, back = reviews([9, 8]), reviews([5, 6], first="base", second="own")
    found = read(tmp_path, there, back)
    assert decisions(found) == ["first", "second"]
    assert found[1].pair == found[0].pair.turned()


def test_llavas_reviews_have_a_tuple_and_a_content(tmp_path):
    (row,) = reviews([9, 8])
    for name in ("reviewer_id", "text", "score"):
        del row[name]
    (found,) = read(tmp_path, [row | {"tuple": [3, 4], "content": "3 4\nHm."}])
    assert (found.decision, found.by, found.text) == ("second", "", "3 4\nHm.")


def test_fastchats_mark_of_an_unparsed_review_is_a_failure(tmp_path):
    found = read(tmp_path, reviews([-1, -1], [9, 1], [-1.0, 5]))
    assert decisions(found) == [None, "first", None]


def test_a_blank_answer_is_an_answer(tmp_path):
    own = answers("own")
    own[0]["text"] = ""
    assert read(tmp_path, reviews([1, 9]), own=own)[0].pair.first == ""


@pytest.mark.parametrize(
    "score", [None, "9 8", [9], [9, 8, 7], [9, "8"], [9, None], [True, 1], [-2, 5], {"a": 1}]
)
def test_a_score_that_is_no_pair_of_numbers_is_refused_with_its_line(tmp_path, score):
    message = refused(read, tmp_path, reviews([9, 8], score))
    assert message.startswith("review_0.jsonl line 2: 'score'")


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    (one,) = reviews([9, 8])
    assert "line 1: no answer has the id 'other1': give the files of answers" in refused(
        read, tmp_path, [one | {"answer2_id": "other1"}]
    )
    assert "answer 'own2' is to question 2, not 1" in refused(
        read, tmp_path, [one | {"answer2_id": "own2"}]
    )
    assert "answer 'own1' is to question 1, not 2" in refused(
        read, tmp_path, [one | {"question_id": 2, "answer2_id": "base2"}]
    )
    assert "line 1: question 1 is not in question.jsonl" in refused(
        read, tmp_path, [one], question=questions()[1:]
    )
    assert "review_1.jsonl line 1: question 1 is reviewed twice in this order, review_0" in refused(
        read, tmp_path, [one], [one]
    )
    del one["answer1_id"]
    assert "line 1: there is no 'answer1_id'. Did you mean" in refused(read, tmp_path, [one])


def test_missing_and_double_rows_are_refused(tmp_path):
    scores = reviews([9, 8], [9, 8], [9, 8])
    assert "review_0.jsonl line 3: no answer has the id 'own3'" in refused(
        read, tmp_path, scores, own=answers("own")[:2]
    )
    assert "question.jsonl line 4: question_id '1' stands twice, question.jsonl line 1" in refused(
        read, tmp_path, scores, question=questions() + questions()[:1]
    )
    assert "base.jsonl line 1: answer_id 'own1' stands twice, own.jsonl line 1" in refused(
        read, tmp_path, scores, base=answers("own")
    )
    without = answers("base")
    del without[1]["text"]
    assert "base.jsonl line 2: there is no 'text'" in refused(read, tmp_path, scores, base=without)
    assert "question.jsonl line 1: there is no 'text'. " in refused(
        read, tmp_path, scores[:1], question=[{"question_id": 1}]
    )


def test_a_line_that_is_cut_off_is_refused_with_its_number(tmp_path):
    read(tmp_path, reviews([9, 8], [9, 8], [9, 8]))
    path = tmp_path / "review_0.jsonl"
    path.write_text(path.read_text()[:-20])
    asked, *given = (tmp_path / f"{name}.jsonl" for name in ("question", "own", "base"))
    message = refused(read_reviews, [path], asked, given)
    assert message.startswith("review_0.jsonl line 3: no valid JSON")


def test_alpaca_evals_preferences_are_read_in_both_orders(tmp_path):
    values = [2, 1, 1.5, 0, 0.0, None, 1.25, float("nan")]
    rows = [annotation(i, value) for i, value in enumerate(values)]
    found = read_annotations(array(tmp_path / "annotations.json", rows))
    assert decisions(found[::2]) == [1, 0, 0.5, 0.5, 0.5, None, 0.25, None]
    assert decisions(found[1::2]) == [0, 1, 0.5, 0.5, 0.5, None, 0.75, None]
    assert found[0] == Judged(Pair("do 0", "own 0", "base 0"), 1, "judge")
    assert found[1].pair == Pair("do 0", "base 0", "own 0")


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"preference": 2.5}, "'preference' is 2.5, not between 1 and 2 and not null"),
        ({"preference": 0.5}, "'preference' is 0.5"),
        ({"preference": "2"}, "'preference' is '2'"),
        ({"preference": True}, "'preference' is True"),
        ({"output_1": None}, "'output_1' is empty"),
        ({"output_2": ["own"]}, "'output_2' is not a text"),
        ({"generator_2": "someone"}, "'generator_2' is 'someone', annotations.json entry 1 has"),
        ({"annotator": "another"}, "'annotator' is 'another'"),
    ],
)
def test_a_malformed_annotation_is_refused_with_its_place(tmp_path, fields, wrong):
    rows = [annotation(0, 2), annotation(1, 2, **fields)]
    message = refused(read_annotations, array(tmp_path / "annotations.json", rows))
    assert message.startswith(f"annotations.json entry 2: {wrong}")


def test_an_annotation_without_preference_is_no_failed_one(tmp_path):
    row = annotation(0, 2)
    del row["preference"]
    message = refused(read_annotations, array(tmp_path / "annotations.json", [row]))
    assert message.startswith("annotations.json entry 1: there is no 'preference'.")


def test_gamed_rows_are_read_with_the_difficulty_of_each_instruction(tmp_path):
    path = tmp_path / "df_gamed.csv"
    header = "index,preference,std_delta_len,instruction_difficulty\n"
    path.write_text(f"{header}0,0.25,-1.5,0.75\n1,0.5,0,-2\n0,0.125,2.5,0.75\n")
    rows, difficulty = read_gamed(path)
    assert rows == [Gamed(0.25, -1.5, 0.75), Gamed(0.5, 0, -2), Gamed(0.125, 2.5, 0.75)]
    assert difficulty == {"0": 0.75, "1": -2}
    path.write_text(f"{header}0,1.25,-1.5,0.75\n")
    assert refused(read_gamed, path).startswith("df_gamed.csv line 2: 'preference' is 1.25")
    path.write_text(f"{header}0,0.25,long,0.75\n")
    assert (
        refused(read_gamed, path) == "df_gamed.csv line 2: 'std_delta_len' is 'long', not a number."
    )
