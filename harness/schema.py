"""The vocabulary as data: what is asked (TaskCard) and what is recorded (Entry)."""

import hashlib
import json
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from harness.errors import HarnessError

SCHEMA_VERSION = 1
"""Version of the leaderboard files; newer files are refused, not guessed at."""
MOST_SEEDS = 10_000
"""Seeds that one run may have."""


def canonical_json(value: Any) -> str:
    """The one text of a JSON value: sorted keys, no spaces, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(value: Any) -> str:
    """SHA-256 of a JSON value's canonical text, 16 hex digits; half characters as they are."""
    text = canonical_json(value).encode(errors="surrogatepass")
    return hashlib.sha256(text).hexdigest()[:16]


def _names(value: Any) -> Any:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    return _once(value)


def _seeds(value: Any) -> Any:
    if isinstance(value, str):
        try:
            seeds = [int(part) for part in value.split(",") if part.strip()]
            value = seeds if "," in value else int(value)
        except ValueError:
            raise ValueError("give a number of seeds (5) or seeds by comma (1,3 or 4,)") from None
    if isinstance(value, int) and not isinstance(value, bool):
        if value > MOST_SEEDS:
            raise ValueError(f"at most {MOST_SEEDS:,} seeds; one seed is named with a comma (4,)")
        return list(range(value))
    return _once(value)


def _once(value: Any) -> Any:
    """A list without repetitions; anything else is left to the validation."""
    if isinstance(value, list | tuple) and all(isinstance(part, str | int) for part in value):
        return list(dict.fromkeys(value))
    return value


