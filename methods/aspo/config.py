"""Every hyper-parameter of ASPO with its default and its source."""

from typing import Literal

from pydantic import Field

from harness.method import MethodConfig
from harness.schema import Strict
from harness.settings import TrainSettings

Weights = Literal["aspo", "none", "random", "oracle"]


class LossSettings(Strict):
    """How the margin of a pair is formed."""

    beta: float = Field(0.1, gt=0)
    """Strength of the pull to the reference (paper: 0.1)."""
    weights: Weights = "aspo"
    """Weights of the chosen answer's sentences: the paper's; none, which is DPO; uniform random
    ones in [0, 1]; or, in a lab, how true each sentence is."""
    alpha: float = Field(0.5, ge=0, le=1)
    """Share of the image-text similarity, the rest being fluency. Our reading: the public text
    names the two ends (ASPO-S 1, ASPO-P 0) and not the middle."""
    normalizer: Literal["weights", "rewards"] = "weights"
    """What R_c / R_c* is. `weights`, our reading: K / sum(1 + w). `rewards`: the implicit rewards
    without and with weights, held constant."""
    epsilon: float = Field(1e-3, ge=0)
    """With `rewards`: a weighted reward this close to zero takes the factor of `weights`."""
    perplexity: Literal["policy", "reference"] = "policy"
    """Whose perplexity: the trained model's at this step (our reading), or the reference's."""
    encoder: str | None = None
    """CLIP model of the similarity. Our reading: the one whose vision tower the model carries."""
    text_length: int = Field(77, ge=3)
    """Tokens of a sentence that the encoder reads; the rest is cut (our reading)."""


class PairSettings(Strict):
    """Where the preference pairs come from."""

    limit: int | None = Field(None, ge=1)
    """Most pairs; all the dataset gives without it."""
    noise_step: int = Field(500, ge=0, lt=1000)
    """Diffusion step of the picture that a rejected answer is made from (SeVa: 500 of 1,000)."""
    chosen_temperature: float = Field(0.0, ge=0)
    """How chosen answers are made: greedily (SeVa), or sampled at a temperature."""
    max_new_tokens: int = Field(1024, ge=1)
    """Longest answer made."""
    equal_sentences: bool = False
    """Drop pairs whose answers differ in their number of sentences: in small worlds they teach
    the model to answer briefly."""
    max_length: int | None = Field(None, ge=1)
    """Tokens of picture, question and answer together; answers are cut there (SeVa: 2,048)."""


class AspoConfig(MethodConfig):
    """Every hyper-parameter of ASPO and of its baselines."""

    loss: LossSettings = LossSettings()
    pairs: PairSettings = PairSettings()
    train: TrainSettings = TrainSettings()


class SimilarityOnly(LossSettings):
    """ASPO-S: weights from the similarity alone."""

    alpha: float = Field(1.0, ge=0, le=1)


class AspoSConfig(AspoConfig):
    loss: SimilarityOnly = SimilarityOnly()


class PerplexityOnly(LossSettings):
    """ASPO-P: weights from the fluency alone."""

    alpha: float = Field(0.0, ge=0, le=1)


class AspoPConfig(AspoConfig):
    loss: PerplexityOnly = PerplexityOnly()


class Unweighted(LossSettings):
    """DPO."""

    weights: Weights = "none"


class DpoConfig(AspoConfig):
    loss: Unweighted = Unweighted()


class RandomWeights(LossSettings):
    """Control: whether any weights would do."""

    weights: Weights = "random"


class AspoRandomConfig(AspoConfig):
    loss: RandomWeights = RandomWeights()


class OracleWeights(LossSettings):
    """Control: the most that weights could do."""

    weights: Weights = "oracle"


class AspoOracleConfig(AspoConfig):
    loss: OracleWeights = OracleWeights()
