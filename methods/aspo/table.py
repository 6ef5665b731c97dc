"""The experiment of this method's README: all arms on identical pairs, over bases and seeds.

`python -m methods.aspo.table run` trains and scores (`--model` for one base alone, so that several
can run side by side) and writes leaderboards; `python -m methods.aspo.table show` prints the table
from the leaderboards.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import harness
from harness.leaderboard import load_all
from harness.report.markdown import difference, head, mean, row
from harness.schema import Entry

MODELS = ("lab/scenes-vlm", "lab/scenes-vlm-1", "lab/scenes-vlm-2")
METHODS = ("dpo", "aspo", "aspo-s", "aspo-p", "aspo-random", "aspo-oracle")
TASKS = ("shr", "pope", "mmbench")
CONDITIONS: dict[str, dict[str, object]] = {
    "greedy": {},
    "sampled": {"pairs.chosen_temperature": 1.0},
}
"""Name -> changed settings: chosen answers as in the paper, or sampled."""
COLUMNS = {
    "shr": ("wrong_sentences", "object_recall", "sentences_per_answer"),
    "pope": ("f1",),
    "mmbench": ("accuracy",),
}

app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def run(
    model: Annotated[str | None, typer.Option(help="One base model; all without it.")] = None,
    condition: Annotated[str | None, typer.Option(help="greedy or sampled; both without.")] = None,
    seeds: int = 3,
    leaderboards: Path = Path("leaderboards"),
) -> None:
    """Train and score every arm in both conditions."""
    chosen = [CONDITIONS[condition]] if condition else CONDITIONS.values()
    for each in [model] if model else MODELS:
        for settings in chosen:
            harness.run(
                method=list(METHODS),
                tasks=list(TASKS),
                model=each,
                seeds=seeds,
                set=settings,
                leaderboards=leaderboards,
            )
            typer.echo(f"{each} {settings or 'greedy'}: done", err=True)


@app.command()
def show(leaderboards: Path = Path("leaderboards"), seeds: int = 3) -> None:
    """Print the tables as Markdown: values, and paired differences with 95 % intervals."""
    boards = {task: list(board.values()) for (_, task), board in load_all(leaderboards).items()}
    for name, settings in CONDITIONS.items():
        typer.echo(f"\n**{name}** ({len(MODELS)} bases x {seeds} seeds)\n")
        typer.echo("\n".join(_table(boards, settings, range(seeds))))


def _table(
    boards: dict[str, list[Entry]], settings: dict[str, object], seeds: Sequence[int]
) -> list[str]:
    """Values of every arm, then its differences from the base and from DPO."""
    base = {task: _repeated(boards[task], seeds) for task in TASKS}
    runs = {
        method: {task: _runs(boards[task], method, settings, seeds) for task in TASKS}
        for method in METHODS
    }
    columns = [(task, metric) for task in TASKS for metric in COLUMNS[task]]
    lines = head("method", *(f"{task} {metric}" for task, metric in columns))
    for method, entries in {"base": base, **runs}.items():
        lines.append(row(method, *(_mean(entries[task], metric) for task, metric in columns)))
    contrasts = [(task, other) for task in TASKS for other in ("base", "dpo")]
    lines += ["", *head("method", *(f"{task}, minus {other}" for task, other in contrasts))]
    for method, entries in runs.items():
        cells = [
            ""
            if method == other
            else difference({"base": base, **runs}[other][task], entries[task])
            for task, other in contrasts
        ]
        lines.append(row(method, *cells))
    return lines


def _runs(
    entries: Sequence[Entry], method: str, settings: dict[str, object], seeds: Sequence[int]
) -> list[Entry]:
    """The entries of a method over all bases and seeds; each must be there."""
    found = [
        entry
        for entry in entries
        if entry.method == method
        and entry.overrides == settings
        and entry.seed in seeds
        and entry.model.name in MODELS
        and (entry.limit, entry.task.split) == (None, "test")
    ]
    if len(found) != len(MODELS) * len(seeds):
        raise typer.BadParameter(f"{len(found)} runs of {method} {settings}: run the table first.")
    return found


def _repeated(entries: Sequence[Entry], seeds: Sequence[int]) -> list[Entry]:
    """Each base model's entry once per seed, so that runs pair with their own base."""
    bases = [e for e in entries if e.method == "base" and e.model.name in MODELS]
    whole = [e for e in bases if (e.limit, e.task.split) == (None, "test")]
    return [entry.model_copy(update={"seed": seed}) for entry in whole for seed in seeds]


def _mean(entries: Sequence[Entry], metric: str) -> str:
    value = mean(entries, metric)
    return f"{value:.2f}" if value > 1 else f"{100 * value:.1f}"


if __name__ == "__main__":
    app()
