"""The `recorded` judge: what was judged elsewhere, found by its texts."""

from pathlib import Path
from typing import Any

import pytest

from harness import judges
from harness.errors import HarnessError
from harness.judges import Case, Judge, Verdict, open_judge
from tasks.preference.judges.recorded import OTHER_ORDER, Recorded
from tests.tasks.preference.recorded_files import (
    Rows,
    annotation,
    answers,
    array,
    lines,
    questions,
    reviews,
)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(judges.registry, "load", lambda kind, name: Recorded)


def write(folder: Path, *files: Rows) -> dict[str, Any]:
    """Settings of a judge over files of reviews."""
    lines(folder / "question.jsonl", questions())
    given = [lines(folder / f"{name}.jsonl", answers(name)) for name in ("own", "base")]
    paths = [lines(folder / f"review_{i}.jsonl", each) for i, each in enumerate(files)]
    return {
        "reviews": list(map(str, paths)),
        "questions": str(folder / "question.jsonl"),
        "answers": list(map(str, given)),
    }


def over(settings: dict[str, Any]) -> Judge:
    return open_judge("recorded", settings, Path())


def annotated(folder: Path, *rows: dict[str, Any], name: str = "annotations.json") -> Judge:
    return over({"annotations": str(array(folder / name, list(rows)))})


def decisions(judge: Judge, *cases: Case) -> list[Any]:
    return [verdict.decision for verdict in judges.verdicts(judge, cases)]


HOW, WHY = Case.of("How?", "own 1", "base 1"), Case.of("Why?", "own 2", "base 2")


def turned(case: Case) -> Case:
    return Case(case.turns, case.answers[::-1])


def test_a_review_is_found_by_its_texts(tmp_path):
    judge = over(write(tmp_path, reviews([9, 8.5], [7, 7])))
    assert judges.verdicts(judge, [WHY, HOW]) == [
        Verdict("tie", text="7 7\nSo."),
        Verdict("first", text="9 8.5\nSo."),
    ]


def test_blanks_around_a_text_do_not_matter(tmp_path):
    judge = over(write(tmp_path, reviews([9, 8.5])))
    assert decisions(judge, Case.of("How?\n", " own 1", "base 1 ")) == ["first"]


def test_an_order_that_was_not_recorded_is_a_failed_judgement(tmp_path):
    judge = over(write(tmp_path, reviews([9, 8.5])))
    found = judges.verdicts(judge, [turned(HOW), WHY, Case.of("How?", "own 1", "own 1")])
    assert [verdict.decision for verdict in found] == [None] * 3
    assert [verdict.reason for verdict in found] == [
        OTHER_ORDER,
        "no judgement of these texts",
        "no judgement of these texts",
    ]


def test_files_of_both_orders_hold_for_both(tmp_path):
    there, back = reviews([9, 8]), reviews([9, 3], first="base", second="own")
    judge = over(write(tmp_path, there, back))
    assert decisions(judge, HOW, turned(HOW)) == ["first", "first"]


def test_a_failed_review_is_a_failed_judgement(tmp_path):
    (found,) = judges.verdicts(over(write(tmp_path, reviews([-1, -1]))), [HOW])
    assert found == Verdict(None, "the recorded judgement failed", "-1 -1\nSo.")


def test_annotations_hold_for_both_orders_with_their_weight(tmp_path):
    judge = annotated(tmp_path, annotation(0, 1.75), annotation(1, 1), annotation(2, None))
    cases = [Case.of(f"do {n}", f"own {n}", f"base {n}") for n in range(3)]
    assert decisions(judge, *cases) == [0.75, 0, None]
    assert decisions(judge, *map(turned, cases)) == [0.25, 1, None]


def test_of_equal_cases_each_judgement_is_taken_once_and_then_the_last(tmp_path):
    judge = annotated(tmp_path, *(annotation(0, value) for value in (2, 1.25, 1.5)))
    case = Case.of("do 0", "own 0", "base 0")
    assert decisions(judge, case, turned(case)) == [1, 0]
    assert decisions(judge, case, case, case) == [0.25, 0.5, 0.5]
    assert decisions(judge, turned(case)) == [0.75]


