"""The contract of a method: a config and a `fit` that changes a model."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from harness.training import Fit


class MethodConfig(BaseModel):
    """Base of every method's config: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Preset(BaseModel):
    """What a profile starts a method from: base model, training set, changed config fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    dataset: str
    config: dict[str, object] = {}


class Method(ABC):
    """A way to train a model. Registered as a class under the group `harness.methods`."""

    role: ClassVar[str | None] = None
    """What kind of model it trains, see `harness.models.ROLES`; None: any."""
    trains: ClassVar[bool] = True
    """False where the model stays as it is: such a method has no seeds and no dataset."""
    Config: ClassVar[type[MethodConfig]] = MethodConfig
    """Every hyper-parameter with its default; `--set loss.beta=0.2` sets a nested field."""
    presets: ClassVar[dict[str, Preset]] = {}
    """Profile name -> preset."""

    def __init__(self, config: MethodConfig) -> None:
        self.config = config

    def models(self) -> Sequence[str]:
        """Names of the models that `fit` reads beside the one it trains: an encoder, a teacher.

        What is trained depends on their weights too.
        """
        return ()

    def datasets(self) -> Sequence[str]:
        """Names of the datasets that `fit` reads beside the one it is given.

        What is trained depends on their rows too.
        """
        return ()

    def generation(self) -> Mapping[str, Any]:
        """Generation settings that the scored model answers with, laid over the task card's.

        For methods that change how a model decodes, trained or not.
        """
        return {}

    def prepare(self, model: Any, section: str) -> bool:
        """Make a base model ready for one of the method's trainings, as `fit` does.

        A plan counts memory by it, on a model without weights.

        Args:
            model: its `module` may be replaced.
            section: the field of the config with the training's settings.

        Returns:
            Whether checkpoints of the training hold the whole model.
        """
        from harness.training import prepare

        settings = getattr(self.config, section)
        prepare(model, settings)
        return settings.lora is None

    @abstractmethod
    def fit(self, fit: "Fit") -> None:
        """Train `fit.model` in place: prepare rows (`fit.rows`, `fit.cached`), then `fit.train`."""
