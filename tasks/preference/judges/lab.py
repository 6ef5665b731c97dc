"""The `lab` judge: knows what is right, where the task does."""

from collections.abc import Sequence

from harness.errors import HarnessError
from harness.judges import Case, Decision, Judge, Verdict

GRADES = {True: 10, False: 1}
"""Of one answer: the ends of the scale from 1 to 10."""


class Lab(Judge):
    """Known truth: an answer that equals its reference in every turn is right, any other wrong."""

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        return [Verdict(self._decision(case)) for case in cases]

    def _decision(self, case: Case) -> Decision:
        if not case.references:
            raise HarnessError(
                f"judge '{self.name}': knows what is right only where the task has right answers: "
                "choose another with --judge."
            )
        right = [_is_right(answer, case.references) for answer in case.answers]
        if len(right) == 1:
            return GRADES[right[0]]
        if right[0] == right[1]:
            return "tie"
        return "first" if right[0] else "second"


def _is_right(answer: Sequence[str], references: Sequence[str]) -> bool:
    return [text.strip() for text in answer] == [text.strip() for text in references]
