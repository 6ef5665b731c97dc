"""Looking for products in a catalogue: vectors that are kept, best matches, a contact sheet."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.dataset import Dataset
from harness.errors import DataError, HarnessError
from harness.models import loading
from harness.models.pictures import Picture, open_picture, picture_key
from harness.records import is_missing, require
from harness.store import Store

THUMBNAIL, MARGIN, LINE = 160, 8, 14
"""Pixels of a contact sheet: a picture's side, the space around it, a line of text."""


class Shelf(NamedTuple):
    """The pictures of a catalogue that can be read, in its order."""

    names: list[str]
    titles: list[str]
    pictures: list[Picture]
    broken: list[str]
    """What was wrong with those left out, a line each."""


@dataclass(frozen=True)
class Match:
    """A picture and how well it fits, in [-1, 1]."""

    index: int
    score: float


def read_shelf(dataset: Dataset, skip_broken: bool = False) -> Shelf:
    """The pictures of all rows; raises `DataError` at the first that cannot be read.

    Args:
        skip_broken: whether such pictures are left out instead, and told.
    """
    shelf = Shelf([], [], [], [])
    for index, row in enumerate(dataset.rows()):
        place = dataset.place(None, index)
        picture = require(row, place, "image")
        try:
            open_picture(picture)
        except DataError as error:
            if not skip_broken:
                raise DataError(f"{place}: {error} --skip-broken leaves it out.") from None
            shelf.broken.append(f"{place}: {error}")
            continue
        shelf.names.append(place if is_missing(row.get("id")) else str(row["id"]))
        shelf.titles.append("" if is_missing(row.get("title")) else str(row["title"]))
        shelf.pictures.append(picture)
    if not shelf.pictures:
        raise DataError("the catalogue has no picture that can be read.")
    return shelf


def vectors_of(model: Any, folder: Path, shelf: Shelf, store: Store) -> Tensor:
    """Unit vectors of the pictures, [pictures, width], made once for a model and its pictures."""
    inputs = {
        "model": loading.identity(folder),
        "pictures": [picture_key(picture) for picture in shelf.pictures],
    }
    path = store.folder("vectors", inputs) / "pictures.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        save_file({"vectors": model.encode_images(shelf.pictures)}, partial)
        partial.replace(path)
    return load_file(path)["vectors"]


def best(vectors: Tensor, query: Tensor, count: int) -> list[Match]:
    """The pictures of the largest inner product with a query, [width], best first."""
    scores, places = (vectors @ query).sort(descending=True, stable=True)
    pairs = zip(places[:count].tolist(), scores[:count].tolist(), strict=True)
    return [Match(index, score) for index, score in pairs]


def contact_sheet(shelf: Shelf, matches: Sequence[Match], columns: int = 4) -> Image.Image:
    """The matches as a picture: thumbnails with rank, score, name and title."""
    columns = max(1, min(columns, len(matches)))
    rows = -(-len(matches) // columns)
    width, height = THUMBNAIL + 2 * MARGIN, THUMBNAIL + 2 * MARGIN + 2 * LINE
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    pen = ImageDraw.Draw(sheet)
    for number, match in enumerate(matches):
        left, top = number % columns * width + MARGIN, number // columns * height + MARGIN
        picture = open_picture(shelf.pictures[match.index])
        scale = min(THUMBNAIL / picture.width, THUMBNAIL / picture.height)
        size = [max(1, round(side * scale)) for side in picture.size]
        sheet.paste(picture.resize((size[0], size[1])), (left, top))
        name = f"{number + 1}. {match.score:.3f} {shelf.names[match.index]}"
        for line, text in enumerate((name, shelf.titles[match.index])):
            shown = text.encode("latin-1", "replace").decode("latin-1")[:26]
            pen.text((left, top + THUMBNAIL + 2 + line * LINE), shown, fill="black")
    return sheet


def export(path: Path, names: Sequence[str], vectors: Tensor) -> None:
    """Write vectors for other tools: .npy, .parquet (with names), or .faiss (inner product)."""
    found = np.ascontiguousarray(vectors.numpy(), np.float32)
    if path.suffix == ".npy":
        np.save(path, found)
    elif path.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        flat = pyarrow.FixedSizeListArray.from_arrays(found.ravel(), found.shape[1])
        parquet.write_table(pyarrow.table({"id": list(names), "vector": flat}), path)
    elif path.suffix == ".faiss":
        try:
            import faiss  # type: ignore[import-not-found]
        except ImportError:
            raise HarnessError(f"{path}: needs the package faiss: pip install faiss-cpu.") from None
        index = faiss.IndexFlatIP(found.shape[1])
        index.add(found)
        faiss.write_index(index, str(path))
    else:
        raise HarnessError(f"{path}: vectors are written as .npy, .parquet or .faiss.")