Names = Annotated[list[str], BeforeValidator(_names)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Seeds = Annotated[list[Seed], BeforeValidator(_seeds), Field(min_length=1, max_length=MOST_SEEDS)]


class Strict(BaseModel):
    """Base of the vocabulary: unknown fields are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Source(Strict):
    """Where a task's raw rows come from: a registered dataset, a local file or a hub dataset."""

    dataset: str
    revision: str | None = None
    split: str | None = None
    """Split to test on."""
    dev: str | None = None
    """Split to make choices on."""


class TaskCard(Strict):
    """One task, as its YAML card declares it."""

    name: str
    summary: str
    family: str
    format: str
    """Import path of the `Task` class, `module:Class`."""
    version: int = Field(ge=1)
    """Raised when scores are no longer comparable with earlier ones."""
    primary: str
    """The metric that leaderboards sort and compare by."""
    higher_is_better: bool = True
    paired: list[str] = []
    """Metrics beside the primary one whose per-item shares leaderboards keep, to be compared in
    pairs too."""
    licence: str
    cite: str
    rule: str | None = None
    """Name of the offline rule that extracts answers; recorded with the result."""
    judge: str | None = Field(None, exclude_if=lambda value: value is None)
    """Who judges answers, where they are judged and the user names nobody else."""
    prompt: str = "{question}"
    generation: dict[str, Any] = {}
    """Keyword arguments of the role's generate call."""
    sources: dict[str, Source]
    """Profile -> source."""
    models: dict[str, str] = {}
    """Profile -> model that is scored when no trained method names one."""
    options: dict[str, Any] = {}
    """What else the format takes."""

    def identity(self) -> str:
        """Hash of what decides the scores: neither where rows come from nor what is kept."""
        apart = {"sources", "models", "summary", "paired"}
        return digest(self.model_dump(mode="json", exclude=apart))


class Metric(Strict):
    """A value with its 95 % interval over items, of which a cluster counts as one."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int
    """Items that the metric rests on."""
    signature: str | None = Field(None, exclude_if=lambda value: value is None)
    """How a library says that it computed the value, or why it is not measured."""


class CorpusTest(Strict):
    """A corpus metric of two systems over the same items, with p values of paired tests."""

    a: float
    b: float
    p_bootstrap: float
    p_randomization: float


class Packed(Strict):
    """Per-item primary scores, small enough for git; see `harness.packing`."""

    n: int
    numerator: str
    denominator: str | None = None
    """Absent where it is 1 for every item."""
    clusters: str | None = None
    """Absent where every item is its own cluster."""


class TaskRef(Strict):
    """Which task was scored, on which rows: entries pair only where all of this is equal."""

    name: str
    version: int
    card: str
    """Hash of the card without its sources."""
    source: str
    split: str
    fingerprint: str
    """Hash of the items: ids, inputs, references."""
    rule: str | None = None
    options: dict[str, Any] = Field({}, exclude_if=lambda value: not value)
    """Options of the card that the user changed."""
    engines: dict[str, str] = Field({}, exclude_if=lambda value: not value)
    """Engines that scored too -> what each used."""
    judge: dict[str, str] = Field({}, exclude_if=lambda value: not value)
    """Who judged the answers: name, model, hash of what it was asked."""


class ModelRef(Strict):
    """Which model: its name, and the hash of the weights it was scored with."""

    name: str
    base: str
    """Hash of the base model's weights and files."""
    weights: str
    """Hash of the scored weights; equal to `base` where nothing was trained."""


class Cost(Strict):
    """What a result took, in what does not vary from run to run."""

    total_parameters: int
    trainable_parameters: int = 0
    train_tokens: int = 0
    train_flops: float = 0.0
    trained_precision: str = Field("fp32", exclude_if=lambda value: value == "fp32")
    """Of the weights that train."""
    product_precision: str = Field("fp32", exclude_if=lambda value: value == "fp32")
    """Of the products that training makes of them."""
    uncounted: str = Field("", exclude_if=lambda value: not value)
    """What the counts leave out, and why; empty: nothing."""


class PluginRef(Strict):
    """Whose code took part in a result."""

    distribution: str
    version: str
    code: str
    """Hash of what the plugin reaches of its own package; comments and docstrings do not count."""


class Provenance(Strict):
    """Where a result comes from."""

    commit: str | None
    dirty: bool
    code: str
    """Hash of the engine's sources."""
    packages: dict[str, str]
    """Distributions that took part -> their versions."""
    plugins: dict[str, PluginRef] = Field({}, exclude_if=lambda value: not value)
    """Plugins that took part, by kind and name (`method/aspo`); older entries name none."""
    command: str


class Entry(Strict):
    """One line of a leaderboard: a model trained by a method with a seed, scored on a task."""

    task: TaskRef
    method: str
    config: dict[str, Any]
    profile: str
    model: ModelRef
    dataset: str | None
    dataset_fingerprint: str | None
    seed: int | None
    """None where nothing was trained and nothing depends on a seed."""
    limit: int | None
    primary: str
    higher_is_better: bool
    metrics: dict[str, Metric]
    categories: dict[str, dict[str, Metric]] = {}
    items: Packed
    """Per-item shares of the primary metric."""
    paired: dict[str, Packed] = Field({}, exclude_if=lambda value: not value)
    """The same of what the card names beside it."""
    cost: Cost
    scored_precision: str = Field("fp32", exclude_if=lambda value: value == "fp32")
    """Of the weights that were scored."""
    overrides: dict[str, Any] = {}
    """Config fields that the user changed."""
    provenance: Provenance
    lab: bool

    @property
    def place(self) -> str:
        """Where the entry stands in its leaderboard: what was asked, not what came out."""
        return " ".join(self.asked().values())

    def asked(self) -> dict[str, str]:
        """The parts of the place by what they say: `method`, `model`, `dataset`, `source`,
        `setting NAME`, `option NAME` (engines and judges too), `split`, `limit`, `seed`."""
        parts = {"method": self.method, "model": self.model.name}
        if self.dataset is not None:
            parts["dataset"] = self.dataset
        if not self.lab:
            parts["source"] = f"on {self.task.source}"
        judge = {f"judge.{key}": value for key, value in self.task.judge.items() if value}
        task = {**self.task.options, **self.task.engines, **judge}
        for kind, settings in (("setting", self.overrides), ("option", task)):
            for key, value in sorted(settings.items()):
                parts[f"{kind} {key}"] = f"{key}={canonical_json(value)}"
        last = {"split": self.task.split, "limit": self.limit, "seed": self.seed}
        known = {"split": "test", "limit": None, "seed": None}
        parts |= {key: f"{key}={value}" for key, value in last.items() if value != known[key]}
        return parts

    def shares(self, metric: str) -> Packed:
        """Per-item shares of the primary metric or of one in `paired`."""
        if metric == self.primary:
            return self.items
        if metric not in self.paired:
            raise HarnessError(
                f"'{self.place}' keeps no '{metric}' per item, only "
                f"{', '.join([self.primary, *self.paired])}: name it under 'paired' in the card."
            )
        return self.paired[metric]

    def result(self) -> dict[str, Any]:
        """What was asked and what came out: equal results leave a leaderboard alone.

        Neither provenance nor the hash of the scored weights is part of it: the last bits of
        trained weights depend on the machine and its number of threads.
        """
        apart: Any = {"provenance": True, "model": {"weights"}}
        return self.model_dump(mode="json", exclude=apart)
