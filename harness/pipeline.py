"""A run: plan -> fit -> predict -> score -> record, resumable between any two."""

import errno
import json
import logging
import os
import platform
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from harness import processes, selection
from harness.arms import Arm
from harness.entries import Reporter, keep, make_entry, of_arm, unfounded
from harness.errors import HarnessError, NoResultError
from harness.files import lock, remove_leftovers, write_atomic
from harness.fitting import Fitted, fit, untrained
from harness.models import lifetime, loading, precision
from harness.plan import Plan, make_plan
from harness.predicting import predict
from harness.report.progress import Quiet
from harness.run_config import RunConfig
from harness.schema import Entry
from harness.store import LOCK, Store, link

DISK_ERRORS = {
    getattr(errno, name)
    for name in ["ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "ENOTDIR", "EEXIST"]
}
DISK_SIGNS = (
    *map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)),
    *("PytorchStreamWriter", "inline_container.cc", "iostream error"),
)
"""What libraries say of a disk in their own kinds of error."""
GONE_SIGNS = (os.strerror(errno.ENOENT), "Parent directory")
"""The same of a folder that was removed."""

log = logging.getLogger("harness")


def run(config: RunConfig, reporter: Reporter | None = None) -> list[Entry]:
    """Train, score and record everything that a config asks for; its entries in order."""
    return execute(make_plan(config), reporter or Quiet())


def execute(plan: Plan, reporter: Reporter) -> list[Entry]:
    """Carry out a plan. What was done before is taken from the store; each result is recorded
    as soon as it is there. A second run of the same command waits for the first. Raises
    `NoResultError` at its end where results had nothing to rest on."""
    folder = run_folder(plan.config)
    with _disk_errors(plan.config), _alone(folder), _log_file(folder):
        processes.start()
        try:
            return _execute(plan, reporter)
        finally:
            lifetime.release()


def _execute(plan: Plan, reporter: Reporter) -> list[Entry]:
    config = plan.config
    store = Store(config.runs / "store")
    folder = run_folder(config)
    entries = []
    took = _Took()
    _write(folder / "config.json", config.model_dump(mode="json"))
    for arm in plan.arms:
        for seed in arm.seeds:
            label = arm.name if seed is None else f"{arm.name}-seed{seed}"
            entries += _scored(plan, arm, seed, store, label, took, reporter)
    _write(folder / "timing.json", took.record())
    for line in took.left_out:
        print(line, file=sys.stderr)
    if took.unfounded:
        raise NoResultError(took.unfounded, entries)
    return entries


def _scored(
    plan: Plan,
    arm: Arm,
    seed: int | None,
    store: Store,
    label: str,
    took: "_Took",
    reporter: Reporter,
) -> list[Entry]:
    """Train an arm with a seed, and score and record it on every task. Its model is in memory
    until this ends: the next one is loaded when there is room."""
    config, folder = plan.config, run_folder(plan.config) / label
    fitted = _fitted(arm, seed, store, label, reporter)
    took.seconds[f"fit {label}"] = fitted.seconds
    if arm.trains and processes.is_main():
        link(fitted.path, folder / "checkpoint")
        for name in ("curves.jsonl", selection.FILE):
            if (fitted.path.parent / name).exists():
                link(fitted.path.parent / name, folder / name)
        said = selection.summary(fitted.path.parent)
        took.left_out |= dict.fromkeys(f"{label}: {line}" for line in said)
    model = _Lazy(fitted, arm.model, config.batch_size)
    who = of_arm(config, arm, seed, fitted)
    entries = []
    for scored in plan.tasks:
        started = time.perf_counter()
        predictions = predict(scored, arm.method.generation(), model, store, label, reporter)
        entry, rows = make_entry(config, scored, predictions, who, store)
        took.seconds[f"score {label} {scored.ref.name}"] = time.perf_counter() - started
        if size := model.batch_size(scored.task.role):
            took.batch_sizes[f"score {label} {scored.ref.name}"] = size
        if reason := unfounded(scored, entry, rows):
            took.unfounded.append(reason)
            continue
        if processes.is_main():
            keep(config, entry, rows, folder, reporter)
        entries.append(entry)
        examples = scored.task.examples(scored.items, predictions)
        if examples and seed == arm.seeds[0]:
            reporter.examples(f"{label} on {scored.ref.name}", examples)
    return entries


