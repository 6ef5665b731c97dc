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
from harness.report.experiments import for_each_seed, runs_of
from harness.report.markdown import difference, head, mean, row
from harness.schema import Entry
from harness.shown import echo

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
            echo(f"{each} {settings or 'greedy'}: done", err=True)


@app.command()
def show(leaderboards: Path = Path("leaderboards"), seeds: int = 3) -> None:
    """Print the tables as Markdown: values, and paired differences with 95 % intervals."""
    boards = {task: list(board.values()) for (_, task), board in load_all(leaderboards).items()}
    for name, settings in CONDITIONS.items():
        echo(f"\n**{name}** ({len(MODELS)} bases x {seeds} seeds)\n")
        echo("\n".join(_table(boards, settings, range(seeds))))


def _table(
    boards: dict[str, list[Entry]], settings: dict[str, object], seeds: Sequence[int]
) -> list[str]:
    """Values of every arm, then its differences from the base and from DPO."""
    count = len(MODELS)
    here = {task: [e for e in boards[task] if e.model.name in MODELS] for task in TASKS}
    runs = {
        method: {task: runs_of(here[task], method, settings, seeds, count) for task in TASKS}
        for method in METHODS
    }
    base = {
        task: for_each_seed(runs_of(found, "base", {}, [None], count), runs["dpo"][task])
        for task, found in here.items()
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


def _mean(entries: Sequence[Entry], metric: str) -> str:
    value = mean(entries, metric)
    return f"{value:.2f}" if value > 1 else f"{100 * value:.1f}"


if __name__ == "__main__":
    app()
