"""Verdicts between predictions and scores: kept, asked again where they failed, part of a result's
place."""

import json
from types import SimpleNamespace

import pytest
from builders import entry
from typer.testing import CliRunner

import harness
from harness import cli
from harness.code_keys import Code
from harness.configs import run_config
from harness.contrast import unpairable
from harness.errors import HarnessError, PluginError
from harness.judges import Case, Identity, Judge, Verdict
from harness.judging import judged
from harness.plan import make_plan
from harness.schema import Strict
from harness.store import Store
from harness.task import Item, Prediction, Task

ITEMS = [Item(str(i), {"prompt": f"ask {i}"}, None, "", "") for i in range(4)]
SAID = [Prediction(str(i), [f"said {i}"], {"kept": i}) for i in range(4)]


class Shown:
    """A task that shows an item's answer once for each of its number: 0, 1, 2 and 3 cases."""

    def cases(self, item, prediction):
        return [
            Case.of(item.inputs["prompt"], prediction.outputs[0], str(k))
            for k in range(int(item.id))
        ]


class Fixed(Judge):
    """Decides by a function of the case, and notes what it was shown."""

    def __init__(self, decide=lambda case: "first", model="m"):
        super().__init__("fixed", Strict(), None)
        self.decide, self.model, self.shown = decide, model, []

    def identity(self):
        return Identity(self.name, self.model)

    def judge(self, cases):
        self.shown.append(list(cases))
        return [Verdict(decision := self.decide(case), "" if decision else "cut") for case in cases]


def scored(judge, items=ITEMS):
    return SimpleNamespace(task=Shown(), items=items, judge=judge)


def shown(judge):
    return [[(c.turns[0], c.answers[1][0]) for c in cases] for cases in judge.shown]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def second_of_each(case):
    return "second" if case.answers[1] == ("0",) else "first"


def test_verdicts_stand_with_their_items_in_the_order_of_the_cases(store):
    judge = Fixed(second_of_each)
    found = judged(scored(judge), SAID, store)
    decisions = [[v["decision"] for v in each.details["verdicts"]] for each in found]
    assert decisions == [[], ["second"], ["second", "first"], ["second", "first", "first"]]
    assert [(each.id, each.outputs, each.details["kept"]) for each in found] == [
        (each.id, each.outputs, each.details["kept"]) for each in SAID
    ]
    assert "verdicts" not in SAID[1].details
    assert len(judge.shown) == 1 and len(judge.shown[0]) == 6


def test_verdicts_are_kept_and_nobody_is_asked_twice(store):
    first = judged(scored(Fixed(second_of_each)), SAID, store)
    again = Fixed(lambda case: pytest.fail("asked again"))
    assert judged(scored(again), SAID, store) == first


def test_a_judge_whose_code_changed_is_asked_anew(store, monkeypatch):
    judge = Fixed()
    judged(scored(judge), SAID, store)
    monkeypatch.setattr("harness.judging.reached", lambda _: Code({"judge": "other code"}, {}))
    judged(scored(judge), SAID, store)
    assert len(judge.shown) == 2


def test_failed_ones_alone_are_asked_again(store):
    fails = Fixed(lambda case: None if case.turns == ("ask 2",) else "first")
    found = judged(scored(fails), SAID, store)
    assert [v["reason"] for v in found[2].details["verdicts"]] == ["cut", "cut"]
    later = Fixed(lambda case: None if case.answers[1] == ("1",) else "second")
    found = judged(scored(later), SAID, store)
    assert shown(later) == [[("ask 2", "0"), ("ask 2", "1")]]
    assert [v["decision"] for v in found[2].details["verdicts"]] == ["second", None]
    assert {v["decision"] for v in found[3].details["verdicts"]} == {"first"}
    last = Fixed(lambda case: "tie")
    found = judged(scored(last), SAID, store)
    assert shown(last) == [[("ask 2", "1")]]
    assert [v["decision"] for v in found[2].details["verdicts"]] == ["second", "tie"]
    assert judged(scored(Fixed(lambda case: pytest.fail("again"))), SAID, store) == found


def test_why_judgements_failed_is_said(store, capsys):
    judged(scored(Fixed(lambda case: None if case.turns == ("ask 2",) else "first")), SAID, store)
    assert capsys.readouterr().err == (
        "judge 'fixed': 2 of 6 judgements failed, the first: cut. "
        "The same command asks again where no answer came.\n"
    )
    judged(scored(Fixed()), SAID, store)
    assert capsys.readouterr().err == ""


def test_another_judge_or_answer_is_asked_anew(store):
    judged(scored(Fixed()), SAID, store)
    other = Fixed(model="another")
    judged(scored(other), SAID, store)
    assert len(other.shown) == 1
    changed = Fixed()
    new = [Prediction(each.id, ["other"], each.details) for each in SAID]
    judged(scored(changed), new, store)
    assert len(changed.shown) == 1


def test_without_a_judge_predictions_are_as_they_are(store):
    assert judged(scored(None), SAID, store) == SAID
    assert not store.root.exists()


def test_where_nothing_need_be_judged_nobody_is_asked(store):
    judge = Fixed()
    found = judged(scored(judge, ITEMS[:1]), SAID[:1], store)
    assert found[0].details == {"kept": 0, "verdicts": []} and judge.shown == []