def run_folder(config: RunConfig) -> Path:
    """The folder of a run: the same for the same command."""
    name = "_".join(["+".join(config.method), "+".join(config.tasks)])[:80]
    return config.runs / f"{name}-{config.identity()[:8]}"


class _Lazy:
    """A fitted model that is loaded when a prediction is really needed."""

    def __init__(self, fitted: Fitted, base: str, batch_size: int | None = None) -> None:
        self.fitted = fitted
        self.base = base
        self.asked = batch_size
        """Batch size that the user set."""
        self._models: dict[str, Any] = {}

    def role(self, role: str) -> Any:
        if role not in self._models:
            if loading.identity(self.fitted.path) != self.fitted.weights:
                raise HarnessError(
                    f"{self.fitted.path}: is not as it was written, or changed during the run: "
                    f"remove {self.fitted.path.parent} and run again."
                )
            lifetime.release()
            dtype = precision.dtype(self.fitted.scored_precision)
            self._models[role] = loading.load(self.fitted.path, role, dtype)
            self._models[role].base = loading.resolve(self.base)
            self._models[role].batch_size = self.asked or self._models[role].batch_size
        return self._models[role]

    def batch_size(self, role: str) -> int | None:
        """Return what the model reads at once now; None where it was not loaded."""
        return getattr(self._models.get(role), "batch_size", None)


@dataclass
class _Took:
    """What a run took that varies: kept in its folder, in no leaderboard."""

    seconds: dict[str, float] = field(default_factory=dict)
    batch_sizes: dict[str, int] = field(default_factory=dict)
    """Texts or pictures at once, at the end of a scoring; none where no model was asked."""
    unfounded: list[str] = field(default_factory=list)
    """Why results were not recorded."""
    left_out: dict[str, None] = field(default_factory=dict)
    """What is said at the end of rows that were not trained on as they are."""

    def record(self) -> dict[str, Any]:
        """Return it as JSON, with the machine."""
        import resource

        return {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": platform.node(),
            "machine": platform.processor() or platform.machine(),
            "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "batch_sizes": self.batch_sizes,
        }


def _fitted(arm: Arm, seed: int | None, store: Store, label: str, reporter: Reporter) -> Fitted:
    if seed is None:
        return untrained(arm)

    def report(what: str, done: int, total: int, figures: Any) -> None:
        reporter.step(f"{label} {what}", done, total, dict(figures))

    return fit(arm, seed, store, report)


def _write(path: Path, value: Any) -> None:
    if processes.is_main():
        write_atomic(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Have a run's folder to this run; what killed ones left there goes."""
    if not processes.is_main():
        yield
        return
    waiting = f"waiting for another run of this command ({folder})"
    with lock(folder / LOCK, processes.PATIENCE, waiting):
        remove_leftovers(folder, below=True)
        yield


class _LogFile(logging.FileHandler):
    """A full disk is reported by what is lost there, not by the log."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        pass


@contextmanager
def _log_file(folder: Path) -> Iterator[None]:
    """Write what happens, and the warnings of libraries, to the run's log."""
    if not processes.is_main():
        with warnings.catch_warnings(action="ignore"):
            yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    handler = _LogFile(folder / "run.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.setLevel(logging.DEBUG)
    heard = [log, logging.getLogger("py.warnings")]
    for logger in heard:
        logger.addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for logger in heard:
            logger.removeHandler(handler)
        handler.close()


@contextmanager
def _disk_errors(config: RunConfig) -> Iterator[None]:
    """A full or read-only disk, a folder that was removed and a file that was cut are the user's
    to mend, whichever library met them."""
    try:
        yield
    except EOFError as error:
        raise HarnessError(
            f"a file that the run read ends too early ({' '.join(str(error).split()) or 'empty'}): "
            f"get the model's files again, or remove {config.runs / 'store'}."
        ) from error
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            place, reason = error.filename or config.runs, error.strerror
        elif any(sign in str(error) for sign in DISK_SIGNS):
            place, reason = config.runs, str(error).partition("\n")[0][:200]
        elif any(sign in str(error) for sign in GONE_SIGNS) and str(config.runs) in str(error):
            raise HarnessError(
                f"{config.runs}: removed during the run, in part or as a whole "
                f"({' '.join(str(error).split())[:200]}): the same command makes it again."
            ) from error
        else:
            raise
        raise HarnessError(
            f"{place}: cannot be written ({reason}). Make room or choose another folder; the same "
            "command then continues."
        ) from error
