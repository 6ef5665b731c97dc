"""The format of lm-eval's tasks: its prompts, filters and metrics; our sources and intervals."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from harness.cards import checked_function, checked_options
from harness.dataset import Dataset, Row
from harness.errors import DataError, HarnessError
from harness.hub import HubDataset
from harness.models.batches import with_room
from harness.models.generation_settings import problem
from harness.schema import Metric, TaskCard, digest
from harness.task import Item, Prediction, Ratio, Score, Task
from tasks.flan import answers, lm_eval_files
from tasks.flan.answers import Result
from tasks.flan.documents import Document, Documents, reason
from tasks.flan.options import Generation, Options
from tasks.flan.sources import Config, Rows, of_hub, read_ids


class Question(NamedTuple):
    """What a model is asked: a text to continue, or choices to continue it with."""

    context: str
    choices: Sequence[str] = ()


class LmEval(Task):
    """A task or a group of tasks of lm-eval, each item a document of its.

    Predictions and scores of an item are lm-eval's own; a metric that is a mean has intervals and
    paired tests here. Tasks of a group are categories, their metrics weighted by size unless the
    group's file says otherwise.
    """

    role = "causal-lm"
    chunk = 2048  # lm-eval sorts by length what it gets at once

    def __init__(self, card: TaskCard) -> None:
        super().__init__(card)
        self.options = checked_options(Options, card)
        self._tasks: dict[str, Documents] = {}

    def identity(self) -> str:
        return digest([super().identity(), lm_eval_files.identity(self.options.task)])

    def read(self, data: Dataset, split: str | None) -> Iterator[tuple[str, Item]]:
        lm_eval_files.quiet()
        lm_eval_files.compile_templates_once()
        self._check_code()
        leaves = lm_eval_files.leaves(self.options.task)
        rows_by = self.options.rows
        prepare = checked_function(self.card, "rows", rows_by) if rows_by else None
        ids = read_ids(self.options.ids)
        names = [str(config.get("dataset_name") or "") for config in leaves]
        rows = Rows(data, prepare, ids)
        for config in leaves:
            if isinstance(data, HubDataset) and data.config is None:
                rows, names = Rows(of_hub(data, config, leaves[0]), prepare, ids), []
            try:
                documents = Documents(config, rows, names, split, self.options.shots)
            except DataError as error:
                raise DataError(str(error).replace("--option TASK.", self._option())) from None
            if documents.size:
                self._tasks[str(config["task"])] = documents
                yield from self._items(documents, config, len(leaves) > 1)

    def items(self, row: Row, place: str) -> Sequence[Item]:
        raise NotImplementedError("a document of lm-eval needs its whole data set: see `read`")

    def _check_code(self) -> None:
        if lm_eval_files.runs_code(self.options.task) and not self.options.run_code:
            raise HarnessError(
                f"task '{self.card.name}' runs the programs that the model writes: give "
                f"{self._option()}run_code=true to have them run, in processes that may only "
                "compute."
            )

    def _option(self) -> str:
        return f"--option {self.card.name}."

    def _items(
        self, documents: Documents, config: Config, grouped: bool
    ) -> Iterator[tuple[str, Item]]:
        name = str(config["task"])
        group = str(config.get("task_alias") or name) if grouped else ""
        for number, document in enumerate(documents, start=1):
            category = self._category(document) or group
            known = f"{name}-{document.id or number}" if grouped or not document.id else document.id
            yield document.place, _item(known, documents.task, name, document, category)

    def _category(self, document: Document) -> str:
        """A field's value; what is only true or not is called by the field's name."""
        name = self.options.category or ""
        value = document.fields.get(name, "")
        return str(value) if not isinstance(value, bool) else f"{'' if value else 'not '}{name}"

    def requests(self, item: Item) -> Sequence[Question]:
        requests, kind = item.inputs["requests"], item.inputs["kind"]
        if kind == "generate_until":
            return [Question(requests[0][0])] * item.inputs["repeats"]
        if kind == "loglikelihood":
            return [Question(requests[0][0], [request[1] for request in requests])]
        return [Question(requests[0][0])]

    def predict(self, model: Any, items: Sequence[Item], **generation: Any) -> list[Prediction]:
        """Answers of lm-eval's own interface to a model of transformers."""
        from lm_eval.api.instance import Instance

        lm = _language_model(model)
        found: dict[str, Prediction] = {}
        for kind in dict.fromkeys(item.inputs["kind"] for item in items):
            chosen = [item for item in items if item.inputs["kind"] == kind]
            instances = [
                Instance(kind, item.inputs["doc"], _arguments(request, generation), index)
                for item in chosen
                for index, request in enumerate(item.inputs["requests"])
                for _ in range(item.inputs["repeats"])
            ]
            try:
                said = iter(_asked(model, lm, kind, instances))
            except AssertionError as error:  # how lm-eval says that a model is too short
                text = " ".join(str(error).split())
                raise HarnessError(f"task '{self.card.name}', asked by lm-eval: {text}") from None
            for item in chosen:
                count = len(item.inputs["requests"]) * item.inputs["repeats"]
                found[item.id] = answers.prediction(item, [next(said) for _ in range(count)])
        return [found[item.id] for item in items]

    def scores(self, items: Sequence[Item], predictions: Sequence[Prediction]) -> list[Score]:
        """Scores of all items; programs run side by side."""
        if not self.options.run_code:
            return [self.score(*pair) for pair in zip(items, predictions, strict=True)]
        with ThreadPoolExecutor() as pool:
            return list(pool.map(self.score, items, predictions))

    def score(self, item: Item, prediction: Prediction) -> Score:
        """An item outside a metric, of another task of its group, has 0 / 0 there."""
        found = dict.fromkeys(self._elsewhere(), Ratio(0.0, 0.0))
        for name, result in self._results(item, prediction).items():
            if (share := result.share) is not None:
                weight = self._weight(item, name)
                found[name] = Ratio(share.numerator * weight, share.denominator * weight)
        return found

    def metric_names(self, item: Item) -> Sequence[str]:
        return sorted(self._shared() | self._sized())

    def generation_problem(self, settings: Mapping[str, Any]) -> str:
        return problem(Generation, settings)

    def aggregate(
        self, items: Sequence[Item], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> dict[str, Metric]:
        """Ratios of sums with intervals; then what lm-eval aggregates otherwise, without."""
        found = super().aggregate(items, predictions, scores)
        others: dict[str, dict[str, list[Result]]] = {}
        for item, prediction in zip(items, predictions, strict=True):
            task = item.inputs["task"]
            if all(map(answers.is_share, self._tasks[task].task.aggregation().values())):
                continue
            for name, result in self._results(item, prediction).items():
                if result.share is None:
                    others.setdefault(name, {}).setdefault(task, []).append(result)
        for name, tasks in others.items():
            found[name] = _aggregated(list(tasks.values()))
        said = {"signature": lm_eval_files.signature()}
        return {name: metric.model_copy(update=said) for name, metric in found.items()}

    def _weight(self, item: Item, metric: str) -> float:
        """Of an item in a metric: 1, but where each task of a group counts the same."""
        if len(self._tasks) == 1:
            return 1.0
        same = lm_eval_files.unweighted(self.options.task)
        alike = metric.partition(",")[0] in same
        return 1.0 / self._tasks[item.inputs["task"]].size if alike else 1.0

    def _elsewhere(self) -> set[str]:
        """Metrics of all tasks of a group that are ratios of sums."""
        return set() if len(self._tasks) == 1 else self._shared()

    def _shared(self) -> set[str]:
        """Metrics of the tasks read that are ratios of sums."""
        return {
            answers.called(each.task, metric, chain.name)
            for each in self._tasks.values()
            for chain in each.task._filters
            for metric, how in each.task.aggregation().items()
            if answers.is_share(how)
        }

    def _sized(self) -> set[str]:
        """Metrics of functions that say one of each size k: `pass@1`."""
        return {
            answers.called(each.task, f"pass@{size}", chain.name)
            for each in self._tasks.values()
            for chain in each.task._filters
            for settings in each.task._metric_fn_kwargs.values()
            for size in np.atleast_1d(settings.get("k", []))
        }

    def _results(self, item: Item, prediction: Prediction) -> dict[str, Result]:
        """Every filter's metrics of one document, by lm-eval's own code."""
        name = item.inputs["task"]
        try:
            return answers.results(self._tasks[name].task, item, prediction)
        except HarnessError:
            raise
        except Exception as error:  # functions of any kind, on outputs of any kind
            raise HarnessError(f"item '{item.id}': {reason(name, error)}") from None


def _item(known: str, task: Any, name: str, document: Document, category: str) -> Item:
    """A document with its requests as lm-eval builds them; call it in the order of documents."""
    doc = document.fields
    try:
        prefix = task.doc_to_prefix(doc)
        context = task.fewshot_context(doc, task.config.num_fewshot, gen_prefix=prefix)
        made = task.construct_requests(
            doc=doc, ctx=context, metadata=(name, 0, task.config.repeats)
        )
        target = task.doc_to_target(doc)
    except Exception as error:  # templates and functions of any kind, on rows of any kind
        raise DataError(f"{document.place}: {reason(name, error)}") from None
    requests = made if isinstance(made, list) else [made]
    inputs = {
        "task": name,
        "doc": dict(doc),
        "kind": requests[0].request_type,
        "requests": [list(request.args) for request in requests],
        "repeats": task.config.repeats,
    }
    return Item(known, inputs, target, "", category)


def _aggregated(tasks: Sequence[Sequence[Result]]) -> Metric:
    """A metric that is no ratio of sums, by lm-eval's own function; over tasks, by their sizes."""
    values = [found[0].aggregation([each.value for each in found]) for found in tasks]
    count = sum(map(len, tasks))
    total = sum(value * len(found) for value, found in zip(values, tasks, strict=True))
    return Metric(value=float(total) / count, n=count)


def _arguments(request: Sequence[Any], generation: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a request hands over; generation settings are laid over those of its task."""
    return tuple({**part, **generation} if isinstance(part, dict) else part for part in request)


_wrapped: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def _asked(model: Any, lm: Any, kind: str, instances: Sequence[Any]) -> list[Any]:
    """Return what lm-eval's interface answers, in batches that memory has room for."""

    def answers_at(size: int) -> list[Any]:
        lm.batch_size_per_gpu = size
        found: list[Any] = getattr(lm, kind)(instances, disable_tqdm=True)
        return found

    return with_room(model, answers_at)


def _language_model(model: Any) -> Any:
    """lm-eval's wrapper of a model in memory, made once per model."""
    from lm_eval.models.huggingface import HFLM

    if model not in _wrapped:
        _wrapped[model] = HFLM(
            pretrained=model.module,
            tokenizer=model.tokenizer,
            backend="causal",
            batch_size=model.batch_size,
        )
    return _wrapped[model]