def test_lists_of_files_may_be_a_text_with_commas(tmp_path):
    settings = write(tmp_path, reviews([9, 8]), reviews([9, 3], first="base", second="own"))
    joined = {
        name: each if name == "questions" else ",".join(each) for name, each in settings.items()
    }
    assert decisions(over(joined), HOW, turned(HOW)) == ["first", "first"]


def test_the_identity_is_who_judged_and_what_the_files_hold(tmp_path):
    settings = write(
        tmp_path,
        reviews([9, 8], reviewer="gpt-4-math"),
        reviews([9, 3], first="base", second="own", reviewer="gpt-4"),
    )
    first = over(settings).identity()
    assert (first.name, first.model, len(first.prompt)) == ("recorded", "gpt-4, gpt-4-math", 16)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("reviews", "answers"):
        settings[name] = [
            str(Path(path).rename(elsewhere / Path(path).name)) for path in settings[name]
        ]
    assert over(settings).identity() == first
    lines(Path(settings["reviews"][0]), reviews([8, 9], reviewer="gpt-4-math"))
    assert over(settings).identity().prompt != first.prompt
    assert annotated(tmp_path, annotation(0, 1)).identity().model == "judge"


def refused(call, *arguments: Any) -> str:
    with pytest.raises(HarnessError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_not_recorded_is_not_asked(tmp_path):
    judge = annotated(tmp_path, annotation(0, 1))
    assert "compares two answers" in refused(judge.judge, [Case.of("do 0", "own 0")])
    (found,) = judge.judge([Case(("do 0", "more"), (("own 0", "a"), ("base 0", "b")))])
    assert found == Verdict(None, "2 turns, judgements are recorded of one")


@pytest.mark.parametrize(
    ("left_out", "message"),
    [
        (("reviews", "questions", "answers"), "reviews: give reviews with their questions and"),
        (("questions",), "questions: reviews need their questions and answers: give it too"),
        (("answers",), "answers: reviews need"),
        (("reviews",), "reviews: reviews need"),
    ],
)
def test_settings_go_together(tmp_path, left_out, message):
    settings = {
        name: value
        for name, value in write(tmp_path, reviews([9, 8])).items()
        if name not in left_out
    }
    assert refused(over, settings).startswith(f"judge 'recorded': {message}")
    path = str(array(tmp_path / "annotations.json", [annotation(0, 1)]))
    if settings:
        message = refused(over, {**settings, "annotations": path})
        assert message.startswith("judge 'recorded': annotations: give them or reviews")


@pytest.mark.parametrize("setting", ["reviews", "questions", "answers", "annotations"])
def test_a_file_that_is_not_there_is_named_with_its_setting(tmp_path, setting):
    given = str(tmp_path / "questoin.jsonl")
    settings = write(tmp_path, reviews([9, 8])) | {setting: given}
    message = refused(over, settings)
    assert message == (
        f"judge 'recorded': {setting}: no file '{given}'. Did you mean 'question.jsonl'?"
    )
    settings[setting] = str(tmp_path)
    assert refused(over, settings).startswith(f"judge 'recorded': {setting}: no file '{tmp_path}'")


@pytest.mark.parametrize(
    ("setting", "value"), [("reviews", 3), ("questions", ["a"]), ("review", "a")]
)
def test_settings_are_checked_by_name(setting, value):
    assert setting in refused(over, {setting: value})


def test_a_wrong_row_is_one_line_with_its_place(tmp_path):
    assert refused(over, write(tmp_path, reviews([9, "8"]))).startswith("review_0.jsonl line 1: ")
    message = refused(annotated, tmp_path, annotation(0, 3))
    assert message.startswith("annotations.json entry 1: 'preference' is 3")
