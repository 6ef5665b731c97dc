"""Evaluation through the engine beside lm-eval's own `simple_evaluate`, one model in memory."""

import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness import scoring
from harness.dataset import Dataset
from harness.fitting import Fitted, untrained
from harness.items import read_items
from harness.models.causal_lm import CausalLM
from harness.opening import open_data
from harness.plan import Arm, Scored, make_plan
from harness.predicting import predict
from harness.report.progress import Quiet
from harness.run_config import RunConfig
from harness.store import Store
from tests.benchmarks.measure import Comparison, interleaved

BOUND = 1.05
TASKS = ("errands_sums", "errands_news")
"""A text is made, a choice is found."""


def run(rounds: int, clock: Callable[[], float], limit: int | None = None) -> Iterator[Comparison]:
    """The lab's items: prompts, answers, metrics; on our side stored and with their intervals,
    on lm-eval's its own standard errors. Both begin with the loaded model and rows."""
    plan = make_plan(RunConfig(method=["base"], tasks=list(TASKS), limit=limit))
    fitted = untrained(plan.arms[0])
    model = CausalLM.load(fitted.path)
    for scored in plan.tasks:
        yield _compared(scored, plan.arms[0], model, fitted, rounds, clock)


def _compared(
    scored: Scored,
    arm: Arm,
    model: CausalLM,
    base: Fitted,
    rounds: int,
    clock: Callable[[], float],
) -> Comparison:
    task, card = scored.task, scored.task.card
    data, split, count = open_data(card.sources["lab"].dataset), "test", len(scored.items)
    values: dict[str, float] = {}

    def ours() -> None:
        forgetful = CausalLM(model.module, model.tokenizer, model.batch_size)
        fitted: Any = SimpleNamespace(fitted=base, asked=None, role=lambda _: forgetful)
        items = read_items(task, data, split, count)
        asked = Scored(task, items, scored.ref, scored.lab)
        with tempfile.TemporaryDirectory() as folder:
            store, silent = Store(Path(folder)), Quiet()
            predictions = predict(asked, arm.method.generation(), fitted, store, "base", silent)
        scores = scoring.scores(task, items, predictions)
        values["ours"] = task.aggregate(items, predictions, scores)[card.primary].value or 0.0

    with tempfile.TemporaryDirectory() as folder:
        evaluate = _simple_evaluate(task.options.task, data, split, count, Path(folder))

        def peer() -> None:
            values["peer"] = evaluate(model, card.primary)

        seconds = interleaved(ours, peer, rounds, clock)
    if abs(values["ours"] - values["peer"]) > 1e-9:
        raise SystemExit(f"{card.name}: {values['ours']} is not lm-eval's {values['peer']}")
    what = f"evaluation / lm-eval's simple_evaluate: {card.name}, {count} items"
    return Comparison(what, "s", *seconds, bound=BOUND)


def _simple_evaluate(
    name: str, data: Dataset, split: str, count: int, folder: Path
) -> Callable[[CausalLM, str], float]:
    """lm-eval's own way with these rows: (model, metric) -> its value; templates compiled as it
    does, files read as it reads them."""
    from lm_eval import simple_evaluate, utils
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from tasks.flan import lm_eval_files

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    rows = [{key: row[key] for key in row if key != "file"} for row in data.rows(split)[:count]]
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = {
        "include": str(lm_eval_files.OWN / f"{name}.yaml"),
        "task": "measured",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {split: str(file)}, "cache_dir": str(folder / "cache")},
    }
    (folder / "measured.yaml").write_text(json.dumps(config), encoding="utf-8")
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    loaded = manager.load(["measured"])["tasks"]["measured"]

    def evaluated(model: CausalLM, metric: str) -> float:
        ours = utils.env.__dict__.pop("from_string", None)
        try:
            lm = HFLM(
                pretrained=model.module,
                tokenizer=model.tokenizer,
                backend="causal",
                batch_size=model.batch_size,
            )
            with redirect_stderr(StringIO()):  # its progress
                found: Mapping[str, Any] | None = simple_evaluate(
                    model=lm,
                    tasks=[loaded],
                    task_manager=manager,  # else it indexes all of its tasks
                    log_samples=True,
                    bootstrap_iters=0,
                    verbosity="ERROR",
                )
        finally:
            if ours is not None:
                utils.env.from_string = ours  # type: ignore[method-assign]
        assert found is not None
        results = found["results"]["measured"]
        return next(float(results[key]) for key in results if key.startswith(f"{metric},"))

    return evaluated
