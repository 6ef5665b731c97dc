"""The table of MoDULA's card: every method and control over seeds, on the errands.

`python -m methods.modula.table run` trains and scores into the leaderboards (`--seeds 0,1` and
`--seeds 2,3,4` can run side by side), `show` prints the tables from them and from the runs, `sweep`
tries rates on the dev splits.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any

import typer

import harness
from harness.leaderboard import load_all
from harness.report.experiments import Changes, for_each_seed, run_of, runs_of, where_runs_are
from harness.report.markdown import difference, head, mean, mean_difference, row
from harness.schema import Entry
from harness.shown import echo
from methods.modula import costs
from methods.modula.plugin import DOMAINS

MODEL = "lab/errands"
NEW = "news"
"""The domain that is added afterwards; until then, what training on others does to it."""
TRAINED = ("lora", "molora", "modula-flan", "modula-without-residual", "modula")
CONTROL = "modula-uniform"
GENERAL = "errands_general"
ORACLE, UNIVERSAL = "oracle routing", "universal alone"

app = typer.Typer(add_completion=False, help=__doc__)
Boards = Annotated[Path, typer.Option(help="Folder of leaderboards.")]
Runs = Annotated[Path, typer.Option(help="Folder of runs.")]
Seeds = Annotated[str, typer.Option(help="A number of seeds (5), or seeds by comma (4,).")]


def task(domain: str) -> str:
    """The task that tests a domain."""
    return f"errands_{domain}"


def without(domains: Iterable[str]) -> dict[str, Any]:
    """Settings that leave domains out."""
    return {f"data.domains.{name}": None for name in domains}


TASKS = (*map(task, DOMAINS), GENERAL, task(NEW))
ADDED: Changes = {f"data.domains.{NEW}": f"lab/errands-{NEW}"}


def staged(*experts: float) -> list[Changes]:
    """Rates of experts, each with rates of routers."""
    return [
        {"experts.lr": expert, "router.lr": router} for expert in experts for router in (3e-3, 3e-2)
    ]


TRIALS: Mapping[str, Sequence[Changes]] = {
    UNIVERSAL: [{"universal.lr": rate, **without(DOMAINS)} for rate in (1e-3, 3e-3, 1e-2)],
    "lora": [{"train.lr": rate} for rate in (3e-4, 1e-3, 3e-3)],
    "molora": [{"train.lr": rate} for rate in (1e-3, 3e-3, 1e-2)],
    "modula-flan": staged(3e-3, 1e-2, 3e-2),
    "modula-without-residual": staged(1e-2, 3e-2),
    "modula": staged(1e-2, 3e-2),
}
"""Row -> settings that are tried on dev."""


@app.command()
def run(
    seeds: Seeds = "5", leaderboards: Boards = Path("leaderboards"), runs: Runs = Path("runs")
) -> None:
    """Train and score every method, the controls, and the domain that is added."""
    train = partial(harness.run, seeds=seeds, leaderboards=leaderboards, runs=runs)
    train(method=[*TRAINED, CONTROL], tasks=list(TASKS))
    for domain in DOMAINS:  # one expert alone has all of every token: the oracle's choice
        train(method=[CONTROL], tasks=[task(domain)], set=alone(domain))
    train(method=[CONTROL], tasks=list(TASKS), set=without(DOMAINS))
    train(method=["modula", "molora"], tasks=list(TASKS), set=dict(ADDED))


def alone(domain: str) -> dict[str, Any]:
    """Settings that leave every other domain out."""
    return without(name for name in DOMAINS if name != domain)


@app.command()
def sweep(
    leaderboards: Boards = Path("sweep"),
    runs: Runs = Path("runs"),
    only: Annotated[str, typer.Option(help="Rows by comma: some of all.")] = ",".join(TRIALS),
) -> None:
    """Try rates on the dev splits with one seed; leaderboards of their own: nothing is a result."""
    echo("\n".join(head("method", "rates", "mean", "mean of domains", "general")))
    tasks = [*map(task, DOMAINS), GENERAL]
    for name in only.split(","):
        method = CONTROL if name == UNIVERSAL else name
        for changed in TRIALS[name]:
            entries = harness.run(
                method=[method],
                tasks=tasks,
                split="dev",
                set=dict(changed),
                leaderboards=leaderboards,
                runs=runs,
            )
            rates = [f"{key} {rate:g}" for key, rate in changed.items() if key.endswith(".lr")]
            for each, shown in (("base", ""), (name, ", ".join(rates))):
                found = [e for e in entries if (e.method == "base") == (each == "base")]
                if each == name or (method, changed) == ("lora", TRIALS["lora"][0]):
                    echo(row(each, shown, *_cells(found)))


def _cells(entries: Sequence[Entry]) -> list[str]:
    """Mean over all tasks, over the domains', and the general one, in percent."""
    values = {entry.task.name: entry.metrics[entry.primary].value or 0.0 for entry in entries}
    domains = [values[task(name)] for name in DOMAINS]
    general = values[GENERAL]
    means = (sum(domains) + general) / (len(domains) + 1), sum(domains) / len(domains)
    return [f"{100 * value:.1f}" for value in (*means, general)]


@app.command()
def show(
    seeds: int = 5, leaderboards: Boards = Path("leaderboards"), runs: Runs = Path("runs")
) -> None:
    """Print the tables as Markdown: values, paired differences with 95 % intervals, costs."""
    found = [
        entry
        for (lab, name), board in load_all(leaderboards).items()
        if lab and name in TASKS
        for entry in board.values()
    ]
    arms = _arms(found, seeds)
    for text in (
        quality(arms),
        differences(arms),
        where_runs_are(lambda: spent(arms, runs)),
        where_runs_are(lambda: added(arms, found, runs)),
    ):
        echo("\n".join(text) + "\n")


