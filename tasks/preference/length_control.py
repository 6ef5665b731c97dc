"""AlpacaEval 2's length-controlled win rate, pure (arXiv 2404.04475, section 4).

    P(model wins on x) = sigmoid(theta + phi tanh(d_x / std(d)) + psi g_x)
    LC = mean over x of sigmoid(theta + psi g_x)

d_x = characters of the baseline's answer - of the model's; g_x = how difficult x is.

Published, and followed as AlpacaEval's code has it: no intercept beside theta; L1 penalty, by
liblinear with seed 123; its strength from ten on a log scale, 1e-4 to 1e4, by the weighted log loss
of 5-fold cross-validation; a preference p is two rows, a win of weight p and a loss of weight
1 - p, which stay in one fold; std with n - 1; two sets of rows of a gamed baseline (told to be
brief, told to be verbose) without theta, each row of weight 0.1; a failed judgement is no row of
the fit, but its item counts in std(d) and in the mean, by what the fit predicts for it; liblinear
stops after 100 rounds, also where it has not converged.

Our reading: the rate is in [0, 1], AlpacaEval prints it times 100; without g_x there is no psi, and
without gamed rows the rate is another quantity with another name (`alpaca.ADJUSTED`); where all
length differences are equal (std 0) length explains nothing; where all preferences are 1, or all 0,
one row stands mirrored (a loss of -x is a win of x), since liblinear mistakes the sign of a lone
label; the interval, by linearization.
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import DataError
from harness.schema import Metric
from harness.stats import codes, interval
from harness.task import Ratio

FOLDS = 5
SEED = 123
STRENGTHS = np.logspace(-4, 4, 10)
"""Inverse strengths of the penalty that are tried."""
ITERATIONS = 100
"""Rounds of liblinear, as AlpacaEval has them: up to 0.05 points from what they converge to."""
GAMED_WEIGHT = 0.2 / 2
"""Of a row of one of the two gamed baselines."""

Floats = NDArray[np.float64]


class Gamed(NamedTuple):
    """An answer of a gamed baseline, judged against the baseline's own."""

    preference: float
    """For the gamed answer, in [0, 1]."""
    length: float
    """Standardized difference of the lengths, baseline's - gamed answer's."""
    difficulty: float
    """g_x of its instruction."""


class LengthControlled(NamedTuple):
    """The fitted model and the rate that it gives."""

    value: float
    """The length-controlled win rate, in [0, 1]."""
    theta: float
    phi: float
    psi: float
    strength: float
    """Inverse strength of the penalty that was chosen."""
    shares: list[Ratio]
    """Per item, to first order: their mean is the value. A share may lie outside [0, 1]."""
    judged: int
    """Items with a preference."""

    def metric(self, clusters: Sequence[str]) -> Metric:
        """The rate with its interval over clusters, made on the logit scale: within [0, 1]."""
        shares = np.array([share.numerator for share in self.shares])
        low = high = None
        if np.ptp(shares) > 0:
            odds = self.value * (1 - self.value)
            logits = np.log(self.value / (1 - self.value)) + (shares - self.value) / odds
            ends = interval(logits, np.ones(len(shares)), codes(clusters))
            low, high = map(float, _sigmoid(np.array(ends))) if ends else (None, None)
        return Metric(value=self.value, low=low, high=high, n=self.judged)


class _Rows(NamedTuple):
    """Each preference as two rows: [2 n, 3] features (phi, psi, theta, the order in which
    AlpacaEval has them: where liblinear stops depends on it), and [2 n] each."""

    features: Floats
    won: Floats
    preference: Floats
    weight: Floats


def length_controlled(
    preferences: Sequence[float | None] | Floats,
    answer_lengths: ArrayLike,
    baseline_lengths: ArrayLike,
    difficulty: ArrayLike | None = None,
    gamed: Sequence[Gamed] = (),
) -> LengthControlled:
    """The rate at which the model would win if its answers were as long as the baseline's.

    Args:
        preferences: for the model, in [0, 1], [items]; None where the judgement failed.
        answer_lengths: characters of the model's answers, [items].
        baseline_lengths: of the baseline's, [items].
        difficulty: g_x, [items].
        gamed: rows of both gamed baselines.

    Raises `DataError` for fewer than five items or a preference outside [0, 1].
    """
    judged = np.array([preference is not None for preference in preferences], dtype=bool)
    observed = np.asarray(preferences, np.float64)[judged]
    if len(observed) < FOLDS:
        raise DataError(
            f"length control: {len(observed)} judged items, cross-validation takes {FOLDS} or more."
        )
    if not ((observed >= 0) & (observed <= 1)).all():
        raise DataError("length control: a preference is not between 0 and 1.")
    shorter = np.asarray(baseline_lengths, np.float64) - np.asarray(answer_lengths, np.float64)
    hard = np.zeros(len(judged)) if difficulty is None else np.asarray(difficulty, np.float64)
    own = np.stack([_standardized(shorter), hard, np.ones(len(judged))], axis=1)
    fixed = np.array([[np.tanh(row.length), row.difficulty, 0] for row in gamed]).reshape(-1, 3)
    rows = _duplicated(
        np.concatenate([fixed, own[judged]]),
        np.concatenate([[row.preference for row in gamed], observed]),
        np.repeat([GAMED_WEIGHT, 1.0], [len(gamed), len(observed)]),
    )
    strength = _chosen(rows)
    fitted = _fit(rows, strength, np.random.RandomState(SEED))
    phi, psi, theta = map(float, fitted)
    value, shares = _linearized(rows, fitted, own, judged, observed)
    return LengthControlled(value, theta, phi, psi, strength, shares, len(observed))


