"""What the roles are asked, apart from the models that answer: nothing here needs torch."""

from dataclasses import dataclass

from harness.models.pictures import Picture


@dataclass(frozen=True)
class VisionPrompt:
    """A picture and what is asked about it."""

    image: Picture
    text: str
