"""`harness ctsd`: looking at what a run's translators are sure of."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.shown import echo, shown

app = typer.Typer(help="Of CTSD: the entropy analysis of a run.", no_args_is_help=True)


@app.callback()
def commands() -> None:
    """Of CTSD: the entropy analysis of a run."""


@app.command()
def entropy(
    run: Annotated[Path, typer.Argument(help="Folder of a run: runs/ctsd_ecommerce_titles-...")],
    window: Annotated[int, typer.Option(help="Tokens before a step in which it repeats.")] = 16,
    limit: Annotated[int | None, typer.Option(help="Only the first items of a task.")] = None,
) -> None:
    """Entropy at repeated and at other steps: numbers on the screen, a plot in the run's folder."""
    from harness.models import loading
    from harness.plan import make_plan
    from methods.ctsd.entropy import analyse, plot, summary

    config = _config(run)
    plan = make_plan(config)
    for scored in plan.tasks:
        found = {}
        items = {item.id: item for item in scored.items[:limit]}
        for arm in plan.arms:
            for seed in arm.seeds:
                label = arm.name if seed is None else f"{arm.name}-seed{seed}"
                rows = _rows(run / label / f"{scored.ref.name}.jsonl")
                chosen = [row for row in rows if row["id"] in items]
                prompts = [scored.task.requests(items[row["id"]])[0] for row in chosen]
                outputs = [row["outputs"][0] for row in chosen]
                trained = run / label / "checkpoint"
                folder = trained if trained.exists() else loading.resolve(arm.model)
                model = loading.load(folder, "translator")
                found[label] = analyse(model, prompts, outputs, window)
        numbers = {label: summary(steps) for label, steps in found.items()}
        name = f"entropy-{scored.ref.name}"
        title = f"{scored.ref.name}{' (lab)' if scored.lab else ''}: {len(items):,} items"
        plot(found, run / f"{name}.png", title)
        (run / f"{name}.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
        _print(title, numbers)
        echo(f"drawn in {run / name}.png")


def _config(run: Path) -> Any:
    from harness.configs import run_config
    from harness.errors import HarnessError

    try:
        given = json.loads((run / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HarnessError(f"{run}: is no folder of a run ({error}).") from None
    return run_config(given)


def _rows(path: Path) -> list[dict[str, Any]]:
    from harness.errors import HarnessError

    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        return [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise HarnessError(f"{path}: cannot be read ({error}): run the command again.") from None


def _print(title: str, numbers: dict[str, dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        "", "steps", "repeated", "H", "gain", "other: H", "gain", title=Text(shown(title)), box=None
    )
    for label, of in numbers.items():
        steps = of["repeated_steps"] + of["other_steps"]
        cells = [f"{steps:,}", f"{of['repeated_steps'] / max(steps, 1):.1%}"]
        columns = ("repeated_entropy", "repeated_gain", "other_entropy", "other_gain")
        cells += ["-" if of[name] is None else f"{of[name]:.3f}" for name in columns]
        table.add_row(Text(shown(label)), *cells)
    Console().print(table)
