"""FashionKLIP and its baselines on a CLIP of a few thousand weights and a made-up catalogue."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_clip import tiny_clip

from harness.dataset import Dataset, EmbeddedDataset
from harness.errors import DataError, HarnessError
from harness.models import loading
from harness.models.dual_encoder import DualEncoder
from harness.sources import open_dataset
from harness.store import Store
from harness.training import Fit
from methods.fashionklip import data
from methods.fashionklip.fitting import read_catalogue
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


def new_fit(base: Path, folder: Path, truth: Any = true_of, dataset: Dataset | None = None) -> Fit:
    dataset = dataset or EmbeddedDataset("test", {"train": catalogue_rows}, truth)
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
        config.setdefault("graph", {"least": 2})
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
    with pytest.raises(HarnessError, match="no phrase stands in titles of 4 products"):
        trained(FashionKlip, fit, graph={"least": 4})


def test_a_siglip_trains(tmp_path: Path) -> None:
    base = tiny_clip(tmp_path / "siglip", WORDS, siglip=True)
    fit = trained(FashionKlip, new_fit(base, tmp_path / "fit"))
    assert fit.curves[-1]["itc"] < fit.curves[0]["itc"]


def test_what_cannot_be_trained_is_one_line(base: Path, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"train\.micro_batch is 3, but a contrastive loss"):
        trained(Clip, new_fit(base, tmp_path), train={"micro_batch": 3})
    with pytest.raises(HarnessError, match=r"titles of 99 products: lower graph\.least"):
        trained(FashionKlip, new_fit(base, tmp_path), graph={"least": 99})
    fit = new_fit(base, tmp_path)
    fit.rows = [{"product": "x", "image": fit.rows[0]["image"]}]
    with pytest.raises(DataError, match="row 1: there is no 'title'"):
        trained(Clip, fit)
    unknown = new_fit(base, tmp_path / "unknown", truth=None)
    with pytest.raises(DataError, match="does not know which sentences are true"):
        trained(FashionKlipTrue, unknown)


def files(folder: Path, split: str = "train", **changed: Any) -> list[dict[str, Any]]:
    """Write the catalogue as pictures and JSON lines; returns its rows."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, row in enumerate(catalogue_rows()):
        row["image"].save(folder / f"{number}.png")
        name = f"{split}-{number}"
        rows.append({"id": name, "title": row["title"], "image": f"{number}.png", **changed})
    write(folder, rows, split)
    return rows


def write(folder: Path, rows: list[dict[str, Any]], split: str = "train") -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")


def file_fit(base: Path, folder: Path, name: str = "shop") -> Fit:
    return new_fit(base, folder / "fit", dataset=open_dataset(str(folder / name)))


