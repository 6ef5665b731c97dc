"""The tables of FashionKLIP's card: every method and control over seeds, drawn and real garments.

`python -m methods.fashionklip.table run` trains and scores on the lab; `run --catalogue FOLDER` on
a shop's catalogue that `catalogue FILE --out FOLDER` has split by product, from the lab's base.
`show` prints the tables from leaderboards and runs, `sweep` tries rates on the dev splits.
"""

import html
import json
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any, NamedTuple

import typer

import harness
from harness.leaderboard import load_all
from harness.report.experiments import Changes, for_each_seed, run_of, runs_of, where_runs_are
from harness.report.markdown import difference, head, mean, row
from harness.schema import Entry
from harness.shown import echo

MODEL = "lab/garments-clip"
METHODS = (
    "clip",
    "fashionklip",
    "fashionklip-frozen",
    "fashionklip-random",
    "fashionklip-as-released",
)
KNOWN = "fashionklip-true"
"""The control that needs a dataset that knows what is true."""
EQUAL_TIME = "clip, equal time"
AGAINST = ("clip", EQUAL_TIME, "fashionklip-random")
"""Rows that the others are compared with."""


class World(NamedTuple):
    """Where methods are compared."""

    tasks: tuple[str, str]
    """Every candidate, and among 100."""
    methods: tuple[str, ...]
    changed: Changes
    """Settings of every method."""
    epochs: int
    """Of `clip` in the time that `fashionklip` takes."""

    def rows(self) -> Iterator[tuple[str, str, Changes]]:
        """Each row's name, method and changed settings."""
        for method in self.methods:
            yield method, method, self.changed
            if method == "clip":
                yield EQUAL_TIME, method, {**self.changed, "train.epochs": self.epochs}


LAB = World(("garments", "garments_sample100"), (*METHODS, KNOWN), {}, 18)
SHOP = World(
    ("fashion_catalog", "fashion_catalog_sample100"),
    METHODS,
    {"train.epochs": 40, "train.batch_size": 64, "train.micro_batch": 64},
    60,
)
RATES = (1e-3, 3e-3, 1e-2)
PARTS = {"train": 0.5, "dev": 0.2, "test": 0.3}
"""Shares of a catalogue's products."""
RECALLS = {f"{way} R@{k}": f"{way.lower()}_r{k}" for way in ("I2T", "T2I") for k in (1, 5, 10)}
SEEN = ("seen", "held out")

app = typer.Typer(add_completion=False, help=__doc__)
Boards = Annotated[Path, typer.Option(help="Folder of leaderboards.")]
Runs = Annotated[Path, typer.Option(help="Folder of runs.")]
Seeds = Annotated[str, typer.Option(help="A number of seeds (5), or seeds by comma (4,).")]
Catalogue = Annotated[
    Path | None, typer.Option(help="Folder that `catalogue` wrote; the lab without it.")
]
Other = Annotated[Path | None, typer.Option(help="Other shops' products, to test on as well.")]


@app.command()
def run(
    seeds: Seeds = "5",
    catalogue: Catalogue = None,
    other: Other = None,
    leaderboards: Boards = Path("leaderboards"),
    runs: Runs = Path("runs"),
) -> None:
    """Train and score every method and control."""
    world = LAB if catalogue is None else SHOP
    for _, method, changed in world.rows():
        for asked in _asked(world, catalogue, other):
            harness.run(
                method=[method],
                seeds=seeds,
                set=dict(changed),
                leaderboards=leaderboards,
                runs=runs,
                **asked,
            )


def _asked(world: World, catalogue: Path | None, other: Path | None) -> Iterator[dict[str, Any]]:
    """Settings of the runs of one row: on the held-out part, then on other shops."""
    tasks = list(world.tasks)
    if catalogue is None:
        yield {"tasks": tasks}
        return
    asked = {"tasks": tasks, "model": MODEL, "dataset": str(catalogue)}
    parts = {f"{task}.category": "combination" for task in tasks}
    yield {**asked, "source": dict.fromkeys(tasks, str(catalogue)), "option": parts}
    if other is not None:
        yield {**asked, "source": dict.fromkeys(tasks, str(other))}


@app.command()
def sweep(
    catalogue: Catalogue = None,
    methods: Annotated[str, typer.Option(help="Methods by comma.")] = "clip,fashionklip",
    leaderboards: Boards = Path("sweep"),
    runs: Runs = Path("runs"),
) -> None:
    """Try rates on the dev splits with one seed; leaderboards of their own: nothing is a result."""
    world = LAB if catalogue is None else SHOP
    echo("\n".join(head("method", "rate", *world.tasks)))
    asked = next(_asked(world, catalogue, None))
    for method in methods.split(","):
        for rate in RATES:
            entries = harness.run(
                method=[method],
                split="dev",
                set={**world.changed, "train.lr": rate},
                leaderboards=leaderboards,
                runs=runs,
                **asked,
            )
            for name in ("base", method) if (method, rate) == ("clip", RATES[0]) else (method,):
                values = [f"{100 * mean([e], e.primary):.1f}" for e in entries if e.method == name]
                echo(row(name, "" if name == "base" else f"{rate:g}", *values))


