"""FashionKLIP in two processes: what one process with the whole batch makes."""

import json
from pathlib import Path

import launch
import torch
from PIL import Image
from several_processes import arguments
from tiny_clip import tiny_clip

import harness
from harness.models.dual_encoder import DualEncoder

COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220), "green": (30, 180, 60)}
KINDS = ("shirt", "dress", "coat")
TRAIN = {"lr": 3e-3, "epochs": 2, "batch_size": 8, "micro_batch": 8, "precision": "fp32"}
CONCEPTS = {"candidates": 4, "images": 3, "closest": 2}


def catalogue(folder: Path) -> Path:
    """Each colour of each kind twice, as files."""
    rows = []
    for number in range(2):
        for colour, pixels in COLOURS.items():
            for size, kind in enumerate(KINDS):
                name = f"{colour}-{kind}-{number}"
                image = Image.new("RGB", (32, 32), (240, 240, 240))
                image.paste(pixels, (0, 0, 32, 10 * (size + 1)))
                image.save(folder / f"{name}.png")
                title = f"soft {colour} {kind}" if number else f"{colour} {kind}"
                rows.append({"id": name, "title": title, "image": f"{name}.png"})
    path = folder / "catalogue.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_two_processes_with_half_the_batch_make_what_one_makes(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    source = catalogue(files)
    model = tiny_clip(files / "clip", " ".join(["a photo of soft", *COLOURS, *KINDS]))
    parts = {"train": {**TRAIN, "warmup": 0.0, "weight_decay": 0.0}, "concepts": CONCEPTS}
    changed = {
        f"{part}.{name}": value for part, each in parts.items() for name, value in each.items()
    }
    asked = {"profile": "paper", "model": str(model), "dataset": str(source)}
    asked |= {"method": "fashionklip", "tasks": "fashion_catalog"}
    given = {"source": {"fashion_catalog": str(source)}, "set": changed}
    one, two = tmp_path / "one", tmp_path / "two"
    harness.run(**asked, **given, runs=one / "runs", leaderboards=one / "leaderboards")
    for each in launch.run_together(["run", *arguments({**asked, **given})], two):
        assert each.status == 0, each.stderr
    folders = [next(place.glob("runs/fashionklip_*/fashionklip-seed0")) for place in (one, two)]
    texts = [f"{colour} {kind}" for colour in COLOURS for kind in KINDS]
    pictures = sorted(files.glob("*.png"))
    vectors = []
    for folder in (model, *(each / "checkpoint" for each in folders)):
        encoder = DualEncoder.load(folder)
        vectors.append(torch.cat([encoder.encode_texts(texts), encoder.encode_images(pictures)]))
    # Weights themselves may differ where a gradient is nothing but rounding (biases of keys).
    torch.testing.assert_close(vectors[2], vectors[1], rtol=0, atol=2e-3)
    assert (vectors[1] - vectors[0]).abs().max() > 0.05, "the training moved what both agree on"
    graphs = [(each / "checkpoint/graph.jsonl").read_text() for each in folders]
    assert graphs[0] == graphs[1]
