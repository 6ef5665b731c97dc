"""MM-Vet and LLaVA-Bench: what a judge is shown of an answer about a picture, and its grades."""

import json
from pathlib import Path

import pytest
from chat_world import Endpoint, says
from hypothesis import given
from hypothesis import strategies as st
from paper_user import noise_picture, write_lines
from tiny_llava import tiny_llava

from harness import leaderboard, registry
from harness import run as run_harness
from harness.configs import run_config
from harness.errors import DataError, PluginError
from harness.items import read_items
from harness.outputs import score_outputs
from harness.plan import task_with
from harness.sources import open_dataset
from harness.task import Prediction, Ratio
from tasks.multimodal import llavabench, mmvet

OUTSIDE = Ratio(0, 0)
MMVET = {
    "question_id": "v1_0",
    "image": "0.jpg",
    "question": "What is x in {the} equation?",
    "answer": "-1<AND> -5",
    "capability": "ocr,math",
}
LLAVA = {
    "question_id": 0,
    "image": "0.jpg",
    "question": "What is it?",
    "caption": ["A volcano.", "On an island."],
    "gpt_answer": "Diamond Head.",
    "category": "conv",
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "images").mkdir()
    for i in range(3):
        noise_picture(i).save(folder / "images" / f"{i}.jpg")
    return folder


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    """Whatever proxy this machine has, it is not for a server on it."""
    monkeypatch.setenv("no_proxy", "*")


def items_of(task, file):
    return read_items(task, open_dataset(str(file)))


def graded(*grades, outputs=("x",)):
    return Prediction("1", outputs, {"verdicts": [{"decision": grade} for grade in grades]})


def only(task, row):
    (item,) = task.items(row, "rows line 1")
    return item


def test_a_question_of_mmvet_is_graded_beside_its_reference():
    item = only(mmvet, {**MMVET, "image": b"x"})
    assert (item.id, item.category) == ("v1_0", "math+ocr")
    assert [request.text for request in mmvet.requests(item)] == ["What is x in {the} equation?"]
    (case,) = mmvet.cases(item, Prediction("v1_0", ("x = -1",)))
    assert case.turns == ("What is x in {the} equation?",)
    assert case.answers == (("x = -1",),)
    assert case.references == ("-1 <AND> -5",)


def test_a_grade_counts_for_each_capability_of_its_item():
    item = only(mmvet, {**MMVET, "image": b"x"})
    score = mmvet.score(item, graded(7))
    inside = {"score", "ocr", "math"}
    assert {name for name, share in score.items() if share == Ratio(7)} == inside
    others = {"rec", "know", "gen", "spat"}
    assert {name for name, share in score.items() if share == OUTSIDE} == others
    failed = mmvet.score(item, graded(None))
    assert failed.pop("failed_judgements") == Ratio(1, 1) and set(failed.values()) == {OUTSIDE}


def test_capabilities_may_be_a_list_and_are_known_by_name():
    item = only(mmvet, {**MMVET, "image": b"x", "capability": ["rec", "gen"]})
    assert item.category == "gen+rec"
    assert only(mmvet, {**MMVET, "image": b"x", "capability": None}).category == ""
    with pytest.raises(DataError, match=r"^rows line 1: no capability 'maths'. Did you mean"):
        only(mmvet, {**MMVET, "image": b"x", "capability": "maths"})


def test_mmvets_own_file_is_read(pictures):
    own = {
        f"v1_{i}": {
            "imagename": f"{i}.jpg",
            "question": "Who?",
            "answer": "I<OR>you",
            "capability": ["rec"],
            "added_in": "v1",
        }
        for i in range(2)
    }
    file = pictures / "mm-vet.json"
    file.write_text(json.dumps(own, indent=4))
    items = items_of(mmvet, file)
    assert [item.id for item in items] == ["v1_0", "v1_1"]
    assert items[1].inputs["image"] == pictures / "images" / "1.jpg"


def test_llavabench_grades_answer_and_reference_each_on_its_own():
    item = only(llavabench, {**LLAVA, "image": b"x"})
    shown = "[Context]\nA volcano.\nOn an island.\n\n[Question]\nWhat is it?"
    own, reference = llavabench.cases(item, Prediction("0", ("A hill.",)))
    assert own.turns == reference.turns == (shown,)
    assert (own.answers, reference.answers) == ((("A hill.",),), (("Diamond Head.",),))
    assert own.references == reference.references == ()
    assert (
        only(llavabench, {**LLAVA, "image": b"x", "caption": "A volcano."}).inputs["context"]
        == "A volcano."
    )


GRADES = {
    (6, 8): (Ratio(6, 8), Ratio(6), Ratio(8), Ratio(0, 2)),
    (None, 8): (OUTSIDE, OUTSIDE, Ratio(8), Ratio(1, 2)),
    (6, None): (OUTSIDE, Ratio(6), OUTSIDE, Ratio(1, 2)),
    (None, None): (OUTSIDE, OUTSIDE, OUTSIDE, Ratio(2, 2)),
}


@pytest.mark.parametrize("grades", GRADES)
def test_the_relative_score_takes_both_grades(grades):
    score = llavabench.score(only(llavabench, {**LLAVA, "image": b"x"}), graded(*grades))
    names = ("relative_score", "score", "reference_score", "failed_judgements")
    assert tuple(score[name] for name in names) == GRADES[grades]


@given(st.text(max_size=30))
def test_any_text_is_graded(text):
    for task, row, count in ((mmvet, MMVET, 1), (llavabench, LLAVA, 2)):
        item = only(task, {**row, "image": b"x"})
        assert len(task.cases(item, Prediction(item.id, (text,)))) == count
        task.score(item, graded(*[5] * count, outputs=(text,)))


