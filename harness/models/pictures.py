"""Pictures as rows hold them: a path, encoded bytes, or a PIL image."""

import hashlib
import io
import struct
import zlib
from pathlib import Path

from PIL import Image

from harness.errors import DataError

Picture = str | Path | bytes | Image.Image

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


def open_picture(picture: Picture) -> Image.Image:
    """Decode a picture to RGB; raises `DataError` naming a file or row that cannot be read."""
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    place = str(picture)
    if isinstance(picture, bytes):
        place = getattr(picture, "place", EncodedPicture.place)
    try:
        source = io.BytesIO(picture) if isinstance(picture, bytes) else picture
        with Image.open(source) as image:
            return image.convert("RGB")
    except FileNotFoundError:
        raise DataError(f"{place}: no such picture file.") from None
    except (*BROKEN, Image.DecompressionBombError) as error:
        # Bytes that nothing recognizes are named by their address in memory.
        reason = "no known format" if "BytesIO" in str(error) else error
        raise DataError(f"{place}: cannot be read as a picture ({reason}).") from None


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
