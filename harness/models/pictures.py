"""Pictures as rows hold them: a path, encoded bytes, or a PIL image."""

import hashlib
import io
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from harness.errors import DataError

Picture = str | Path | bytes | Image.Image


def open_picture(picture: Picture) -> Image.Image:
    """Decode a picture to RGB; raises `DataError` naming a file that cannot be read."""
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    place = "an embedded picture" if isinstance(picture, bytes) else str(picture)
    try:
        source = io.BytesIO(picture) if isinstance(picture, bytes) else picture
        with Image.open(source) as image:
            return image.convert("RGB")
    except FileNotFoundError:
        raise DataError(f"{place}: no such picture file.") from None
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise DataError(f"{place}: cannot be read as a picture ({error}).") from None


def picture_key(picture: Picture) -> str:
    """A hash of what the picture shows: file bytes, encoded bytes or pixels."""
    if isinstance(picture, Image.Image):
        content = repr((picture.mode, picture.size)).encode() + picture.tobytes()
    elif isinstance(picture, bytes):
        content = picture
    else:
        try:
            content = Path(picture).read_bytes()
        except OSError as error:
            raise DataError(f"{picture}: cannot be read ({error.strerror}).") from None
    return hashlib.sha256(content).hexdigest()
