"""Rows to items, items to prompts, answers to scores."""

import string
import subprocess
import sys
from typing import Any

import pytest

from harness.errors import DataError
from harness.task import Item, Prediction, Ratio
from tasks.multimodal import mmbench, pope, shr

POPE = {"question_id": 7, "image": b"x", "text": "Is there a {dog}?", "label": "yes"}
CHOICE = {
    "index": 12,
    "image": b"x",
    "question": "Which one?",
    "hint": None,
    **{"A": "red", "B": "blue", "C": "green", "D": None},
    "answer": "C",
    "category": "color",
}


def only(task: Any, row: dict[str, Any]) -> Item:
    (item,) = task.items(row, "rows line 1")
    return item


def test_importing_the_package_reads_no_card_and_no_torch() -> None:
    code = "import sys, tasks.multimodal; print([m for m in ('torch', 'yaml') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_making_tasks_and_items_needs_no_torch() -> None:
    code = (
        "import sys; from tasks.multimodal import pope, mmbench, shr; print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


@pytest.mark.parametrize("task", [pope, mmbench, shr])
def test_prompts_of_a_card_are_templates_that_its_format_fills(task: Any) -> None:
    known = {"question", "options"}
    for prompt in (task.card.prompt, task.card.options.get("chinese", "")):
        assert {name for _, name, _, _ in string.Formatter().parse(prompt) if name} <= known


def test_pope_question_as_llava_asks_it() -> None:
    item = only(pope, {**POPE, "category": "random"})
    assert item.id == "random/7"
    assert item.category == "random"
    (request,) = pope.requests(item)
    expected = "Is there a {dog}?\nAnswer the question using a single word or phrase."
    assert request.text == expected


def test_pope_category_from_key_strategy_or_file_name() -> None:
    assert only(pope, {**POPE, "strategy": "popular"}).id == "popular/7"
    by_file = only(pope, {**POPE, "file": "coco_pope_adversarial.json"})
    assert (by_file.id, by_file.category) == ("coco_pope_adversarial/7", "adversarial")
    other = only(pope, {**POPE, "file": "my_questions.jsonl"})
    assert (other.id, other.category) == ("my_questions/7", "")


def test_pope_question_of_several_categories_is_an_item_of_each() -> None:
    items = pope.items({**POPE, "category": "adversarial,popular"}, "x")
    assert [item.id for item in items] == ["adversarial/7", "popular/7"]
    assert items[0].cluster == items[1].cluster


def test_questions_on_one_picture_share_a_cluster() -> None:
    first, other = only(pope, POPE), only(pope, {**POPE, "question_id": 8, "image": b"y"})
    assert first.cluster == only(pope, {**POPE, "question_id": 9}).cluster
    assert first.cluster != other.cluster


@pytest.mark.parametrize(
    ("answer", "label", "f1", "accuracy"),
    [
        ("yes", "yes", Ratio(2, 2), 1),
        ("yes", "no", Ratio(0, 1), 0),
        ("no", "yes", Ratio(0, 1), 0),
        ("no", "no", Ratio(0, 0), 1),
        ("maybe", "yes", Ratio(0, 1), 0),
        ("maybe", "no", Ratio(0, 0), 0),
    ],
)
def test_pope_scores(answer: str, label: str, f1: Ratio, accuracy: int) -> None:
    item = only(pope, {**POPE, "label": label})
    shares = pope.score(item, Prediction(item.id, (answer,)))
    assert shares["f1"] == f1
    assert shares["accuracy"] == Ratio(accuracy)
    assert shares["unparsed"] == Ratio(int(answer == "maybe"))


def test_choice_is_asked_under_every_rotation() -> None:
    item = only(mmbench, {**CHOICE, "hint": "Look."})
    texts = [request.text for request in mmbench.requests(item)]
    ending = "Answer with the option's letter from the given choices directly."
    assert texts == [
        f"Look.\nWhich one?\nA. red\nB. blue\nC. green\n{ending}",
        f"Look.\nWhich one?\nA. blue\nB. green\nC. red\n{ending}",
        f"Look.\nWhich one?\nA. green\nB. red\nC. blue\n{ending}",
    ]


def test_choice_in_chinese_is_asked_in_chinese() -> None:
    item = only(mmbench, {**CHOICE, "A": "红色"})
    assert mmbench.requests(item)[0].text.endswith("C. green\n请直接回答选项字母。")


def test_choice_is_right_only_under_every_rotation() -> None:
    item = only(mmbench, CHOICE)

    def shares(*answers: str) -> Any:
        return mmbench.score(item, Prediction(item.id, answers))

    assert shares("C", "B", "(A)")["accuracy"] == Ratio(1)
    assert shares("green", "green", "green")["accuracy"] == Ratio(1)
    always_c = shares("C", "C", "C")
    assert always_c["accuracy"] == Ratio(0)
    assert always_c["vanilla"] == Ratio(1)
    assert shares("C", "B", "hm")["accuracy"] == Ratio(0)
    assert shares("C", "B", "hm")["unparsed"] == Ratio(1, 3)
    assert shares("Z", "", "D")["unparsed"] == Ratio(3, 3)


@pytest.mark.parametrize("count", [2, 3, 4, 7, 26])
def test_choice_with_any_number_of_options(count: int) -> None:
    letters = string.ascii_uppercase[:count]
    row = {**CHOICE, "options": {letter: f"text {letter}." for letter in letters}, "answer": "B"}
    item = only(mmbench, row)
    assert len(mmbench.requests(item)) == count
    said = [letters[(1 - turn) % count] for turn in range(count)]
    assert mmbench.score(item, Prediction(item.id, said))["accuracy"] == Ratio(1)


@pytest.mark.parametrize("missing", [None, float("nan"), "", "nan", " "])
def test_options_without_text_are_left_out(missing: Any) -> None:
    item = only(mmbench, {**CHOICE, "B": missing})
    assert item.inputs["options"] == ["red", "green"]
    assert item.reference == 1


def test_rotations_in_the_file_are_no_items() -> None:
    assert mmbench.items({**CHOICE, "index": "1000012"}, "x") == []


def test_description_without_a_question_is_asked_the_card_s() -> None:
    item = only(shr, {"image_id": 1, "image": b"x", "objects": [{"category": "dog"}, "cat", "dog"]})
    assert item.reference == {"objects": ["cat", "dog"]}
    assert shr.requests(item)[0].text == "Describe this image in detail."


def test_empty_description_counts_as_one_wrong_sentence() -> None:
    item = only(shr, {"id": 1, "image": b"x", "question": "?", "objects": ["dog"]})
    assert shr.score(item, Prediction("1", ("",))) == {
        "wrong_sentences": Ratio(1, 1),
        "object_recall": Ratio(0, 1),
        "sentences_per_answer": Ratio(0),
        "unparsed": Ratio(1, 1),
    }


SCENE = {"color": "red", "shape": "circle", "place": "nowhere"}


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        (pope, {**POPE, "label": "maybe"}, "the label is 'maybe', it must be 'yes' or 'no'"),
        (
            pope,
            {"question_id": 1, "image": b"", "text": "?", "lable": "no"},
            "Did you mean 'lable'?",
        ),
        (pope, {**POPE, "text": ""}, "'text' is empty"),
        (pope, {**POPE, "image": None}, "'image' is empty"),
        (pope, {**POPE, "image": [1]}, "'image' is a list"),
        (mmbench, {**CHOICE, "answer": "E"}, "'answer' is 'E', but the item has options A, B, C."),
        (mmbench, {**CHOICE, "answer": None}, "'answer' is empty"),
        (mmbench, {**CHOICE, "B": None, "C": None}, "has 1 options"),
        (mmbench, {**CHOICE, "options": ["red"]}, "'options' is a list"),
        (shr, {"id": 1, "image": b""}, "nothing says what is in the picture"),
        (shr, {"id": 1, "image": b"", "objects": ["dgo"]}, "Did you mean 'dog'?"),
        (shr, {"id": 1, "image": b"", "objects": "dog"}, "'objects' is a str"),
        (shr, {"id": 1, "image": b"", "facts": [SCENE]}, "'facts' cannot be read"),
        (shr, {"id": 1, "image": b"", "facts": 3}, "'facts' cannot be read"),
    ],
)
def test_malformed_rows_are_named_by_place(task: Any, row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        task.items(row, "rows.jsonl line 41")
    text = str(caught.value)
    assert text.startswith("rows.jsonl line 41: ")
    assert message in text
    assert "\n" not in text
