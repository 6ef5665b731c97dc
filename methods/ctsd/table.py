"""The experiment of this method's README: all arms over bases, spacings of repeats, and seeds.

`python -m methods.ctsd.table run` trains and scores (`--model` and `--spacing` for a part, so that
several can run side by side) and writes leaderboards; `show` prints the tables from the
leaderboards, `draw` draws the frontiers, `sweep` tries settings on the dev split.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

import harness
from harness.leaderboard import load_all
from harness.report.experiments import for_each_seed, runs_of
from harness.report.markdown import difference, head, mean, row
from harness.schema import Entry
from harness.shown import echo

MODELS = ("lab/titles-young", "lab/titles-mature")
SPACINGS = {
    "far": ("ecommerce_titles", "lab/titles"),
    "near": ("ecommerce_titles_near", "lab/titles-near"),
}
"""Spacing of rightful repeats -> task and training set."""
REMEDIES = ("blocking", "penalty", "beam")
STRENGTHS: dict[float, tuple[str, ...]] = {
    1.0: (
        "ce",
        "unlikelihood",
        "ct",
        "ctsd",
        "ctsd-similarity",
        "ctsd-distance",
        "ctsd-attention",
    ),
    0.3: ("ct", "ctsd"),
    3.0: ("ct", "ctsd"),
}
"""lambda -> the methods that are trained with it."""
METRICS = (
    "oscillation",
    "lost_repeats",
    "needless_repeats",
    "concepts_rendered",
    "bleu",
    "length_ratio",
)
SWEEP: tuple[dict[str, Any], ...] = tuple(
    {"loss.window": window, "loss.gamma": gamma, "loss.strength": strength}
    for window in (4, 16)
    for gamma in (0.6, 0.9)
    for strength in (0.3, 1.0)
)

app = typer.Typer(add_completion=False, help=__doc__)
Boards = dict[str, list[Entry]]


class Arm(NamedTuple):
    """A row of the table: a method with its strength, and its entries over seeds."""

    method: str
    strength: float | None
    entries: list[Entry]

    @property
    def name(self) -> str:
        return self.method if self.strength in (None, 1.0) else f"{self.method}, λ {self.strength}"


@app.command()
def run(
    model: Annotated[str | None, typer.Option(help="One base model; all without it.")] = None,
    spacing: Annotated[str | None, typer.Option(help="far or near; both without.")] = None,
    seeds: int = 3,
    leaderboards: Path = Path("leaderboards"),
) -> None:
    """Train and score every arm, and score the remedies at decoding."""
    for each in [model] if model else MODELS:
        for task, dataset in [SPACINGS[spacing]] if spacing else SPACINGS.values():
            common = {"tasks": [task], "model": each, "leaderboards": leaderboards}
            harness.run(method=list(REMEDIES), **common)
            for strength, methods in STRENGTHS.items():
                changed = {} if strength == 1.0 else {"loss.strength": strength}
                names = list(methods)
                harness.run(method=names, dataset=dataset, seeds=seeds, set=changed, **common)
                echo(f"{each} {task} strength {strength}: done", err=True)


@app.command()
def sweep(
    model: str = "lab/titles-young",
    spacing: str = "far",
    method: str = "ctsd",
    leaderboards: Path = Path("sweep"),
) -> None:
    """Try settings on the dev split; leaderboards of their own, since nothing here is a result."""
    task, dataset = SPACINGS[spacing]
    tried = SWEEP if method == "ctsd" else [s for s in SWEEP if s["loss.gamma"] == 0.9]
    echo("\n".join(head("method", "settings", *METRICS)))
    for settings in tried:
        base, entry = harness.run(
            method=[method],
            tasks=[task],
            model=model,
            dataset=dataset,
            split="dev",
            set=settings,
            leaderboards=leaderboards,
        )
        if settings is tried[0]:
            echo(row("base", "", *(_mean([base], name) for name in METRICS)))
        shown = ", ".join(f"{k.removeprefix('loss.')} {v}" for k, v in settings.items())
        echo(row(method, shown, *(_mean([entry], name) for name in METRICS)))


@app.command()
def show(leaderboards: Path = Path("leaderboards"), seeds: int = 3) -> None:
    """Print the tables as Markdown: values, and paired differences with 95 % intervals."""
    boards = _boards(leaderboards)
    for model, spacing in _cells():
        echo(f"\n**{model}, repeats {spacing}** ({seeds} seeds)\n")
        echo("\n".join(_table(_arms(boards, model, spacing, seeds))))


@app.command()
def draw(
    out: Path = Path("methods/ctsd/frontiers.png"),
    leaderboards: Path = Path("leaderboards"),
    seeds: int = 3,
) -> None:
    """Draw oscillation against lost repeats, a panel for each base and spacing."""
    from matplotlib.figure import Figure

    boards = _boards(leaderboards)
    figure = Figure(figsize=(11, 8), layout="constrained")
    axes: Any = figure.subplots(len(MODELS), len(SPACINGS))
    for axis, (model, spacing) in zip(axes.flat, _cells(), strict=True):
        axis.set_title(f"{model}, repeats {spacing} (lab)")
        for method, points in _frontiers(_arms(boards, model, spacing, seeds)):
            style = {"color": "black", "marker": "x"} if method == "base" else {"marker": "o"}
            axis.plot(*zip(*points, strict=True), label=method, **style)
        axis.set_xlabel("oscillation (% of titles)")
        axis.set_ylabel("lost repeats (%)")
    axes.flat[0].legend(fontsize="small")
    figure.savefig(out, dpi=90)


def _frontiers(arms: Sequence[Arm]) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Method -> its points by strength: oscillation and lost repeats, in percent."""
    for method in dict.fromkeys(arm.method for arm in arms):
        chosen = sorted(
            (arm for arm in arms if arm.method == method), key=lambda arm: arm.strength or 0
        )
        yield (
            method,
            [
                (
                    100 * mean(arm.entries, "oscillation"),
                    100 * mean(arm.entries, "lost_repeats"),
                )
                for arm in chosen
            ],
        )


