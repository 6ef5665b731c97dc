"""Rows to lm-eval's requests and back to scores, from files of every shape."""

import json
import math
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import launch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_translators import tiny_llama

from harness import scoring
from harness.cards import load_task
from harness.errors import DataError, HarnessError, PluginError
from harness.items import read_items
from harness.models.causal_lm import CausalLM
from harness.outputs import score_outputs
from harness.run_config import RunConfig
from harness.schema import TaskCard
from harness.sources import open_dataset
from harness.task import Item, Prediction, Ratio, Score, Task
from tasks.flan import lm_eval_files
from tasks.flan.format import LmEval
from tasks.flan.own import lm_eval_task

CARDS = Path(lm_eval_files.__file__).parent / "cards"

Rows = Sequence[Mapping[str, Any]]

SUMS = [
    {"question": f"What is {n} and {n} ?", "answer": f"{n}+{n}\n#### {2 * n}"} for n in range(1, 8)
]
CHOICES = [
    {
        "id": f"q{index}",
        "question": f"Which is number {index} ?",
        "choices": {"text": ["red", "long green", "blue"], "label": ["A", "B", "C"]},
        "answerKey": "ABC"[index % 3],
    }
    for index in range(6)
]


def card(name: str, **options: Any) -> Task:
    task = load_task(CARDS / f"{name}.yaml")
    return LmEval(task.card.model_copy(update={"options": {**task.card.options, **options}}))


