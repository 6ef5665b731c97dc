"""CTSD (arXiv 2409.19877), its ablations and baselines, and remedies at decoding."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from harness.method import Method, MethodConfig, Preset
from methods.ctsd import config

if TYPE_CHECKING:
    from harness.training import Fit


class Ctsd(Method):
    """Contrastive token learning with similarity decay."""

    role: ClassVar[str | None] = "translator"
    Config: ClassVar[type[MethodConfig]] = config.CtsdConfig
    config: config.CtsdConfig
    presets: ClassVar[dict[str, Preset]] = {
        "lab": Preset(
            model="lab/titles-mature",
            dataset="lab/titles",
            config={
                "data": {"source": "qaa", "target": "qab"},
                "train": {"lr": 3e-4, "epochs": 2, "batch_size": 32},
            },
        ),
        "paper": Preset(
            model="facebook/nllb-200-distilled-600M",
            dataset="titles.jsonl",
            config={
                "train": {
                    "lr": 2e-5,
                    "epochs": 1,
                    "batch_size": 64,
                    "warmup": 0.05,
                    "precision": "bf16",
                },
            },
        ),
    }

    def generation(self) -> Mapping[str, Any]:
        """The remedies at decoding that are turned on."""
        return remedies(self.config.decoding)

    def fit(self, fit: "Fit") -> None:
        """Fine-tune on parallel text by cross-entropy and the term."""
        from methods.ctsd.data import encoded_pairs, mean_length
        from methods.ctsd.step import translation_loss

        loss = self.config.loss
        if loss.term == "contrastive" and loss.similarity == "attention":
            fit.model.module.set_attn_implementation("eager")
        pairs = encoded_pairs(fit, self.config.data, self.config.train.too_long)
        step = translation_loss(loss, mean_length(pairs))
        fit.train(pairs, fit.model.collate, step, self.config.train)


class CtsdSimilarity(Ctsd):
    """CTSD weighted by similarity alone (ablation)."""

    Config = config.CtsdSimilarityConfig


class CtsdDistance(Ctsd):
    """CTSD weighted by distance alone (ablation)."""

    Config = config.CtsdDistanceConfig


class CtsdAttention(Ctsd):
    """CTSD weighted by self-attention in place of the cosine (ablation)."""

    Config = config.CtsdAttentionConfig


class Ct(Ctsd):
    """Contrastive token loss (arXiv 2205.02517): CTSD with all weights one."""

    Config = config.CtConfig


class Unlikelihood(Ctsd):
    """Unlikelihood training on the token level (arXiv 1908.04319)."""

    Config = config.UnlikelihoodConfig


class Ce(Ctsd):
    """Cross-entropy alone: fine-tuning for as long on the same data."""

    Config = config.CeConfig


class Blocking(Method):
    """The model as it is, with no 4-gram said twice."""

    role: ClassVar[str | None] = "translator"
    trains: ClassVar[bool] = False
    Config: ClassVar[type[MethodConfig]] = config.BlockingConfig
    config: config.DecodingConfig

    def generation(self) -> Mapping[str, Any]:
        """The remedy."""
        return remedies(self.config.decoding)

    def fit(self, fit: "Fit") -> None:
        """Nothing to train."""


class Penalty(Blocking):
    """The model as it is, with a penalty on what was said."""

    Config = config.PenaltyConfig


class Beam(Blocking):
    """The model as it is, by beam search."""

    Config = config.BeamConfig


def remedies(decoding: config.Decoding) -> Mapping[str, Any]:
    """The settings of a decoding that differ from plain greedy search."""
    plain = config.Decoding().model_dump()
    return {key: value for key, value in decoding.model_dump().items() if value != plain[key]}
