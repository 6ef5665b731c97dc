"""The contract of a judge: which of two answers is better, or how good one is.

A judge is a plugin of the group `harness.judges`; `harness list judges` shows all.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ValidationError

from harness import registry
from harness.errors import HarnessError, PluginError, complaint, suggestion
from harness.schema import Strict

Decision = Literal["first", "second", "tie"] | float
"""Of two answers, the better by the place where it was shown, or how far the first is preferred, in
[0, 1]; of one, its score from 1 to 10."""


@dataclass(frozen=True)
class Case:
    """What a judge is shown: one answer to grade, or two to compare.

    turns: what the user said, a text per turn.
    answers: in the order shown; each has a text per turn.
    references: a right answer per turn, or nothing.
    """

    turns: tuple[str, ...]
    answers: tuple[tuple[str, ...], ...]
    references: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.answers) not in (1, 2):
            raise ValueError(f"a judge is shown one answer or two, not {len(self.answers)}")
        if not self.turns or {len(answer) for answer in self.answers} != {len(self.turns)}:
            raise ValueError("an answer has one text for each turn")
        if self.references and len(self.references) != len(self.turns):
            raise ValueError("references are one text for each turn, or none")

    @classmethod
    def of(cls, instruction: str, *answers: str) -> "Case":
        """A conversation of one turn."""
        return cls((instruction,), tuple((answer,) for answer in answers))


@dataclass(frozen=True)
class Verdict:
    """What a judge decided of one case.

    decision: None where there is none: the judgement failed and is counted, never scored.
    reason: why it failed, on one line.
    text: all that the judge wrote.
    ordered: whether it is of the answers in the order shown; some files of judgements do not say in
        which they were.
    """

    decision: Decision | None
    reason: str = ""
    text: str = ""
    ordered: bool = True


@dataclass(frozen=True)
class Identity:
    """What tells judges apart: results are comparable only where all three are equal.

    name: as the judge is registered.
    model: what it runs, empty where it runs none.
    prompt: hash of what it asks and how it reads the answer, empty where it does not ask.
    """

    name: str
    model: str = ""
    prompt: str = ""


class Judge(ABC):
    """A judge of answers. Registered as a class under the group `harness.judges`."""

    Config: ClassVar[type[Strict]] = Strict
    """Its settings with their defaults."""

    def __init__(self, name: str, config: Strict, folder: Path) -> None:
        """`name` as registered; `folder` is where it may keep what it learned, between runs too."""
        self.name = name
        self.config = config
        self.folder = folder

    def identity(self) -> Identity:
        """What its verdicts depend on."""
        return Identity(self.name)

    @abstractmethod
    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """A verdict per case, in their order; how many it works on at once is its own affair.

        A case that cannot be judged is a failed verdict. `HarnessError` is for what no case
        survives: a wrong key, an unknown model.
        """


def open_judge(name: str, settings: Mapping[str, Any], folder: Path) -> Judge:
    """The judge registered under a name, with its settings checked.

    Errors name the setting and not what was given for it: that may be a secret in the wrong place.
    """
    cls = registry.load("judges", name)
    if not (isinstance(cls, type) and issubclass(cls, Judge)):
        value = registry.find("judges", name).value
        raise PluginError(f"judge '{name}': '{value}' is not a subclass of harness.judges.Judge.")
    fields = cls.Config.model_fields
    for setting in settings:
        if setting not in fields:
            known = f"It takes {', '.join(fields)}." if fields else "It takes none."
            raise HarnessError(
                f"judge '{name}': no setting '{setting}'. {suggestion(setting, fields)}{known}"
            )
    try:
        config = cls.Config.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise HarnessError(
                f"judge '{name}': {place} is missing: give --judge-option {place}=VALUE. "
                f"`harness show {name}` says what it takes; `harness list judges` shows others."
            ) from None
        raise HarnessError(f"judge '{name}': {place}: {complaint(first)}.") from None
    return cls(name, config, folder)


def verdicts(judge: Judge, cases: Sequence[Case]) -> list[Verdict]:
    """A judge's verdicts, one per case in their order, checked: plugins err.

    Raises `PluginError` where they are not as many as the cases, or decide what was not asked,
    and where the judge itself fails.
    """
    try:
        found = judge.judge(cases)
    except (HarnessError, OSError):  # of a full disk the run has words of its own
        raise
    except Exception as error:  # a plugin's, of any kind
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise PluginError(f"judge '{judge.name}' failed on {len(cases)} cases: {said}.") from error
    if not (isinstance(found, list) and all(isinstance(each, Verdict) for each in found)):
        raise PluginError(f"judge '{judge.name}': gives no list of Verdict, but {found!r:.60}.")
    if len(found) != len(cases):
        raise PluginError(f"judge '{judge.name}': {len(found)} verdicts on {len(cases)} cases.")
    for case, verdict in zip(cases, found, strict=True):
        if not _fits(verdict.decision, len(case.answers)):
            count = "one answer" if len(case.answers) == 1 else "two answers"
            raise PluginError(
                f"judge '{judge.name}': {verdict.decision!r} is no decision on {count}."
            )
    return list(found)


def _fits(decision: Any, answers: int) -> bool:
    if decision is None:
        return True
    if isinstance(decision, str):
        return answers == 2 and decision in ("first", "second", "tie")
    number = isinstance(decision, int | float) and not isinstance(decision, bool)
    low, high = (0, 1) if answers == 2 else (1, 10)
    return number and low <= decision <= high  # NaN is in no range
