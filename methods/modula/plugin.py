"""MoDULA (arXiv 2412.07405), its variants and baselines."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from harness.method import Method, MethodConfig, Preset
from methods.modula import config

if TYPE_CHECKING:
    from harness.training import Fit, Stage

DOMAINS = ("sums", "lists", "facts", "lexicon", "strings")
"""Of the lab; a sixth, news, is left to be added."""

LAB: dict[str, Any] = {
    "data": {"domains": {name: f"lab/errands-{name}" for name in DOMAINS}, "max_length": 64},
}

PAPER: dict[str, Any] = {
    "targets": ["q_proj", "k_proj", "v_proj", "o_proj"],
    "data": {
        "domains": {name: f"modula/{name}" for name in ("math", "code", "medicine")},
        "max_length": 4096,
    },
}
TRAINED_AS_IN_PAPER: dict[str, object] = {
    "lr": 2e-4,
    "epochs": 1,
    "batch_size": 128,
    "micro_batch": 4,
    "precision": "bf16",
    "gradient_checkpointing": True,
}


def _lab(settings: dict[str, object]) -> Preset:
    return Preset(model="lab/errands", dataset="lab/errands-general", config={**LAB, **settings})


def _paper(*trained: str) -> Preset:
    """The paper's settings, for each part that is trained."""
    settings = dict.fromkeys(trained, TRAINED_AS_IN_PAPER)
    return Preset(
        model="meta-llama/Llama-2-7b-hf", dataset="modula/universal", config={**PAPER, **settings}
    )


class Modula(Method):
    """Mixture of domain-specific and universal LoRA, with the residual (MoDULA-Res)."""

    role: ClassVar[str | None] = "causal-lm"
    Config: ClassVar[type[MethodConfig]] = config.ModulaConfig
    config: config.ModulaConfig
    presets: ClassVar[dict[str, Preset]] = {
        "lab": _lab(
            {
                "universal": {"lr": 3e-3, "epochs": 4},
                "experts": {"lr": 1e-2, "epochs": 4},
                "router": {"lr": 3e-2, "epochs": 1},
            }
        ),
        "paper": _paper("universal", "experts", "router"),
    }

    def datasets(self) -> Sequence[str]:
        return list(self.config.data.sets.values())

    def prepare(self, model: Any, section: str) -> bool:
        from methods.modula import stages

        stages.prepare_part(model, self.config, section)
        return False

    def fit(self, fit: "Fit") -> None:
        """Train the universal expert, each domain's expert, then the routers."""
        from methods.modula import stages

        stages.check_rows(fit, self.config)
        fit.model = None  # each stage loads the base anew
        universal = stages.universal_stage(fit, self.config)
        experts = stages.expert_stages(fit, self.config, universal)
        found = {**({"universal": universal} if universal else {}), **experts}
        found |= self.route(fit, universal, experts)
        stages.note(fit, found)
        fit.cost = stages.total_cost(fit.model.module, found.values())
        fit.save = lambda folder: stages.save(fit, folder)

    def route(
        self, fit: "Fit", universal: "Stage | None", experts: Mapping[str, "Stage"]
    ) -> dict[str, "Stage"]:
        """Stage 3, and the fit's model made of all three."""
        from methods.modula import stages

        router = stages.router_stage(fit, self.config, universal, experts)
        stages.anew(fit)
        stages.load(fit, router)
        return {"router": router}


class ModulaFlan(Modula):
    """MoDULA-Flan: the universal expert is one more expert of the router."""

    Config = config.FlanConfig


class ModulaWithoutResidual(Modula):
    """MoDULA-Res without the universal expert as a term of its own (ablation)."""

    Config = config.WithoutResidualConfig


class ModulaUniform(Modula):
    """MoDULA whose experts all have the same share of every token (control)."""

    Config = config.UniformConfig

    def route(
        self, fit: "Fit", universal: "Stage | None", experts: Mapping[str, "Stage"]
    ) -> dict[str, "Stage"]:
        """No third stage."""
        from methods.modula import adapting, stages

        stages.anew(fit)
        stages.assemble(fit, self.config, universal, experts)
        adapting.share_alike(fit.model.module)
        return {}


class Molora(Method):
    """Mixture of LoRA experts, all trained at once with their router."""

    role: ClassVar[str | None] = "causal-lm"
    Config: ClassVar[type[MethodConfig]] = config.MoloraConfig
    config: config.MoloraConfig
    presets: ClassVar[dict[str, Preset]] = {
        "lab": _lab({"train": {"lr": 3e-3, "epochs": 4}}),
        "paper": _paper("train"),
    }

    def datasets(self) -> Sequence[str]:
        return list(self.config.data.sets.values())

    def prepare(self, model: Any, section: str) -> bool:
        from methods.modula import stages

        stages.prepare_part(model, self.config, section)
        return False

    def fit(self, fit: "Fit") -> None:
        """Train all experts and the routers on all sets."""
        from methods.modula import stages

        stages.joint_training(fit, self.config, self.config.train)
        fit.save = lambda folder: stages.save(fit, folder)


class Lora(Method):
    """One LoRA adapter on all sets, as large as MoDULA's experts together."""

    role: ClassVar[str | None] = "causal-lm"
    Config: ClassVar[type[MethodConfig]] = config.LoraConfig
    config: config.LoraConfig
    presets: ClassVar[dict[str, Preset]] = {
        "lab": _lab({"train": {"lr": 3e-3, "epochs": 4}}),
        "paper": _paper("train"),
    }

    def datasets(self) -> Sequence[str]:
        return list(self.config.data.sets.values())

    def prepare(self, model: Any, section: str) -> bool:
        from harness.training import prepare

        prepare(model, self.config.adapter())
        return False

    def fit(self, fit: "Fit") -> None:
        """Train one adapter on all sets."""
        from methods.modula import stages

        stages.plain_training(fit, self.config, self.config.adapter())
