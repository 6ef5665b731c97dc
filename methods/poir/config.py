"""Every setting of POIR and its baselines, with its default and its source.

Only the paper's abstract is public to us: what is not marked otherwise is our reading of it.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from harness.chat import exported_variable, plain_address
from harness.method import MethodConfig
from harness.models.rewriting import Rewriting
from harness.schema import Strict
from harness.settings import TrainSettings

HINT = (
    "Rewrite the prompt below so that a language model answers it better. Work out what its author "
    "wants, what information is missing, and which steps lead to a good answer, and weave these "
    "steps into the prompt as hints. Keep all of its information. Do not answer it. Write the new "
    "prompt alone.\n\nPrompt:\n{prompt}\n\nNew prompt:"
)
"""Schema `hint`: the reasoning is woven into the prompt."""
EXPLICIT = (
    "Rewrite the prompt below so that a language model answers it better. First reason about what "
    "its author wants, what information is missing, and which steps lead to a good answer. Keep "
    "all of its information. Do not answer it. Write:\nReasoning: your reasoning\nOptimized "
    "prompt: the new prompt\n\nPrompt:\n{prompt}"
)
"""Schema `explicit`: only what follows `EXPLICIT_MARK` goes on."""
EXPLICIT_MARK = "Optimized prompt:"
QUESTION = (
    "Original prompt:\n{prompt}\n\nRewritten prompt:\n{rewrite}\n\nDoes the rewritten prompt keep "
    "the intent of the original one and help more? Answer Yes or No."
)
STEPS = "{prompt}\nLet's think step by step."
"""Zero-shot chain of thought (arXiv 2205.11916)."""

Score = Literal["margin", "good", "clamped", "yes-no"]


def holds(*fields: str) -> AfterValidator:
    """Of a template: a text without one of these fields, such as `{prompt}`, is refused."""

    def check(template: str) -> str:
        missing = [field for field in fields if field not in template]
        if missing:
            raise ValueError(f"a text that holds {' and '.join(fields)}: {missing[0]} is missing")
        return template

    return AfterValidator(check)


def _address(url: str) -> str:
    return plain_address(url) if url else url


class Collect(Strict):
    """How rewrites are sampled, scored and chosen from."""

    limit: int | None = Field(None, ge=1)
    """Prompts of a round; each round takes the next ones, from the start again after the last."""
    candidates: int = Field(8, ge=2)
    """K, rewrites sampled of a prompt (our reading)."""
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)
    """Of the sampling (Question-Rewriter: 1)."""
    top_p: float = Field(0.95, gt=0, le=1)
    recirculations: int = Field(4, ge=1)
    """R, how often at most the best rewrite takes the prompt's place and is rewritten again."""
    threshold: float = Field(0.0, ge=0)
    """tau, by how much it must be better for that."""
    margin: float = Field(0.0, ge=0)
    """delta, the least difference of score between the chosen and the rejected rewrite."""
    score: Score = "margin"
    """`margin`: mean log p(good answer) - mean log p(bad answer), both given the rewrite; `good`:
    the first alone; `clamped`: the margin with neither below `floor`; `yes-no`: logit of Yes -
    logit of No, where the data have no answers."""
    floor: float = Field(-3.0, lt=0)
    """Nats per token below which answers are all the same."""
    response: Annotated[str, holds("{prompt}")] = "{prompt}"
    """What the responder reads of a prompt."""
    question: Annotated[str, holds("{rewrite}")] = QUESTION
    """What the model is asked for `yes-no`, with {prompt} and {rewrite}."""
    longest: float = Field(6.0, gt=0)
    """Of a rewrite, times the prompt's characters."""
    shortest: float = Field(0.5, ge=0)
    pairs: Literal["best", "random"] = "best"
    """`best`: the best rewrite chosen, the worst rejected; `random`: any two of them (control)."""
    batch_size: int = Field(64, ge=1)
    """Texts that are sampled at once."""
    endpoint: Annotated[str, AfterValidator(_address)] = ""
    """Address of an OpenAI-compatible server of the initial model (`vllm serve MODEL`:
    http://localhost:8000/v1) that samples in place of the model in memory; of one round alone."""
    endpoint_model: str = ""
    """The model's name there."""
    endpoint_key: Annotated[str, AfterValidator(exported_variable)] = ""
    """Environment variable that holds the server's key."""


