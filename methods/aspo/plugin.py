"""ASPO (arXiv 2505.19100), its ablations and controls, and DPO: one method, other defaults."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from harness.method import Method, MethodConfig, Preset
from methods.aspo import config

if TYPE_CHECKING:
    from harness.training import Fit

LANGUAGE_MODEL_LAYERS = (
    r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
)


class Aspo(Method):
    """Adaptive sentence-level preference optimization."""

    role: ClassVar[str | None] = "vision-language"
    Config: ClassVar[type[MethodConfig]] = config.AspoConfig
    config: config.AspoConfig
    presets: ClassVar[dict[str, Preset]] = {
        "lab": Preset(
            model="lab/scenes-vlm",
            dataset="lab/scenes",
            config={
                "loss": {"encoder": "lab/scenes-clip"},
                "pairs": {
                    "limit": 600,
                    "noise_step": 400,
                    "max_new_tokens": 64,
                    "equal_sentences": True,
                },
                "train": {
                    "lr": 3e-5,
                    "epochs": 2,
                    "batch_size": 32,
                    "freeze": ["vision_tower"],
                },
            },
        ),
        "paper": Preset(
            model="llava-hf/llava-1.5-7b-hf",
            dataset="pairs.jsonl",
            config={
                "loss": {"encoder": "openai/clip-vit-large-patch14-336"},
                "pairs": {"max_length": 2048},
                "train": {
                    "lr": 2e-6,
                    "epochs": 1,
                    "batch_size": 16,
                    "micro_batch": 4,  # with 16 more than 80 GB
                    "precision": "bf16",
                    "gradient_checkpointing": True,
                    "lora": {"r": 1024, "alpha": 2048, "targets": LANGUAGE_MODEL_LAYERS},
                },
            },
        ),
    }

    def models(self) -> Sequence[str]:
        """The encoder of the similarity, where the weights rest on one."""
        loss = self.config.loss
        read = loss.weights == "aspo" and loss.alpha > 0 and loss.encoder is not None
        return [str(loss.encoder)] if read else []

    def fit(self, fit: "Fit") -> None:
        """Make the pairs, score their sentences, note the reference's view, and train."""
        from methods.aspo.batches import Batches, fitting_pairs
        from methods.aspo.data import preference_pairs
        from methods.aspo.prepare import prepared
        from methods.aspo.step import pair_loss

        pairs = preference_pairs(fit, self.config.pairs)
        batches = Batches(fit.model, self.config.pairs.max_length, fit.dataset)
        pairs = fitting_pairs(fit, pairs, batches, self.config.train.too_long)
        examples = prepared(fit, pairs, batches, self.config)
        fit.train(examples, batches.collate, pair_loss(self.config.loss), self.config.train)


class AspoS(Aspo):
    """ASPO with weights from image-text similarity alone (the paper's ablation)."""

    Config = config.AspoSConfig


class AspoP(Aspo):
    """ASPO with weights from fluency alone (the paper's ablation)."""

    Config = config.AspoPConfig


class Dpo(Aspo):
    """Direct preference optimization (arXiv 2305.18290): ASPO with all weights zero."""

    Config = config.DpoConfig


class AspoRandom(Aspo):
    """Control: ASPO with random weights."""

    Config = config.AspoRandomConfig


class AspoOracle(Aspo):
    """Control: ASPO with weights from the known truth of each sentence, in a lab."""

    Config = config.AspoOracleConfig
