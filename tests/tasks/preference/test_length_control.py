"""The length-controlled win rate against independent fits, by hand, and on a simulated judge."""

import warnings

import numpy as np
import pytest
from scipy.optimize import minimize

from harness.errors import DataError
from harness.stats import interval
from tasks.preference.length_control import Gamed, length_controlled


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def simulated(seed: int, items: int = 500, theta=0.4, phi=-1.5, psi=0.7, draws: int = 0):
    """A judge whose preference depends on quality, on length and on the instruction.

    Returns preferences, lengths of both answers, difficulty, and the true rate at equal length.
    With `draws` the judge answers 0 or 1 instead of its probability.
    """
    rng = np.random.default_rng(seed)
    own, other = rng.integers(300, 3000, items), rng.integers(200, 2000, items)
    difficulty = rng.normal(size=items)
    shorter = other - own
    quality = theta + psi * difficulty
    told = sigmoid(quality + phi * np.tanh(shorter / shorter.std(ddof=1)))
    said = rng.binomial(draws, told) / draws if draws else told
    return said, own, other, difficulty, float(sigmoid(quality).mean())


def gamed_rows(seed: int, items: int = 60) -> list[Gamed]:
    rng = np.random.default_rng(seed)
    return [
        Gamed(float(rng.uniform(0.1, 0.9)), float(side + rng.normal()), float(rng.normal()))
        for side in (-1.5, 1.5)
        for _ in range(items)
    ]


def minimized(said, own, other, difficulty, gamed, strength):
    """The same penalized likelihood by another route: positive and negative parts, L-BFGS-B.

    Returns the length-controlled rate and phi, theta, psi.
    """
    shorter = np.asarray(other) - np.asarray(own)
    length = np.tanh(shorter / shorter.std(ddof=1))
    rows = [(d, 1.0, g) for d, g in zip(length, difficulty, strict=True)]
    told, weight = list(said), [1.0] * len(rows)
    for each in gamed:
        rows.append((np.tanh(each.length), 0.0, each.difficulty))
        told.append(each.preference)
        weight.append(0.1)
    x, p, w = np.array(rows), np.array(told), np.array(weight)

    def objective(parts):
        z = x @ (parts[:3] - parts[3:])
        losses = w * (np.logaddexp(0, -z) * p + np.logaddexp(0, z) * (1 - p))
        slope = x.T @ (w * (sigmoid(z) - p))
        return parts.sum() + strength * losses.sum(), np.concatenate(
            [1 + strength * slope, 1 - strength * slope]
        )

    options = {"maxiter": 10_000, "ftol": 1e-15, "gtol": 1e-10}
    found = minimize(
        objective, np.full(6, 0.1), jac=True, method="L-BFGS-B", bounds=[(0, None)] * 6,
        options=options,
    )  # fmt: skip
    phi, theta, psi = found.x[:3] - found.x[3:]
    return sigmoid(theta + psi * np.asarray(difficulty)).mean(), (phi, theta, psi)


@pytest.mark.parametrize("with_gamed", [False, True])
def test_fit_equals_an_independent_minimization(with_gamed):
    said, own, other, difficulty, _ = simulated(1, 120, draws=3)
    gamed = gamed_rows(2) if with_gamed else []
    ours = length_controlled(said, own, other, difficulty, gamed)
    value, (phi, theta, psi) = minimized(said, own, other, difficulty, gamed, ours.strength)
    assert (ours.phi, ours.theta, ours.psi) == pytest.approx((phi, theta, psi), abs=2e-3)
    assert ours.value == pytest.approx(value, abs=2e-4)


