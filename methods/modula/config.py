"""Every hyper-parameter of MoDULA and its baselines with its default and its source."""

from typing import Annotated

from pydantic import AfterValidator, Field

from harness.method import MethodConfig
from harness.schema import Strict
from harness.settings import Lora, TrainSettings
from methods.modula.layers import Form


def _adapters_train(settings: TrainSettings) -> TrainSettings:
    """Return the settings; refuse those that choose what trains, since `ranks` and `targets` do."""
    if settings.lora is not None or settings.freeze:
        raise ValueError(
            "lora and freeze have no effect, MoDULA's own adapters train: set ranks and targets"
        )
    return settings


Training = Annotated[TrainSettings, AfterValidator(_adapters_train)]
"""How adapters train."""


class Ranks(Strict):
    """Ranks of the experts; all scales are 1 (our reading: the equations have no alpha / r)."""

    universal: int = Field(16, ge=1)
    """Of the universal expert (paper: 16)."""
    expert: int = Field(8, ge=1)
    """Of each domain expert (paper: 8)."""
    own: dict[str, Annotated[int, Field(ge=1)]] = {}
    """Domain -> another rank for it alone."""

    def of(self, domain: str) -> int:
        return self.own.get(domain, self.expert)


class DataSettings(Strict):
    """Which rows are trained on, beside the run's dataset: the universal set."""

    domains: dict[str, str | None] = {}
    """Domain -> dataset of its expert: embedded name, file, folder, mixture or hub name; null
    leaves a domain of the preset out."""
    limit: int | None = Field(None, ge=1)
    """Most rows of each set."""
    max_length: int = Field(1024, ge=2)
    """Tokens of a prompt with its answer; a longer prompt is cut at its beginning."""
    pack: bool = False
    """Whether rows stand side by side in sequences of `max_length`, none seeing another; batch
    sizes then count sequences."""

    @property
    def sets(self) -> dict[str, str]:
        """Domain -> dataset, without those left out."""
        return {name: each for name, each in self.domains.items() if each is not None}


class Adapted(MethodConfig):
    """What all methods share: where adapters are, and what they are trained on."""

    ranks: Ranks = Ranks()
    targets: list[str] | str = "all-linear"
    """As in peft's `target_modules` (paper: attention; our reading: q, k, v, o)."""
    data: DataSettings = DataSettings()


class ModulaConfig(Adapted):
    """MoDULA: settings of its layers and of its three stages."""

    form: Form = "res"
    """Which of the paper's equations the layers follow."""
    slope: float = Field(0.01, ge=0)
    """Of LeakyReLU in the forms whose experts read the universal one (our reading)."""
    universal: Training = TrainSettings()
    """Stage 1: the universal expert on the run's dataset."""
    experts: Training = TrainSettings()
    """Stage 2: each domain's expert on its own set."""
    router: Training = TrainSettings()
    """Stage 3: the router on all sets together (our reading)."""
    jobs: int = Field(1, ge=1, exclude=True)
    """Experts that train side by side, each in a process and on a GPU of its own; the result is the
    same, so it is no part of it."""


class FlanConfig(ModulaConfig):
    form: Form = "flan"


class WithoutResidualConfig(ModulaConfig):
    form: Form = "res-without-residual"


class UniformConfig(ModulaConfig):
    """MoDULA without its third stage."""


class MoloraConfig(Adapted):
    """All experts and the router at once."""

    train: Training = TrainSettings()


class LoraConfig(Adapted):
    """One adapter as large as all of MoDULA's experts together."""

    train: TrainSettings = TrainSettings()

    def adapter(self) -> TrainSettings:
        """The training settings with an adapter of the ranks' sum, scale 1."""
        rank = self.ranks.universal + sum(map(self.ranks.of, self.data.sets))
        return self.train.model_copy(
            update={"lora": Lora(r=rank, alpha=rank, targets=self.targets)}
        )
