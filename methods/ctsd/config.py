"""Every hyper-parameter of CTSD and its baselines with its default and its source."""

from typing import Literal

from pydantic import Field

from harness.method import MethodConfig
from harness.schema import Strict
from harness.settings import TrainSettings

Term = Literal["contrastive", "unlikelihood", "none"]
Similarity = Literal["cosine", "attention", "none"]
DecayName = Literal["exponential", "reciprocal", "none"]


class LossSettings(Strict):
    """The term that is added to cross-entropy, and how its negatives are weighted."""

    term: Term = "contrastive"
    """Contrastive tokens, unlikelihood, or nothing beside cross-entropy."""
    strength: float = Field(1.0, ge=0)
    """lambda, the term's weight (CT: 1; unlikelihood: alpha, 1)."""
    window: int = Field(16, ge=0)
    """M, how many tokens before a label stand against it. Unlikelihood takes all of them."""
    similarity: Similarity = "cosine"
    """What weighs a negative: max(0, cosine) of the last decoder states (our reading), the last
    decoder layer's self-attention, or nothing."""
    decay: DecayName = "exponential"
    """How its weight falls with the distance d: gamma^(d - 1) (our reading), 1 / d, or not."""
    gamma: float = Field(0.9, gt=0, le=1)
    """Of the exponential decay (our reading)."""


class Decoding(Strict):
    """How the trained model translates; all off, as the repetition metrics need it."""

    num_beams: int = Field(1, ge=1)
    """Beams; 1 is greedy."""
    no_repeat_ngram_size: int = Field(0, ge=0)
    """Length of the n-grams that may not come twice; 0: all may."""
    repetition_penalty: float = Field(1.0, gt=0)
    """Divides the positive logits of tokens that were said; 1 leaves them."""


class DataSettings(Strict):
    """Which texts of a row are trained on."""

    source: str = "en"
    """Language to translate from, as the rows and the model name it."""
    target: str = "de"
    """Language to translate into."""
    limit: int | None = Field(None, ge=1)
    """Most rows."""
    max_length: int = Field(256, ge=2)
    """Tokens of a text and of its translation, each; what is longer loses its end, and is named."""


class CtsdConfig(MethodConfig):
    """Every hyper-parameter of CTSD and of its baselines."""

    loss: LossSettings = LossSettings()
    data: DataSettings = DataSettings()
    train: TrainSettings = TrainSettings()
    decoding: Decoding = Decoding()


class SimilarityOnly(LossSettings):
    """CTSD without decay."""

    decay: DecayName = "none"


class CtsdSimilarityConfig(CtsdConfig):
    loss: SimilarityOnly = SimilarityOnly()


class DistanceOnly(LossSettings):
    """CTSD without similarity."""

    similarity: Similarity = "none"


class CtsdDistanceConfig(CtsdConfig):
    loss: DistanceOnly = DistanceOnly()


class ByAttention(LossSettings):
    """CTSD with self-attention in place of the cosine."""

    similarity: Similarity = "attention"


class CtsdAttentionConfig(CtsdConfig):
    loss: ByAttention = ByAttention()


class Unweighted(LossSettings):
    """CT: every negative counts fully."""

    similarity: Similarity = "none"
    decay: DecayName = "none"


class CtConfig(CtsdConfig):
    loss: Unweighted = Unweighted()


class Unlikely(LossSettings):
    """Unlikelihood on the token level."""

    term: Term = "unlikelihood"


class UnlikelihoodConfig(CtsdConfig):
    loss: Unlikely = Unlikely()


class CrossEntropy(LossSettings):
    """Nothing beside cross-entropy."""

    term: Term = "none"


class CeConfig(CtsdConfig):
    loss: CrossEntropy = CrossEntropy()


class DecodingConfig(MethodConfig):
    """A remedy at decoding, for a model as it is."""

    decoding: Decoding = Decoding()


class Blocking(Decoding):
    """No 4-gram twice."""

    no_repeat_ngram_size: int = Field(4, ge=0)


class BlockingConfig(DecodingConfig):
    decoding: Blocking = Blocking()


class Penalty(Decoding):
    """What was said becomes less likely (CTRL, arXiv 1909.05858: 1.2)."""

    repetition_penalty: float = Field(1.2, gt=0)


class PenaltyConfig(DecodingConfig):
    decoding: Penalty = Penalty()


class Beam(Decoding):
    """Beam search."""

    num_beams: int = Field(4, ge=1)


class BeamConfig(DecodingConfig):
    decoding: Beam = Beam()