def test_penalty_is_the_one_that_scikit_learns_own_cross_validation_chooses():
    from sklearn import config_context
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.metrics import make_scorer
    from sklearn.model_selection import GroupKFold

    said, own, other, difficulty, _ = simulated(3, 80, theta=0.1, phi=-0.2, psi=0.1, draws=1)
    gamed = gamed_rows(4, 30)
    shorter = other - own
    x = np.concatenate(
        [
            [[np.tanh(each.length), each.difficulty, 0] for each in gamed],
            np.stack([np.tanh(shorter / shorter.std(ddof=1)), difficulty, np.ones(80)], axis=1),
        ]
    )
    told = np.concatenate([[each.preference for each in gamed], said])
    weight = np.repeat([0.1, 1.0], [len(gamed), 80])

    def log_loss(won, predicted, told, rows_weight):
        p = np.where(won == 1, told, 1 - told)
        return -np.mean(rows_weight * (p * np.log(predicted) + (1 - p) * np.log(1 - predicted)))

    share = np.concatenate([told, 1 - told])
    with config_context(enable_metadata_routing=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scorer = make_scorer(log_loss, greater_is_better=False, response_method="predict_proba")
        model = LogisticRegressionCV(
            Cs=10, cv=GroupKFold(5), l1_ratios=(1,), solver="liblinear", fit_intercept=False,
            random_state=123, scoring=scorer.set_score_request(told=True, rows_weight=True),
        ).set_fit_request(sample_weight=True)  # fmt: skip
        model.fit(
            np.tile(x, (2, 1)),
            np.repeat([1, 0], len(x)),
            sample_weight=share * np.tile(weight, 2),
            groups=np.tile(np.arange(len(x)), 2),
            told=share,
            rows_weight=np.tile(weight, 2),
        )
    ours = length_controlled(said, own, other, difficulty, gamed)
    assert ours.strength == pytest.approx(float(np.ravel(model.C_)[0]))
    assert (ours.phi, ours.psi, ours.theta) == pytest.approx(tuple(model.coef_[0]), abs=1e-9)


def test_without_a_length_effect_it_is_the_win_rate_but_for_the_penalty():
    said = np.random.default_rng(0).permutation([1] * 56 + [0.5] * 8 + [0] * 16)
    ours = length_controlled(said, [5] * 80, [9] * 80)
    assert (ours.phi, ours.psi) == (0, 0)
    # The derivative of |theta| + C sum of log losses is zero: C sum(p - sigmoid) = sign(theta).
    assert ours.value == pytest.approx(np.mean(said) - 1 / (80 * ours.strength), abs=1e-4)
    assert ours.value > 0.7
    assert ours.value == pytest.approx(sigmoid(ours.theta))


def test_ties_alone_are_one_half():
    lengths = np.arange(1, 21)
    ours = length_controlled([0.5] * 20, lengths, lengths[::-1])
    assert ours.value == 0.5 and ours.theta == 0
    assert ours.metric([str(length) for length in lengths]).low is None


@pytest.mark.parametrize("seed", range(4))
def test_a_judge_that_likes_length_is_corrected_to_the_true_rate(seed):
    said, own, other, difficulty, truth = simulated(10 + seed, 800, theta=-0.2, draws=1)
    ours = length_controlled(said, own, other, difficulty)
    found = ours.metric([str(index) for index in range(800)])
    assert found.low < truth < found.high
    assert found.high - found.low < 0.1
    assert interval(said, np.ones(800))[0] > truth


def test_interval_is_as_wide_as_that_of_refitted_resamples():
    said, own, other, difficulty, _ = simulated(20, 150, draws=1)
    ours = length_controlled(said, own, other, difficulty)
    found = ours.metric([str(index) for index in range(150)])
    rng = np.random.default_rng(0)
    values = []
    for _ in range(60):
        i = rng.integers(0, 150, 150)
        values.append(minimized(said[i], own[i], other[i], difficulty[i], [], ours.strength)[0])
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(np.std(values), rel=0.3)


def test_repeats_of_an_instruction_do_not_narrow_the_interval():
    said, own, other, difficulty, _ = simulated(21, 80, draws=1)
    names = [str(index) for index in range(80)]
    once = length_controlled(said, own, other, difficulty).metric(names)
    four = [np.repeat(column, 4) for column in (said, own, other, difficulty)]
    repeated = length_controlled(*four).metric(np.repeat(names, 4))
    assert repeated.high - repeated.low == pytest.approx(once.high - once.low, rel=0.2)


def test_an_interval_that_rests_on_extrapolation_stays_between_zero_and_one():
    rng = np.random.default_rng(9)
    said, own = (rng.random(80) < 0.05).astype(float), rng.integers(200, 800, 80)
    ours = length_controlled(said, own, rng.integers(900, 2000, 80))
    found = ours.metric([str(index) for index in range(80)])
    assert 0 <= found.low < found.value < found.high <= 1


def test_a_rate_that_the_penalty_set_to_one_half_is_not_certain():
    said, own, other, _, _ = simulated(23, 30, draws=1)
    mirrored = [np.concatenate(x) for x in ((said, 1 - said), (own, other), (other, own))]
    ours = length_controlled(*mirrored)
    assert ours.value == 0.5
    found = ours.metric([str(index) for index in range(60)])
    assert 0.2 < found.low < 0.45 and 0.55 < found.high < 0.8


def test_shares_have_the_rate_as_mean():
    said, own, other, difficulty, _ = simulated(5, 100, draws=1)
    ours = length_controlled(said, own, other, difficulty, gamed_rows(6))
    assert np.mean([share.numerator for share in ours.shares]) == pytest.approx(ours.value)
    assert all(share.denominator == 1 for share in ours.shares)


@pytest.mark.parametrize("seed", range(3))
def test_model_against_baseline_and_back_sum_to_one(seed):
    said, own, other, difficulty, _ = simulated(30 + seed, 100, draws=2)
    there = length_controlled(said, own, other, difficulty)
    back = length_controlled(1 - said, other, own, difficulty)
    assert there.value + back.value == pytest.approx(1, abs=1e-3)


def test_gamed_rows_hold_back_what_length_explains():
    said, own, other, difficulty, _ = simulated(7, 60)
    indifferent = [Gamed(0.5, side, 0.0) for side in (-1.0, 1.0) for _ in range(600)]
    free = length_controlled(said, own, other, difficulty)
    held = length_controlled(said, own, other, difficulty, indifferent)
    assert abs(held.phi) < 0.7 * abs(free.phi)


@pytest.mark.parametrize("won", [1.0, 0.0])
def test_wins_alone_give_a_rate_at_their_end(won):
    lengths = np.arange(1, 31)
    rate = length_controlled([won] * 30, lengths, np.full(30, 15)).value
    assert abs(rate - won) < 0.05


def test_one_win_among_losses_keeps_its_side():
    lengths = np.arange(1, 31)
    assert length_controlled([1.0] + [0.0] * 29, lengths, np.full(30, 15)).value < 0.3


def test_too_few_items_are_refused_on_one_line():
    for items in (0, 1, 4):
        with pytest.raises(DataError, match=rf"^length control: {items} judged items, [^\n]+$"):
            length_controlled([1.0] * items, [3] * items, [4] * items)
    assert 0 < length_controlled([1, 0, 1, 1, 0.5], [3, 4, 5, 6, 7], [4] * 5).value < 1


@pytest.mark.parametrize("bad", [1.2, -0.1, float("nan")])
def test_preferences_that_are_none_are_refused(bad):
    with pytest.raises(DataError, match="not between 0 and 1"):
        length_controlled([bad, 1, 0, 1, 0], [1] * 5, [2] * 5)


def test_it_is_the_same_twice_and_leaves_its_arguments_alone():
    said, own, other, difficulty, _ = simulated(8, 50, draws=1)
    kept = said.copy()
    assert length_controlled(said, own, other, difficulty) == length_controlled(
        said, own, other, difficulty
    )
    assert (said == kept).all()


def test_an_item_whose_judgement_failed_counts_by_what_the_fit_predicts():
    said, own, other, difficulty, _ = simulated(24, 60, draws=1)
    told = [None if index < 20 else float(each) for index, each in enumerate(said)]
    ours = length_controlled(told, own, other, difficulty)
    rates = sigmoid(ours.theta + ours.psi * difficulty)
    assert ours.value == pytest.approx(rates.mean())
    assert abs(rates.mean() - rates[20:].mean()) > 0.01
    assert ours.metric([str(index) for index in range(60)]).n == ours.judged == 40
    with pytest.raises(DataError, match=r"^length control: 4 judged items,"):
        length_controlled([None] * 56 + [1.0] * 4, own, other)
