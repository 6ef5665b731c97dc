"""What the roles are asked, apart from the models that answer: nothing here needs torch."""

from dataclasses import dataclass
from typing import NamedTuple

from harness.models.pictures import Picture


@dataclass(frozen=True)
class VisionPrompt:
    """A picture and what is asked about it."""

    image: Picture
    text: str


@dataclass(frozen=True)
class TranslationPrompt:
    """A text and the languages it is translated between, as codes: `en`, `zh-CN`, `zho_Hans`."""

    text: str
    source: str
    target: str


class Translation(NamedTuple):
    """What a translator said; not `finished` where the length limit ended it."""

    text: str
    finished: bool
