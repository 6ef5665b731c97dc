"""Looking for products in a catalogue: vectors that are kept, best matches, a contact sheet."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps
from safetensors.torch import load_file, save
from torch import Tensor

from harness.code_keys import Computation, reached
from harness.computations import of_adapters
from harness.dataset import Dataset
from harness.errors import DataError, HarnessError
from harness.files import write_atomic
from harness.models import loading
from harness.models.pictures import Picture, open_picture, picture_key
from harness.records import is_missing, require
from harness.seals import check, is_sealed, seal
from harness.store import Store, turn
from methods.fashionklip.concept_images import concept_images
from methods.fashionklip.config import ConceptSettings
from methods.fashionklip.graph import Concept
from methods.fashionklip.rows import in_one_line

THUMBNAIL, MARGIN, LINE = 160, 8, 14
"""Pixels of a contact sheet: a picture's side, the space around it, a line of text."""

SMALL = 112
"""Side of a concept's picture in pixels: twice as many as the drawing shows, for fine screens."""


class Shelf(NamedTuple):
    """The pictures of a catalogue and what it says of them, in its order."""

    places: list[str]
    names: list[str]
    titles: list[str]
    pictures: list[Picture]

    def only(self, indices: Sequence[int]) -> "Shelf":
        """Some of the pictures."""
        return Shelf(
            [self.places[index] for index in indices],
            [self.names[index] for index in indices],
            [self.titles[index] for index in indices],
            [self.pictures[index] for index in indices],
        )


class Encoded(NamedTuple):
    """The pictures of a catalogue that can be read, with their vectors."""

    shelf: Shelf
    vectors: Tensor
    """Of unit length, [pictures, width]."""
    broken: list[str]
    """What was wrong with those left out, a line each."""


@dataclass(frozen=True)
class Match:
    """A picture and how well it fits, in [-1, 1]."""

    index: int
    score: float


def read_shelf(dataset: Dataset) -> Shelf:
    """The pictures of all rows, none of them opened; raises `DataError` at a row without one."""
    shelf = Shelf([], [], [], [])
    for index, row in enumerate(dataset.rows()):
        place = dataset.place(None, index)
        shelf.places.append(place)
        shelf.pictures.append(require(row, place, "image"))
        shelf.names.append(place if is_missing(row.get("id")) else str(row["id"]))
        shelf.titles.append("" if is_missing(row.get("title")) else str(row["title"]))
    return shelf


def encode(
    model: Any, folder: Path, shelf: Shelf, store: Store, skip_broken: bool = False
) -> Encoded:
    """Vectors of the pictures, made once for a model and its pictures: then none is opened.

    Args:
        folder: of the model, whose weights the vectors belong to.
        skip_broken: whether pictures that cannot be read are left out and told.

    Raises:
        DataError: naming the first picture that cannot be read, where that is not allowed.
    """
    place = store.folder("vectors", _inputs(folder, shelf))
    path = place / "catalogue.safetensors"
    with turn(place, lambda: is_sealed(place)) as todo:
        if todo:
            write_atomic(path, save(_vectors(model, shelf.pictures)))
            seal(place)
    check(place)
    found = load_file(path)
    damaged = found["broken"].tolist()
    lines = [f"{shelf.places[index]}: {_problem(shelf.pictures[index])}" for index in damaged]
    if lines and not skip_broken:
        raise DataError(f"{in_one_line(lines)} Leave such pictures out by --skip-broken.")
    if len(damaged) == len(shelf.pictures):
        raise DataError("the catalogue has no picture that can be read.")
    whole = sorted(set(range(len(shelf.pictures))) - set(damaged))
    return Encoded(shelf.only(whole), found["vectors"], lines)


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


def concept_thumbnails(
    model: Any, found: Encoded, concepts: Sequence[Concept], count: int = 3
) -> dict[int, list[bytes]]:
    """The first of each concept's images as the model finds them, as small JPEG files.

    Returns:
        Concept id -> `count` pictures, or as many as the catalogue has.
    """
    settings = ConceptSettings()
    prompts = model.encode_texts([settings.prompt.format(phrase=c.phrase) for c in concepts])
    chosen = concept_images(
        prompts, found.vectors, count, settings.candidates, settings.relevance
    ).tolist()
    small = {index: _thumbnail(found.shelf.pictures[index]) for row in chosen for index in row}
    return {
        concept.concept_id: [small[index] for index in dict.fromkeys(row)]
        for concept, row in zip(concepts, chosen, strict=True)
    }


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


def _inputs(folder: Path, shelf: Shelf) -> dict[str, Any]:
    """What the vectors depend on; a file that is not there counts as a picture that is broken."""
    keys: list[str | None] = []
    for picture in shelf.pictures:
        try:
            keys.append(picture_key(picture))
        except DataError:
            keys.append(None)
    computation = Computation((__name__, "harness.models.dual_encoder")) | of_adapters(folder)
    code = reached(computation).key()
    return {"model": loading.identity(folder), "pictures": keys, **code}


def _vectors(model: Any, pictures: Sequence[Picture]) -> dict[str, Tensor]:
    """Vectors of the pictures that can be read, and the indices of the others."""
    broken: list[int] = []
    parts: list[Tensor] = []
    for indices in torch.arange(len(pictures)).split(model.batch_size):
        opened = []
        for index in indices.tolist():
            try:
                opened.append(open_picture(pictures[index]))
            except DataError:
                broken.append(index)
        if opened:
            parts.append(model.encode_images(opened))
    vectors = torch.cat(parts) if parts else torch.empty(0, 0)
    return {"vectors": vectors, "broken": torch.tensor(broken, dtype=torch.int64)}


def _problem(picture: Picture) -> str:
    try:
        open_picture(picture)
    except DataError as error:
        return str(error)
    return "could not be read when the catalogue was encoded."


def _thumbnail(picture: Picture) -> bytes:
    file = io.BytesIO()
    small = ImageOps.pad(open_picture(picture), (SMALL, SMALL), color="white")
    small.save(file, "JPEG", quality=85)
    return file.getvalue()
