"""The tables of POIR's card: every method and control over seeds, on the errands.

`python -m methods.poir.table run` trains and scores into the leaderboards (`--seeds 0,1` and
`--seeds 2,3,4` can run side by side), `show` prints the tables from them, `sweep` tries rates on
the dev split, `scores` asks how well each score tells good rewrites from bad ones.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer

import harness
from harness.leaderboard import load_all
from harness.report.experiments import Changes, for_each_seed, run_of, runs_of, where_runs_are
from harness.report.markdown import difference, head, mean, row
from harness.schema import Entry
from harness.shown import echo

TASK = "errands_prompts"
UNTRAINED = ("base", "cot-suffix", "poir-untrained")
TRAINED = ("opro", "bpo", "poir-random", "poir-without-recirculation", "poir")
REPEATED = ("poir-without-recirculation", "poir", "bpo")
KINDS = ("good", "vague", "wrong", "dropped", "noisy", "garbled")
ROUNDS = (1, 2, 3)
SCORES = ("clamped", "margin", "good")
"""The lab's own first."""
TRIALS: Mapping[str, Sequence[Changes]] = {
    "poir": [
        *({"train.lr": rate} for rate in (3e-5, 1e-4, 3e-4)),
        *({"train.lr": rate, "loss.beta": 0.5} for rate in (1e-4, 3e-4)),
        {"loss.beta": 0.03},
        {"collect.threshold": 0, "collect.margin": 0},
    ],
    "poir-without-recirculation": [{"train.lr": rate} for rate in (3e-5, 1e-4, 3e-4)],
    "poir-random": [{"train.lr": rate} for rate in (3e-5, 1e-4, 3e-4)],
    "bpo": [{"train.lr": rate} for rate in (1e-4, 3e-4, 1e-3, 3e-3)],
}
"""Row -> settings that are tried on dev."""
LONG = {"train.lr": 3e-4, "train.epochs": 10.7}
"""200 steps at three times the rate."""
GREEDY = {"rewriting.temperature": 0}
LONGER: tuple[Changes, ...] = ({}, {"train.lr": 3e-4}, LONG)
"""From the lab's own setting to too much of it."""

app = typer.Typer(add_completion=False, help=__doc__)
Boards = Annotated[Path, typer.Option(help="Folder of leaderboards.")]
Runs = Annotated[Path, typer.Option(help="Folder of runs.")]
Seeds = Annotated[str, typer.Option(help="A number of seeds (5), or seeds by comma (4,).")]


def arms() -> dict[str, tuple[str, Changes]]:
    """What a row is called -> its method and the settings that it changes."""
    found: dict[str, tuple[str, Changes]] = {name: (name, {}) for name in (*UNTRAINED, *TRAINED)}
    for method in REPEATED:
        for rounds in ROUNDS[1:]:
            found[f"{method}, {rounds} rounds"] = (method, {"rounds": rounds})
    for method in REPEATED[:2]:
        for score in SCORES[1:]:
            found[f"{method}, score {score}"] = (method, {"collect.score": score})
    for changed in LONGER[1:]:
        found[_named("poir", changed)] = ("poir", changed)
    for method in ("poir-untrained", "bpo", "poir"):
        found[f"{method}, greedy"] = (method, GREEDY)
    return found


@app.command()
def run(
    seeds: Seeds = "5", leaderboards: Boards = Path("leaderboards"), runs: Runs = Path("runs")
) -> None:
    """Train and score every row."""
    train = partial(harness.run, tasks=[TASK], seeds=seeds, leaderboards=leaderboards, runs=runs)
    train(method=[*UNTRAINED[1:], *TRAINED])
    for method, changed in arms().values():
        if changed:
            train(method=[method], set=dict(changed))


@app.command()
def sweep(leaderboards: Boards = Path("sweep"), runs: Runs = Path("runs")) -> None:
    """Try rates on the dev split with one seed; leaderboards of their own: nothing is a result."""
    echo("\n".join(head("method", "settings", "win rate", "right", "kept")))
    for method, trials in TRIALS.items():
        for changed in trials:
            entries = harness.run(
                method=[method],
                tasks=[TASK],
                split="dev",
                set=dict(changed),
                leaderboards=leaderboards,
                runs=runs,
            )
            cells = [_percent(entries[-1:], name) for name in ("win_rate", "right", "kept")]
            shown = ", ".join(f"{key} {value:g}" for key, value in changed.items())
            echo(row(method, shown, *cells))


@app.command()
def show(
    seeds: int = 5, leaderboards: Boards = Path("leaderboards"), runs: Runs = Path("runs")
) -> None:
    """Print the tables as Markdown: values, and paired differences with 95 % intervals."""
    board = load_all(leaderboards)[True, TASK]
    found = {
        name: runs_of(
            board.values(),
            method,
            changed,
            [None] if method in UNTRAINED else range(seeds),
        )
        for name, (method, changed) in arms().items()
    }
    tables = [
        quality({name: found[name] for name in (*UNTRAINED, *TRAINED)}),
        differences(found, [name for name in (*UNTRAINED, *TRAINED) if name != "poir"]),
        *(quality(_rounds(found, method)) for method in REPEATED),
        quality(_scores(found)),
        where_runs_are(lambda: collapse(found, runs)),
        quality({name: each for name, each in found.items() if name.endswith("greedy")}),
    ]
    for lines in tables:
        echo("\n".join(lines) + "\n")


