"""The contract of a task: raw rows -> items -> predictions -> per-item scores -> metrics."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from harness.dataset import Dataset, Row
from harness.errors import HarnessError, PluginError
from harness.schema import CorpusTest, Metric, TaskCard

if TYPE_CHECKING:
    from harness.judges import Case


@dataclass(frozen=True)
class Item:
    """One question of a task, scored as a whole.

    `reference` is a JSON value. `cluster` groups items that are not independent (questions on one
    picture); intervals and tests are over clusters. `category` splits the metrics in a report.
    """

    id: str
    inputs: Mapping[str, Any]
    reference: Any
    cluster: str = ""
    category: str = ""


@dataclass(frozen=True)
class Prediction:
    """What a model answered to the requests of one item, in their order."""

    id: str
    outputs: Sequence[str] = field(default_factory=tuple)
    details: Mapping[str, Any] = field(default_factory=dict)
    """What else the model said of them, as JSON values: whether it came to an end."""


class Ratio(NamedTuple):
    """An item's share of a metric that is a ratio of sums: sum(numerator) / sum(denominator).

    A mean has denominator 1; F1 has 2 tp over 2 tp + fp + fn; an item outside a metric has 0 / 0.
    """

    numerator: float
    denominator: float = 1.0


Score = Mapping[str, Ratio]
"""Per item: metric name -> the item's share of it."""


class Task(ABC):
    """A format: how rows become requests and answers become scores. A card fills it in.

    Subclasses are pure: no state beyond the card, no I/O. Everything about one task that is data
    (name, sources, licence, prompts) stands in its card.
    """

    role: ClassVar[str]
    """What the scored model must be able to do; see `harness.models.ROLES`."""

    rules: ClassVar[tuple[str, ...]] = ()
    """Names that a card's `rule` may have; any where the format says none."""

    chunk: ClassVar[int | None] = 256
    """Items that `predict` takes at once, saved together; None: all (a task that ranks)."""

    def __init__(self, card: TaskCard) -> None:
        self.card = card
        if card.rule is not None and self.rules and card.rule not in self.rules:
            raise PluginError(
                f"task '{card.name}': rule '{card.rule}' is not one of its format's: "
                f"{', '.join(self.rules)}."
            )

    def identity(self) -> str:
        """Hash of what decides the scores: entries with another one are not compared."""
        return self.card.identity()

    def models(self) -> Sequence[str]:
        """Names of the models that `predict` asks beside the one that is scored.

        Answers depend on their weights too.
        """
        return ()

    def read(self, data: Dataset, split: str | None) -> Iterator[tuple[str, Item]]:
        """All items of a source in order, each with its place; by default those of each row.

        A format whose items need more than their row (examples from another split) overrides it.
        """
        for index, row in enumerate(data.rows(split)):
            place = data.place(split, index)
            for item in self.items(row, place):
                yield place, item

    @abstractmethod
    def items(self, row: Row, place: str) -> Sequence[Item]:
        """The items of one raw row: mostly one, none for a row that only repeats another.

        Raises `DataError` beginning with `place` where the row is malformed.
        """

    @abstractmethod
    def requests(self, item: Item) -> Sequence[Any]:
        """What the model is asked about `item`, in the shape its role takes."""

    @abstractmethod
    def score(self, item: Item, prediction: Prediction) -> Score:
        """Per-item scores: pure, offline, for any text a model can emit. Keys are constant."""

    def scores(self, items: Sequence[Item], predictions: Sequence[Prediction]) -> list[Score]:
        """Scores of all items; a task that takes long for one does several side by side."""
        return [self.score(*pair) for pair in zip(items, predictions, strict=True)]

    def predict(self, model: Any, items: Sequence[Item], **generation: Any) -> list[Prediction]:
        """Answer a batch of items with `model.generate`, one call for all their requests.

        `generation` is the card's, with what the method changes of it laid over.
        """
        requests = [self.requests(item) for item in items]
        outputs = iter(model.generate([r for group in requests for r in group], **generation))
        return [
            Prediction(item.id, tuple(next(outputs) for _ in group))
            for item, group in zip(items, requests, strict=True)
        ]

    def generation_problem(self, settings: Mapping[str, Any]) -> str:
        """Return what is wrong with generation settings of a card or method; empty if nothing is.

        By default they are those of the role's call; a task whose `predict` takes others
        overrides this.
        """
        from harness.models.generation_settings import BY_ROLE, problem

        return problem(BY_ROLE[self.role], settings)

    def metric_names(self, item: Item) -> Sequence[str]:
        """Return the names of the per-item metrics: those of an empty answer to an item.

        A task whose predictions need more than their texts overrides this.
        """
        empty = Prediction(item.id, ("",) * len(self.requests(item)))
        failed = {"decision": None, "reason": "", "text": ""}
        verdicts = [failed for _ in self.cases(item, empty)]
        return list(self.score(item, Prediction(item.id, empty.outputs, {"verdicts": verdicts})))

    def aggregate(
        self, items: Sequence[Item], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> dict[str, Metric]:
        """Metrics with intervals: ratios of sums; a corpus metric overrides this."""
        from harness.scoring import clusters, metrics

        return metrics(scores, clusters(items))

    def cases(self, item: Item, prediction: Prediction) -> Sequence["Case"]:
        """What a judge is shown of an item; nothing where it need not be judged.

        The verdicts on them stand in `prediction.details["verdicts"]` when it is scored, in their
        order, as mappings with `decision` (see `harness.judges.Decision`; None: failed), `reason`
        and `text`. Only tasks whose card names a judge are judged.
        """
        return ()

    def examples(self, items: Sequence[Item], predictions: Sequence[Prediction]) -> Sequence[str]:
        """A few outputs as lines to look at when a run ends; mostly none."""
        return ()

    def engine_identity(self, engine: str, setting: str) -> str:
        """What an engine's scores depend on: its version, the weights that `setting` names.

        A task that an engine can score overrides this and `engine_scores`; raises `HarnessError`
        for any other engine.
        """
        raise HarnessError(f"task '{self.card.name}' cannot be scored by the engine '{engine}'.")

    def engine_scores(
        self, engine: str, setting: str, items: Sequence[Item], predictions: Sequence[Prediction]
    ) -> list[float]:
        """An engine's score of every item's prediction; its mean is a metric of that name."""
        raise NotImplementedError

    def corpus_tests(
        self, references: Sequence[Any], a: Sequence[Prediction], b: Sequence[Prediction]
    ) -> Mapping[str, CorpusTest]:
        """Paired tests of corpus metrics between two systems' outputs; mostly there are none."""
        return {}


@dataclass(frozen=True)
class TaskGroup:
    """Several tasks under one name. Registered as an instance under `harness.tasks`."""

    summary: str
    members: Mapping[str, Sequence[str]]
    """Profile -> names of tasks."""

    def tasks(self, profile: str) -> Sequence[str]:
        """The members in a profile; raises `HarnessError` where it has none."""
        if profile not in self.members:
            raise HarnessError(
                f"'{self.summary}': this group has no tasks in profile '{profile}': give "
                f"--profile {' or '.join(self.members)}."
            )
        return self.members[profile]