Arms = Mapping[str, Mapping[str, list[Entry]]]
"""What a row is called -> task -> its runs."""


def _arms(found: Sequence[Entry], seeds: int) -> Arms:
    """Every method and control; each run must be there."""
    arms: dict[str, dict[str, list[Entry]]] = {}
    for name in ("base", *TRAINED, CONTROL):
        arms[name] = {each: _runs(found, each, name, {}, seeds) for each in TASKS}
    universal = without(DOMAINS)
    arms[UNIVERSAL] = {each: _runs(found, each, CONTROL, universal, seeds) for each in TASKS}
    arms[ORACLE] = {
        task(domain): _runs(found, task(domain), CONTROL, alone(domain), seeds)
        for domain in DOMAINS
    }
    return arms


def _runs(
    found: Sequence[Entry], name: str, method: str, changed: Changes, seeds: int
) -> list[Entry]:
    here = [e for e in found if (e.task.name, e.model.name) == (name, MODEL)]
    return runs_of(here, method, changed, [None] if method == "base" else range(seeds))


def quality(arms: Arms) -> list[str]:
    """Percent right by task; first the mean of the domains, with its deviation over seeds."""
    lines = head("method", "mean of domains", *DOMAINS, "general", NEW)
    for name, tasks in arms.items():
        cells = [f"{_percent(tasks[each]):.1f}" if each in tasks else "" for each in TASKS]
        lines.append(row(name, _mean_of_domains(tasks), *cells))
    return lines


def _mean_of_domains(tasks: Mapping[str, list[Entry]]) -> str:
    by_task = [tasks[task(name)] for name in DOMAINS]
    by_seed = [fmean(_percent([entry]) for entry in runs) for runs in zip(*by_task, strict=True)]
    spread = f" ± {stdev(by_seed):.1f}" if len(by_seed) > 1 else ""
    return f"{fmean(by_seed):.1f}{spread}"


def differences(arms: Arms) -> list[str]:
    """Paired differences of `modula` from every other row, by task."""
    ours = arms["modula"]
    lines = head("modula minus", "mean of domains", *DOMAINS, "general", NEW)
    for name, tasks in arms.items():
        if name != "modula":
            cells = [_against(tasks.get(each, []), ours[each]) for each in TASKS]
            lines.append(row(name, _mean_against(tasks, ours), *cells))
    return lines


def _against(other: Sequence[Entry], ours: Sequence[Entry]) -> str:
    return difference(for_each_seed(other, ours), ours) if other else ""


def _mean_against(other: Mapping[str, list[Entry]], ours: Mapping[str, list[Entry]]) -> str:
    names = [task(name) for name in DOMAINS]
    paired = [for_each_seed(other[name], ours[name]) for name in names]
    return mean_difference(paired, [ours[name] for name in names])


def spent(arms: Arms, runs: Path) -> list[str]:
    """What a training takes; seconds are means over seeds, of the machine it was trained on."""
    lines = head("method", "trained parameters", "train tokens", "train FLOPs", "seconds")
    for name in (*TRAINED, CONTROL):
        seeds = [entry.seed for entry in arms[name][GENERAL]]
        took = [costs.of_fit(*_place(runs, name, {}, seed)) for seed in seeds]
        lines.append(row(name, *_shown(took)))
    return lines


def added(arms: Arms, found: Sequence[Entry], runs: Path) -> list[str]:
    """The new domain: what is right before and after, and what adding it took."""
    names = ("trained parameters", "train tokens", "train FLOPs", "seconds")
    lines = head(f"with {NEW}", NEW, "mean of the others", "before", "general", "before", *names)
    took = {}
    seeds = [entry.seed for entry in arms["modula"][GENERAL]]
    for method in ("molora", "modula"):
        after = {each: _runs(found, each, method, ADDED, len(seeds)) for each in TASKS}
        places = [_place(runs, method, ADDED, seed) for seed in seeds]
        took[method] = [
            costs.of_stages(*place, [NEW, "router"]) if method == "modula" else costs.of_fit(*place)
            for place in places
        ]
        before = arms[method]
        cells = [
            f"{_percent(after[task(NEW)]):.1f}",
            _mean_of_domains(after),
            _mean_of_domains(before),
            f"{_percent(after[GENERAL]):.1f}",
            f"{_percent(before[GENERAL]):.1f}",
        ]
        lines.append(row(method, *cells, *_shown(took[method])))
    pairs = zip(_means(took["modula"]), _means(took["molora"]), strict=True)
    lines.append(row("share", *[""] * 5, *(f"{100 * ours / all_:.1f} %" for ours, all_ in pairs)))
    return lines


def _place(runs: Path, method: str, changed: Changes, seed: int | None) -> tuple[Path, str]:
    return run_of(runs, method, changed, seed, TASKS)


def _means(took: Sequence[costs.Took]) -> tuple[float, ...]:
    """Parameters, tokens, operations and seconds, each as the mean over runs."""
    return tuple(map(fmean, zip(*map(costs.figures, took), strict=True)))


def _shown(took: Sequence[costs.Took]) -> list[str]:
    parameters, tokens, operations, seconds = _means(took)
    return [f"{parameters:,.0f}", f"{tokens:,.0f}", f"{operations:.3g}", f"{seconds:.0f}"]


def _percent(entries: Sequence[Entry]) -> float:
    return 100 * mean(entries, entries[0].primary)


if __name__ == "__main__":
    app()
