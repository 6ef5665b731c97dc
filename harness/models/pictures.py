"""Pictures as rows hold them: a path, encoded bytes, an entry of an array, or a PIL image."""

import hashlib
import io
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.errors import DataError
from harness.files import sha256_file
from harness.reading import check_regular

BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
"""What Pillow's readers raise for files that are cut off or damaged."""


class EncodedPicture(bytes):
    """An encoded picture that knows where it was read, for messages."""

    place = "an embedded picture"

    def __new__(cls, content: bytes, place: str) -> "EncodedPicture":
        """`place` names the row: `questions.tsv line 41`."""
        picture = super().__new__(cls, content)
        picture.place = place
        return picture


STRIP = 1000
"""Times that a picture's long side has its short one, at most."""


@dataclass(frozen=True)
class StoredPicture:
    """A picture in a file of arrays: read whenever it is opened, and not kept.

    Args:
        place: the row: `fashion.h5 row 41`.
        pixels: reads uint8 [height, width] or [height, width, 3].
    """

    place: str
    pixels: Callable[[], NDArray[np.uint8]]


Picture = str | Path | bytes | StoredPicture | Image.Image


def open_picture(picture: Picture) -> Image.Image:
    """Decode a picture to RGB.

    Raises `DataError` naming a file or row that cannot be read, or whose picture has more pixels
    than Pillow holds to be harmless (`Image.MAX_IMAGE_PIXELS`), before they are decoded, or is a
    strip that would be as large once its short side has a model's size.
    """
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    if not isinstance(picture, str | Path | bytes | StoredPicture):
        raise DataError(f"{picture!r:.60} is a {type(picture).__name__}, not a picture.")
    place = str(picture)
    if isinstance(picture, str | Path):
        check_regular(Path(picture))
    if isinstance(picture, bytes | StoredPicture):
        place = getattr(picture, "place", EncodedPicture.place)
    try:
        if isinstance(picture, StoredPicture):
            return Image.fromarray(picture.pixels()).convert("RGB")
        source = io.BytesIO(picture) if isinstance(picture, bytes) else picture
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(source)
        with image:
            if max(image.size) > STRIP * min(image.size):
                size = " x ".join(map(str, image.size))
                raise DataError(f"{place}: {size} pixels are a strip, no picture: cut it.")
            return image.convert("RGB")
    except FileNotFoundError:
        raise DataError(f"{place}: no such picture file.") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        size = str(error).partition(", could be")[0]
        raise DataError(f"{place}: too large a picture ({size}): make it smaller.") from None
    except BROKEN as error:
        # Bytes that nothing recognizes are named by their address in memory.
        reason = "no known format" if "BytesIO" in str(error) else error
        raise DataError(f"{place}: cannot be read as a picture ({reason}).") from None


def fault(picture: Picture, place: str) -> str | None:
    """What is wrong with a row's picture, beginning with the row's place; None: it can be read."""
    try:
        open_picture(picture)
    except DataError as error:
        return str(error) if str(error).startswith(place) else f"{place}: {error}"
    return None


def picture_key(picture: Picture) -> str:
    """A hash of what the picture shows: file bytes, encoded bytes or pixels."""
    if isinstance(picture, Image.Image):
        content = repr((picture.mode, picture.size)).encode() + picture.tobytes()
    elif isinstance(picture, StoredPicture):
        return picture_key(open_picture(picture))
    elif isinstance(picture, bytes):
        content = picture
    else:
        check_regular(Path(picture))
        try:
            return sha256_file(Path(picture))
        except OSError as error:
            raise DataError(f"{picture}: cannot be read ({error.strerror}).") from None
    return hashlib.sha256(content).hexdigest()