def quality(rows: Mapping[str, Sequence[Entry]]) -> list[str]:
    """Win rate, right answers, kept information, kinds of rewrites, length: percent."""
    names = ("win_rate", "right", "kept", *KINDS, "length")
    lines = head("method", *(name.replace("_", " ") for name in names))
    for name, entries in rows.items():
        lines.append(row(name, *(_percent(entries, metric) for metric in names)))
    return lines


def differences(found: Mapping[str, list[Entry]], others: Iterable[str]) -> list[str]:
    """Paired differences of `poir` from other rows."""
    metrics = ("win_rate", "right", "kept")
    lines = head("poir minus", *(metric.replace("_", " ") for metric in metrics))
    ours = found["poir"]
    for name in others:
        paired = for_each_seed(found[name], ours)
        lines.append(row(name, *(difference(paired, ours, metric) for metric in metrics)))
    return lines


def _rounds(found: Mapping[str, list[Entry]], method: str) -> dict[str, list[Entry]]:
    first = {"before": found["poir-untrained"], f"{method}, 1 round": found[method]}
    return first | {f"{method}, {n} rounds": found[f"{method}, {n} rounds"] for n in ROUNDS[1:]}


def _scores(found: Mapping[str, list[Entry]]) -> dict[str, list[Entry]]:
    rows = {}
    for method in REPEATED[:2]:
        rows[f"{method}, score {SCORES[0]}"] = found[method]
        rows |= {(name := f"{method}, score {score}"): found[name] for score in SCORES[1:]}
    return rows


def collapse(found: Mapping[str, list[Entry]], runs: Path) -> list[str]:
    """What the loss says of longer training, and what the rewrites say."""
    lines = head("poir", "last loss", "right", "kept", *KINDS)
    for changed in LONGER:
        name = _named("poir", changed)
        entries = found[name]
        losses = [_last_loss(runs, changed, entry.seed) for entry in entries]
        cells = [_percent(entries, metric) for metric in ("right", "kept", *KINDS)]
        lines.append(row(name, f"{fmean(losses):.3f}", *cells))
    return lines


def _last_loss(runs: Path, changed: Changes, seed: int | None) -> float:
    folder, label = run_of(runs, "poir", changed, seed, [TASK])
    text = (folder / label / "curves.jsonl").read_text(encoding="utf-8")
    losses = [json.loads(line)["loss"] for line in text.splitlines()]
    return fmean(losses[-5:])


def _named(method: str, changed: Changes) -> str:
    return ", ".join([method, *(f"{key} {value:g}" for key, value in changed.items())])


def _percent(entries: Sequence[Entry], metric: str) -> str:
    return f"{100 * mean(entries, metric):.1f}"


@app.command()
def scores(
    checkpoint: Annotated[Path, typer.Argument(help="Of a run of poir-without-recirculation.")],
) -> None:
    """Within-prompt AUC of each score: does it set rewrites that are answered rightly, or that keep
    the information, above those that are not? Of the first round's candidates."""
    from harness.cards import resolve
    from harness.files import read_lines_tolerant
    from harness.models import loading
    from harness.registry import load

    histories = read_lines_tolerant(checkpoint / "collection-1.jsonl")
    histories = [row for row in histories if row["time"] == 1]
    kind = resolve(load("tasks", TASK).card.options["kind"], f"task '{TASK}': option 'kind'")
    model: Any = loading.load(loading.resolve("lab/errands"), "causal-lm")
    rows = load("datasets", "lab/errands-prompts").rows()
    wanted = {each["prompt"]: each["good_res"] for each in rows}
    prompts = [(h["prompt"], _distinct(h)) for h in histories]
    said = iter(
        model.generate([f"{c['prompt']} =" for _, some in prompts for c in some], max_new_tokens=32)
    )
    truths: dict[str, list[list[bool]]] = {"right": [], "kept": []}
    for prompt, some in prompts:
        truths["right"].append([next(said) == wanted[prompt] for _ in some])
        truths["kept"].append([kind(prompt, c["prompt"]) in ("good", "vague") for c in some])
    echo("\n".join(head("score", *(f"AUC of {name}" for name in truths))))
    for name in SCORES:
        values = [[_value(c, name) for c in some] for _, some in prompts]
        echo(row(name, *(f"{within(values, truth):.3f}" for truth in truths.values())))


def _distinct(history: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    scored = [c for c in history["candidates"] if c["score"] is not None]
    return list({c["prompt"]: c for c in scored}.values())


def _value(candidate: Mapping[str, Any], score: str) -> float:
    from methods.poir.config import Collect
    from methods.poir.scoring import combined

    settings = Collect(score=score)  # type: ignore[arg-type]
    return combined(candidate["good"], candidate["bad"], settings)


def within(values: Sequence[Sequence[float]], truths: Sequence[Sequence[bool]]) -> float:
    """Mean AUC over the prompts whose candidates are not all alike."""
    from sklearn.metrics import roc_auc_score

    return fmean(
        float(roc_auc_score(truth, value))
        for value, truth in zip(values, truths, strict=True)
        if len(set(truth)) == 2
    )


if __name__ == "__main__":
    app()
