"""Names that mean several tasks, and tasks that nobody registered one by one."""

import pytest
from foreign import CARD, package

from harness import plan, registry
from harness.configs import run_config
from harness.errors import HarnessError, PluginError
from harness.plan import task_names

GROUPS = '''"""Tasks of a stranger."""

from harness.cards import cards
from harness.task import TaskGroup

__getattr__ = cards(__file__)

both = TaskGroup(summary="Two at once", members={"lab": ("first", "second")})


def made(name):
    if name == "bad":
        raise KeyError(name)
    task = __getattr__("first")
    return type(task)(task.card.model_copy(update={"name": f"made/{name}"}))
'''


@pytest.fixture(scope="module", autouse=True)
def site(tmp_path_factory):
    folder = package(
        tmp_path_factory.mktemp("site"),
        "grouping",
        {
            "grouping/__init__.py": GROUPS,
            "grouping/cards/first.yaml": CARD.format(name="first", prompt="{question}"),
            "grouping/cards/second.yaml": CARD.format(name="second", prompt="{question}"),
        },
        {
            "harness.tasks": {
                name: f"grouping:{name}" for name in ("first", "second", "both", "made")
            }
        },
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        registry.forget()
        yield
    registry.forget()


def asked(*tasks, **more):
    return run_config({"method": "base", "tasks": list(tasks), **more})


def test_a_group_is_its_members_each_once():
    assert task_names(asked("both")) == ["first", "second"]
    assert task_names(asked("second", "both", "first")) == ["second", "first"]


def test_a_group_says_which_profiles_it_has():
    with pytest.raises(HarnessError, match=r"^'Two at once': this .* 'paper': give --profile lab"):
        task_names(asked("both", profile="paper"))


def test_a_collection_makes_the_task_of_a_name():
    found = registry.find("tasks", "made/this")
    assert (found.name, found.member, found.distribution) == ("made/this", "this", "grouping")
    assert plan.task_with("made/this", {}).card.name == "made/this"
    assert task_names(asked("made/this", "first")) == ["made/this", "first"]
    assert registry.registered("tasks", "made/this")
    assert not registered("else/this")


def registered(name):
    return registry.registered("tasks", name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("first/of", "no task 'first/of': it is no collection"),
        ("made/bad", "task 'made/bad' of grouping 1.0 cannot be loaded"),
        ("mode/this", "no task 'mode/this'"),
        ("made/", "no task 'made/'"),
    ],
)
def test_a_name_that_is_none_is_one_line(name, message):
    with pytest.raises(PluginError, match=message) as error:
        task_names(asked(name))
    assert "\n" not in str(error.value)


def test_a_group_is_no_task_by_itself():
    with pytest.raises(HarnessError, match=r"is not a harness\.task\.Task"):
        plan.task_with("both", {})