def write(path: Path, rows: Rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(task: Task, path: Path, split: str | None = None, limit: int | None = None) -> list[Item]:
    return read_items(task, open_dataset(str(path)), split, limit)


def chosen(item: Item, index: int) -> Prediction:
    """As a model answers that finds one choice the likeliest."""
    count = len(item.inputs["requests"])
    scores = [[-1.0 if i == index else -9.0 - i, i == index] for i in range(count)]
    return Prediction(item.id, (item.inputs["requests"][index][1],), {"loglikelihoods": scores})


def message(error: pytest.ExceptionInfo[HarnessError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


# Rows to items


def test_rows_are_items_in_order_with_their_ids(tmp_path: Path) -> None:
    items = read(card("arc_easy"), write(tmp_path / "arc.jsonl", CHOICES))
    assert [item.id for item in items] == [f"q{index}" for index in range(6)]
    assert [item.reference for item in items] == [0, 1, 2, 0, 1, 2]
    task = card("arc_easy")
    (question,) = task.requests(items[0])
    assert question.context == "Question: Which is number 0 ?\nAnswer:"
    assert question.choices == [" red", " long green", " blue"]


def test_rows_without_ids_or_with_an_id_twice_are_numbered(tmp_path: Path) -> None:
    task = card("gsm8k", shots=0)
    items = read(task, write(tmp_path / "sums.jsonl", SUMS))
    assert [item.id for item in items] == [f"gsm8k-{n}" for n in range(1, 8)]
    twice = [{**row, "id": "same"} for row in SUMS]
    assert read(task, write(tmp_path / "twice.jsonl", twice))[1].id == "gsm8k-2"


def test_a_limit_renders_no_more_than_it_must(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.api.task import ConfigurableTask

    rendered = []
    real = ConfigurableTask.fewshot_context

    def counted(self: Any, doc: Any, *rest: Any, **more: Any) -> Any:
        rendered.append(doc)
        return real(self, doc, *rest, **more)

    monkeypatch.setattr(ConfigurableTask, "fewshot_context", counted)
    assert len(read(card("arc_easy"), write(tmp_path / "arc.jsonl", CHOICES), limit=2)) == 2
    assert len(rendered) <= 3


def test_a_folder_has_its_splits(tmp_path: Path) -> None:
    write(tmp_path / "gsm8k" / "train.jsonl", SUMS[:4])
    write(tmp_path / "gsm8k" / "test.jsonl", SUMS[4:])
    task = card("gsm8k", shots=2)
    items = read(task, tmp_path / "gsm8k", "test")
    assert len(items) == 3
    (question,) = task.requests(items[0])
    assert question.context.count("Question: ") == 3
    assert question.context.endswith(f"Question: {SUMS[4]['question']}\nAnswer:")
    (bare,) = card("gsm8k", shots=0).requests(read(card("gsm8k", shots=0), tmp_path / "gsm8k")[0])
    assert bare.context == f"Question: {SUMS[4]['question']}\nAnswer:"


def test_the_dev_split_is_read_and_an_item_is_not_its_own_example(tmp_path: Path) -> None:
    write(tmp_path / "gsm8k" / "train.jsonl", SUMS[:3])
    write(tmp_path / "gsm8k" / "test.jsonl", SUMS[3:])
    task = card("gsm8k", shots=2)
    for item, row in zip(read(task, tmp_path / "gsm8k", "train"), SUMS, strict=False):
        (question,) = task.requests(item)
        assert question.context.count(str(row["question"])) == 1
        assert question.context.endswith(f"{row['question']}\nAnswer:")


@pytest.mark.parametrize("name", ["validation", "valid", "val"])
def test_a_validation_split_goes_by_any_of_its_names(name: str, tmp_path: Path) -> None:
    rows = [{"ctx_a": "a", "ctx_b": "b", "ctx": "a b", "activity_label": "walk", "ind": 1}]
    for row in rows:
        row |= {"endings": ["one", "two", "three", "four"], "label": "2"}  # type: ignore[dict-item]
    write(tmp_path / "data" / f"{name}.jsonl", rows)
    write(tmp_path / "data" / "train.jsonl", rows * 2)
    assert len(read(lm_eval_task("hellaswag"), tmp_path / "data")) == 1


# Errors of a user


def test_examples_without_their_split_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        read(card("gsm8k"), write(tmp_path / "sums.jsonl", SUMS))
    assert message(error) == (
        "lm-eval's task 'gsm8k' puts 5 examples of split 'train' in its prompts, but the source "
        "has only all: give a folder with both, or --option gsm8k.shots=0."
    )


def test_more_examples_than_there_are_is_one_line(tmp_path: Path) -> None:
    write(tmp_path / "gsm8k" / "train.jsonl", SUMS[:3])
    write(tmp_path / "gsm8k" / "test.jsonl", SUMS[3:])
    with pytest.raises(DataError) as error:
        read(card("gsm8k"), tmp_path / "gsm8k", "test")
    assert message(error).startswith("test.jsonl line 1: lm-eval's task 'gsm8k' cannot read it (")


@pytest.mark.parametrize(
    ("task", "change", "said"),
    [
        ("gsm8k", {"question": ...}, "there is no 'question', which the prompt needs."),
        ("gsm8k", {"answer": None}, "there is no 'answer', which the prompt needs."),
        ("arc_easy", {"answerKey": "E"}, "lm-eval's task 'arc_easy' cannot read it (ValueError: "),
        ("arc_easy", {"choices": ...}, "there is no 'choices', which the prompt needs."),
        ("arc_easy", {"answerKey": ...}, "there is no 'answerKey', which the prompt needs."),
        ("arc_easy", {"choices": {"text": [], "label": []}}, "lm-eval's task 'arc_easy' cannot"),
    ],
)
@pytest.mark.parametrize("at", [0, 3])
def test_a_row_that_a_task_cannot_read_is_named(
    task: str, change: Mapping[str, Any], said: str, at: int, tmp_path: Path
) -> None:
    rows = [dict(row) for row in (SUMS if task == "gsm8k" else CHOICES)]
    for name, value in change.items():
        rows[at] = {k: v for k, v in rows[at].items() if k != name}
        if value is not ...:
            rows[at][name] = value
    with pytest.raises(DataError) as error:
        read(card(task, shots=0), write(tmp_path / "rows.jsonl", rows))
    assert message(error).startswith(f"rows.jsonl line {at + 1}: {said}")


def test_rows_without_a_field_at_all_are_one_line(tmp_path: Path) -> None:
    rows = [{"text": row["question"]} for row in SUMS]
    with pytest.raises(DataError) as error:
        read(card("gsm8k", shots=0), write(tmp_path / "rows.jsonl", rows))
    assert message(error).startswith("rows.jsonl line 1: lm-eval's task 'gsm8k' needs a field")
    assert "'question'" in message(error)


def test_a_field_of_two_kinds_is_one_line(tmp_path: Path) -> None:
    rows = [*SUMS[:2], {**SUMS[2], "question": 3}]
    with pytest.raises(DataError) as error:
        read(card("gsm8k", shots=0), write(tmp_path / "rows.jsonl", rows))
    assert message(error).startswith("rows.jsonl line 1 to rows.jsonl line 3: a field is not of")


def test_an_example_that_lacks_a_field_is_named(tmp_path: Path) -> None:
    broken = [SUMS[0], {"question": "and ?"}, SUMS[2]]
    write(tmp_path / "gsm8k" / "train.jsonl", broken)
    write(tmp_path / "gsm8k" / "test.jsonl", SUMS[3:])
    with pytest.raises(DataError, match=r"train\.jsonl line 2: there is no 'answer'") as error:
        read(card("gsm8k", shots=1), tmp_path / "gsm8k", "test")
    message(error)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("shots", -1, "option 'shots': Input should be greater than or equal to 0."),
        ("shots", "many", "option 'shots': Input should be a valid integer"),
        ("shot", 1, "option 'shot': there is no such option. Did you mean 'shots'?"),
        ("run_code", "perhaps", "option 'run_code': Input should be a valid boolean"),
    ],
)
def test_a_wrong_option_is_one_line(option: str, value: Any, said: str) -> None:
    with pytest.raises(PluginError) as error:
        card("gsm8k", **{option: value})
    assert said in message(error)


def test_ids_that_no_row_has_are_one_line(tmp_path: Path) -> None:
    arc = write(tmp_path / "arc.jsonl", CHOICES)
    (tmp_path / "ids.txt").write_text("q1\nq4\n")
    (tmp_path / "ids.json").write_text('{"q1": "A", "q4": "B"}')
    for name in ("ids.txt", "ids.json"):
        items = read(card("arc_easy", ids=str(tmp_path / name)), arc)
        assert [item.id for item in items] == ["q1", "q4"]
    (tmp_path / "other.txt").write_text("x\n")
    for name, said in {
        "other.txt": "none of the 6 rows has one of the 1 ids that are scored: give --option "
        "arc_easy.ids=null to score all.",
        "none.txt": "cannot be read (No such file or directory).",
    }.items():
        with pytest.raises(DataError) as error:
            read(card("arc_easy", ids=str(tmp_path / name)), arc)
        assert message(error).endswith(said)


# lm-eval's own names


def test_names_of_lm_evals_own_are_read(tmp_path: Path) -> None:
    task = lm_eval_task("gsm8k")
    assert task.card.primary == "exact_match,strict-match"
    assert task.card.sources["paper"].dataset == "openai/gsm8k:main"
    assert lm_eval_task("arc_easy").card.primary == "acc"
    assert lm_eval_task("humaneval").card.primary == "pass@1"
    assert lm_eval_task("mmlu").card.sources["paper"].dataset == "cais/mmlu"
    assert len(lm_eval_files.leaves("lm_eval/mmlu")) == 57
    assert {c["task"] for c in lm_eval_files.leaves("lm_eval/ai2_arc")} == {
        "arc_easy",
        "arc_challenge",
    }


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gsmk8", "lm-eval has no task 'gsmk8'. Did you mean 'gsm8k'?"),
        ("../gsm8k", "'lm_eval/../gsm8k' is no name of an lm-eval task."),
        ("squadv2", "lm-eval's task 'squadv2' is a Python class: only files are read."),
    ],
)
def test_a_name_that_cannot_be_read_is_one_line(name: str, said: str) -> None:
    with pytest.raises(PluginError) as error:
        lm_eval_task(name)
    assert message(error) == said


