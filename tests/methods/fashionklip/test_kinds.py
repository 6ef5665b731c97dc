"""`clip` and `fashionklip` on every kind of dual encoder: train, count, save, score."""

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_dual_encoders import KINDS

from harness import registry, scoring
from harness.dataset import EmbeddedDataset
from harness.models import loading
from harness.store import Store
from harness.training import Fit
from methods.fashionklip.data import Catalogue
from methods.fashionklip.plugin import Clip, FashionKlip
from methods.fashionklip.rows import View

COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220), "green": (30, 180, 60)}
KINDS_OF_THINGS = ("shirt", "dress", "coat")
WORDS = " ".join(["a photo of soft", *COLOURS, *KINDS_OF_THINGS])
TRAIN = {"lr": 1e-2, "epochs": 1, "batch_size": 9, "micro_batch": 9, "precision": "fp32"}
FEW = {"candidates": 4, "images": 3, "closest": 2}


def catalogue_rows() -> list[dict[str, Any]]:
    rows = []
    for number in range(2):
        for name, colour in COLOURS.items():
            for size, kind in enumerate(KINDS_OF_THINGS):
                image = Image.new("RGB", (32, 48), (240, 240, 240))
                image.paste(colour, (0, 0, 32, 10 * (size + 1)))
                title = f"soft {name} {kind}" if number else f"{name} {kind}"
                rows.append({"product": title, "title": title, "image": image})
    return rows


@pytest.mark.parametrize("kind", KINDS)
def test_two_steps_train_and_what_was_saved_is_scored(kind: str, tmp_path: Path) -> None:
    base = KINDS[kind](tmp_path / "base", WORDS)
    dataset = EmbeddedDataset("test", {"train": catalogue_rows})
    config: dict[str, Any] = {"train": TRAIN}
    method: Any = Clip
    if kind in ("siglip2", "altclip"):  # both of the hardest: several inputs, shifted positions
        method = FashionKlip
        config |= {"graph": {"least": 2, "phrases": "rules"}, "concepts": FEW}
    fit = Fit(
        config=method.Config.model_validate(config),
        model=loading.load(base, "dual-encoder"),
        dataset=dataset,
        rows=dataset.rows(),
        seed=0,
        folder=tmp_path,
        store=Store(tmp_path / "store"),
        inputs={},
        resolve=str,
        base=base,
    )
    before = fit.model.encode_texts(["red shirt"])
    method(fit.config).fit(fit)
    assert len(fit.curves) == 2
    assert fit.cost is not None and fit.cost.uncounted == ""
    assert fit.cost.train_flops > 6 * 18 * fit.cost.total_parameters
    fit.model.save(tmp_path / "trained")
    again = loading.load(tmp_path / "trained", "dual-encoder")
    images, texts = [row["image"] for row in fit.rows], [row["title"] for row in fit.rows]
    assert torch.equal(again.encode_images(images), fit.model.encode_images(images))
    assert torch.equal(again.encode_texts(texts), fit.model.encode_texts(texts))
    assert not torch.allclose(again.encode_texts(["red shirt"]), before, atol=1e-4)
    task = registry.load("tasks", "garments")
    items = [item for _, item in task.read(dataset, "train")]
    scores = scoring.scores(task, items, task.predict(again, items))
    metric = scoring.metrics(scores, scoring.clusters(items))["mean_recall"]
    assert metric.value is not None and 0 <= metric.value <= 1


def test_one_long_title_widens_no_table(tmp_path: Path) -> None:
    """300 titles, one of 200,000 characters: a numpy array of them would have 240 MB."""
    base = KINDS["clip"](tmp_path / "base", WORDS)
    image = Image.new("RGB", (32, 32))
    rows = [{"title": f"red {number}", "image": image} for number in range(300)]
    rows[7]["title"] = "red " * 50_000
    views = [View(i, f"row {i}", str(row["title"]), str(i), None) for i, row in enumerate(rows)]
    model = loading.load(base, "dual-encoder")
    tracemalloc.start()
    catalogue = Catalogue(model, rows, views)
    batch = catalogue.batch(range(20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6e7
    assert batch["input_ids"].shape == (20, 16)
    assert len(set(catalogue.texts.tolist())) == 300
