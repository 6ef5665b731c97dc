"""The length-controlled win rate equals AlpacaEval's where its gamed baselines are given."""

import csv
import json
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from parity import alpaca_eval_winrate as reference

from tests.tasks.preference.preference_user import Command

REAL = Path(__file__).parents[3] / "shared" / "data" / "preference" / "alpaca_eval"
BOARD = 5.875487163278986
"""alpaca-7b's length-controlled win rate on AlpacaEval 2's board, in percent."""
COUNT = 805


@pytest.fixture
def harness(tmp_path, monkeypatch, capsys):
    return Command(tmp_path, monkeypatch, capsys)


class World(NamedTuple):
    """AlpacaEval's files of a model that was simulated."""

    annotations: list[dict[str, Any]]
    gamed: list[dict[str, Any]]

    def write(self, folder: Path) -> dict[str, Path]:
        files = {name: folder / f"{name}.json" for name in ("baseline", "outputs", "annotations")}
        for name, side in (("baseline", 1), ("outputs", 2)):
            rows = [
                {"instruction": row["instruction"], "output": row[f"output_{side}"]}
                for row in self.annotations
            ]
            files[name].write_text(json.dumps(rows))
        files["annotations"].write_text(json.dumps(self.annotations))
        files["gamed"] = folder / "df_gamed.csv"
        with files["gamed"].open("w", newline="") as file:
            writer = csv.DictWriter(file, list(self.gamed[0]))
            writer.writeheader()
            writer.writerows(self.gamed)
        return files


def simulated(seed: int, theta: float, failed: int) -> World:
    """A judge that likes what is longer, as do its judgements of the gamed baselines."""
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(size=COUNT)
    baseline = rng.lognormal(7.3, 0.5, COUNT).astype(int) + 1
    own = rng.lognormal(6.2 if theta < -1 else 7.2, 0.8, COUNT).astype(int) + 1
    shorter = baseline - own
    logits = theta + 0.8 * difficulty - 1.2 * np.tanh(shorter / shorter.std(ddof=1))
    told: list[float | None] = list(1 + sigmoid(2 * logits + 4 * rng.normal(size=COUNT)))
    for index in rng.permutation(COUNT)[:failed]:
        told[index] = None
    annotations = [
        {
            "instruction": f"do {index}",
            "output_1": "x" * baseline[index],
            "generator_1": "baseline",
            "output_2": "y" * own[index],
            "generator_2": "own",
            "annotator": "weighted",
            "preference": told[index],
        }
        for index in range(COUNT)
    ]
    gamed = [
        {
            "index": index,
            "preference": sigmoid(-0.9 * np.tanh(side * delta) + 1.5 * rng.normal()),
            "instruction_difficulty": difficulty[index],
            "not_gamed_baseline": False,
            "std_delta_len": side * delta,
            "model": name,
        }
        for side, name in ((1, "concise"), (-1, "verbose"))
        for index, delta in enumerate(0.6 + rng.random(COUNT))
    ]
    return World(annotations, gamed)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def measured(harness: Command, files: dict[str, Path]) -> float:
    """What the command makes of AlpacaEval's files, in percent."""
    entry = harness.entry(
        "alpaca_eval",
        *("score", "--task", "alpaca_eval", "--source", files["baseline"]),
        *("--predictions", files["outputs"], "--option", f"gamed={files['gamed']}"),
        *("--judge", "recorded", "--judge-option", f"annotations={files['annotations']}"),
    )
    return 100 * float(entry.metrics["length_controlled_win_rate"].value or 0)


def by_formula(world: World) -> float:
    """Section 4 of the paper by scikit-learn's own cross-validation, in percent.

    Columns of x: tanh of the length difference, difficulty, 1 for the model's own rows.
    """
    from sklearn import config_context
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.metrics import make_scorer
    from sklearn.model_selection import GroupKFold

    difficulty = np.array([row["instruction_difficulty"] for row in world.gamed[:COUNT]])
    shorter = np.array([len(r["output_1"]) - len(r["output_2"]) for r in world.annotations])
    own = np.stack([np.tanh(shorter / shorter.std(ddof=1)), difficulty, np.ones(COUNT)], axis=1)
    fixed = [[np.tanh(r["std_delta_len"]), r["instruction_difficulty"], 0] for r in world.gamed]
    told = np.array([r["preference"] for r in world.annotations], dtype=float) - 1
    judged = ~np.isnan(told)
    x = np.concatenate([fixed, own[judged]])
    p = np.concatenate([[row["preference"] for row in world.gamed], told[judged]])
    share = np.concatenate([p, 1 - p])
    weight = np.tile(np.repeat([0.1, 1.0], [len(fixed), judged.sum()]), 2)

    def log_loss(won, predicted, share, weight):
        p = np.where(won == 1, share, 1 - share)
        return -np.mean(weight * (p * np.log(predicted) + (1 - p) * np.log(1 - predicted)))

    with config_context(enable_metadata_routing=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scorer = make_scorer(log_loss, greater_is_better=False, response_method="predict_proba")
        model = LogisticRegressionCV(
            Cs=10, cv=GroupKFold(5), l1_ratios=(1,), solver="liblinear", fit_intercept=False,
            random_state=123, scoring=scorer.set_score_request(share=True, weight=True),
        ).set_fit_request(sample_weight=True)  # fmt: skip
        model.fit(
            np.tile(x, (2, 1)),
            np.repeat([1, 0], len(x)),
            sample_weight=share * weight,
            groups=np.tile(np.arange(len(x)), 2),
            share=share,
            weight=weight,
        )
    _, psi, theta = model.coef_[0]
    return float(100 * sigmoid(theta + psi * difficulty).mean())


WORLDS = [(1, -3.0, 0), (1, -3.0, 5), (2, 0.0, 5), (3, -3.0, 0), (0, 0.0, 40), (3, 2.0, 5)]
"""Seed, theta, failed judgements; the first has a win rate like alpaca-7b's."""


@pytest.mark.parametrize("world", WORLDS)
def test_rate_equals_the_published_formula(world, harness):
    files = simulated(*world).write(harness.folder)
    assert measured(harness, files) == pytest.approx(by_formula(simulated(*world)), abs=2e-4)


@pytest.mark.parametrize("world", WORLDS)
def test_rate_equals_alpaca_evals_own_code(world, harness):
    made = simulated(*world)
    files = made.write(harness.folder)
    expected = reference.length_controlled(made.annotations, files["gamed"])
    assert measured(harness, files) == pytest.approx(expected, abs=2e-4)


@pytest.mark.skipif(
    not (REAL / "df_gamed.csv").exists(), reason="AlpacaEval's files are not on this machine"
)
def test_alpaca_7b_has_the_rate_of_the_board(harness):
    names = {
        "baseline": "alpaca_eval_gpt4_baseline.json",
        "outputs": "alpaca-7b/model_outputs.json",
        "annotations": "alpaca-7b/annotations.json",
        "gamed": "df_gamed.csv",
    }
    files = {name: REAL / file for name, file in names.items()}
    assert measured(harness, files) == pytest.approx(BOARD, abs=0.1)
