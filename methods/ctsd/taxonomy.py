"""The first table of real text: a small Marian trained from scratch on a product taxonomy.

`python -m methods.ctsd.taxonomy run FILE --pair en-de` trains the base model by the engine's own
cross-entropy, then ce, ct and ctsd from its checkpoint, and writes leaderboards; `sweep` tries the
settings of `TRIALS` on the dev branches; `show` prints tables from the leaderboards.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import harness
from harness.configs import flat, run_config
from harness.differences import paired_difference
from harness.errors import HarnessError
from harness.kept import outputs_path, read_outputs
from harness.leaderboard import load_all
from harness.pipeline import run_folder
from harness.report.markdown import difference, head, mean, row
from harness.schema import Entry
from harness.shown import echo
from harness.sources import BRANCHES
from harness.store import link
from methods.ctsd.scratch import run_app, write_scratch

TASK = "taxonomy_paths"
METHODS = ("ce", "ct", "ctsd")
SHAPE: dict[str, Any] = {"vocabulary": 4000, "width": 128, "layers": 2}
"""Of the model that is trained from scratch."""

SETTINGS: dict[str, Any] = {
    "train.batch_size": 32,
    "train.warmup": 0.1,
    "train.weight_decay": 0.01,
    "train.precision": "fp32",
}
"""Of every training here."""

BASE = {"train.lr": 2e-3, "train.epochs": 6}
"""Of the training from scratch."""

CHOSEN: dict[str, Any] = {"train.lr": 1e-4, "train.epochs": 0.25}
"""Of the methods, by the trials: the rate with which ce does best on dev."""

TRIALS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ce,ct,ctsd", {"train.lr": 3e-4}),
    ("ce", {"train.lr": 1e-3}),
    ("ct", {"train.lr": 3e-4, "loss.window": 4}),
)
"""Methods -> what is changed of `CHOSEN` on dev, beside `CHOSEN` itself."""

COLUMNS: dict[str, tuple[str, float]] = {
    "sentence_chrf": ("sentence chrF++", 100),
    "bleu": ("BLEU", 1),
    "chrf++": ("chrF++", 1),
    "ter": ("TER", 1),
    "oscillation": ("oscillation, %", 100),
    "oscillation_over_reference": ("over reference, %", 100),
    "rep_4_excess": ("rep-4 excess, %", 100),
    "rep_w_excess": ("rep-w excess, %", 100),
    "length_ratio": ("length ratio, %", 100),
    "length_limit": ("length limit, %", 100),
}
"""Metric -> what the table calls it, and what it is multiplied by there."""

app = typer.Typer(add_completion=False, help=__doc__)
File = Annotated[Path, typer.Argument(help="The taxonomy, a column per language.")]
Pair = Annotated[str, typer.Option(help="Source and target as the columns call them: en-zh-CN.")]
Runs = Annotated[Path, typer.Option(help="Where models, runs and the store lie.")]
Boards = Annotated[Path, typer.Option(help="Folder of leaderboards.")]


@app.command()
def run(
    file: File,
    pair: Pair,
    seeds: int = 3,
    runs: Runs = Path("runs"),
    leaderboards: Boards = Path("leaderboards"),
) -> None:
    """Train the base model where it is not there yet, and each method; score on test."""
    base = base_model(file, pair, runs, leaderboards)
    settings = {**_asked(file, pair, runs, leaderboards), "model": str(base), "seeds": seeds}
    harness.run(**settings, method=list(METHODS), set=_set(pair, CHOSEN))


@app.command()
def sweep(
    file: File,
    pair: Pair,
    runs: Runs = Path("runs"),
    leaderboards: Boards = Path("sweep"),
) -> None:
    """Score the base model, each method as chosen and each of `TRIALS` on dev, with one seed.

    Leaderboards of their own, since nothing here is a result.
    """
    base = base_model(file, pair, runs, leaderboards)
    settings = {**_asked(file, pair, runs, leaderboards), "model": str(base), "split": "dev"}
    for methods, changed in ((",".join(METHODS), {}), *TRIALS):
        harness.run(**settings, method=methods, set=_set(pair, {**CHOSEN, **changed}))


def base_model(file: Path, pair: str, runs: Path, leaderboards: Path) -> Path:
    """The folder of a pair's base model, trained from random weights where it is not there yet."""
    folder = (runs / f"taxonomy-{pair}").absolute()
    if folder.exists():
        return folder
    scratch = folder.with_name(f"scratch-{pair}")
    if not scratch.exists():
        write_scratch(f"{file}{BRANCHES}", *languages(pair), scratch, **SHAPE)
    # On dev: nothing is chosen by the test branches, and random weights need not be scored.
    settings = {**_asked(file, pair, runs, leaderboards), "model": str(scratch), "split": "dev"}
    settings |= {"method": "ce", "baseline": "ce", "set": _set(pair, BASE)}
    harness.run(**settings)
    link(run_folder(run_config(settings)) / "ce-seed0" / "checkpoint", folder)
    return folder


def languages(pair: str) -> tuple[str, str]:
    """Source and target of a pair; the target may have a region: `en-zh-CN`."""
    source, dash, target = pair.partition("-")
    if not (source and dash and target):
        raise HarnessError(f"'{pair}' is no pair of languages like en-de.")
    return source, target


