"""Every hyper-parameter of FashionKLIP and its baselines with its default and its source."""

from typing import Literal

from pydantic import Field, model_validator

from harness.cards import placeholder_problem
from harness.method import MethodConfig
from harness.schema import Strict
from harness.settings import TrainSettings


class GraphSettings(Strict):
    """How concepts are mined from the titles that are trained on."""

    phrases: Literal["auto", "rules", "spacy"] = "auto"
    """What finds noun phrases; `auto`: spaCy where it has a model (paper), else the rules."""
    least: int = Field(6, ge=1)
    """Products that a concept is of at least (our reading)."""
    file: str | None = None
    """A graph that was built or edited before, JSON lines, in place of one built now."""


class ConceptSettings(Strict):
    """The concept term: concept-level alignment with images that the model itself finds."""

    slots: int = Field(5, ge=1)
    """Concepts of a title that are used, the most specific first (paper: 5)."""
    prompt: str = "a photo of {phrase}"
    """What is encoded of a concept (paper)."""
    source: Literal["nearest", "random", "true"] = "nearest"
    """Images of a concept: those nearest to its prompt (paper), any at random (control), or those
    that it is true of, which the lab alone knows (control)."""
    refresh: bool = True
    """Whether they are found anew before each epoch (paper), or once with the base model."""
    candidates: int = Field(20, ge=1)
    """Nearest images that are looked through (paper: 20)."""
    images: int = Field(10, ge=1)
    """Images of a concept that are kept (paper: 10)."""
    relevance: float = Field(0.2, ge=0, le=1)
    """Weight of relevance against redundancy among them (paper: 0.2)."""
    closest: int = Field(5, ge=1)
    """Images of a concept that a picture is compared through, those most like it (paper: 5)."""
    most: float = Field(0.5, ge=0, le=1)
    """Most weight that the concept term gets (our reading)."""
    as_released: bool = False
    """The released code's behaviour in place of our cleaned reading."""

    @model_validator(mode="after")
    def _fits(self) -> "ConceptSettings":
        if self.images > self.candidates:
            raise ValueError(f"images {self.images} of {self.candidates} candidates")
        if self.closest > self.images:
            raise ValueError(f"closest {self.closest} of {self.images} images")
        if "{phrase}" not in self.prompt:
            raise ValueError("prompt has no {phrase}")
        if problem := placeholder_problem(self.prompt, ["phrase"]):
            raise ValueError(f"prompt: {problem}")
        return self


class DataSettings(Strict):
    """What is read of a row."""

    image: str = "image"
    title: str = "title"
    product: str = "product"
    """Field that views of one product have in common."""
    limit: int | None = Field(None, ge=1)
    """Most rows."""
    skip_broken: bool = False
    """Whether pictures that cannot be read are left out, and told, in place of an error."""


class ClipConfig(MethodConfig):
    """Contrastive fine-tuning."""

    data: DataSettings = DataSettings()
    train: TrainSettings = TrainSettings()


class FashionKlipConfig(ClipConfig):
    """Contrastive fine-tuning with the concept term."""

    graph: GraphSettings = GraphSettings()
    concepts: ConceptSettings = ConceptSettings()


class FrozenConfig(FashionKlipConfig):
    concepts: ConceptSettings = ConceptSettings(refresh=False)


class RandomConfig(FashionKlipConfig):
    concepts: ConceptSettings = ConceptSettings(source="random")


class TrueConfig(FashionKlipConfig):
    concepts: ConceptSettings = ConceptSettings(source="true")


class AsReleasedConfig(FashionKlipConfig):
    concepts: ConceptSettings = ConceptSettings(as_released=True)
