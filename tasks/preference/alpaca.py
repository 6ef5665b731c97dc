"""AlpacaEval: the win rate, and what it would be between answers of one length."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

from harness.dataset import Dataset
from harness.errors import DataError
from harness.files import hash_file
from harness.schema import Metric
from harness.scoring import clusters
from harness.task import Item, Prediction, Score
from tasks.preference.format import WinRate, pair
from tasks.preference.length_control import FOLDS, Gamed, length_controlled
from tasks.preference.options import AlpacaOptions, file_of, without_places
from tasks.preference.recorded import read_gamed

METRIC = "length_controlled_win_rate"
ADJUSTED = "length_adjusted_win_rate"
"""The same regression without the rows of gamed baselines, which is another quantity: of
alpaca-7b it is 19.6 where AlpacaEval says 5.9."""
MISSING = (
    "not measured: AlpacaEval's rate takes its rows of gamed baselines (option "
    f"gamed=df_gamed.csv); {ADJUSTED} is fitted without them and is not comparable"
)


class AlpacaEval(WinRate):
    """Win rates with AlpacaEval 2's length control, where its rows of gamed baselines are given.

    Rows have `instruction` and, as AlpacaEval's own files, the baseline's `output`. Weighted
    preferences count by their weight. The length-controlled rate is fitted to all items, so it
    has no per-item shares that a leaderboard could pair: `win_rate` is the primary metric.
    """

    Options = AlpacaOptions

    def identity(self) -> str:
        gamed = self.options.gamed
        content = hash_file(file_of("gamed", gamed)) if gamed else ""
        return without_places(self.card, baseline="", gamed=content).identity()

    def read(self, data: Dataset, split: str | None) -> Iterator[tuple[str, Item]]:
        for index, (place, item) in enumerate(super().read(data, split)):
            if self.options.gamed:
                hard = self._gamed[1]
                if str(index) not in hard:
                    raise DataError(
                        f"{place}: '{self.options.gamed}' has {len(hard)} instructions and no "
                        f"index {index}: it is of AlpacaEval's own file, in its order."
                    )
                item = replace(item, inputs={**item.inputs, "difficulty": hard[str(index)]})
            yield place, item

    def aggregate(
        self, items: Sequence[Item], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> dict[str, Metric]:
        found = super().aggregate(items, predictions, scores)
        fitted = self._length_controlled(items, predictions, scores)
        if self.options.gamed:
            return found | {METRIC: fitted}
        return found | {ADJUSTED: fitted, METRIC: Metric(value=None, n=0, signature=MISSING)}

    def _length_controlled(
        self, items: Sequence[Item], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> Metric:
        """Fitted to the items whose judgements did not fail; no value where they are too few."""
        rates = [score["win_rate"] for score in scores]
        judged = sum(rate.denominator != 0 for rate in rates)
        if judged < FOLDS:
            return Metric(value=None, n=judged)
        pairs = [pair(*each) for each in zip(items, predictions, strict=True)]
        fitted = length_controlled(
            [rate.numerator if rate.denominator else None for rate in rates],
            [len(answer) for answer, _ in pairs],
            [len(baseline) for _, baseline in pairs],
            [item.inputs["difficulty"] for item in items] if self.options.gamed else None,
            self._gamed[0],
        )
        return fitted.metric(clusters(items))

    @cached_property
    def _gamed(self) -> tuple[list[Gamed], dict[str, float]]:
        gamed = self.options.gamed
        return read_gamed(file_of("gamed", gamed)) if gamed else ([], {})
