"""`harness fashionklip`: graphs on disk, and looking for products, as a shop's engineer would."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet
from tiny_clip import tiny_clip
from typer.testing import CliRunner

from harness.errors import DataError, HarnessError
from harness.models.dual_encoder import DualEncoder
from methods.fashionklip.commands import app

COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220), "green": (30, 180, 60)}
KINDS = ("shirt", "dress")
REAL = Path(__file__).parents[4] / "shared/data/retrieval/magento_luma"


def ask(*words: object) -> str:
    result = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clip"), " ".join(["a soft", *COLOURS, *KINDS]))


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """A folder of pictures with a title table."""
    folder = tmp_path / "shop"
    (folder / "images").mkdir(parents=True)
    rows = []
    for colour, pixels in COLOURS.items():
        for size, kind in enumerate(KINDS):
            name = f"{colour}-{kind}"
            image = Image.new("RGB", (40 + 30 * size, 50), (240, 240, 240))
            image.paste(pixels, (0, 0, 30, 20 * (size + 1)))
            image.save(folder / "images" / f"{name}.png")
            rows.append(f"{name},soft {colour} {kind},{name}.png")
    (folder / "titles.csv").write_text("id,title,image\n" + "\n".join(rows), encoding="utf-8")
    return folder


def test_a_graph_is_built_shown_extended_and_drawn(catalogue: Path, tmp_path: Path) -> None:
    graph = tmp_path / "graph.jsonl"
    said = ask("graph", "build", catalogue, "--out", graph, "--phrases", "rules")
    assert "2 trees, by rules, from 2 titles on" in said
    assert "soft" not in ask("graph", "show", graph).split("shirt")[0]
    more = tmp_path / "more.jsonl"
    more.write_text('{"title": "red shirt"}\n{"title": "red shirt"}\n', encoding="utf-8")
    said = ask("graph", "extend", graph, more)
    assert "1 new: red shirt" in said
    shown = ask("graph", "show", graph, "shirt", "--svg", tmp_path / "shirt.svg")
    assert "red shirt (3)" in shown
    assert (tmp_path / "shirt.svg").read_text(encoding="utf-8").startswith("<svg")
    with pytest.raises(HarnessError, match=r"no concept 'shirts'\. Did you mean 'shirt'"):
        ask("graph", "show", graph, "shirts")


def test_the_matches_are_those_of_the_largest_similarity(
    model: Path, catalogue: Path, tmp_path: Path
) -> None:
    sheet, vectors = tmp_path / "sheet.png", tmp_path / "vectors.npy"
    words = ("search", model, "red shirt", "--catalog", catalogue, "--top", 4, "--sheet", sheet)
    said = ask(*words, "--export", vectors, "--runs", tmp_path / "runs")
    names = sorted(path.stem for path in (catalogue / "images").iterdir())
    encoder = DualEncoder.load(model)
    ids = [f"{colour}-{kind}" for colour in COLOURS for kind in KINDS]
    pictures = encoder.encode_images([catalogue / "images" / f"{name}.png" for name in ids])
    assert np.allclose(np.load(vectors), pictures.numpy(), atol=1e-6) and sorted(ids) == names
    scores = (pictures @ encoder.encode_texts(["red shirt"])[0]).tolist()
    expected = sorted(zip(scores, ids, strict=True), reverse=True)[:4]
    lines = [line.split() for line in said.splitlines()[:4]]
    assert [line[2] for line in lines] == [name for _, name in expected]
    assert [float(line[1]) for line in lines] == pytest.approx([s for s, _ in expected], abs=6e-4)
    with Image.open(sheet) as image:
        assert image.width > 4 * 160 and image.height > 160


def test_vectors_are_kept_for_the_same_pictures_and_model(
    model: Path, catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("search", model, "blue dress", "--catalog", catalogue, "--runs", tmp_path / "runs")
    first = ask(*words, "--sheet", tmp_path / "a.png")
    monkeypatch.setattr(DualEncoder, "encode_images", None)
    assert ask(*words, "--sheet", tmp_path / "a.png") == first
    Image.new("RGB", (30, 30)).save(catalogue / "images" / "red-shirt.png")
    with pytest.raises(TypeError):
        ask(*words, "--sheet", tmp_path / "a.png")


def test_vectors_are_written_with_their_names(model: Path, catalogue: Path, tmp_path: Path) -> None:
    out = tmp_path / "vectors.parquet"
    common = ("search", model, "x", "--catalog", catalogue, "--runs", tmp_path / "runs")
    ask(*common, "--sheet", tmp_path / "a.png", "--export", out)
    table = parquet.read_table(out)
    assert table.column_names == ["id", "vector"] and len(table) == 6
    with pytest.raises(HarnessError, match=r"vectors are written as \.npy, \.parquet or \.faiss"):
        ask(*common, "--sheet", tmp_path / "a.png", "--export", tmp_path / "vectors.txt")


def test_a_broken_picture_is_named_and_left_out_only_when_asked(
    model: Path, catalogue: Path, tmp_path: Path
) -> None:
    (catalogue / "images" / "blue-dress.png").write_bytes(b"no picture")
    words = ("search", model, "x", "--catalog", catalogue, "--runs", tmp_path / "runs")
    with pytest.raises(DataError, match=r"blue-dress\.png: cannot be read as a picture") as caught:
        ask(*words)
    assert "--skip-broken leaves it out" in str(caught.value) and "\n" not in str(caught.value)
    said = ask(*words, "--skip-broken", "--sheet", tmp_path / "a.png")
    assert "left out 1: " in said


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3000, 40)])
def test_pictures_of_odd_shape_are_found_and_shown(
    width: int, height: int, model: Path, catalogue: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (width, height), (9, 9, 9)).save(catalogue / "images" / "red-shirt.png")
    sheet = tmp_path / "a.png"
    common = ("--catalog", catalogue, "--sheet", sheet, "--runs", tmp_path / "r")
    said = ask("search", model, "x", *common)
    assert "red-shirt" in said and sheet.stat().st_size > 0


def test_the_graph_of_real_titles_has_a_tree_of_jackets(tmp_path: Path) -> None:
    if not REAL.exists():
        pytest.skip("the real catalogue is not here")
    graph = tmp_path / "graph.jsonl"
    where = REAL / "catalog.jsonl"
    ask("graph", "build", where, "--out", graph, "--field", "caption", "--least", 4)
    rows = [json.loads(line) for line in graph.read_text(encoding="utf-8").splitlines()]
    phrases = {row["phrase"]: row for row in rows if row.get("concept_id") is not None}
    assert phrases["full zip jacket"]["parent"] == phrases["zip jacket"]["concept_id"]
    assert "full zip jacket" in ask("graph", "show", graph, "jacket")
