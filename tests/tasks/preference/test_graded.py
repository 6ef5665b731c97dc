"""MT-bench's single-answer grading: two turns in one conversation, each with a grade of its own."""

import json
from pathlib import Path

import pytest
from chat_world import Endpoint, Reply, says
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import DataError, HarnessError, PluginError
from harness.models import loading
from harness.models.rewriting import Rewriting
from harness.task import Prediction, Ratio
from tests.tasks.preference.preference_user import card, items_of, judged, plain
from tests.tasks.preference.recorded_files import lines
from tests.tasks.preference.tiny_judges import chat_model

OUTSIDE = Ratio(0, 0)
SHORT = {"max_new_tokens": 5}
ROWS = [
    {"question_id": 81, "category": "writing", "turns": ["Write.", "Again."]},
    {"question_id": 101, "category": "math", "turns": ["1+1?", "2+2?"], "reference": ["2", "4"]},
    {"question_id": 121, "category": "coding", "turns": ["Code?", "Test?"]},
    {
        "question_id": 131,
        "category": "extraction",
        "turns": ["Who?", "When?"],
        "reference": ["a", "b"],
    },
]


def fastchat(*answers, ids=(81, 101, 121, 131)):
    """Answers as FastChat's `model_answer` writes them."""
    return [
        {"question_id": i, "answer_id": f"x{i}", "choices": [{"index": 0, "turns": list(turns)}]}
        for i, turns in zip(ids, answers, strict=True)
    ]


def mtbench(tmp_path: Path, **options):
    return items_of(card("mtbench", **options), lines(tmp_path / "question.jsonl", ROWS))


def test_a_question_is_two_turns_with_the_reference_of_its_kind(tmp_path):
    items = mtbench(tmp_path)
    assert [(item.id, item.category) for item in items] == [
        ("81", "writing"), ("101", "math"), ("121", "coding"), ("131", "extraction"),
    ]  # fmt: skip
    assert items[0].inputs == {"turns": ["Write.", "Again."]}
    # MT-bench refers to right answers in math, reasoning and coding alone.
    assert [item.reference for item in items] == [None, ["2", "4"], None, None]


def test_references_may_come_from_fastchats_file(tmp_path):
    rows = fastchat(["two", "four"], ["def", "assert"], ids=(101, 121))
    items = mtbench(tmp_path, references=str(lines(tmp_path / "gpt-4.jsonl", rows)))
    expected = [None, ["two", "four"], ["def", "assert"], None]
    assert [item.reference for item in items] == expected
    rows = fastchat(["two", "four"], ids=(101,))
    with pytest.raises(DataError, match=r"gpt-4.jsonl: no output for item '121'"):
        mtbench(tmp_path, references=str(lines(tmp_path / "gpt-4.jsonl", rows)))
    rows = fastchat(["two", "four"], ["def"], ids=(101, 121))
    with pytest.raises(DataError, match=r"line 2: not one answer per turn of item '121'"):
        mtbench(tmp_path, references=str(lines(tmp_path / "gpt-4.jsonl", rows)))
    with pytest.raises(DataError, match=r"option 'references': .*no such file"):
        mtbench(tmp_path, references=str(tmp_path / "no.jsonl"))


