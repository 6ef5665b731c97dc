"""Training an arm of a run, or finding that it was trained before."""

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import processes
from harness.arms import Arm
from harness.code_keys import reached
from harness.computations import of_fit, of_model
from harness.errors import HarnessError
from harness.files import remove, whole_folder, write_atomic
from harness.models import lifetime, loading, precision
from harness.opening import open_data, read_training_set, training_set
from harness.schema import Cost, Strict, canonical_json
from harness.seals import check, is_sealed, seal
from harness.settings import full_precision, training_key
from harness.store import Store, turn

if TYPE_CHECKING:
    from harness.training import Fit, Report


class Fitted(Strict):
    """A model ready to be scored, and what it took."""

    path: Path
    base: str
    weights: str
    dataset_fingerprint: str | None = None
    cost: Cost
    scored_precision: precision.Precision = "fp32"
    """Of the weights when they are scored."""
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
        scored_precision=precision.of_loading(path),
    )


def fit_folder(arm: Arm, seed: int, store: Store) -> tuple[Path, Mapping[str, Any]]:
    """Where a trained arm lies, by the hash of everything it depends on; and these inputs."""
    shared = shared_inputs(arm)
    inputs = {
        **shared,
        "method": arm.name,
        "models": [loading.identity(loading.resolve(name)) for name in arm.method.models()],
        "config": training_key(arm.method.config),
        "datasets": [training_set(name).fingerprint for name in arm.method.datasets()],
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
        "precision": [
            precision.usual(),
            precision.of_loading(base, full_precision(arm.method.config)),
        ],
        "dataset": training_set(arm.dataset).fingerprint,
        **reached(of_fit(arm.method, arm.name, base)).key(),
    }


def fit(arm: Arm, seed: int, store: Store, report: "Report") -> Fitted:
    """Train an arm with a seed, or take what an equal fit left; resumes a killed one."""
    folder, shared = fit_folder(arm, seed, store)
    with turn(folder, lambda: is_sealed(folder)) as todo:
        if todo:
            _train(arm, seed, store, folder, shared, report)
    check(folder)
    record = json.loads((folder / "fit.json").read_text(encoding="utf-8"))
    path = folder / "checkpoint"
    scored = precision.of_loading(path, full_precision(arm.method.config))
    return Fitted(path=path, scored_precision=scored, **record)


def _base(arm: Arm, role: str, store: Store) -> Path:
    """The folder that training starts from; an adapter is merged into its model first.

    Absolute, since a trained adapter names it as its base.
    """
    path = loading.resolve(arm.model)
    if loading.is_adapter(path):
        folder = store.folder(
            "merged",
            {
                "adapter": loading.identity(path),
                "role": role,
                **reached(of_model(role, path)).key(),
            },
        )
        path = _merged(path, role, folder)
    return path.absolute()


def _merged(adapter: Path, role: str, folder: Path) -> Path:
    """An adapter and its base as one whole model in a folder of the store."""
    merged = folder / "checkpoint"
    with turn(folder, lambda: is_sealed(folder)) as todo:
        if todo and processes.is_main():
            remove(merged)
            lifetime.release()
            loading.merge(adapter, role, merged)
            seal(folder)
    check(folder)
    return merged


def _check_unchanged(datasets: Iterable[str]) -> None:
    """Raise `HarnessError` where the rows are no longer those that the result is kept under."""
    for name in datasets:
        if read_training_set(name) != training_set(name):
            raise HarnessError(f"dataset '{name}' changed during the run: run again.")


def _train(
    arm: Arm, seed: int, store: Store, folder: Path, shared: Mapping[str, Any], report: "Report"
) -> None:
    from harness.trainable import check_config
    from harness.training import Fit

    started = time.perf_counter()
    role = arm.method.role
    assert role is not None
    assert arm.dataset is not None
    _check_unchanged([arm.dataset, *arm.method.datasets()])
    dataset = open_data(arm.dataset)
    base = _base(arm, role, store)
    config = arm.method.config
    lifetime.release()
    model = loading.load(
        base, role, precision.dtype(precision.of_loading(base, full_precision(config)))
    )
    check_config(model.module, config)
    fit = Fit(
        config=config,
        model=model,
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
    if processes.is_main():
        _write(fit, folder, shared, time.perf_counter() - started)


def _write(fit: "Fit", folder: Path, shared: Mapping[str, Any], seconds: float) -> None:
    """What a fit left: its checkpoint, curves and record, sealed."""
    assert fit.cost is not None
    checkpoint = folder / "checkpoint"
    with whole_folder(checkpoint) as partial:
        (fit.save or fit.model.save)(partial)
    rows = "".join(canonical_json(row) + "\n" for row in fit.curves)
    write_atomic(folder / "curves.jsonl", rows)
    record = {
        "base": shared["base"],
        "weights": loading.identity(checkpoint),
        "dataset_fingerprint": shared["dataset"],
        "cost": fit.cost.model_dump(mode="json"),
        "seconds": round(seconds, 3),
    }
    write_atomic(folder / "fit.json", json.dumps(record, indent=1) + "\n")
    seal(folder)
    remove(folder / "steps")