class LossSettings(Strict):
    """What is learned from the pairs."""

    kind: Literal["dpo", "sft"] = "dpo"
    """`dpo`; or cross-entropy of the chosen rewrites, as BPO trains."""
    beta: float = Field(0.1, gt=0)
    """Strength of the pull to the initial model (Question-Rewriter: 0.1)."""


class RewriterConfig(MethodConfig):
    """A model that rewrites prompts."""

    reasoning: Literal["hint", "explicit"] = "hint"
    """Where it goes: `hint` weaves the steps into the prompt; `explicit` writes them before it,
    asked for by another template where that is not given, and only the prompt goes on."""
    rewriting: Rewriting = Rewriting(template=HINT)
    """What the rewriter is asked, and how it is sampled when it is used."""

    @property
    def asked(self) -> Rewriting:
        """`rewriting` as `reasoning` has it."""
        if self.reasoning == "hint":
            return self.rewriting
        changed = {"after": self.rewriting.after or EXPLICIT_MARK}
        if self.rewriting.template == HINT:
            changed["template"] = EXPLICIT
        return self.rewriting.model_copy(update=changed)


class PoirConfig(RewriterConfig):
    """POIR: rounds of collection and training."""

    rounds: int = Field(1, ge=1)
    """Rounds of collecting with the model as it is and training it on what was chosen."""
    collect: Collect = Collect()
    loss: LossSettings = LossSettings()
    train: TrainSettings = TrainSettings(lr=5e-7, epochs=1, batch_size=32, warmup=0.1)
    """FIPO's rate and warm-up, Question-Rewriter's batch and epoch."""


class PoirWithoutRecirculationConfig(PoirConfig):
    """POIR on the rewrites of the prompt itself alone."""

    collect: Collect = Collect(recirculations=1)


class PoirRandomConfig(PoirConfig):
    """POIR on random pairs of the rewrites that were collected (control)."""

    collect: Collect = Collect(pairs="random")


class BpoConfig(PoirConfig):
    """Supervised training on the chosen rewrites, as BPO trains on those of a stronger model."""

    loss: LossSettings = LossSettings(kind="sft")


class SuffixConfig(MethodConfig):
    """A fixed text around every prompt."""

    template: Annotated[str, holds("{prompt}")] = STEPS
    """With {prompt}."""


class OproConfig(MethodConfig):
    """OPRO (arXiv 2309.03409): the model proposes texts to set before prompts, and sees how well
    earlier ones did."""

    steps: int = Field(8, ge=1)
    proposals: int = Field(8, ge=1)
    """Sampled in each step (paper: 8)."""
    prompts: int = Field(64, ge=1)
    """Training prompts that a text is scored on."""
    shown: int = Field(20, ge=1)
    """Best texts so far that the model is shown, the worst of them first (paper: 20)."""
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)
    """Paper: 1."""
    max_new_tokens: int = Field(64, ge=1)
    template: Annotated[str, holds("{history}")] = (
        "Below are texts that were set before a prompt, with scores. A higher score is better.\n"
        "\n{history}\n\nWrite a new text, different from these, with a higher score. Write the "
        "text alone."
    )
    """What the model is asked, with {history}."""
    around: Annotated[str, holds("{text}", "{prompt}")] = "{text}\n{prompt}"
    """How a text and a prompt become the new prompt."""
    start: list[str] = ["Let's think step by step."]
    """Texts that are tried first, beside none at all."""
    collect: Collect = Collect()
    """How a prompt is scored: `score`, `floor`, `response`."""
