"""Win rates from pairwise judgements, pure: what judges said of items in, per-item shares out.

Intervals over instructions follow from the shares as for every task (`harness.scoring`): each
metric is a ratio of sums.

How an item is decided (MT-bench, arXiv 2306.05685, section 3.4):
- `both`, the default: the answers are shown in both orders. Where the judgements agree on the
  winner, it wins; any disagreement, also of a win with a tie, is a tie.
- `single`: one order, whose judgement counts as it is. BPO's protocol (arXiv 2311.04155).

A judgement that failed or could not be parsed is never a score. An item with one failed order is
failed as a whole under `both`: the order that is left carries its place's advantage, and how often
an order fails depends on the answers. Such an item is outside all metrics but the two that count
failures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from harness import scoring
from harness.errors import DataError
from harness.judges import Decision
from harness.schema import Metric
from harness.task import Ratio, Score

Protocol = Literal["both", "single"]
"""In how many orders the answers of an item are judged."""

TIE = 0.5
PREFERENCES = {"first": 1.0, "second": 0.0, "tie": TIE}
"""For the answer shown first."""
OUTSIDE = Ratio(0, 0)


class Judgement(NamedTuple):
    """What a judge said of a model's answer and a baseline's, shown in one order."""

    preference: float | None
    """For the model's answer, in [0, 1]: 1 it wins, 0 the baseline's does, 0.5 a tie; between, how
    sure a weighted judge is. None: the judgement failed or could not be parsed."""
    model_first: bool | None = None
    """Whether the model's answer was shown in the first place; None: not recorded."""


@dataclass(frozen=True)
class Comparison:
    """Two answers to an instruction and the judgements of them, one per order."""

    id: str
    instruction: str
    answer: str
    """The model's."""
    baseline: str
    """The answer that it is compared with."""
    judgements: Sequence[Judgement]
    category: str = ""


def judgement(decision: Decision | None, model_first: bool) -> Judgement:
    """A judge's decision, which names the better place, as a judgement of the model's answer."""
    if decision is None:
        return Judgement(None, model_first)
    of_first = PREFERENCES[decision] if isinstance(decision, str) else float(decision)
    return Judgement(of_first if model_first else 1 - of_first, model_first)


def preference(comparison: Comparison, protocol: Protocol = "both") -> float | None:
    """How far an item's judgements prefer the model, in [0, 1]; None where one of them failed.

    Weighted judgements that agree are averaged. Raises `DataError` where the judgements are not
    those of the protocol: a failed one must be there, as failed.
    """
    _check(comparison, protocol)
    said = [judgement.preference for judgement in comparison.judgements]
    parsed = [value for value in said if value is not None]
    if len(parsed) < len(said):
        return None
    if len({_winner(value) for value in parsed}) > 1:
        return TIE
    return sum(parsed) / len(parsed)


def shares(comparison: Comparison, protocol: Protocol = "both") -> Score:
    """An item's share of every metric; keys are constant.

    - `win_rate`: a tie is one half; weighted judgements count by their weight, and by their side
      alone in `discrete_win_rate`.
    - `wins`, `ties`, `losses`: which of the three it is.
    - `first_wins`: position bias, how often the first place wins among the judgements with a
      winner; 0.5 is unbiased. Under `both` each answer stands once in the first place, so quality
      cancels; under `single` it does so only where the orders were drawn at random.
    - `longer_wins`: length bias, how often the longer answer (characters) wins among the items
      with a winner and a longer answer. Longer answers may be better: a bias in a judge needs more
      than this (`tasks.preference.length_control`).
    - `agreement`: how often both orders name the same winner or both a tie.
    - `failed`: items without a score; `failed_judgements`: among all that were asked.
    """
    value = preference(comparison, protocol)
    failures = sum(judgement.preference is None for judgement in comparison.judgements)
    winner = None if value is None else _winner(value)
    return {
        "win_rate": OUTSIDE if value is None else Ratio(value),
        "discrete_win_rate": OUTSIDE if winner is None else Ratio((1 + winner) / 2),
        "wins": _indicator(winner, 1),
        "ties": _indicator(winner, 0),
        "losses": _indicator(winner, -1),
        "first_wins": OUTSIDE if value is None else _first_wins(comparison.judgements),
        "longer_wins": _longer_wins(winner, len(comparison.answer) - len(comparison.baseline)),
        "agreement": _agreement(comparison.judgements),
        "failed": Ratio(value is None),
        "failed_judgements": Ratio(failures, len(comparison.judgements)),
    }


def metrics(scores: Sequence[Score], clusters: Sequence[str]) -> dict[str, Metric]:
    """Every metric of the shares with its interval over clusters, and `delta_win_rate`.

    Delta win rate (wins - losses, BPO) is 2 x `discrete_win_rate` - 1, and so are the ends of its
    interval: it is no share of its own, since it has none of a proportion's ends 0 and 1.
    """
    found = scoring.metrics(scores, clusters)
    rate = found["discrete_win_rate"]
    value, low, high = (None if x is None else 2 * x - 1 for x in (rate.value, rate.low, rate.high))
    return found | {"delta_win_rate": Metric(value=value, low=low, high=high, n=rate.n)}


def _check(comparison: Comparison, protocol: Protocol) -> None:
    place, judgements = f"comparison '{comparison.id}'", comparison.judgements
    for value, _ in judgements:
        if value is not None and not 0 <= value <= 1:  # NaN too
            raise DataError(f"{place}: a preference is {value}, not between 0 and 1.")
    if protocol == "single":
        if len(judgements) != 1:
            raise DataError(
                f"{place}: has {len(judgements)} judgements, the single-order protocol takes one."
            )
        return
    if sorted(str(judgement.model_first) for judgement in judgements) != ["False", "True"]:
        raise DataError(
            f"{place}: is not judged once in each order: judge the other order too, or choose the "
            "single-order protocol."
        )


def _winner(value: float) -> int:
    """1 the model, -1 the baseline, 0 a tie."""
    return (value > TIE) - (value < TIE)


def _indicator(winner: int | None, wanted: int) -> Ratio:
    return OUTSIDE if winner is None else Ratio(winner == wanted)


def _first_wins(judgements: Sequence[Judgement]) -> Ratio:
    won = [
        (_winner(value) > 0) == model_first
        for value, model_first in judgements
        if value is not None and _winner(value) and model_first is not None
    ]
    return Ratio(sum(won), len(won))


def _longer_wins(winner: int | None, longer_by: int) -> Ratio:
    return Ratio((winner > 0) == (longer_by > 0)) if winner and longer_by else OUTSIDE


def _agreement(judgements: Sequence[Judgement]) -> Ratio:
    winners = [_winner(value) for value, _ in judgements if value is not None]
    return Ratio(winners[0] == winners[1]) if len(winners) == 2 else OUTSIDE