def test_two_tasks_of_a_file_alike_have_identities_of_their_own() -> None:
    names = ("lm_eval/gsm8k", "lm_eval/gsm8k_cot", "lm_eval/mmlu", "errands_sums", "errands_news")
    assert len({lm_eval_files.identity(name) for name in names}) == len(names)
    assert lm_eval_files.identity("lm_eval/mmlu") == lm_eval_files.identity("lm_eval/mmlu")


# Groups


def subjects(folder: Path, counts: Mapping[str, int]) -> Path:
    """MMLU as tables by subject; the right answer of a row is its number modulo 4."""
    for split in ("dev", "test"):
        (folder / split).mkdir(parents=True)
        for name, count in counts.items():
            lines = [f"{name} {split} {n} ?,a,b,c,d,{n % 4}" for n in range(count)]
            header = "question,choice0,choice1,choice2,choice3,answer"
            (folder / split / f"{name}_{split}.csv").write_text("\n".join([header, *lines]) + "\n")
    return folder


def test_a_group_has_the_subjects_that_are_there_weighted_by_size(tmp_path: Path) -> None:
    folder = subjects(tmp_path / "mmlu", {"anatomy": 2, "virology": 6})
    task = card("mmlu", shots=1)
    items = read(task, folder, "test")
    assert [item.category for item in items] == ["anatomy"] * 2 + ["virology"] * 6 or [
        item.category for item in items
    ] == ["virology"] * 6 + ["anatomy"] * 2
    assert {item.id for item in items} >= {"mmlu_anatomy-1", "mmlu_virology-6"}
    for item in items:
        (question,) = task.requests(item)
        assert question.context.startswith("The following are multiple choice questions (with")
        assert f"{item.category} dev 0 ?" in question.context
        assert question.choices == [" A", " B", " C", " D"]
    said = [chosen(item, item.reference if item.category == "anatomy" else 3) for item in items]
    scores = [task.score(*pair) for pair in zip(items, said, strict=True)]
    right = 2 + sum(n % 4 == 3 for n in range(6))
    assert task.aggregate(items, said, scores)["acc"].value == pytest.approx(right / 8)
    categories = scoring.by_category(items, scores)
    assert categories["anatomy"]["acc"].value == 1
    assert categories["virology"]["acc"].value == pytest.approx(1 / 6)


