"""POIR (Findings of EMNLP 2024, 3030-3041), reconstructed from its abstract; its baselines."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from harness.method import Method, MethodConfig, Preset
from methods.poir import config

if TYPE_CHECKING:
    from harness.training import Fit

LAB_REWRITING = {
    "template": "rewrite : {prompt} =",
    "temperature": 0.7,
    "max_new_tokens": 32,
}
"""Sampled where it is used: the lab's greedy rewrites are good before any training."""
LAB_COLLECT = {
    "limit": 600,
    "temperature": 0.7,
    "top_p": 1.0,
    "score": "clamped",
    # Good rewrites differ in the fourth decimal: no reason to prefer one, nor to go on.
    "threshold": 0.1,
    "margin": 0.1,
    "response": "{prompt} =",
    "batch_size": 256,
}
LAB_TRAIN = {"lr": 1e-4, "epochs": 3.2, "batch_size": 32, "schedule": "linear", "warmup": 0.0}
LAB = Preset(
    model="lab/errands",
    dataset="lab/errands-prompts",
    config={
        "rewriting": LAB_REWRITING,
        "collect": LAB_COLLECT,
        "train": LAB_TRAIN,
    },
)
PAPER_TRAIN = {
    "lr": 5e-6,
    "micro_batch": 4,
    "precision": "bf16",
    "gradient_checkpointing": True,
    # All weights of 7 billion take over 100 GiB. Rank and rate are Zephyr's for DPO with adapters.
    "lora": {"r": 16, "alpha": 16},
}
PAPER = Preset(
    model="meta-llama/Llama-2-7b-chat-hf",
    dataset="prompts.jsonl",
    config={"train": PAPER_TRAIN},
)


class Poir(Method):
    """Prompt optimization with implicit reasoning: a rewriter trained on its own rewrites."""

    role: ClassVar[str | None] = "causal-lm"
    Config: ClassVar[type[MethodConfig]] = config.PoirConfig
    config: config.PoirConfig
    presets: ClassVar[dict[str, Preset]] = {"lab": LAB, "paper": PAPER}

    def fit(self, fit: "Fit") -> None:
        """Collect rewrites, choose among them by the model's own logits, and train on them."""
        from methods.poir.rounds import train

        train(fit, self.config)


class PoirWithoutRecirculation(Poir):
    """POIR that rewrites each prompt once (ablation)."""

    Config = config.PoirWithoutRecirculationConfig


class PoirRandom(Poir):
    """Control: POIR on random pairs of its rewrites."""

    Config = config.PoirRandomConfig


class Bpo(Poir):
    """BPO (arXiv 2311.04155) on the model's own rewrites: supervised training on the chosen."""

    Config = config.BpoConfig
    presets: ClassVar[dict[str, Preset]] = {
        "lab": LAB.model_copy(
            update={"config": {**LAB.config, "train": {**LAB_TRAIN, "lr": 1e-3}}}
        ),
        # Zephyr's rate for supervised training with adapters.
        "paper": PAPER.model_copy(update={"config": {"train": {**PAPER_TRAIN, "lr": 2e-4}}}),
    }


class PoirUntrained(Method):
    """Control: the base model rewrites prompts as it is."""

    role: ClassVar[str | None] = "causal-lm"
    trains: ClassVar[bool] = False
    Config: ClassVar[type[MethodConfig]] = config.RewriterConfig
    config: config.RewriterConfig
    presets: ClassVar[dict[str, Preset]] = {
        "lab": LAB.model_copy(update={"config": {"rewriting": LAB_REWRITING}}),
        "paper": PAPER.model_copy(update={"config": {}}),
    }

    def generation(self) -> Mapping[str, Any]:
        """How it rewrites."""
        return {"rewriting": self.config.asked.model_dump(mode="json")}

    def fit(self, fit: "Fit") -> None:
        """Nothing to train."""


class CotSuffix(Method):
    """A fixed text after every prompt that asks for reasoning (arXiv 2205.11916)."""

    role: ClassVar[str | None] = "causal-lm"
    trains: ClassVar[bool] = False
    Config: ClassVar[type[MethodConfig]] = config.SuffixConfig
    config: config.SuffixConfig
    presets: ClassVar[dict[str, Preset]] = {
        "lab": LAB.model_copy(update={"config": {}}),
        "paper": PAPER.model_copy(update={"config": {}}),
    }

    def generation(self) -> Mapping[str, Any]:
        """The text around a prompt."""
        return {"rewriting": {"template": self.config.template, "by_model": False}}

    def fit(self, fit: "Fit") -> None:
        """Nothing to train."""


class Opro(Method):
    """OPRO (arXiv 2309.03409): the model searches for a text to set before every prompt."""

    role: ClassVar[str | None] = "causal-lm"
    Config: ClassVar[type[MethodConfig]] = config.OproConfig
    config: config.OproConfig
    presets: ClassVar[dict[str, Preset]] = {
        "lab": LAB.model_copy(
            update={"config": {"collect": LAB_COLLECT, "around": "{text} {prompt}"}}
        ),
        "paper": PAPER.model_copy(update={"config": {}}),
    }

    def fit(self, fit: "Fit") -> None:
        """Search; no weights change."""
        from methods.poir.opro import search

        search(fit, self.config)