@app.command()
def catalogue(
    file: Annotated[Path, typer.Argument(help="JSON lines with product, caption and image.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
) -> None:
    """Split a catalogue by product, and mark which pairs of category and colour training has."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    products = sorted({str(row.get("product", row["id"])) for row in rows})
    random.Random(0).shuffle(products)
    part_of: dict[str, str] = {}
    for name, share in PARTS.items():
        first = len(part_of)
        for product in products[first : first + round(share * len(products))]:
            part_of[product] = name
    parts: dict[str, list[dict[str, Any]]] = {name: [] for name in PARTS}
    for each in rows:
        product = str(each.get("product", each["id"]))
        image = os.path.relpath((file.parent / each["image"]).resolve(), out.resolve())
        category = str(each["category"])
        title = html.unescape(str(each.get("caption") or each["title"]))
        known = {"id": each["id"], "product": product, "title": title, "image": image}
        kind = f"{category} {each.get('color')}"
        parts[part_of.get(product, "test")].append(
            {**known, "subcategory": category, "combination": kind}
        )
    seen = {each["combination"] for each in parts["train"]}
    out.mkdir(parents=True, exist_ok=True)
    for name, some in parts.items():
        for each in some:
            each["combination"] = "seen" if each["combination"] in seen else "held out"
        lines = [json.dumps(each, ensure_ascii=False) for each in some]
        (out / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        echo(f"{name}: {len(some)} pictures of {len({r['product'] for r in some})} products")


Arms = Mapping[str, list[Entry]]
"""Row -> its runs of one task."""


@app.command()
def show(
    seeds: int = 5,
    catalogue: Catalogue = None,
    other: Other = None,
    leaderboards: Boards = Path("leaderboards"),
    runs: Runs = Path("runs"),
) -> None:
    """Print the tables as Markdown: values, paired differences with 95 % intervals, concepts."""
    world = LAB if catalogue is None else SHOP
    boards = {task: list(board.values()) for (_, task), board in load_all(leaderboards).items()}
    for tested in (catalogue, other) if other else (catalogue,):
        for task in world.tasks:
            found = [entry for entry in boards.get(task, []) if _is_of(entry, tested)]
            arms = _arms(found, world, seeds)
            echo(f"\n**{task}**{'' if tested is None else f', {tested.name}'}\n")
            echo("\n".join([*quality(arms), "", *differences(arms)]))
    table = where_runs_are(lambda: trainings(world, catalogue, runs, seeds))
    echo("\n" + "\n".join(table))


def _is_of(entry: Entry, tested: Path | None) -> bool:
    return tested is None or entry.task.source.startswith(f"{tested.name}@")


def _arms(found: Sequence[Entry], world: World, seeds: int) -> Arms:
    """Every method and control; each run must be there."""
    arms = {"base": runs_of(found, "base", {}, [None])}
    for name, method, changed in world.rows():
        arms[name] = runs_of(found, method, changed, range(seeds))
    return arms


def quality(arms: Arms) -> list[str]:
    """Percent; mean recall with its deviation over seeds, recalls, median ranks, and parts."""
    parts = [each for each in SEEN if each in arms["base"][0].categories]
    lines = head("method", "mean recall", *RECALLS, "median ranks", *parts)
    for name, entries in arms.items():
        by_seed = [100 * mean([entry], "mean_recall") for entry in entries]
        spread = f" ± {stdev(by_seed):.1f}" if len(by_seed) > 1 else ""
        cells = [f"{100 * mean(entries, metric):.1f}" for metric in RECALLS.values()]
        ranks = (f"{mean(entries, f'{way}_median_rank'):.1f}" for way in ("i2t", "t2i"))
        values = (
            100 * fmean(entry.categories[part]["mean_recall"].value or 0.0 for entry in entries)
            for part in parts
        )
        shown = (f"{value:.1f}" for value in values)
        lines.append(row(name, f"{fmean(by_seed):.1f}{spread}", *cells, ", ".join(ranks), *shown))
    return lines


def differences(arms: Arms) -> list[str]:
    """Paired differences in mean recall, and in both recalls at 1 from `clip`."""
    more = ("i2t_r1", "t2i_r1")
    lines = head(
        "mean recall", *(f"minus {name}" for name in AGAINST), "I2T R@1 minus clip", "T2I R@1"
    )
    for name, entries in arms.items():
        if name not in ("base", "clip"):
            cells = [
                "" if each == name else difference(for_each_seed(arms[each], entries), entries)
                for each in AGAINST
            ]
            cells += [difference(arms["clip"], entries, metric) for metric in more]
            lines.append(row(name, *cells))
    return lines


def trainings(world: World, catalogue: Path | None, runs: Path, seeds: int) -> list[str]:
    """What a training takes, and how many of the concepts' images are right before its epochs."""
    lines = head("method", "steps", "seconds", "concepts", "images right: first epoch", "last")
    asked = {} if catalogue is None else {"model": MODEL, "dataset": str(catalogue)}
    for name, method, changed in world.rows():
        places = [run_of(runs, method, changed, s, world.tasks, **asked) for s in range(seeds)]
        fits = [(run / label / "checkpoint").resolve().parent for run, label in places]
        steps = {_lines(fit / "curves.jsonl")[-1]["step"] for fit in fits}
        seconds = fmean(json.loads((fit / "fit.json").read_text())["seconds"] for fit in fits)
        noted = [_lines(fit / "concepts.jsonl") for fit in fits]
        cells = [", ".join(map(str, sorted(steps))), f"{seconds:.0f}"]
        if all(noted):
            cells.append(f"{fmean(each[0]['concepts'] for each in noted):.0f}")
            for index in (0, -1):
                right = [each[index].get("right") for each in noted]
                known = [100 * value for value in right if value is not None]
                cells.append(f"{fmean(known):.0f} %" if known else "")
        lines.append(row(name, *cells, *[""] * (5 - len(cells))))
    return lines


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    app()
