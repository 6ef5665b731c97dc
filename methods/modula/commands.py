"""`harness modula`: a domain more or less for a run, and what its routers do."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.shown import echo
from methods.modula import costs

if TYPE_CHECKING:
    from harness.arms import Arm
    from harness.plan import Plan
    from harness.run_config import RunConfig

app = typer.Typer(help="Of MoDULA: domains added and removed, routers.", no_args_is_help=True)
Run = Annotated[Path, typer.Argument(help="Folder of a run: runs/modula_flan-...")]


@app.callback()
def commands() -> None:
    """Of MoDULA: domains added and removed, routers."""


@app.command()
def extend(
    run: Run,
    domain: Annotated[str, typer.Option(help="What to call the new expert.")],
    dataset: Annotated[str, typer.Option(help="Its training set: name, file, mixture, hub.")],
    tasks: Annotated[
        str | None, typer.Option(help="Tasks to score on beside the run's own, by comma.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="A method to train anew on all sets: molora.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="FIELD=VALUE of the methods' config: train.lr=1e-3."),
    ] = None,
) -> None:
    """Train one more expert and the routers; every other expert stays as it is, to the bit."""
    from harness.errors import HarnessError
    from harness.pairs import pairs

    config, domains = _asked(run)
    if domain in domains:
        raise HarnessError(f"{run}: has the domain '{domain}' already, on {domains[domain]}.")
    changed = {**pairs("--set", set_ or []), f"data.domains.{domain}": dataset}
    _again(config, changed, tasks, against, [domain, "router"])


@app.command()
def remove(
    run: Run,
    domain: Annotated[str, typer.Option(help="The expert to take away.")],
    tasks: Annotated[
        str | None, typer.Option(help="Tasks to score on beside the run's own, by comma.")
    ] = None,
) -> None:
    """Train the routers without an expert; every other one stays as it is, to the bit."""
    from harness.errors import HarnessError, suggestion

    config, domains = _asked(run)
    if domain not in domains:
        near = suggestion(domain, domains)
        raise HarnessError(f"{run}: has no domain '{domain}'. {near}It has {', '.join(domains)}.")
    _again(config, {f"data.domains.{domain}": None}, tasks, None, ["router"])


@app.command()
def routing(
    run: Run,
    limit: Annotated[int, typer.Option(help="Items of each task that are looked at.")] = 200,
) -> None:
    """Mean share of each expert by task and layer: numbers, and a heat map in the run's folder."""
    from harness.models import loading
    from harness.plan import make_plan
    from methods.modula import routing as looking

    plan = make_plan(_config(run))
    for arm in _modula_arms(plan):
        for seed in arm.seeds:
            label = f"{arm.name}-seed{seed}"
            model = loading.load(costs.checkpoint(run, label), "causal-lm")
            shares = {
                scored.ref.name: looking.shares(model, _prompts(scored, limit))
                for scored in plan.tasks
            }
            place = run / label / "routing"
            looking.plot(shares, place.with_suffix(".png"), f"{label}: mean share of a token")
            text = json.dumps(shares, indent=1) + "\n"
            place.with_suffix(".json").write_text(text, encoding="utf-8")
            _print_shares(label, looking.means(shares))
            echo(f"drawn in {place.with_suffix('.png')}")


def _prompts(scored: Any, limit: int) -> list[str]:
    return [scored.task.requests(item)[0].context for item in scored.items[:limit]]


def _asked(run: Path) -> "tuple[RunConfig, dict[str, str]]":
    """A run's command with its MoDULA methods alone, and their domains."""
    from harness.errors import HarnessError
    from harness.plan import make_plan

    config = _config(run)
    arms = _modula_arms(make_plan(config))
    domains = [dict(arm.method.config.data.sets) for arm in arms]  # type: ignore[attr-defined]
    if any(each != domains[0] for each in domains):
        raise HarnessError(f"{run}: its methods have different domains: give a run of one.")
    return config.model_copy(update={"method": [arm.name for arm in arms]}), domains[0]


def _again(
    config: "RunConfig",
    changed: Mapping[str, str | None],
    tasks: str | None,
    against: str | None,
    trained: list[str],
) -> None:
    """Run the same with changed settings: stages that are there are found, not trained."""
    from harness.configs import flat, run_config
    from harness.pipeline import execute, run_folder
    from harness.plan import make_plan
    from harness.report.progress import progress
    from harness.report.terminal import run_table

    more = [name.strip() for name in (tasks or "").split(",") if name.strip()]
    asked = run_config(
        {
            **config.model_dump(),
            "method": [*config.method, *([against] if against else [])],
            "tasks": list(dict.fromkeys([*config.tasks, *more])),
            "set": {**flat(config.set), **changed},
        }
    )
    plan = make_plan(asked)
    with progress(quiet=False) as reporter:
        entries = execute(plan, reporter)
    from rich.console import Console

    console = Console()
    console.print(run_table(entries, asked.baseline))
    folder = run_folder(asked)
    for arm in _modula_arms(plan):
        for seed in arm.seeds:
            took = costs.of_stages(folder, f"{arm.name}-seed{seed}", trained)
            _print_cost(console, f"{arm.name} seed {seed}", took)
            if against:
                whole = costs.of_fit(folder, f"{against}-seed{seed}")
                _print_cost(console, f"{against} seed {seed}", whole)
                _say(console, f"that is {_share(took, whole)} that {against} takes")
    echo(f"run folder: {folder}")


def _config(run: Path) -> "RunConfig":
    from harness.configs import run_config
    from harness.errors import HarnessError

    try:
        given = json.loads((run / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HarnessError(f"{run}: is no folder of a run ({error}).") from None
    return run_config({**given, "runs": run.parent})


def _modula_arms(plan: "Plan") -> "list[Arm]":
    from harness.errors import HarnessError
    from methods.modula.plugin import Modula

    arms = [arm for arm in plan.arms if isinstance(arm.method, Modula)]
    if not arms:
        raise HarnessError(f"the run has no MoDULA method: {', '.join(plan.config.method)}.")
    return arms


def _print_cost(console: Any, name: str, took: costs.Took) -> None:
    cost, seconds = took
    _say(
        console,
        f"{name} trained {cost.trainable_parameters:,} parameters on {cost.train_tokens:,} tokens: "
        f"{cost.train_flops:.3g} FLOPs, {seconds:.1f} s",
    )


def _share(took: costs.Took, whole: costs.Took) -> str:
    names = ("parameters", "tokens", "FLOPs", "seconds")
    pairs = zip(names, costs.figures(took), costs.figures(whole), strict=True)
    return ", ".join(f"{100 * ours / all_:.1f} % of the {name}" for name, ours, all_ in pairs)


def _say(console: Any, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)


def _print_shares(title: str, means: Mapping[str, Mapping[str, float]]) -> None:
    from rich.console import Console
    from rich.table import Table

    experts = list(next(iter(means.values())))
    table = Table("", *experts, title=title, box=None)
    for task, of in means.items():
        table.add_row(task, *(f"{of[name]:.3f}" for name in experts))
    Console().print(table)