def test_a_subject_of_no_task_is_named(tmp_path: Path) -> None:
    folder = subjects(tmp_path / "mmlu", {"anatomi": 2})
    with pytest.raises(DataError) as error:
        read(card("mmlu", shots=0), folder, "test")
    assert message(error).startswith(
        "anatomi_test.csv line 2: subject 'anatomi' is none of the 57 that are asked. Did you mean "
        "'anatomy'?"
    )


def test_a_wrong_answer_of_a_table_is_named(tmp_path: Path) -> None:
    folder = subjects(tmp_path / "mmlu", {"anatomy": 2})
    table = folder / "test" / "anatomy_test.csv"
    table.write_text(table.read_text().replace(",1\n", ",E\n"))
    with pytest.raises(DataError, match=r"line 3: the answer is 'E', not 0 to 3 or A to D\."):
        read(card("mmlu", shots=0), folder, "test")


def test_one_subject_of_a_folder_can_be_asked_alone(tmp_path: Path) -> None:
    folder = subjects(tmp_path / "mmlu", {"anatomy": 2, "virology": 6})
    alone = lm_eval_task("mmlu_virology")
    options = {**alone.card.options, "rows": "tasks.flan.rows:mmlu"}
    task = LmEval(alone.card.model_copy(update={"options": options}))
    assert len(read(task, folder, "test")) == 6


def test_a_group_of_several_data_sets_takes_no_local_source(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="on data sets of their own: score each by its own name"):
        read(lm_eval_task("agieval"), write(tmp_path / "rows.jsonl", CHOICES))


