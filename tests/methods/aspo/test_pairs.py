"""Which pairs ASPO and its variants train on: none of equal answers, and what is too long."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image
from tiny_llava import tiny_llava

from harness.dataset import EmbeddedDataset
from harness.errors import DataError
from harness.models.vision_language import VisionLanguage
from harness.settings import TrainSettings
from harness.store import Store
from harness.training import Fit
from methods.aspo import prepare
from methods.aspo.batches import Batches, Example
from methods.aspo.config import PairSettings
from methods.aspo.data import preference_pairs
from methods.aspo.plugin import Aspo, AspoRandom, Dpo
from methods.aspo.prepare import reference_log_probs
from methods.aspo.step import pair_loss

COLORS = ["red", "blue", "green", "yellow", "purple", "white"]


def paired_rows(count: int = 12) -> list[dict]:
    return [
        {
            "image": Image.new("RGB", (32, 32), (20 * i, 255 - 20 * i, 90)),
            "question": "describe the picture",
            "chosen": f"there is a {COLORS[i % 6]} circle. it is at the top left.",
            "rejected": f"there is a {COLORS[i % 6]} circle. there are {i % 3} stars {i}.",
        }
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return tiny_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture
def make_fit(llava, tmp_path):
    def make(rows: list[dict], store: str = "store") -> Fit:
        return Fit(
            config=Aspo.Config(),
            model=VisionLanguage.load(llava),
            dataset=EmbeddedDataset("test", {"train": lambda: rows}),
            rows=rows,
            seed=0,
            folder=tmp_path / f"fit-{store}",
            store=Store(tmp_path / store),
            inputs={},
            resolve=str,
        )

    return make


def train(method: type[Aspo], fit: Fit, **sections) -> Fit:
    method(method.Config.model_validate(sections)).fit(fit)
    return fit


def noted(fit: Fit) -> list[dict]:
    text = (fit.folder / "left_out.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


DISC = "there is a disc."
SAME = {
    "a blank behind it": f"{DISC} ",
    "a newline behind it": f"{DISC}\n",
    "a word that is as unknown": "there is a sphere.",
}


@pytest.mark.parametrize("method", [Aspo, Dpo, AspoRandom])
@pytest.mark.parametrize("how", SAME)
def test_pairs_of_the_same_tokens_change_nothing_and_are_named(make_fit, caplog, how, method):
    rows = paired_rows()
    rows[3] |= {"chosen": DISC, "rejected": SAME[how]}
    seen = []
    for name, some in (("all", rows), ("less", [row for i, row in enumerate(rows) if i != 3])):
        fit = make_fit(some, store=name)
        fit.train = lambda examples, *_: seen.append({e.pair.rejected for e in examples})
        train(method, fit, loss={"alpha": 0.0} if method is Aspo else {})
    assert seen[0] == seen[1] and SAME[how] not in seen[0]
    said = "left out 1 pairs to train on: train row 4: both answers are the same."
    assert said in caplog.text
    fit = make_fit(rows, store="noted")
    preference_pairs(fit, PairSettings())
    assert noted(fit) == [{"left_out": "train row 4: both answers are the same."}]


def test_a_pair_of_the_same_answers_would_pull_on_aspo_but_not_on_dpo(make_fit):
    """Why they are left out: the margin's gradient of an equal pair, with weights and without."""
    rows = paired_rows(4)
    fit = make_fit(rows)
    batches = Batches(fit.model, None, fit.dataset)
    sizes = {}
    for weights in ("none", "random"):
        for kind in ("equal", "real"):
            pair = preference_pairs(fit, PairSettings())[0]
            if kind == "equal":
                pair = replace(pair, rejected=pair.chosen, row=100)
            (reference,) = reference_log_probs(fit, [pair], batches, TrainSettings(micro_batch=1))
            example = Example(pair, reference["chosen"], reference["rejected"], [1.0, 0.0])
            fit.model.module.zero_grad()
            settings = Aspo.Config.model_validate({"loss": {"weights": weights}}).loss
            pair_loss(settings)(fit.model.module, batches.collate([example]))[0].backward()
            gradients = [p.grad.norm() for p in fit.model.module.parameters() if p.grad is not None]
            sizes[weights, kind] = float(torch.stack(gradients).norm())
    assert sizes["none", "equal"] < 1e-5 * sizes["none", "real"]
    assert sizes["random", "equal"] > 0.1 * sizes["random", "real"]


def test_pairs_all_of_the_same_answers_are_an_error(make_fit):
    rows = [{**row, "rejected": f"{row['chosen']}\n"} for row in paired_rows()]
    with pytest.raises(DataError, match=r"train row 1 and the 11 rows after it give no pair"):
        train(Dpo, make_fit(rows))


def test_pairs_made_equal_by_the_limit_are_left_out(make_fit, caplog):
    rows = paired_rows()
    rows[5]["rejected"] = f"{rows[5]['chosen']} it is a star."
    fit = make_fit(rows)
    (first,) = (p for p in preference_pairs(fit, PairSettings()) if p.row == 5)
    limit = len(fit.model.encode(first.prompt, first.chosen).input_ids) - 1
    fit.train = lambda examples, *_: seen.append(sorted(e.pair.row for e in examples))
    seen: list[list[int]] = []
    train(Dpo, fit, pairs={"max_length": limit})
    assert seen == [[i for i in range(12) if i != 5]]
    assert "left out 1 pairs to train on: train row 6: both answers are the" in caplog.text
    assert {"cut"} <= {did for line in noted(fit) for did in line}


def test_pairs_too_long_are_refused_or_left_out_before_anything_is_computed(make_fit, monkeypatch):
    rows = paired_rows()
    rows[7]["rejected"] += " it is a star." * 200  # more than the model reads
    fit = make_fit(rows)
    monkeypatch.setattr(prepare, "answer_log_probs", lambda *_: pytest.fail("computed"))
    with pytest.raises(DataError, match=r"^train row 8: \d+ tokens too long"):
        train(Dpo, fit, train={"too_long": "refuse"})
    monkeypatch.undo()
    seen: list[list[int]] = []
    fit.train = lambda examples, *_: seen.append(sorted(e.pair.row for e in examples))
    for how in ("drop", "cut"):
        train(Dpo, fit, train={"too_long": how})
    assert seen == [[i for i in range(12) if i != 7], list(range(12))]
    assert [list(line) for line in noted(fit)] == [["left_out"], ["cut"]]
