"""Templates in Flan's form: what they render, and what is wrong with one in a line."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import DataError
from harness.templates import Template, find_templates, read_templates

PLACE = "flan.json arc template 1"


def rendered(prompt: str, row: dict[str, Any], answer: str = "{answer}") -> tuple[str, str]:
    return Template(prompt, answer, PLACE).render({"answer": "yes", **row}, "arc.jsonl line 3")


def test_fields_become_the_values_of_the_row() -> None:
    row = {"question": " Why?\n", "number": 7, "share": 0.5}
    assert rendered("Q:{question}{number} {share}", row) == ("Q: Why?\n7 0.5", "yes")


def test_braces_in_data_and_other_braces_are_text() -> None:
    row = {"question": "{answer} {{x}} \\1 {nothing}", "answer": "{question}"}
    assert rendered("{question} {} { answer } {{answer}}", row) == (
        "{answer} {{x}} \\1 {nothing} {} { answer } {{question}}",
        "{question}",
    )


pieces = st.lists(st.tuples(st.booleans(), st.text("{} \n$\\%", max_size=4)), max_size=8)


@given(pieces, st.text(min_size=1).filter(str.strip))
def test_a_pattern_is_its_pieces_joined(pieces: list[tuple[bool, str]], value: str) -> None:
    prompt = "".join("{value}" if field else text for field, text in pieces)
    expected = "".join(value if field else text for field, text in pieces)
    assert rendered("x" + prompt, {"value": value})[0] == "x" + expected


def test_options_and_dialogs_are_written_as_flan_does() -> None:
    assert rendered("{options_}", {"options": ["a", "b"]})[0] == "OPTIONS:\n- a\n- b"
    assert rendered("{options_str}", {"options": [1, 2]})[0] == "OPTIONS:\n- 1\n- 2"
    assert rendered("{options_}", {"options": ["a"], "options_": "own"})[0] == "own"
    assert rendered("{dialog_}", {"dialog": ["Hi", "Ho"]})[0] == "DIALOG:\nHi\n- Ho\n- "


@pytest.mark.parametrize(
    ("prompt", "row", "message"),
    [
        (
            "{qestion}",
            {"question": "?"},
            "field 'qestion' is not in arc.jsonl line 3. Did you mean 'question'? It has: "
            "answer, question.",
        ),
        (
            "{options_}",
            {},
            "field 'options_' is not in arc.jsonl line 3. It is made of a list 'options'. "
            "It has: answer.",
        ),
        ("{options_}", {"options": "a, b"}, "field 'options_', of 'options', is no list in"),
        ("{options_}", {"options": []}, "field 'options_', of 'options', is no list in"),
        ("{options_}", {"options": ["a", None]}, "field 'options_', of 'options', is empty in"),
        ("{text}", {"text": None}, "field 'text' is empty in arc.jsonl line 3."),
        ("{text}", {"text": float("nan")}, "field 'text' is empty in arc.jsonl line 3."),
        ("{text}", {"text": ["a"]}, "field 'text' is a list in arc.jsonl line 3, not a text"),
        ("{text}", {"text": {"a": 1}}, "field 'text' is a dict in arc.jsonl line 3, not a text"),
        ("{text}", {"text": True}, "field 'text' is a bool in arc.jsonl line 3, not a text"),
        ("{text}", {"text": " "}, "the prompt is blank for arc.jsonl line 3."),
        ("x", {"answer": "\n"}, "the answer is blank for arc.jsonl line 3."),
    ],
)
def test_what_cannot_be_rendered_is_one_line(
    prompt: str, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        rendered(prompt, row)
    assert str(caught.value).startswith(f"{PLACE}: {message}")
    assert "\n" not in str(caught.value)


def write(folder: Path, content: Any) -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "flan.json").write_text(text, encoding="utf-8")
    return folder / "flan.json"


def test_groups_of_tasks_are_read_and_lists_of_headings_left_out(tmp_path: Path) -> None:
    pairs = [["{a}", "{b}"], ["a?", "{c}"]]
    path = write(
        tmp_path,
        {"PATTERNS": {"rte": pairs, "x:y.z": pairs}, "FEW": {"rte": pairs[1:]}, "STARTS": ["-"]},
    )
    tasks = read_templates(path)
    assert list(tasks) == ["rte", "x:y.z", "FEW/rte"]
    assert tasks["rte"] == (
        Template("{a}", "{b}", "flan.json rte template 1"),
        Template("a?", "{c}", "flan.json rte template 2"),
    )
    assert find_templates("flan.json#FEW/rte", tmp_path) == tasks["FEW/rte"]
    assert find_templates(f"{path}#x:y.z", Path("elsewhere")) == tasks["x:y.z"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "flan.json line 1: invalid JSON"),
        ("[" * 100_000, "flan.json: cannot be read (nested too deep)."),
        ("[]", 'flan.json: no templates: they stand as {"PATTERNS": {task: [...]}}.'),
        ({"rte": [["{a}", "{b}"]]}, "flan.json: no templates"),
        ({"PATTERNS": {"rte": []}}, "flan.json rte: has no list of [prompt, answer]."),
        ({"PATTERNS": {"rte": "{a}"}}, "flan.json rte: has no list of [prompt, answer]."),
        ({"PATTERNS": {"rte": [["{a}", "{b}"], ["{a}"]]}}, "flan.json rte template 2: not a pair"),
        ({"PATTERNS": {"rte": ["ab"]}}, "flan.json rte template 1: not a pair"),
        ({"PATTERNS": {"rte": [["{a}", 1]]}}, "flan.json rte template 1: prompt and answer are"),
        (
            {"PATTERNS": {"rte": [["{a}", "{ b }"]]}},
            "flan.json rte template 1: the answer '{ b }' has no {field}: all would be the same.",
        ),
    ],
)
def test_malformed_files_are_one_line_with_the_place(
    tmp_path: Path, content: Any, message: str
) -> None:
    with pytest.raises(DataError) as caught:
        read_templates(write(tmp_path, content))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_names_that_are_nothing_get_a_suggestion(tmp_path: Path) -> None:
    path = write(tmp_path, {"PATTERNS": {"rte": [["{a}", "{b}"]], "arc": [["{a}", "{b}"]]}})
    with pytest.raises(DataError, match=r"^flan.json: no task 'rtee'. Did you mean 'rte'\?"):
        find_templates("flan.json#rtee", tmp_path)
    with pytest.raises(DataError, match=r"^flan.json: which task\?.* #TASK. It has: rte, arc.$"):
        find_templates("flan.json", tmp_path)
    with pytest.raises(DataError, match=r"flam.json: cannot be read \(No such file"):
        find_templates("flam.json#rte", tmp_path)
    path.write_bytes(b'{"\xff')
    with pytest.raises(DataError, match=r"^flan.json: cannot be read \(not UTF-8\)"):
        find_templates("flan.json#rte", tmp_path)
