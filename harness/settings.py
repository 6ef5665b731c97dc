"""Settings of the one trainer, as a section of every method's config."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from harness.schema import Strict

TooLong = Literal["refuse", "drop", "cut"]
Momentum = Annotated[float, Field(ge=0, lt=1)]


class Lora(Strict):
    """Low-rank adapters instead of full weights."""

    r: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: list[str] | str = "all-linear"
    """Module name suffixes, or a regular expression, as in peft's `target_modules`."""


class TrainSettings(Strict):
    """How rows become optimizer steps. Batch sizes count rows over all processes."""

    lr: float = Field(1e-4, gt=0)
    epochs: float = Field(1.0, gt=0)
    batch_size: int = Field(32, ge=1)
    """Rows of one optimizer step, over all devices and accumulation steps."""
    micro_batch: int = Field(32, ge=1)
    """Most rows of one forward pass on one device; accumulation makes up the rest."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = Field(0.0, ge=0, le=1)
    """Share of the steps with a rising rate, in any schedule; the first step's rate is then 0."""
    weight_decay: float = Field(0.0, ge=0)
    """Of matrices alone: not of biases, norms and single numbers such as a scale."""
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    """AdamW's, of the gradient and of its square."""
    eps: float = Field(1e-8, gt=0)
    """AdamW's."""
    max_grad_norm: float = Field(1.0, gt=0)
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Of products; weights that train are fp32. `auto`: bf16 where the device has it. `fp32`: also
    of the frozen weights."""
    gradient_checkpointing: bool = False
    lora: Lora | None = None
    """Adapters; without them all weights train but the frozen ones."""
    freeze: list[str] = []
    """Parts of parameter names that stay as they are, such as `vision_tower`."""
    too_long: TooLong = Field("cut", exclude_if=lambda value: value == "cut")
    """What becomes of rows with more tokens than they may have or the model reads: an error, left
    out, or cut (a prompt at its beginning, an answer or a title at its end). All are found before
    the first step, counted and named."""
    save_steps: int = Field(200, ge=1)
    """Steps between checkpoints that a killed run continues from, at most."""
    save_minutes: float = Field(10.0, gt=0, exclude=True)
    """Minutes between them at most. No result depends on it, so no entry names it."""


def trainings(config: BaseModel) -> dict[str, TrainSettings]:
    """Return the training sections of a method's config by name."""
    return {name: value for name, value in config if isinstance(value, TrainSettings)}


def full_precision(config: BaseModel) -> bool:
    """Tell whether every training of a method's config asks for fp32."""
    asked = {settings.precision for settings in trainings(config).values()}
    return asked == {"fp32"}


def training_key(config: BaseModel, **exclude: Any) -> dict[str, Any]:
    """Return what of a config a trained model depends on: not how often training saves.

    Args:
        config: a method's, or one training section.
        exclude: further fields to leave out, as `model_dump` takes them.
    """
    if isinstance(config, TrainSettings):
        return config.model_dump(mode="json", exclude={"save_steps"})
    sections = {name: {"save_steps"} for name in trainings(config)}
    return config.model_dump(mode="json", exclude={**sections, **exclude})


def too_large(settings: TrainSettings) -> str:
    """What to do where a training step does not fit into memory."""
    ways = []
    if settings.micro_batch > 1:
        ways.append(f"train.micro_batch={settings.micro_batch // 2} (the batch size stays)")
    if not settings.gradient_checkpointing:
        ways.append("train.gradient_checkpointing=true")
    if settings.lora is None:
        ways.append("train.lora.r=16")
    ways.append("or take shorter rows or a smaller model")
    return (
        f"out of memory in a training step with micro_batch {settings.micro_batch}: set "
        f"{', '.join(ways)}. --dry-run says what weights and optimizer take."
    )
