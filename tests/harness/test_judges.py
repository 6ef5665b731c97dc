"""Judges are plugins: listed, opened with checked settings, and held to what they were asked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from foreign import package

from harness import registry
from harness.errors import HarnessError, PluginError
from harness.judges import Case, Identity, Judge, Verdict, open_judge, verdicts

JUDGES = '''"""Judges of a stranger."""

from pydantic import Field, field_validator

from harness.judges import Judge, Verdict
from harness.schema import Strict


class Settings(Strict):
    margin: int = 0
    weight: float = Field(0, ge=0)

    @field_validator("weight")
    @classmethod
    def _light(cls, weight):
        if weight > 1:
            raise ValueError("a weight of at most 1.")
        return weight


class Needy(Strict):
    model: str


class Longest(Judge):
    """Prefers the longer answer."""

    Config = Settings

    def judge(self, cases):
        found = []
        for case in cases:
            first, second = (sum(map(len, answer)) for answer in case.answers)
            near = abs(first - second) <= self.config.margin
            found.append(Verdict("tie" if near else "first" if first > second else "second"))
        return found


class Bare(Judge):
    """Takes no settings."""

    def judge(self, cases):
        return []


class Wants(Bare):
    """Takes a model."""

    Config = Needy


class Other:
    """No judge."""
'''
NAMES = {"longest": "Longest", "bare": "Bare", "other": "Other", "wants": "Wants"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    points = {name: f"arbiter:{attribute}" for name, attribute in NAMES.items()}
    folder = tmp_path_factory.mktemp("site")
    return package(folder, "arbiter", {"arbiter.py": JUDGES}, {"harness.judges": points})


@pytest.fixture
def installed(site, monkeypatch):
    monkeypatch.syspath_prepend(site)
    registry.forget()
    yield
    registry.forget()
    sys.modules.pop("arbiter", None)


def test_judges_of_strangers_are_listed_without_an_import(site):
    path = os.pathsep.join(map(str, filter(None, [site, os.environ.get("PYTHONPATH")])))
    done = subprocess.run(
        [sys.executable, "-m", "harness", "list", "judges"],
        env={**os.environ, "PYTHONPATH": path},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line.split(None, 1)[1] for line in done.stdout.splitlines()}
    assert lines["longest"] == "Prefers the longer answer.  [arbiter]"


def test_a_judge_of_a_stranger_judges(installed, tmp_path):
    judge = open_judge("longest", {"margin": 1}, tmp_path)
    cases = [Case.of("Why?", "aaa", "b"), Case.of("Why?", "b", "aaa"), Case.of("Why?", "a", "bb")]
    assert [v.decision for v in verdicts(judge, cases)] == ["first", "second", "tie"]
    assert judge.identity() == Identity("longest")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("longer", {}, r"no judge 'longer'\. "),
        ("other", {}, r"'arbiter:Other' is not a subclass of harness\.judges\.Judge"),
        (
            "longest",
            {"magrin": 3},
            r"no setting 'magrin'\. Did you mean 'margin'\? It takes margin",
        ),
        ("longest", {"margin": "word"}, r"^judge 'longest': margin: .*valid integer"),
        ("longest", {"weight": 2}, r"^judge 'longest': weight: a weight of at most 1\.$"),
        (
            "wants",
            {},
            r"^judge 'wants': model is missing: give --judge-option model=VALUE\. `harness show w",
        ),
        ("bare", {"margin": 3}, r"It takes none\."),
    ],
)
def test_a_mistake_is_one_line(name, settings, message, installed, tmp_path):
    with pytest.raises(HarnessError, match=message) as error:
        open_judge(name, settings, tmp_path)
    assert "\n" not in str(error.value)
    assert "word" not in str(error.value)


class Fixed(Judge):
    """Says what it is told to."""

    def __init__(self, *found):
        super().__init__("fixed", self.Config(), Path())
        self.found = list(found)

    def judge(self, cases):
        return self.found


PAIR, SINGLE = Case.of("Why?", "a", "b"), Case.of("Why?", "a")


@pytest.mark.parametrize(
    ("case", "decision"),
    [
        *((PAIR, d) for d in ("first", "second", "tie", 1.0, 0, 0.25, None)),
        *((SINGLE, d) for d in (1, 9.5, 10, None)),
    ],
)
def test_decisions_on_what_was_asked_pass(case, decision):
    verdict = Verdict(decision, text="so")
    assert verdicts(Fixed(verdict), [case]) == [verdict]


@pytest.mark.parametrize(
    ("case", "decision"),
    [
        *((PAIR, d) for d in (1.5, -0.1, float("nan"), float("inf"), True, "A", "", "First")),
        *((SINGLE, d) for d in ("first", "tie", 0.9, 10.1, float("nan"), float("inf"), True)),
    ],
)
def test_decisions_on_what_was_not_asked_are_errors(case, decision):
    with pytest.raises(PluginError, match=r"^judge 'fixed': .* is no decision on (one|two) answer"):
        verdicts(Fixed(Verdict(decision)), [case])


@pytest.mark.parametrize("given", [None, ["first"], "first", (Verdict("first"),)])
def test_what_is_no_list_of_verdicts_is_an_error(given):
    class Loose(Fixed):
        def judge(self, cases):
            return given

    with pytest.raises(PluginError, match="judge 'fixed': gives no list of Verdict, but"):
        verdicts(Loose("first"), [Case.of("ask", "a", "b")])


def test_a_judge_that_fails_is_one_line_with_its_name():
    class Broken(Fixed):
        def judge(self, cases):
            raise KeyError("no\nsuch thing")

    with pytest.raises(PluginError, match=r"^judge 'fixed' failed on 1 cases: KeyError: .*thing'"):
        verdicts(Broken(), [PAIR])


def test_as_many_verdicts_as_cases():
    with pytest.raises(PluginError, match=r"^judge 'fixed': 1 verdicts on 2 cases"):
        verdicts(Fixed(Verdict("tie")), [PAIR, PAIR])


@pytest.mark.parametrize(
    ("turns", "answers", "references"),
    [
        (("q",), (), ()),
        (("q",), (("a",), ("b",), ("c",)), ()),
        ((), ((),), ()),
        (("q", "r"), (("a",),), ()),
        (("q",), (("a",), ("b", "c")), ()),
        (("q", "r"), (("a", "b"),), ("x",)),
    ],
)
def test_a_case_has_one_text_per_turn(turns, answers, references):
    with pytest.raises(ValueError, match="one"):
        Case(turns, answers, references)


def test_a_judge_without_settings_is_shown_to_have_none(installed):
    from harness.report.show import show_text

    assert show_text(registry.find("judges", "bare")).endswith("settings: none")
    assert "settings:\n  margin: 0" in show_text(registry.find("judges", "longest"))