# Metrics


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a task file of lm-eval's, and gives its task."""
    folder = tmp_path / "task_files"
    shutil.copytree(lm_eval_files.OWN, folder)
    monkeypatch.setattr(lm_eval_files, "OWN", folder)
    names = ("declared", "_folders", "_index", "_yaml_files")
    memories = [getattr(lm_eval_files, name) for name in names]
    for memory in memories:
        memory.cache_clear()

    def made(primary: str, name: str = "own", **config: Any) -> LmEval:
        file = config["task"] if isinstance(config.get("task"), str) else name
        (folder / f"{file}.yaml").write_text(json.dumps(config))
        return LmEval(
            TaskCard(
                name=name,
                summary="",
                family="flan",
                format="tasks.flan.format:LmEval",
                version=1,
                primary=primary,
                licence="",
                cite="",
                sources={},
                options={"task": name},
            )
        )

    yield made
    for memory in memories:
        memory.cache_clear()


def metric(name: str, aggregation: str = "mean") -> Mapping[str, Any]:
    return {"metric": name, "aggregation": aggregation, "higher_is_better": True}


def yes_no(name: str = "own", **more: Any) -> Mapping[str, Any]:
    return {
        "task": name,
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "{{text}}",
        "doc_to_choice": ["no", "yes"],
        "doc_to_target": "{{label}}",
        "metric_list": [metric("acc"), metric("f1", "f1")],
        **more,
    }


def scored(task: Task, items: Sequence[Item], said: Sequence[Prediction]) -> list[Score]:
    return [task.score(item, each) for item, each in zip(items, said, strict=True)]


def test_a_metric_that_is_no_mean_is_aggregated_by_lm_eval(own: Any, tmp_path: Path) -> None:
    task = own("acc", **yes_no())
    labels = [1, 1, 1, 0, 0]
    rows = [{"text": f"t{index}", "label": label} for index, label in enumerate(labels)]
    items = read(task, write(tmp_path / "rows.jsonl", rows))
    said = [chosen(item, index) for item, index in zip(items, [1, 1, 0, 1, 0], strict=True)]
    scores = scored(task, items, said)
    assert [score.keys() for score in scores] == [{"acc"}] * 5
    found = task.aggregate(items, said, scores)
    assert found["acc"].value == pytest.approx(3 / 5) and found["acc"].low is not None
    assert found["f1"].value == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert found["f1"].low is None and found["f1"].n == 5
    assert str(found["f1"].signature).startswith("lm-eval 0.")


def test_bits_per_byte_has_shares_and_perplexity_has_none(own: Any, tmp_path: Path) -> None:
    task = own(
        "bits_per_byte",
        task="own",
        output_type="loglikelihood_rolling",
        test_split="test",
        doc_to_text="",
        doc_to_target="{{text}}",
        metric_list=[
            metric("bits_per_byte", "bits_per_byte"),
            metric("word_perplexity", "weighted_perplexity"),
        ],
    )
    texts = ["one two", "three four five six"]
    items = read(task, write(tmp_path / "rows.jsonl", [{"text": text} for text in texts]))
    said = [
        Prediction(item.id, ("",), {"loglikelihoods": [value]})
        for item, value in zip(items, (-7.0, -20.0), strict=True)
    ]
    found = task.aggregate(items, said, scored(task, items, said))
    assert found["bits_per_byte"].value == pytest.approx(27 / math.log(2) / sum(map(len, texts)))
    assert found["word_perplexity"].value == pytest.approx(math.exp(27 / 6))
    with pytest.raises(HarnessError, match="scores likelihoods") as error:
        task.score(items[0], Prediction(items[0].id, ("one",)))
    message(error)