def _cells() -> Iterator[tuple[str, str]]:
    return ((model, spacing) for model in MODELS for spacing in SPACINGS)


def _boards(leaderboards: Path) -> Boards:
    return {task: list(board.values()) for (_, task), board in load_all(leaderboards).items()}


def _arms(boards: Boards, model: str, spacing: str, seeds: int) -> list[Arm]:
    """Every arm of a base and a spacing; each entry must be there."""
    task, dataset = SPACINGS[spacing]
    here = [e for e in boards.get(task, []) if e.model.name == model]
    arms = [Arm(name, None, runs_of(here, name, {}, [None])) for name in ("base", *REMEDIES)]
    for strength, methods in STRENGTHS.items():
        changed = {} if strength == 1.0 else {"loss.strength": strength}
        for name in methods:
            found = runs_of([e for e in here if e.dataset == dataset], name, changed, range(seeds))
            arms.append(Arm(name, strength, found))
    return arms


def _table(arms: Sequence[Arm]) -> list[str]:
    """Values of every arm, and its differences in oscillation and lost repeats from others."""
    base, ce = (next(arm.entries for arm in arms if arm.method == name) for name in ("base", "ce"))
    lines = head(
        "method",
        *METRICS,
        "oscillation minus base",
        "minus ce",
        "minus ct",
        "lost repeats minus base",
        "minus ce",
        "minus ct",
    )
    for arm in arms:
        repeated = for_each_seed(base, arm.entries)
        against = [
            cell
            for metric in ("oscillation", "lost_repeats")
            for cell in (
                "" if arm.method == "base" else difference(repeated, arm.entries, metric),
                difference(ce, arm.entries, metric) if arm.strength and arm.method != "ce" else "",
                _from_ct(arms, arm, metric),
            )
        ]
        values = (_mean(arm.entries, name) for name in METRICS)
        lines.append(row(arm.name, *values, *against))
    return lines


def _from_ct(arms: Sequence[Arm], arm: Arm, metric: str) -> str:
    """The difference of a form of CTSD from CT of the same strength."""
    if not arm.method.startswith("ctsd"):
        return ""
    ct = next(each for each in arms if (each.method, each.strength) == ("ct", arm.strength))
    return difference(ct.entries, arm.entries, metric)


def _mean(entries: Sequence[Entry], metric: str) -> str:
    value = mean(entries, metric)
    if metric == "length_ratio":
        return f"{value:.2f}"
    return f"{value if metric == 'bleu' else 100 * value:.1f}"


if __name__ == "__main__":
    app()
