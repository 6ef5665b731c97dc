"""What the cards of retrieval tasks say beside the fields that every card has."""

from pydantic import BaseModel, ConfigDict, Field, field_validator


class PictureOptions(BaseModel):
    """Where a row has its picture, and what happens to one that cannot be read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: str = "image"
    """Field with the picture."""
    skip_broken: bool = False
    """Whether such a picture is left out and counted; else it is an error."""


class RankingOptions(PictureOptions):
    """Where a row of a catalogue has what."""

    title: str = "title"
    """Field with the text of a product."""
    product: str = "product"
    """Field that views of one product have in common; a row without it is a product of its own."""
    category: str = "category"
    """Field with the category, and the sub-category where there is no other."""
    subcategory: str = "subcategory"
    """Field with the sub-category that negatives are drawn from."""


class SampleOptions(RankingOptions):
    """How candidates are drawn, beside the fields of a row."""

    queries: int = Field(1000, ge=1)
    """Most queries of each direction in a draw."""
    negatives: int = Field(100, ge=1)
    """Candidates beside the one positive."""
    draws: int = Field(5, ge=1)
    seed: int = 0


class LabelOptions(PictureOptions):
    """What classes there are and how they are asked for."""

    label: str = "label"
    """Field with the class: its number in `labels`, from 0, or its name."""
    labels: tuple[str, ...] = Field(min_length=2)
    prompt: str = "a photo of a {label}"

    @field_validator("labels")
    @classmethod
    def _different(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(labels)) < len(labels):
            raise ValueError("a class stands twice")
        return labels

    @field_validator("prompt")
    @classmethod
    def _names_the_label(cls, prompt: str) -> str:
        if "{label}" not in prompt:
            raise ValueError("there is no {label} in it")
        return prompt