def test_tasks_of_a_group_may_differ_in_metrics_and_weigh_the_same(
    own: Any, tmp_path: Path
) -> None:
    parts = {"first": [metric("acc")], "second": [metric("acc"), metric("acc_norm")]}
    for name, metrics in parts.items():
        own("acc", **yes_no(name, dataset_name=name, metric_list=metrics))
    group = {
        "group": "both",
        "task": list(parts),
        "aggregate_metric_list": [{"metric": "acc", "weight_by_size": False}],
    }
    own("acc", name="both", **group)
    task = LmEval(own("acc", name="both", **group).card)
    labels = {"first": [1], "second": [1, 0, 0]}
    rows = [
        {"text": f"{name} {index}", "label": label, "subject": name}
        for name, found in labels.items()
        for index, label in enumerate(found)
    ]
    items = read(task, write(tmp_path / "rows.jsonl", rows))
    said = [chosen(item, 1) for item in items]
    scores = scored(task, items, said)
    assert [score["acc_norm"] for score in scores[:1]] == [Ratio(0, 0)]
    found = task.aggregate(items, said, scores)
    assert found["acc"].value == pytest.approx((1 + 1 / 3) / 2)
    assert found["acc_norm"].value == pytest.approx(1 / 3) and found["acc_norm"].n == 3


def test_a_function_that_fails_on_an_output_is_one_line(own: Any, tmp_path: Path) -> None:
    (lm_eval_files.OWN / "broken.py").write_text("def score(doc, results):\n    return 1 / 0\n")
    file = lm_eval_files.OWN / "own.yaml"
    task = own("acc", **yes_no(metric_list=[metric("acc")]))
    file.write_text(file.read_text()[:-1] + ', "process_results": !function broken.score}')
    items = read(task, write(tmp_path / "rows.jsonl", [{"text": "t", "label": 1}]))
    with pytest.raises(HarnessError) as error:
        task.score(items[0], chosen(items[0], 0))
    assert "ZeroDivisionError" in message(error) and "item 'own-1'" in message(error)


# Outputs