BROKEN = {
    "one turn": ({"turns": ["a"]}, "'turns' is not a list of 2 texts"),
    "a text": ({"turns": "ab"}, "'turns' is not a list of 2 texts"),
    "numbers": ({"turns": [1, 2]}, "'turns' is not a list of 2 texts"),
    "none": ({}, "there is no 'turns'"),
    "no id": ({"question_id": None}, "'question_id' is empty"),
    "short reference": (
        {"turns": ["a", "b"], "category": "math", "reference": ["2"]},
        "'reference' is not a list of one text per turn",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_question_is_one_line(kind, tmp_path):
    change, message = BROKEN[kind]
    row = {"question_id": 7, **change}
    if kind == "no id":
        row = {**ROWS[0], **change}
    with pytest.raises(DataError, match=rf"^q.jsonl line 2: {message}"):
        items_of(plain("mtbench"), lines(tmp_path / "q.jsonl", [ROWS[0], row]))
    with pytest.raises(PluginError, match="option 'turns': Input should be 1 or 2"):
        card("mtbench", turns="3")


def test_the_second_turn_is_asked_after_the_first_answer(tmp_path):
    folder = chat_model(tmp_path / "model", 3)
    model = loading.load(folder, "causal-lm")
    model.base = folder
    items = mtbench(tmp_path)
    found = plain("mtbench").predict(model, items, **SHORT)
    for item, prediction in zip(items, found, strict=True):
        first, second = item.inputs["turns"]
        dialogue = [{"role": "user", "content": first}]
        for answer in prediction.outputs:
            (text,) = model.chat_texts([dialogue])
            assert model.generate([text], **SHORT) == [answer]
            dialogue += [{"role": "assistant", "content": answer}]
            dialogue += [{"role": "user", "content": second}]


def test_a_trained_model_is_graded_by_its_own_answers(tmp_path):
    base = chat_model(tmp_path / "base", 3)
    model = loading.load(chat_model(tmp_path / "trained", 4), "causal-lm")
    model.base = base
    own = loading.load(tmp_path / "trained", "causal-lm")
    own.base = tmp_path / "trained"
    items = mtbench(tmp_path)
    task = plain("mtbench")
    found = [each.outputs for each in task.predict(model, items, **SHORT)]
    assert found == [each.outputs for each in task.predict(own, items, **SHORT)]
    assert found != [each.outputs for each in task.predict(loaded(base), items, **SHORT)]


def test_a_rewriter_is_graded_by_its_responders_answers_to_the_new_prompts(tmp_path):
    base = chat_model(tmp_path / "base", 3)
    folder = chat_model(tmp_path / "rewriter", 4)
    Rewriting(template="so: {prompt}", by_model=False).write(folder)
    model = loading.load(folder, "causal-lm")
    model.base = base
    items = mtbench(tmp_path)
    found = plain("mtbench").predict(model, items, **SHORT)
    for item, prediction in zip(items, found, strict=True):
        new = [f"so: {turn}" for turn in item.inputs["turns"]]
        assert prediction.details["prompts"] == new
        (text,) = model.chat_texts([[{"role": "user", "content": new[0]}]])
        assert loaded(base).generate([text], **SHORT) == [prediction.outputs[0]]
        (shown, _) = plain("mtbench").cases(item, prediction)
        assert shown.turns == (item.inputs["turns"][0],)


def loaded(folder):
    model = loading.load(folder, "causal-lm")
    model.base = folder
    return model


def test_a_model_without_a_chat_format_answers_one_turn_alone(tmp_path):
    folder = chat_model(tmp_path / "model", 3, template=None)
    model = loading.load(folder, "causal-lm")
    model.base = folder
    rows = lines(tmp_path / "q.jsonl", [{**row, "turns": row["turns"][:1]} for row in ROWS[::2]])
    items = items_of(plain("vicuna_bench"), rows)
    (found, _) = plain("vicuna_bench").predict(model, items, **SHORT)
    assert list(found.outputs) == model.generate(["Write."], **SHORT)
    with pytest.raises(HarnessError, match="the tokenizer has no chat template"):
        plain("mtbench").predict(model, mtbench(tmp_path), **SHORT)


def test_each_turn_is_a_case_with_what_was_said_before(tmp_path):
    task, items = plain("mtbench"), mtbench(tmp_path)
    first, second = task.cases(items[1], Prediction("101", ("two", "four")))
    assert (first.turns, first.answers, first.references) == (("1+1?",), (("two",),), ("2",))
    assert second.turns == ("1+1?", "2+2?")
    assert second.answers == (("two", "four"),) and second.references == ("2", "4")
    assert task.cases(items[0], Prediction("81", ("a", "b")))[1].references == ()


GRADES = {
    (8, 5): (Ratio(13, 2), Ratio(8), Ratio(5), Ratio(0, 2)),
    (None, 5): (Ratio(5, 1), OUTSIDE, Ratio(5), Ratio(1, 2)),
    (7.5, None): (Ratio(7.5, 1), Ratio(7.5), OUTSIDE, Ratio(1, 2)),
    (None, None): (OUTSIDE, OUTSIDE, OUTSIDE, Ratio(2, 2)),
}


@pytest.mark.parametrize("grades", GRADES)
def test_a_failed_judgement_is_no_grade(grades, tmp_path):
    score = plain("mtbench").score(mtbench(tmp_path)[0], judged(*grades, outputs=("a", "b")))
    names = ("score", "turn_1", "turn_2", "failed_judgements")
    assert tuple(score[name] for name in names) == GRADES[grades] and len(score) == 4


@given(st.tuples(st.text(max_size=20), st.text(max_size=20)))
def test_any_text_is_graded(outputs):
    task = plain("mtbench")
    (item,) = task.items(ROWS[1], "x")
    assert len(task.cases(item, Prediction("101", outputs))) == 2
    assert task.score(item, judged(1, 10, outputs=outputs))["score"] == Ratio(11, 2)


def grader(text, before):
    """Fails once at the second turn of writing, and gives references a better grade."""
    if "Again." in text:
        return says("no grade")
    return says(f"Rating: [[{9 if 'Reference Answer' in text else 4}]]")


def test_fastchats_files_are_scored_from_the_command_line(harness):
    file = lines(harness.folder / "question.jsonl", ROWS)
    said = lines(harness.folder / "model.jsonl", fastchat(*[[f"a{i}", f"b{i}"] for i in range(4)]))
    references = fastchat(["two", "four"], ["def", "assert"], ids=(101, 121))
    option = f"references={lines(harness.folder / 'gpt-4.jsonl', references)}"
    with Endpoint(grader) as endpoint:
        entry = harness.entry(
            "mtbench",
            *("score", "--task", "mtbench", "--source", file, "--predictions", said),
            *("--judge-option", f"base_url={endpoint.url}", "--judge-option", "model=gpt-4"),
            *("--option", option),
        )
        texts = endpoint.texts()
    assert len(texts) == 8
    assert sum("### Reference answer:" in text for text in texts) == 2
    assert sum("a1" in text and "b1" in text and "four" in text for text in texts) == 1
    values = {name: metric.value for name, metric in entry.metrics.items()}
    assert values == pytest.approx(
        {
            "score": (4 + 9 * 4 + 4 * 2) / 7,
            "turn_1": (4 + 9 + 9 + 4) / 4,
            "turn_2": (9 + 9 + 4) / 3,
            "failed_judgements": 1 / 8,
        }
    )
    assert entry.categories["writing"]["score"].value == 4
    assert entry.primary == "score" and set(entry.paired) == {"turn_1", "turn_2"}


def test_a_served_model_is_told_what_it_said(harness):
    file = lines(harness.folder / "question.jsonl", ROWS[:1])
    folder = chat_model(harness.folder / "model")

    def served(text, before):
        return says("Rating: [[3]]" if "[Question]" in text or "<|The" in text else f"To {text}")

    with Endpoint(served) as endpoint:
        entry = harness.entry(
            "mtbench",
            *("run", "--profile", "paper", "--method", "base", "--tasks", "mtbench", "-q"),
            *("--model", folder, "--source", f"mtbench={file}"),
            *("--option", f"mtbench.endpoint={endpoint.url}"),
            *("--judge-option", f"base_url={endpoint.url}", "--judge-option", "model=gpt-4"),
        )
        messages = [each.body["messages"] for each in endpoint.asked]
    assert [
        {"role": "user", "content": "Write."},
        {"role": "assistant", "content": "To Write."},
        {"role": "user", "content": "Again."},
    ] in messages
    assert entry.metrics["score"].value == 3
    (outputs,) = harness.folder.glob("runs/*/base/mtbench.jsonl")
    assert json.loads(outputs.read_text())["outputs"] == ["To Write.", "To Again."]


def test_judges_that_cannot_grade_are_one_line(harness):
    file = lines(harness.folder / "question.jsonl", ROWS)
    said = lines(harness.folder / "model.jsonl", fastchat(*[["a", "b"]] * 4))
    words = ["score", "--task", "mtbench", "--source", file, "--predictions", said]
    assert "knows what is right only where" in harness.refused(*words, "--judge", "lab")
    with Endpoint(lambda *_: Reply()) as endpoint:
        line = harness.refused(
            *(*words, "--judge-option", f"base_url={endpoint.url}"),
            *("--judge-option", "model=m", "--judge-option", "prompt=mt-bench-pair"),
        )
        assert not endpoint.asked
    assert line == "prompt 'mt-bench-pair' compares two answers: 1 were given."
