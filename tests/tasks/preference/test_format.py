"""Win rates of a model's answers: who answers, what is compared, what a judge is shown."""

import pytest

from harness.configs import run_config
from harness.errors import DataError, HarnessError, PluginError
from harness.models import loading
from harness.models.rewriting import Rewriting
from harness.plan import make_plan, task_names
from harness.task import Ratio
from tests.tasks.preference.preference_user import card, items_of, plain, questions
from tests.tasks.preference.recorded_files import array, lines
from tests.tasks.preference.tiny_judges import chat_model

OUTSIDE = Ratio(0, 0)
SHORT = {"max_new_tokens": 6}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Three models that answer differently: where training began, what it made, another one."""
    folder = tmp_path_factory.mktemp("models")
    return {name: chat_model(folder / name, seed) for seed, name in enumerate(("base", "own", "b"))}


def opened(models, name="base"):
    """A model as a run gives it to a task."""
    model = loading.load(models[name], "causal-lm")
    model.base = models["base"]
    return model


def said(models, name, *prompts):
    """What a model says to prompts, asked directly."""
    model = loading.load(models[name], "causal-lm")
    return model.generate(model.prompt_texts(prompts), **SHORT)


@pytest.fixture
def asked(tmp_path):
    return items_of(plain("vicuna_eval"), lines(tmp_path / "q.jsonl", questions()))


def prompts_of(items):
    return [item.inputs["prompt"] for item in items]


# Who answers


def test_an_untrained_model_answers_the_same_prompt_twice_and_ties(models, asked):
    task = plain("vicuna_eval")
    found = task.predict(opened(models), asked, **SHORT)
    expected = said(models, "base", *prompts_of(asked))
    assert [each.outputs for each in found] == [(text, text) for text in expected]
    assert [task.cases(*pair) for pair in zip(asked, found, strict=True)] == [[], [], []]
    score = task.score(asked[0], found[0])
    assert score["win_rate"] == Ratio(0.5) and score["ties"] == Ratio(1)
    assert score["identical"] == Ratio(1) and score["unchanged"] == Ratio(1)
    assert score["agreement"] == score["failed_judgements"] == OUTSIDE


def test_a_checkpoint_that_rewrites_is_answered_by_where_training_began(models, asked, tmp_path):
    checkpoint = chat_model(tmp_path / "rewriter", 1)
    Rewriting(template="Well: {prompt}", by_model=False).write(checkpoint)
    model = loading.load(checkpoint, "causal-lm")
    model.base = models["base"]
    found = plain("vicuna_eval").predict(model, asked, **SHORT)
    new = said(models, "base", *(f"Well: {prompt}" for prompt in prompts_of(asked)))
    before = said(models, "base", *prompts_of(asked))
    assert [each.outputs for each in found] == list(zip(new, before, strict=True))
    assert found[0].details["prompt"] == "Well: Q1?"


def test_a_method_may_rewrite_the_prompts_of_an_untrained_model(models, asked):
    rewriting = {"template": "{prompt} Slowly.", "by_model": False}
    found = plain("vicuna_eval").predict(opened(models), asked, rewriting=rewriting, **SHORT)
    assert [each.details["prompt"] for each in found] == [
        "Q1? Slowly.",
        "Q2? Slowly.",
        "Q3? Slowly.",
    ]
    assert found[0].outputs == tuple(said(models, "base", "Q1? Slowly.", "Q1?"))


def test_a_checkpoint_that_rewrites_nothing_answers_itself(models, asked):
    found = plain("vicuna_eval").predict(opened(models, "own"), asked, **SHORT)
    sides = (said(models, name, *prompts_of(asked)) for name in ("own", "base"))
    assert [each.outputs for each in found] == list(zip(*sides, strict=True))
    assert found[0].outputs[0] != found[0].outputs[1]


def test_another_model_may_be_the_responder(models, asked):
    task = card("vicuna_eval", responder=str(models["b"]))
    found = task.predict(opened(models, "own"), asked, **SHORT)
    sides = (said(models, name, *prompts_of(asked)) for name in ("own", "b"))
    assert [each.outputs for each in found] == list(zip(*sides, strict=True))
    missing = card("vicuna_eval", responder="no/such")
    with pytest.raises(HarnessError, match="no/such"):
        missing.predict(opened(models, "own"), asked, **SHORT)


def test_the_answers_of_a_file_are_not_asked_for(models, tmp_path):
    rows = [{"question_id": i, "text": f"A{i}"} for i in (3, 1, 2)]
    task = card("vicuna_eval", baseline=str(lines(tmp_path / "base.jsonl", rows)))
    items = items_of(task, lines(tmp_path / "q.jsonl", questions()))
    assert [item.inputs["baseline"] for item in items] == ["A1", "A2", "A3"]
    found = task.predict(opened(models, "own"), items, **SHORT)
    own = said(models, "own", *prompts_of(items))
    assert [each.outputs for each in found] == [(text,) for text in own]
    assert task.cases(items[1], found[1])[0].answers == ((own[1],), ("A2",))


# Files of answers to compare with

BASELINES = {
    "FastChat's answers": [
        {"question_id": i, "answer_id": f"x{i}", "text": f"A{i}"} for i in (1, 2, 3)
    ],
    "a run's outputs": [
        {"id": str(i), "outputs": [f"A{i}", f"B{i}"], "details": {"prompt": "p"}} for i in (1, 2, 3)
    ],
    "MT-bench's answers": [
        {"question_id": i, "choices": [{"index": 0, "turns": [f"A{i}"]}]} for i in (1, 2, 3)
    ],
    "AlpacaEval's outputs": [{"instruction": f"Q{i}?", "output": f"A{i}"} for i in (3, 2, 1)],
    "answers in order": [{"answer": f"A{i}"} for i in (1, 2, 3)],
    "answers with BPO's name": [
        {"question_id": i, "output": "gold", "res": f"A{i}"} for i in (1, 2, 3)
    ],
    "blank answers": [{"question_id": i, "text": ""} for i in (1, 2, 3)],
}


@pytest.mark.parametrize("kind", BASELINES)
def test_a_baseline_may_be_what_a_user_has(kind, tmp_path):
    file = lines(tmp_path / "base.jsonl", BASELINES[kind])
    items = items_of(
        card("vicuna_eval", baseline=str(file)), lines(tmp_path / "q.jsonl", questions())
    )
    expected = ["", "", ""] if kind == "blank answers" else ["A1", "A2", "A3"]
    assert [item.inputs["baseline"] for item in items] == expected


WRONG = {
    "missing item": ([{"question_id": 1, "text": "A"}], "no output for item '2'"),
    "wrong count": ([{"answer": "A"}], "has 1 outputs, the task has 3 items"),
    "no field": ([{"question_id": i, "said": "A"} for i in (1, 2, 3)], "line 1: no output"),
    "number": ([{"question_id": i, "text": 7} for i in (1, 2, 3)], "'text' is no text"),
    "twice": ([{"question_id": 1, "text": "A"}] * 2, "id '1' stands at base.jsonl line 1 already"),
    "another order": (
        [{"prompt": f"Q{i}?", "answer": "A"} for i in (1, 3, 9)],
        "line 2: answers another prompt than item '2'",
    ),
}


def test_a_folder_is_no_baseline(tmp_path):
    task = card("vicuna_eval", baseline=str(tmp_path))
    with pytest.raises(DataError, match=r"option 'baseline': .* is a folder, give a file"):
        items_of(task, lines(tmp_path / "q.jsonl", questions()))


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_baseline_is_one_line_with_its_place(kind, tmp_path):
    rows, message = WRONG[kind]
    task = card("vicuna_eval", baseline=str(lines(tmp_path / "base.jsonl", rows)))
    with pytest.raises(DataError, match=message) as error:
        items_of(task, lines(tmp_path / "q.jsonl", questions()))
    assert "\n" not in str(error.value)


def test_a_baseline_that_is_not_there_is_one_line(tmp_path):
    task = card("vicuna_eval", baseline=str(tmp_path / "bse.jsonl"))
    lines(tmp_path / "base.jsonl", [])
    with pytest.raises(
        DataError, match=r"'baseline': .*bse.jsonl: no such file. Did you mean 'base.jsonl'\?"
    ):
        items_of(task, lines(tmp_path / "q.jsonl", questions()))


# Rows


def test_a_prompt_is_instruction_and_context_as_bpo_joins_them():
    task = plain("dolly_eval")
    row = {"instruction": "Who?", "context": "He.\n", "response": "x", "category": "qa", "idx": "7"}
    (item,) = task.items(row, "x")
    assert (item.id, item.inputs, item.category) == ("7", {"prompt": "Who?\nHe."}, "qa")
    (alone,) = task.items({**row, "context": ""}, "x")
    assert alone.inputs == {"prompt": "Who?"}
    assert alone.cluster == item.cluster == "Who?"  # intervals resample instructions


ROWS = {
    "nothing": ({"category": "a"}, "there is no 'instruction' or 'prompt'"),
    "blank": ({"text": " "}, "'text' is empty"),
    "messages": ({"prompt": [{"role": "user"}]}, r"'prompt' is no text \(got \[\{'role'"),
}


@pytest.mark.parametrize("kind", ROWS)
def test_a_row_without_a_prompt_is_one_line(kind, tmp_path):
    row, message = ROWS[kind]
    file = array(tmp_path / "q.json", [questions(1)[0], row])
    with pytest.raises(DataError, match=rf"^q.json entry 2: {message}"):
        items_of(plain("vicuna_eval"), file)


# Options

OPTIONS = {
    "orders": ("backwards", "Input should be 'both', 'random', 'model_first' or 'baseline_first'"),
    "endpoint": ("http://user:hidden@host/v1", "an address without user, password"),
    "endpoint_key": ("sk-hidden", "the name of an environment variable, not the key itself"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_wrong_option_is_one_line_that_repeats_no_secret(name):
    value, message = OPTIONS[name]
    with pytest.raises(
        PluginError, match=rf"task 'vicuna_eval': option '{name}': {message}"
    ) as error:
        card("vicuna_eval", **{name: value})
    assert "hidden" not in str(error.value) and "\n" not in str(error.value)


def test_where_files_and_endpoints_are_is_no_part_of_the_identity():
    same = ({}, {"baseline": "/a/b.jsonl"}, {"baseline": "c.jsonl"})
    assert len({card("vicuna_eval", **each).identity() for each in same}) == 1
    served = ({"endpoint": "http://a/v1"}, {"endpoint": "http://b/v1", "endpoint_key": "KEY"})
    assert len({card("vicuna_eval", **each).identity() for each in served}) == 1
    different = ({}, served[0], {"orders": "random"}, {"responder": "a"})
    assert len({card("vicuna_eval", **each).identity() for each in different}) == 4
    assert plain("vicuna_eval").identity() != plain("dolly_eval").identity()


def test_bpos_sets_are_a_group():
    config = run_config({"method": "base", "tasks": ["bpo_sets"], "profile": "paper"})
    assert task_names(config) == ["vicuna_eval", "dolly_eval", "self_instruct_eval", "bpo_test"]
    with pytest.raises(HarnessError, match="no tasks in profile 'lab'"):
        task_names(run_config({"method": "base", "tasks": ["bpo_sets"]}))


def test_a_task_without_a_source_in_any_profile_asks_for_one():
    given = {"method": "base", "tasks": "vicuna_eval", "model": "lab/errands"}
    config = run_config({**given, "judge_option": {"model": "m"}})
    with pytest.raises(HarnessError, match=r"in profile 'lab': give --source vicuna_eval=FILE\.$"):
        make_plan(config)
