"""The `recorded` judge: what was judged elsewhere, found by its texts."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harness.errors import HarnessError
from harness.files import hash_file
from harness.judges import Case, Identity, Judge, Verdict
from harness.records import nearest_file
from harness.schema import Names, Strict, digest
from tasks.preference.recorded import Judged, Pair, read_annotations, read_reviews

OTHER_ORDER = "no judgement in this order: the task's option `orders` says which are asked for"


class RecordedConfig(Strict):
    """The files: `reviews` with their `questions` and `answers`, or `annotations`."""

    reviews: Names = []
    """FastChat's or LLaVA's files of pairwise reviews."""
    questions: str = ""
    """Their file of questions."""
    answers: Names = []
    """Their files of answers, one per model."""
    annotations: Names = []
    """AlpacaEval's files of annotations, in place of the three above."""


class Recorded(Judge):
    """Judgements from files: FastChat's or LLaVA's reviews, or AlpacaEval's annotations.

    A case is found by its instruction and its answers, blanks around them aside. Reviews hold for
    the order that they record, annotations for both. Where several are of one pair, each counts
    once, in the order of the files; asked again, the last.
    """

    Config = RecordedConfig

    def __init__(self, name: str, config: Strict, folder: Path) -> None:
        super().__init__(name, config, folder)
        assert isinstance(config, RecordedConfig)
        reviews, questions, answers, annotations = (
            self._files(setting, given)
            for setting, given in (
                ("reviews", config.reviews),
                ("questions", [config.questions] if config.questions else []),
                ("answers", config.answers),
                ("annotations", config.annotations),
            )
        )
        self._check(reviews, questions, answers, annotations)
        recorded = read_reviews(reviews, questions[0], answers) if reviews else []
        recorded += [each for path in annotations for each in read_annotations(path)]
        self._said: dict[Pair, list[Judged]] = {}
        for each in recorded:
            self._said.setdefault(_plain(each.pair), []).append(each)
        self._asked: Counter[Pair] = Counter()
        self._ordered = not annotations
        contents = [
            list(map(hash_file, files)) for files in (reviews, questions, answers, annotations)
        ]
        by = ", ".join(sorted({each.by for each in recorded} - {""}))
        self._identity = Identity(name, by, digest(contents))

    def identity(self) -> Identity:
        """The model is who judged, as the files say; the prompt, the hash of their content."""
        return self._identity

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        return [self._verdict(case) for case in cases]

    def _verdict(self, case: Case) -> Verdict:
        if len(case.answers) != 2:
            raise HarnessError(
                f"judge '{self.name}': compares two answers: its files have no grades of one. "
                "Choose another with --judge."
            )
        if len(case.turns) != 1:
            return Verdict(None, f"{len(case.turns)} turns, judgements are recorded of one")
        (first,), (second,) = case.answers
        shown = _plain(Pair(case.turns[0], first, second))
        found = self._said.get(shown)
        if found is None:
            turned = shown.turned() in self._said
            return Verdict(None, OTHER_ORDER if turned else "no judgement of these texts")
        said = found[min(self._asked[shown], len(found) - 1)]
        self._asked[shown] += 1
        reason = "the recorded judgement failed" if said.decision is None else ""
        return Verdict(said.decision, reason, said.text, self._ordered)

    def _files(self, setting: str, given: Sequence[str]) -> list[Path]:
        paths = [Path(os.path.expanduser(name)) for name in given]
        for path in paths:
            if not os.path.isfile(path):
                near = nearest_file(path) or "Check the name."
                raise HarnessError(
                    f"judge '{self.name}': {setting}: no file '{path}'. {near.strip()}"
                )
        return paths

    def _check(
        self,
        reviews: Sequence[Path],
        questions: Sequence[Path],
        answers: Sequence[Path],
        annotations: Sequence[Path],
    ) -> None:
        """Which settings go together."""
        given = {"reviews": reviews, "questions": questions, "answers": answers}
        missing = [setting for setting, files in given.items() if not files]
        problem = ""
        if annotations and len(missing) < 3:
            problem = "annotations: give them or reviews with their questions and answers, not both"
        elif not annotations and len(missing) == 3:
            problem = "reviews: give reviews with their questions and answers, or annotations"
        elif not annotations and missing:
            problem = f"{missing[0]}: reviews need their questions and answers: give it too"
        if problem:
            raise HarnessError(f"judge '{self.name}': {problem}.")


def _plain(pair: Pair) -> Pair:
    return Pair(*(text.strip() for text in pair))