def test_a_broken_picture_is_named_and_left_out_only_when_asked(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = tmp_path / "shop"
    files(shop)
    whole = (shop / "4.png").read_bytes()
    (shop / "4.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"^train\.jsonl line 5: .*4\.png: cannot be") as caught:
        trained(Clip, file_fit(base, tmp_path))
    assert "data.skip_broken=true" in str(caught.value) and "more" not in str(caught.value)
    (shop / "11.png").write_bytes(b"")
    fit = new_fit(base, tmp_path / "again", dataset=open_dataset(str(shop)))
    with pytest.raises(DataError, match=r"line 5: .* 1 more cannot be read") as caught:
        trained(Clip, fit)
    assert "\n" not in str(caught.value)
    skipped = trained(FashionKlip, fit, data={"skip_broken": True})
    rows = [json.loads(line)["left_out"] for line in lines(fit.folder / "left_out.jsonl")]
    assert [row.partition(": ")[0] for row in rows] == ["train.jsonl line 5", "train.jsonl line 12"]
    assert "left out 2 pictures to train on: train.jsonl line 5: " in capsys.readouterr().err
    kept = [row for row in files(tmp_path / "kept") if row["image"] not in ("4.png", "11.png")]
    write(tmp_path / "kept", kept)
    same = new_fit(base, tmp_path / "same", dataset=open_dataset(str(tmp_path / "kept")))
    expected = weights(trained(FashionKlip, same))
    assert not (same.folder / "left_out.jsonl").exists()
    assert all(torch.equal(value, expected[name]) for name, value in weights(skipped).items())


def test_a_catalogue_that_is_not_kept_is_the_same_and_checked_as_well(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path / "shop")
    fit = file_fit(base, tmp_path)
    fit.model.batch_size = 4
    kept = read_catalogue(fit, Clip.Config().data).batch(range(18))
    single = [fit.model.pixels([fit.rows[index]["image"]])["pixel_values"] for index in range(18)]
    assert torch.equal(kept["pixel_values"], torch.cat(single))
    monkeypatch.setattr(data, "KEPT_BYTES", 0)
    anew = read_catalogue(fit, Clip.Config().data).batch([3, 17])
    for name, value in anew.items():
        assert torch.equal(
            value, kept[name][[3, 17], : value.shape[1]] if value.ndim > 1 else kept[name][[3, 17]]
        )
    (tmp_path / "shop/17.png").write_bytes(b"no picture")
    broken = new_fit(base, tmp_path / "broken", dataset=open_dataset(str(tmp_path / "shop")))
    with pytest.raises(DataError, match=r"line 18: .*17\.png: cannot be read as a picture"):
        trained(Clip, broken)


def test_pictures_are_looked_at_once_for_all_fits(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path / "shop")
    fit = file_fit(base, tmp_path)
    first = read_catalogue(fit, Clip.Config().data).views
    monkeypatch.setattr("harness.models.pictures.open_picture", None)
    assert read_catalogue(fit, Clip.Config().data).views == first and len(first) == 18


def test_a_picture_may_stand_under_another_name(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "arrays"
    folder.mkdir()
    drawn = np.stack([np.asarray(row["image"]) for row in catalogue_rows()])
    titles = [row["title"] for row in catalogue_rows()]
    np.savez(folder / "train.npz", shown=drawn, title=np.array(titles))
    fit = new_fit(base, tmp_path / "fit", dataset=open_dataset(str(folder / "train.npz")))
    found = read_catalogue(fit, Clip.Config.model_validate({"data": {"image": "shown"}}).data)
    plain = read_catalogue(new_fit(base, tmp_path / "plain"), Clip.Config().data)
    assert [view.title for view in found.views] == titles
    assert torch.equal(*(one.pixels(range(18))["pixel_values"] for one in (found, plain)))


def test_a_picture_of_one_pixel_trains(base: Path, tmp_path: Path) -> None:
    files(tmp_path / "shop")
    Image.new("RGB", (1, 1), "red").save(tmp_path / "shop/0.png")
    Image.new("L", (1, 3)).save(tmp_path / "shop/1.png")
    assert trained(Clip, file_fit(base, tmp_path)).curves


def test_a_picture_of_too_many_pixels_is_one_line(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path / "shop")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)  # those of the catalogue have 1,024
    Image.new("RGB", (20, 20)).save(tmp_path / "shop/0.png")
    with pytest.raises(DataError, match=r"^train\.jsonl line 2: .*1\.png: ") as caught:
        trained(Clip, file_fit(base, tmp_path))
    assert "1024 pixels" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"title": " "}, r"^train\.jsonl line 3: 'title' is empty"),
        ({"title": None}, r"^train\.jsonl line 3: 'title' is empty"),
        ({"title": ["red", "shirt"]}, r"^train\.jsonl line 3: 'title' is no text but a list"),
        ({"id": "train-0"}, r"line 3: id 'train-0' stands at train\.jsonl line 1 already"),
        ({"image": None}, r"^train\.jsonl line 3: 'image' is empty"),
        ({"image": "none.png"}, r"^train\.jsonl line 3: .*none\.png: no such picture file"),
    ],
)
def test_a_row_that_cannot_be_trained_on_is_named(
    changed: dict[str, Any], message: str, base: Path, tmp_path: Path
) -> None:
    rows = files(tmp_path / "shop")
    rows[2] |= changed
    write(tmp_path / "shop", rows)
    with pytest.raises(DataError, match=message) as caught:
        trained(Clip, file_fit(base, tmp_path))
    assert "\n" not in str(caught.value)


def test_rows_without_a_column_of_pictures_are_one_line(base: Path, tmp_path: Path) -> None:
    rows = files(tmp_path / "shop")
    write(tmp_path / "shop", [{"id": row["id"], "title": row["title"]} for row in rows])
    with pytest.raises(DataError, match=r"^train\.jsonl line 1: there is no 'image'"):
        trained(Clip, file_fit(base, tmp_path))


@pytest.mark.parametrize("field", ["product", "id"])
def test_a_product_that_is_tested_on_too_is_one_line(
    field: str, base: Path, tmp_path: Path
) -> None:
    rows = files(tmp_path / "shop")
    other = [{**row, "id": f"test-{number}"} for number, row in enumerate(rows)]
    rows[1][field] = other[3][field] = "tee-7"
    write(tmp_path / "shop", rows)
    write(tmp_path / "shop", other, "test")
    for path in (tmp_path / "shop").glob("*.png"):
        path.write_bytes(b"never looked at")
    with pytest.raises(DataError, match=r"test\.jsonl line 4: 'tee-7' .*train\.jsonl line 2"):
        trained(Clip, file_fit(base, tmp_path))


def test_no_picture_that_can_be_read_is_one_line(base: Path, tmp_path: Path) -> None:
    files(tmp_path / "shop")
    for path in (tmp_path / "shop").glob("*.png"):
        path.write_bytes(b"no picture")
    with pytest.raises(DataError, match="no picture of the training set can be read"):
        trained(Clip, file_fit(base, tmp_path), data={"skip_broken": True})