@pytest.fixture(scope="module", autouse=True)
def _items(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("items")
    TASKS["arc_easy"] = card("arc_easy")
    CHOICE_ITEMS[:] = read(TASKS["arc_easy"], write(folder / "arc.jsonl", CHOICES))
    TASKS["gsm8k"] = card("gsm8k", shots=0)
    SUM_ITEMS[:] = read(TASKS["gsm8k"], write(folder / "sums.jsonl", SUMS))


TASKS: dict[str, Task] = {}
CHOICE_ITEMS: list[Item] = []
SUM_ITEMS: list[Item] = []

HOSTILE = st.one_of(
    st.text(),
    st.text(st.characters(categories=["Cc", "Cf", "Zs"])),
    st.sampled_from(["", "#### ", "#### .", "#### -", "#### ,,", "\x00", "9" * 5000, "$" * 999]),
)


@settings(max_examples=60, deadline=None)
@given(HOSTILE)
def test_no_text_breaks_scoring(text: str) -> None:
    for name, item in (("gsm8k", SUM_ITEMS[0]), ("arc_easy", CHOICE_ITEMS[0])):
        score = TASKS[name].score(item, Prediction(item.id, (text,)))
        assert len(score) == 2
        assert all(share.numerator in (0, 1) and share.denominator == 1 for share in score.values())


def test_a_text_that_is_no_choice_is_wrong_whichever_is_right() -> None:
    task = TASKS["arc_easy"]
    for item in CHOICE_ITEMS:
        for text in ("", "purple", "red or blue"):
            found = task.score(item, Prediction(item.id, (text,)))
            assert found == {"acc": Ratio(0), "acc_norm": Ratio(0)}
        right = item.inputs["requests"][item.reference][1]
        for text in (right, right.strip(), f"{right}\n"):
            found = task.score(item, Prediction(item.id, (text,)))
            assert found == {"acc": Ratio(1), "acc_norm": Ratio(1)}


def test_likelihoods_choose_by_sum_and_by_length() -> None:
    item = CHOICE_ITEMS[1]  # whose right answer, "long green", is the longest
    scores = [[-4.0, False], [-5.0, False], [-9.0, False]]
    found = TASKS["arc_easy"].score(
        item, Prediction(item.id, (" red",), {"loglikelihoods": scores})
    )
    assert found == {"acc": Ratio(0), "acc_norm": Ratio(1)}


def test_numbers_are_found_by_each_filter() -> None:
    item = SUM_ITEMS[2]
    for text, strict, flexible in (
        ("3+3\n#### 6", 1, 1),
        ("it is 6", 0, 1),
        ("#### 6 or 7", 1, 0),
        ("six", 0, 0),
    ):
        found = TASKS["gsm8k"].score(item, Prediction(item.id, (text,)))
        assert found["exact_match,strict-match"] == Ratio(strict), text
        assert found["exact_match,flexible-extract"] == Ratio(flexible), text


def test_outputs_made_elsewhere_are_scored(tmp_path: Path) -> None:
    write(tmp_path / "arc.jsonl", CHOICES)
    write(tmp_path / "sums.jsonl", SUMS)
    chance = random.Random(1)
    texts = ["red", "long green", "blue", "blue", "none", "blue"]
    said = [{"id": f"q{index}", "output": text} for index, text in enumerate(texts)]
    chance.shuffle(said)
    write(tmp_path / "said.jsonl", said)
    write(tmp_path / "solved.jsonl", [{"output": f"#### {2 * n}"} for n in (1, 2, 3, 4, 5, 9, 9)])
    for task, options, outputs, value in (
        ("arc_easy", {}, "said.jsonl", 4 / 6),
        ("gsm8k", {"gsm8k.shots": "0"}, "solved.jsonl", 5 / 7),
    ):
        source = "arc.jsonl" if task == "arc_easy" else "sums.jsonl"
        config = RunConfig(
            method=["outputs"],
            tasks=[task],
            source={task: str(tmp_path / source)},
            option=options,
            runs=tmp_path / "runs",
            leaderboards=tmp_path / "leaderboards",
        )
        (entry,) = score_outputs(config, tmp_path / outputs)
        assert entry.metrics[entry.primary].value == pytest.approx(value, abs=1e-6)
        (kept,) = (tmp_path / "runs").glob(f"outputs-*/{task}.jsonl")
        (again,) = score_outputs(config, kept, name="again")
        assert again.metrics == entry.metrics


def test_a_model_that_reads_too_little_is_one_line(own: Any, tmp_path: Path) -> None:
    task = own(
        "exact_match",
        task="own",
        output_type="generate_until",
        test_split="test",
        doc_to_text="{{text}}",
        doc_to_target="{{text}}",
        generation_kwargs={"until": ["\n"], "max_gen_toks": 600},
        metric_list=[metric("exact_match")],
    )
    items = read(task, write(tmp_path / "rows.jsonl", [{"text": "red"}]))
    model = CausalLM.load(tiny_llama(tmp_path / "llama"))
    with pytest.raises(HarnessError) as error:
        task.predict(model, items)
    assert message(error).startswith("task 'own', asked by lm-eval: ") and "600" in message(error)
    (said,) = task.predict(model, items, max_gen_toks=4)
    assert 1 <= len(model.tokenizer(said.outputs[0])["input_ids"]) <= 1 + 3 * 4


def test_an_error_on_the_command_line_is_one_line(tmp_path: Path) -> None:
    write(tmp_path / "sums.jsonl", SUMS)
    words = ["score", "--task", "gsm8k", "--source", "sums.jsonl", "--predictions", "sums.jsonl"]
    done = launch.run(words, tmp_path)
    assert done.status == 2 and done.stdout == ""
    assert done.stderr.startswith("harness: lm-eval's task 'gsm8k' puts 5 examples")
    assert len(done.stderr.splitlines()) == 1


def test_listing_tasks_does_not_import_lm_eval() -> None:
    code = (
        "import sys\nfrom harness.cli import main\nsys.argv = ['harness', 'list', 'tasks']\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert not done.code\n"
        "assert not {'lm_eval', 'datasets', 'torch'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "errands_sums" in done.stdout and "gsm8k" in done.stdout