def _standardized(shorter: Floats) -> Floats:
    spread = float(np.std(shorter, ddof=1))
    return np.tanh(shorter / spread) if spread else np.zeros(len(shorter))


def _duplicated(features: Floats, preference: Floats, weight: Floats) -> _Rows:
    count = len(features)
    return _Rows(
        np.concatenate([features, features]),
        np.repeat([1.0, 0.0], count),
        np.tile(preference, 2),
        np.tile(weight, 2),
    )


def _chosen(rows: _Rows) -> float:
    """The inverse strength with the lowest mean loss over the folds, the smallest of equals.

    In a fold one generator serves all strengths, as in scikit-learn's own cross-validation: where
    liblinear stops depends on it.
    """
    from sklearn.model_selection import GroupKFold

    pairs = np.tile(np.arange(len(rows.won) // 2), 2)
    folds = list(GroupKFold(FOLDS).split(rows.features, groups=pairs))
    losses = []
    for kept, held in folds:
        train, test, rng = _take(rows, kept), _take(rows, held), np.random.RandomState(SEED)
        losses.append([_loss(test, _fit(train, c, rng)) for c in STRENGTHS])
    return float(STRENGTHS[int(np.argmin(np.mean(losses, axis=0)))])


def _take(rows: _Rows, chosen: NDArray[np.int64]) -> _Rows:
    return _Rows(*(column[chosen] for column in rows))


def _loss(rows: _Rows, coefficients: Floats) -> float:
    """Weighted log loss of the preferences, a mean over rows."""
    predicted = np.clip(_sigmoid(rows.features @ coefficients), 1e-15, 1 - 1e-15)
    told = rows.preference
    losses = -(told * np.log(predicted) + (1 - told) * np.log(1 - predicted))
    return float(np.mean(losses * rows.weight))


def _fit(rows: _Rows, strength: float, rng: np.random.RandomState) -> Floats:
    """The coefficients phi, psi, theta, [3]."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    weight = rows.weight * np.where(rows.won == 1, rows.preference, 1 - rows.preference)
    features, won = rows.features, rows.won
    if not (weight[won == 1].any() and weight[won == 0].any()):
        mirrored = int(np.argmax(weight > 0))
        features, won = features.copy(), won.copy()
        features[mirrored] *= -1
        won[mirrored] = 1 - won[mirrored]
    model = LogisticRegression(
        C=strength,
        l1_ratio=1,
        solver="liblinear",
        fit_intercept=False,
        random_state=rng,
        max_iter=ITERATIONS,
    )
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        coefficients: Floats = model.fit(features, won, sample_weight=weight).coef_[0]
    return coefficients


def _linearized(
    rows: _Rows, fitted: Floats, own: Floats, judged: NDArray[np.bool_], observed: Floats
) -> tuple[float, list[Ratio]]:
    """The rate and what each item moves it by, to first order (infinitesimal jackknife).

    An item's share is its own predicted rate plus its pull on the coefficients. The gamed rows,
    std(d) and the penalty are taken as given. A coefficient that the penalty set to zero counts as
    free, else a rate of 1/2 for want of data would seem certain.
    """
    equal_length = own * [0, 1, 1]
    rates = _sigmoid(equal_length @ fitted)
    predicted = _sigmoid(rows.features @ fitted)
    # Each preference stands in two rows, whose weights sum to its own: half of each.
    curvature = rows.weight * predicted * (1 - predicted) / 2
    hessian = (rows.features * curvature[:, None]).T @ rows.features
    pulls = np.zeros(own.shape)  # an item without a preference pulls at nothing
    pulls[judged] = (observed - _sigmoid(own[judged] @ fitted))[:, None] * own[judged]
    pulls[judged] -= pulls[judged].mean(axis=0)  # their sum is the penalty's and the gamed rows'
    slope = ((rates * (1 - rates))[:, None] * equal_length).mean(axis=0)
    moved = pulls @ np.linalg.pinv(hessian) @ slope
    return float(rates.mean()), [Ratio(float(share)) for share in rates + len(own) * moved]


def _sigmoid(x: Floats) -> Floats:
    value: Floats = np.exp(-np.logaddexp(0, -x))
    return value