BROKEN = {
    "no answer": (mmvet, MMVET, {"answer": None}, "'answer' is empty"),
    "no picture": (mmvet, MMVET, {"image": None}, "'image' is empty"),
    "a number": (mmvet, MMVET, {"question": 5}, "'question' is no text"),
    "no caption": (llavabench, LLAVA, {"caption": None}, "'caption' is empty"),
    "no reference": (llavabench, LLAVA, {"gpt_answer": " "}, "'gpt_answer' is empty"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_row_is_one_line(kind):
    task, row, change, message = BROKEN[kind]
    with pytest.raises(DataError, match=f"^rows line 1: {message}"):
        only(task, {**row, "image": b"x", **change})


def own_files(folder):
    """LLaVA's three files, which know of each other by picture and question."""
    asked = [
        {"question_id": i, "image": f"{i % 2}.jpg", "category": "conv", "text": f"Q{i}"}
        for i in range(3)
    ]
    return {
        "questions": write_lines(folder / "questions.jsonl", asked),
        "context": write_lines(
            folder / "context.jsonl",
            [{"id": f"{i}", "image": f"{i}.jpg", "caption": [f"C{i}"]} for i in (1, 0)],
        ),
        "references": write_lines(
            folder / "answers_gpt4.jsonl",
            [{"question_id": i, "text": f"R{i}"} for i in (2, 0, 1)],
        ),
    }


def llavabench_with(files, **changes):
    options = {name: str(files[name]) for name in ("context", "references")}
    return task_with("llavabench", {**options, **changes})


def test_llavas_own_files_are_read(pictures):
    files = own_files(pictures)
    task = llavabench_with(files)
    found = items_of(task, files["questions"])
    assert [
        (item.inputs["context"], item.inputs["question"], item.reference) for item in found
    ] == [
        ("C0", "Q0", "R0"),
        ("C1", "Q1", "R1"),
        ("C0", "Q2", "R2"),
    ]
    assert found[0].cluster == found[2].cluster != found[1].cluster
    assert task.identity() == llavabench.identity()
    write_lines(files["references"], [{"question_id": 0, "text": "R0"}])
    with pytest.raises(DataError, match=r"line 2: the file of the option 'references'"):
        items_of(task, files["questions"])
    with pytest.raises(PluginError, match="option 'context': the name of a file"):
        type(task)(task.card.model_copy(update={"options": {"context": 5, "references": ""}}))


def grader(text, before):
    """Prefers the reference answers, and has no grade for one."""
    if "Because 2" in text:
        return says("Hm.")
    return says("Rating: [[8]]" if "Diamond" in text else "Rating: [[4]]")


def scored(name, file, said, endpoint, folder):
    config = run_config(
        {
            "method": "outputs",
            "tasks": name,
            "source": {name: str(file)},
            "judge": "llm",
            "judge_option": {"base_url": endpoint.url, "model": "judge-1"},
            "runs": folder / "runs",
            "leaderboards": folder / "leaderboards",
        }
    )
    (entry,) = score_outputs(config, said)
    return {name: metric.value for name, metric in entry.metrics.items()}, entry


def test_outputs_are_graded_over_http(pictures, tmp_path):
    rows = [
        {**LLAVA, "question_id": i, "image": f"{i}.jpg", "category": ("conv", "detail")[i % 2]}
        for i in range(3)
    ]
    file = write_lines(pictures / "llava.jsonl", rows)
    said = write_lines(
        tmp_path / "said.jsonl", [{"question_id": i, "text": f"Because {i}"} for i in range(3)]
    )
    with Endpoint(grader) as endpoint:
        values, entry = scored("llavabench", file, said, endpoint, tmp_path)
        assert len(endpoint.asked) == 4  # equal references are graded once
        assert all("[Context]\nA volcano." in text for text in endpoint.texts())
    assert values == pytest.approx(
        {"relative_score": 0.5, "score": 4, "reference_score": 8, "failed_judgements": 1 / 6}
    )
    assert entry.metrics["relative_score"].n == 2
    assert set(entry.categories) == {"conv", "detail"}


def test_a_models_answers_about_pictures_are_graded(pictures, tmp_path):
    rows = [{**MMVET, "question_id": f"v1_{i}", "image": f"{i}.jpg"} for i in range(3)]
    file = write_lines(pictures / "mmvet.jsonl", rows)
    with Endpoint(lambda *_: says("[[6]]")) as endpoint:
        (entry,) = run_harness(
            method="base",
            profile="paper",
            tasks="mmvet",
            model=str(tiny_llava(tmp_path / "model")),
            source={"mmvet": str(file)},
            judge_option={"base_url": endpoint.url, "model": "judge-1"},
            runs=tmp_path / "runs",
            leaderboards=tmp_path / "leaderboards",
        )
        texts = endpoint.texts()
    assert entry.metrics["score"].value == entry.metrics["ocr"].value == 6
    assert entry.metrics["rec"].value is None
    assert texts and all("[The Start of Reference Answer]\n-1 <AND> -5" in text for text in texts)
    (outputs,) = (tmp_path / "runs").glob("*/base/mmvet.jsonl")
    answers = {json.loads(line)["outputs"][0] for line in outputs.read_text().splitlines()}
    assert len(texts) == len(answers)
    assert list(leaderboard.read(tmp_path / "leaderboards" / "mmvet.json").entries)


def test_both_are_registered_and_judged():
    for name in ("mmvet", "llavabench"):
        assert registry.load("tasks", name).card.judge == "llm"
