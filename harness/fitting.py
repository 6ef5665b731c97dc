"""Training an arm of a run, or finding that it was trained before."""

import json
import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import processes
from harness.arms import Arm
from harness.code_keys import reached
from harness.computations import of_fit, of_model
from harness.errors import HarnessError
from harness.files import lock, write_atomic
from harness.models import loading
from harness.opening import open_data, read_training_set, training_set
from harness.schema import Cost, Strict, canonical_json, digest
from harness.store import Store

if TYPE_CHECKING:
    from harness.training import Report


class Fitted(Strict):
    """A model ready to be scored, and what it took."""

    path: Path
    base: str
    weights: str
    dataset_fingerprint: str | None = None
    cost: Cost
    seconds: float = 0.0


def untrained(arm: Arm) -> Fitted:
    """The base model as it is."""
    path = loading.resolve(arm.model)
    weights = loading.identity(path)
    return Fitted(
        path=path,
        base=weights,
        weights=weights,
        cost=Cost(total_parameters=loading.parameters(path)),
    )


def fit_folder(arm: Arm, seed: int, store: Store) -> tuple[Path, Mapping[str, Any]]:
    """Where a trained arm lies, by the hash of everything it depends on; and these inputs."""
    shared = shared_inputs(arm)
    inputs = {
        **shared,
        "method": arm.name,
        "models": [loading.identity(loading.resolve(name)) for name in arm.method.models()],
        "datasets": [training_set(name).fingerprint for name in arm.method.datasets()],
        "config": arm.method.config.model_dump(mode="json"),
        "seed": seed,
        "world": processes.count(),
    }
    return store.folder("fits", inputs), shared


def shared_inputs(arm: Arm) -> dict[str, Any]:
    """What the data of every fit of an arm's method depend on, whatever its config."""
    assert arm.dataset is not None
    base = loading.resolve(arm.model)
    return {
        "base": loading.identity(base),
        "dataset": training_set(arm.dataset).fingerprint,
        **reached(of_fit(arm.method, arm.name, base)).key(),
    }


def fit(arm: Arm, seed: int, store: Store, report: "Report") -> Fitted:
    """Train an arm with a seed, or take what an equal fit left; resumes a killed one."""
    folder, shared = fit_folder(arm, seed, store)
    done = folder / "fit.json"
    if not done.exists():
        with lock(folder / ".lock", timeout=10) if processes.is_main() else nullcontext():
            if processes.count() > 1 or not done.exists():
                _train(arm, seed, store, folder, shared, report)
    processes.wait()
    try:
        record = json.loads(done.read_text(encoding="utf-8"))
        return Fitted(path=folder / "checkpoint", **record)
    except (OSError, ValueError, TypeError) as error:
        raise HarnessError(f"{done}: damaged ({error}): remove {folder}.") from None


def _base(arm: Arm, role: str, store: Store) -> Path:
    """The folder that training starts from; an adapter is merged into its model first.

    Absolute, since a trained adapter names it as its base.
    """
    path = loading.resolve(arm.model)
    if loading.is_adapter(path):
        code = reached(of_model(role, path)).key()
        merged = store.root / "merged" / digest([loading.identity(path), code])
        if processes.is_main():
            with lock(merged.with_suffix(".lock")):
                if not merged.exists():
                    loading.merge(path, role, merged)
        processes.wait()
        path = merged
    return path.absolute()


def _check_unchanged(datasets: Iterable[str]) -> None:
    """Raise `HarnessError` where the rows are no longer those that the result is kept under."""
    for name in datasets:
        if read_training_set(name) != training_set(name):
            raise HarnessError(f"dataset '{name}' changed during the run: run again.")


def _train(
    arm: Arm, seed: int, store: Store, folder: Path, shared: Mapping[str, Any], report: "Report"
) -> None:
    from harness.training import Fit

    started = time.perf_counter()
    role = arm.method.role
    assert role is not None
    assert arm.dataset is not None
    _check_unchanged([arm.dataset, *arm.method.datasets()])
    dataset = open_data(arm.dataset)
    base = _base(arm, role, store)
    fit = Fit(
        config=arm.method.config,
        model=loading.load(base, role),
        base=base,
        dataset=dataset,
        rows=dataset.rows(),
        seed=seed,
        folder=folder,
        store=store,
        inputs=shared,
        resolve=lambda name: str(loading.resolve(name)),
        report=report,
    )
    arm.method.fit(fit)
    if fit.cost is None:
        raise HarnessError(
            f"method '{arm.name}' ended without training: `fit.train` was not called."
        )
    if not processes.is_main():
        return
    partial, checkpoint = folder / "checkpoint.partial", folder / "checkpoint"
    for old in (partial, checkpoint):
        shutil.rmtree(old, ignore_errors=True)
    (fit.save or fit.model.save)(partial)
    partial.rename(checkpoint)
    rows = "".join(canonical_json(row) + "\n" for row in fit.curves)
    write_atomic(folder / "curves.jsonl", rows)
    record = {
        "base": shared["base"],
        "weights": loading.identity(checkpoint),
        "dataset_fingerprint": shared["dataset"],
        "cost": fit.cost.model_dump(mode="json"),
        "seconds": round(time.perf_counter() - started, 3),
    }
    write_atomic(folder / "fit.json", json.dumps(record, indent=1) + "\n")
    shutil.rmtree(folder / "steps", ignore_errors=True)