def test_a_judge_that_errs_leaves_nothing_behind(store):
    class Short(Fixed):
        def judge(self, cases):
            return []

    with pytest.raises(PluginError, match="0 verdicts on 6 cases"):
        judged(scored(Short()), SAID, store)
    assert not list(store.root.rglob("*.jsonl"))


@pytest.mark.parametrize("damage", ["{", "", '{"decision":"first"}\n'])
def test_damaged_verdicts_are_named_in_one_line(store, damage):
    judged(scored(Fixed()), SAID, store)
    (path,) = store.root.rglob("rows.jsonl")
    path.write_text(damage)
    with pytest.raises(HarnessError, match=r"rows\.jsonl: .*remove") as error:
        judged(scored(Fixed()), SAID, store)
    assert "\n" not in str(error.value)


def test_a_task_shows_a_judge_nothing_unless_it_says_so():
    assert Task.cases(None, ITEMS[0], SAID[0]) == ()  # type: ignore[arg-type]


JUDGES = [{}, {"name": "lab"}, {"name": "llm", "model": "a"}, {"name": "llm", "model": "b"}]


def by(judge, **changes):
    made = entry(**changes)
    return made.model_copy(update={"task": made.task.model_copy(update={"judge": judge})})


def test_results_of_different_judges_stand_apart_and_are_not_paired():
    entries = [by(judge) for judge in JUDGES]
    assert len({each.place for each in entries}) == len(JUDGES)
    for i, one in enumerate(entries):
        for j, other in enumerate(entries):
            assert (unpairable(one, other) is None) == (i == j)
    assert unpairable(entries[2], entries[3]).startswith("task judge differs: {'name': 'llm'")
    assert "judge" not in entries[0].model_dump(mode="json")["task"]
    assert type(entries[2]).model_validate_json(entries[2].model_dump_json()) == entries[2]


URL = "http://127.0.0.1:9/v1"


def settings(tmp_path, **more):
    asked = {"method": "base", "tasks": ["errands_prompts"], "limit": 6, **more}
    return {**asked, "runs": tmp_path / "runs"}


def test_a_cards_judge_is_taken_unless_another_is_named(tmp_path):
    (task,) = make_plan(run_config(settings(tmp_path))).tasks
    assert task.judge.identity() == Identity("lab") and task.ref.judge == {"name": "lab"}
    asked = settings(tmp_path, judge="llm", judge_option={"model": "gpt", "base_url": URL})
    (task,) = make_plan(run_config(asked)).tasks
    assert task.judge.config.model == "gpt"
    assert task.ref.judge.keys() == {"name", "model", "prompt"} and task.ref.judge["model"] == "gpt"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"judge": "lba"}, "no judge 'lba'. Did you mean 'lab'"),
        ({"judge_option": {"modle": "x"}}, "judge 'lab': no setting 'modle'"),
        ({"judge": "llm", "judge_option": {"modle": "x"}}, "Did you mean 'model'"),
        ({"tasks": ["errands_sums"], "judge": "lab"}, "no task of this run is judged: errands_sum"),
        ({"tasks": ["errands_sums"], "judge_option": {"a": 1}}, "no task of this run is judged"),
    ],
)
def test_a_judge_that_cannot_be_is_refused_in_one_line(tmp_path, more, said):
    with pytest.raises(HarnessError) as error:
        make_plan(run_config(settings(tmp_path, **more)))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_an_unjudged_run_says_nothing_of_judges(tmp_path):
    config = run_config(settings(tmp_path, tasks=["errands_sums"]))
    (task,) = make_plan(config).tasks
    assert task.judge is None and task.ref.judge == {}
    assert not {"judge", "judge_option"} & config.model_dump(mode="json").keys()


@pytest.fixture(scope="module")
def base_run(tmp_path_factory):
    """The folder and the entry of the base in the lab, judged by known truth."""
    folder = tmp_path_factory.mktemp("run")
    places = {"runs": folder / "runs", "leaderboards": folder / "boards"}
    (made,) = harness.run(method="base", tasks=["errands_prompts"], limit=12, **places)
    return folder, made


def test_an_entry_says_who_judged(base_run):
    folder, made = base_run
    assert made.task.judge == {"name": "lab"}
    (board,) = (folder / "boards").rglob("errands_prompts.json")
    (kept,) = json.loads(board.read_text())["entries"].values()
    assert kept["task"]["judge"] == {"name": "lab"}


def test_the_command_line_names_judge_and_options(monkeypatch, tmp_path):
    seen = {}

    def stop(given, file=None):
        seen.update(given)
        raise HarnessError("seen")

    monkeypatch.setattr("harness.configs.run_config", stop)
    words = ["--judge", "llm", "--judge-option", "model=gpt-4o", "--judge-option", "swap=true"]
    for command in (
        ["run", "--method", "base", "--tasks", "errands_prompts"],
        ["score", "--task", "errands_prompts", "--predictions", str(tmp_path)],
    ):
        seen.clear()
        CliRunner().invoke(cli.app, [*command, *words])
        assert seen["judge"] == "llm"
        assert seen["judge_option"] == {"model": "gpt-4o", "swap": "true"}
    read = run_config(settings(tmp_path, judge_option={"model": "gpt-4o", "n": "3", "b": "true"}))
    assert read.judge_option == {"model": "gpt-4o", "n": 3, "b": True}