def _asked(file: Path, pair: str, runs: Path, leaderboards: Path) -> dict[str, Any]:
    """What every run here asks for."""
    source, target = languages(pair)
    return {
        "tasks": [TASK],
        "profile": "paper",
        "dataset": f"{file}{BRANCHES}",
        "source": {TASK: f"{file}{BRANCHES}"},
        "option": {f"{TASK}.source": source, f"{TASK}.target": target},
        "runs": runs,
        "leaderboards": leaderboards,
    }


def _set(pair: str, changed: Mapping[str, Any]) -> dict[str, Any]:
    source, target = languages(pair)
    return {"data.source": source, "data.target": target, **SETTINGS, **changed}


@app.command()
def show(
    pair: Pair,
    split: Annotated[str, typer.Option(help="test, or dev for the sweep.")] = "test",
    leaderboards: Boards = Path("leaderboards"),
) -> None:
    """Print the table of a pair as Markdown: means over seeds, and differences from ce."""
    entries = load_all(leaderboards).get((False, TASK), {}).values()
    echo("\n".join(table(list(entries), pair, split)))


@app.command()
def repeats(
    pair: Pair,
    metric: str = "oscillation",
    runs: Runs = Path("runs"),
    leaderboards: Boards = Path("leaderboards"),
) -> None:
    """Print paired differences of a metric that the leaderboard does not pack, in percent, with
    95 % intervals over branches and seeds, from the outputs that `run` kept."""
    groups = _groups(list(load_all(leaderboards)[False, TASK].values()), pair, "test")
    sides = {name: _shares(groups[name], metric, runs) for name in METHODS}
    for ours, other in (("ct", "ce"), ("ctsd", "ce"), ("ctsd", "ct")):
        (num_a, den_a, branches), (num_b, den_b, _) = sides[other], sides[ours]
        found = paired_difference(num_a, den_a, num_b, den_b, branches, matched=True)
        if found is None or found.low is None or found.high is None:
            raise HarnessError(f"'{metric}' is undefined for {other} or {ours}.")
        low, high = 100 * found.low, 100 * found.high
        echo(f"{ours} minus {other}: {100 * found.value:+.1f} [{low:+.1f}, {high:+.1f}]")


def _shares(
    entries: Sequence[Entry], metric: str, runs: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numerators and denominators of a metric, [seeds, items], and the items' branches, [items]."""
    seeds = [read_outputs(outputs_path(runs, e), e.items.n) for e in sorted(entries, key=_seed)]
    if not all(seeds):
        raise HarnessError(f"{runs}: the outputs are not there: `run` makes them.")
    shares = np.array([[each["scores"][metric] for each in rows] for rows in seeds])
    branches = ["-".join(each["id"].split("-")[:2]) for each in seeds[0]]
    return shares[..., 0], shares[..., 1], np.unique(branches, return_inverse=True)[1]


def _seed(entry: Entry) -> int:
    return entry.seed or 0


def table(entries: Sequence[Entry], pair: str, split: str = "test") -> list[str]:
    """The lines of a Markdown table: a row per method and settings, the base model's first.

    The last column is the paired difference of sentence chrF++ from ce with its 95 % interval.

    Raises:
        HarnessError: where the leaderboard has no run of the pair.
    """
    groups = _groups(entries, pair, split)
    if not groups:
        raise HarnessError(f"no runs of {pair} on {split}: `run` or `sweep` makes them.")
    reference = groups.get("ce")
    lines = head("", *(label for label, _ in COLUMNS.values()), "sentence chrF++ minus ce")
    for name, runs in groups.items():
        cells = [_mean(runs, metric, scale) for metric, (_, scale) in COLUMNS.items()]
        lines.append(row(name, *cells, "" if name == "ce" else _difference(reference, runs)))
    return lines


def _groups(entries: Sequence[Entry], pair: str, split: str) -> dict[str, list[Entry]]:
    """What a row is called -> its runs: the base model, the methods as chosen, then trials."""
    found: dict[str, list[Entry]] = {name: [] for name in ("base", *METHODS)}
    for entry in entries:
        folder = Path(entry.model.name.partition("@")[0]).name
        asked = (folder, entry.task.split, entry.limit)
        if asked == (f"taxonomy-{pair}", split, None):
            name = " ".join([entry.method, *_changed(entry)])
            found.setdefault(name, []).append(entry)
    return {name: runs for name, runs in found.items() if runs}


def _changed(entry: Entry) -> list[str]:
    """What a run changed of `CHOSEN`, as `train.lr=0.001`."""
    config, usual = flat(entry.config), {**SETTINGS, **CHOSEN}
    named = sorted({*usual, *entry.overrides} - {"data.source", "data.target"})
    return [
        f"{name}={config[name]}"
        for name in named
        if name in config and (name not in usual or config[name] != usual[name])
    ]


def _mean(runs: Sequence[Entry], metric: str, scale: float) -> str:
    return f"{scale * mean(runs, metric):.1f}"


def _difference(reference: Sequence[Entry] | None, runs: Sequence[Entry]) -> str:
    """Of the primary metric; the base model was scored once and is paired with every seed."""
    if not reference:
        return "-"
    if runs[0].seed is None:
        runs = [runs[0].model_copy(update={"seed": run.seed}) for run in reference]
    return difference(reference, runs)


if __name__ == "__main__":
    run_app(app)
