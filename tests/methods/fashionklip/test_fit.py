"""FashionKLIP and its baselines on a CLIP of a few thousand weights and a made-up catalogue."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_clip import tiny_clip

from harness.dataset import EmbeddedDataset
from harness.errors import DataError, HarnessError
from harness.models import loading
from harness.models.dual_encoder import DualEncoder
from harness.store import Store
from harness.training import Fit
from methods.fashionklip.plugin import (
    AsReleased,
    Clip,
    FashionKlip,
    FashionKlipFrozen,
    FashionKlipRandom,
    FashionKlipTrue,
)

COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220), "green": (30, 180, 60)}
KINDS = ("shirt", "dress", "coat")
WORDS = " ".join(["a photo of soft", *COLOURS, *KINDS])
TRAIN = {
    "lr": 3e-3,
    "epochs": 4,
    "batch_size": 9,
    "micro_batch": 9,
    "precision": "fp32",
    "save_steps": 1,
}
METHODS = [
    Clip,
    FashionKlip,
    FashionKlipFrozen,
    FashionKlipRandom,
    FashionKlipTrue,
    AsReleased,
]


def catalogue_rows() -> list[dict[str, Any]]:
    """Each colour of each kind twice; the kind is how much of the picture is filled."""
    rows = []
    for number in range(2):
        for name, colour in COLOURS.items():
            for size, kind in enumerate(KINDS):
                image = Image.new("RGB", (32, 32), (240, 240, 240))
                image.paste(colour, (0, 0, 32, 10 * (size + 1)))
                title = f"soft {name} {kind}" if number else f"{name} {kind}"
                rows.append({"product": f"{title}", "title": title, "image": image})
    return rows


def true_of(row: Any, phrases: Any) -> list[float]:
    return [float(set(phrase.split()) <= set(row["title"].split())) for phrase in phrases]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clip"), WORDS)


def new_fit(base: Path, folder: Path, truth: Any = true_of) -> Fit:
    dataset = EmbeddedDataset("test", {"train": catalogue_rows}, truth)
    folder.mkdir(parents=True, exist_ok=True)
    return Fit(
        config=Clip.Config(),
        model=DualEncoder.load(base),
        dataset=dataset,
        rows=dataset.rows(),
        seed=0,
        folder=folder,
        store=Store(folder / "store"),
        inputs={},
        resolve=str,
        base=base,
    )


def trained(method: Any, fit: Fit, **changed: Any) -> Fit:
    config = {"train": {**TRAIN, **changed.pop("train", {})}, **changed}
    if method is not Clip:
        few = {"candidates": 4, "images": 3, "closest": 2}
        config["concepts"] = {**method.Config().concepts.model_dump(), **few}
    method(method.Config.model_validate(config)).fit(fit)
    return fit


def weights(fit: Fit) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in fit.model.module.named_parameters()}


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_falls_and_the_model_finds_its_pictures(
    method: Any, base: Path, tmp_path: Path
) -> None:
    fit = trained(method, new_fit(base, tmp_path), train={"epochs": 20, "save_steps": 500})
    name = "loss" if method is Clip else "itc"
    assert fit.curves[-1][name] < 0.8 * fit.curves[0][name]
    images = fit.model.encode_images([row["image"] for row in fit.rows])
    texts = fit.model.encode_texts([row["title"] for row in fit.rows])
    own = torch.arange(18) % 9
    found = own[(images @ texts.T).argmax(1)] == own
    assert found.float().mean() > 1 / 3


def test_methods_differ_in_the_term_alone(base: Path, tmp_path: Path) -> None:
    curves = {
        method: trained(method, new_fit(base, tmp_path / method.__name__)).curves
        for method in METHODS[:5]
    }
    first = {method: rows[0].get("itc", rows[0]["loss"]) for method, rows in curves.items()}
    assert len({round(value, 5) for value in first.values()}) == 1, "the same first batch"
    for method, rows in curves.items():
        if method is not Clip:
            row = rows[0]
            share = min(row["itc"] / (5 * row["cva"]), 0.5)
            assert row["share"] == pytest.approx(share, rel=1e-4)
            assert row["loss"] == pytest.approx(
                (1 - share) * row["itc"] + share * row["cva"], rel=1e-4
            )


def test_images_are_found_anew_each_epoch_unless_frozen(base: Path, tmp_path: Path) -> None:
    anew = trained(FashionKlip, new_fit(base, tmp_path / "anew"))
    frozen = trained(FashionKlipFrozen, new_fit(base, tmp_path / "frozen"))
    epochs = [json.loads(line)["epoch"] for line in lines(anew.folder / "concepts.jsonl")]
    assert epochs == [0, 1, 2, 3]
    assert len(lines(frozen.folder / "concepts.jsonl")) == 1
    true = trained(FashionKlipTrue, new_fit(base, tmp_path / "true"))
    assert all(json.loads(row)["right"] == 1 for row in lines(true.folder / "concepts.jsonl"))


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


class KilledError(Exception):
    pass


def test_a_training_that_ends_within_an_epoch_goes_on_with_its_images(
    base: Path, tmp_path: Path
) -> None:
    whole = weights(trained(FashionKlip, new_fit(base, tmp_path / "whole")))

    def report(what: str, done: int, total: int, figures: Any) -> None:
        if done == 5:
            raise KilledError

    broken = new_fit(base, tmp_path / "broken")
    broken.report = report
    with pytest.raises(KilledError):
        trained(FashionKlip, broken)
    again = trained(FashionKlip, new_fit(base, tmp_path / "broken"))
    assert all(torch.equal(again_, whole[name]) for name, again_ in weights(again).items())


def test_the_checkpoint_has_its_graph(base: Path, tmp_path: Path) -> None:
    fit = trained(FashionKlip, new_fit(base, tmp_path))
    assert fit.save is not None
    fit.save(tmp_path / "checkpoint")
    loading.load(tmp_path / "checkpoint", "dual-encoder")
    text = (tmp_path / "checkpoint/graph.jsonl").read_text(encoding="utf-8")
    assert '"red shirt"' in text


def test_views_of_a_product_make_no_concept_frequent(base: Path, tmp_path: Path) -> None:
    fit = new_fit(base, tmp_path)
    fit.rows = [row for row in fit.rows[:9] for _ in range(2)]  # a title for each product
    with pytest.raises(HarnessError, match="no phrase stands in 4 titles"):
        trained(FashionKlip, fit, graph={"least": 4})


def test_a_siglip_trains(tmp_path: Path) -> None:
    base = tiny_clip(tmp_path / "siglip", WORDS, siglip=True)
    fit = trained(FashionKlip, new_fit(base, tmp_path / "fit"))
    assert fit.curves[-1]["itc"] < fit.curves[0]["itc"]


def test_what_cannot_be_trained_is_one_line(base: Path, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"train\.micro_batch is 3, but a contrastive loss"):
        trained(Clip, new_fit(base, tmp_path), train={"micro_batch": 3})
    with pytest.raises(HarnessError, match=r"no phrase stands in 99 titles: lower graph\.least"):
        trained(FashionKlip, new_fit(base, tmp_path), graph={"least": 99})
    fit = new_fit(base, tmp_path)
    fit.rows = [{"product": "x", "image": fit.rows[0]["image"]}]
    with pytest.raises(DataError, match="row 1: there is no 'title'"):
        trained(Clip, fit)
    unknown = new_fit(base, tmp_path / "unknown", truth=None)
    with pytest.raises(DataError, match="does not know which sentences are true"):
        trained(FashionKlipTrue, unknown)
