"""Spoiled data files, mixtures, pictures, predictions, judgements, leaderboards."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.attacks import world as valid
from tests.attacks.mutations import VALUES, json_text, spoiled, spoiled_bytes, spoiled_text
from tests.attacks.world import World

FORMATS = ("jsonl", "json", "tsv", "csv", "parquet", "jsonl.gz", "tsv.gz", "json.gz")
CODECS = ("NONE", "SNAPPY", "GZIP", "ZSTD")


def written(rows: list[Any], folder: Path, rng: random.Random, name: str = "data") -> Path:
    """Rows as a file of some format: their values spoiled, or the file, or both."""
    kind = rng.choice(FORMATS)
    path = folder / f"{name}.{kind}"
    if rng.random() < 0.7:
        rows = [spoiled(row, rng) if rng.random() < 0.5 else row for row in rows]
    if kind == "parquet":
        path.write_bytes(_parquet(rows, rng))
        return path
    if kind.startswith(("tsv", "csv")):
        mappings = [row for row in rows if isinstance(row, dict)] or [{"a": "b"}]
        text = valid.table(
            [{str(k): v for k, v in row.items()} for row in mappings],
            "\t" if "tsv" in kind else ",",
        )
    elif kind.startswith("jsonl"):
        text = "".join(json_text(row, rng) + "\n" for row in rows)
    else:
        text = json_text(spoiled(rows, rng) if rng.random() < 0.3 else rows, rng)
    data = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.4:
        data = spoiled_text(text, rng)
    if kind.endswith(".gz"):
        data = valid.gzipped(data)
        data = spoiled_bytes(data, rng) if rng.random() < 0.5 else data
    path.write_bytes(data)
    return path


def _parquet(rows: list[Any], rng: random.Random) -> bytes:
    how = {"compression": rng.choice(CODECS), "use_dictionary": rng.random() < 0.5}
    try:
        data = valid.parquet([row for row in rows if isinstance(row, dict)], **how)
    except Exception:  # what arrow has no column for
        data = valid.parquet([{"a": "b", "image": {"bytes": b"x", "path": None}}], **how)
    return spoiled_bytes(data, rng) if rng.random() < 0.8 else data


def task_items(rng: random.Random, world: World, folder: Path) -> Callable[[], Any]:
    """The rows of a task, through the plan and the tables of a run's answers."""
    task = rng.choice(list(valid.TASKS))
    path = written(valid.TASKS[task], folder, rng)
    (folder / "images").symlink_to(world.folder / "images")
    from harness.configs import run_config
    from harness.plan import scored_task

    asked = {"method": "outputs", "tasks": task, "source": {task: str(path)}, "profile": "lab"}
    more = {"judge": "llm", "judge_option": {"model": "m", "base_url": "http://x"}}
    judged = task in ("mmvet", "llavabench", "vicuna_eval", "alpaca_eval", "mtbench")
    return lambda: scored_task(task, run_config({**asked, **(more if judged else {})}))


def training_rows(rng: random.Random, world: World, folder: Path) -> Callable[[], Any]:
    """The rows of a training set, as each method reads them before it trains."""
    name = rng.choice(("aspo", "ctsd", "modula", "poir", "fashionklip"))
    rows = {
        **{"aspo": valid.PAIRS, "ctsd": valid.WMT, "modula": valid.PROMPTS},
        **{"poir": valid.PROMPTS, "fashionklip": valid.CATALOGUE},
    }[name]
    path = written(rows, folder, rng)
    (folder / "images").symlink_to(world.folder / "images")
    return lambda: _train_reader(name, path)


def _train_reader(name: str, path: Path) -> None:
    from harness.opening import open_data, training_set
    from harness.parallel import parallel_text
    from harness.records import require_text
    from methods.aspo.data import check_rows
    from methods.fashionklip.rows import broken, check_ids, read_views
    from methods.modula.data import ANSWER, PROMPT
    from methods.poir.collect import questions
    from methods.poir.config import Collect

    data = open_data(str(path))
    training_set(str(path))
    rows = data.rows()
    if name == "aspo":
        check_rows(rows, data, "<image>")
    elif name == "ctsd":
        for index, row in enumerate(rows):
            parallel_text(row, "en", "de", data.place(None, index))
    elif name == "modula":
        for index, row in enumerate(rows):
            require_text(row, data.place(None, index), *PROMPT)
            require_text(row, data.place(None, index), *ANSWER)
    elif name == "poir":
        questions(rows, data, Collect())
    else:
        check_ids(read_views(data, rows))
        for index, row in enumerate(rows):
            broken(row, data.place(None, index))


def arrays(rng: random.Random, world: World, folder: Path) -> Callable[[], Any]:
    """HDF5 and npz."""
    kind = rng.choice(("h5", "npz"))
    path = folder / f"data.{kind}"
    how = rng.choice(({}, {"compression": "gzip", "chunks": True}, {"fletcher32": True}))
    data = valid.npz() if kind == "npz" else valid.hdf5(path, **how)
    path.write_bytes(spoiled_bytes(data, rng))
    task = rng.choice(("fashion_mnist", "fashion_catalog"))

    def read() -> None:
        from harness.models.pictures import open_picture
        from harness.opening import open_data

        for row in open_data(str(path)).rows():
            if "image" in row:
                open_picture(row["image"])

    from harness.configs import run_config
    from harness.plan import scored_task

    asked = {"method": "outputs", "tasks": task, "source": {task: str(path)}}
    return read if rng.random() < 0.5 else lambda: scored_task(task, run_config(asked))


def parallel(rng: random.Random, world: World, folder: Path) -> Callable[[], Any]:
    """Parallel text, taxonomies by their branches, sacrebleu's names."""
    from harness.sources import open_dataset

    if rng.random() < 0.2:
        sets = ("wmt20/en-de", "wmt20", "", "/", "wmt20/xx", "\x1b[2J/en-de", "wmt99/en-de", "//")
        name = f"sacrebleu:{rng.choice(sets)}{rng.choice(('', '', ':branches'))}"
        return lambda: open_dataset(name).rows()
    if rng.random() < 0.4:
        rows = [{"id": f"ap-{i}-{i % 7}", "en": f"red {i}", "de": "rot"} for i in range(60)]
        path = written(rows, folder, rng)
        return lambda: [open_dataset(f"{path}:branches").rows(s) for s in ("train", "dev", "test")]
    codes = rng.sample(("en", "de", "zh-CN", "ref2.de", "en.gz", "txt", "e\x1bn", "xx", "de.gz"), 2)
    for code in codes:
        text = "red dress\nblue shirt\n" * rng.choice((1, 1, 2))
        data = spoiled_text(text, rng) if rng.random() < 0.6 else text.encode()
        (folder / f"news.{code}").write_bytes(valid.gzipped(data) if code[-2:] == "gz" else data)
    return lambda: open_dataset(str(folder / "news")).rows()


def folders(rng: random.Random, world: World, folder: Path) -> Callable[[], Any]:
    """A folder of files by split, with what does not belong there."""
    from harness.sources import open_dataset

    for name in rng.sample(("train", "dev", "test", "validation", "x", ".hidden", "te\nst"), 3):
        written(rng.choice(list(valid.TASKS.values())), folder, rng, name)
    if rng.random() < 0.3:
        (folder / rng.choice(("sub.jsonl", "sub.csv", "sub"))).mkdir()
    if rng.random() < 0.2:
        (folder / "gone.jsonl").symlink_to(folder / "nowhere.jsonl")

    def read() -> None:
        data = open_dataset(str(folder))
        for split in data.splits():
            list(data.rows(split))

    return read


def mixture(rng: random.Random, world: World, folder: Path) -> Callable[[], Any]:
    """A mixture's file and Flan's templates."""
    import yaml

    from harness.opening import open_data
    from tests.attacks.mutations import yaml_text

    for name in ("prompts.jsonl", "templates.json"):
        shutil.copy(world.folder / name, folder)
    which, path = rng.random(), folder / "both.yaml"
    path.write_text(yaml.safe_dump(valid.MIXTURE), encoding="utf-8")
    if which < 0.25:
        text = json_text(spoiled(valid.TEMPLATES, rng), rng)
        data = spoiled_text(text, rng) if rng.random() < 0.4 else text.encode("utf-8", "replace")
        (folder / "templates.json").write_bytes(data)
    elif which < 0.6:
        text = json_text(spoiled(valid.MIXTURE, rng), rng)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
    elif which < 0.8:
        path.write_bytes(spoiled_text(yaml.safe_dump(valid.MIXTURE), rng))
    else:
        path.write_bytes(yaml_text(rng).encode("utf-8", "surrogatepass"))
    return lambda: list(open_data(str(path)).rows())


def picture(rng: random.Random, world: World, folder: Path) -> Callable[[], Any]:
    """A picture as a file, as bytes, as base64."""
    import base64

    from harness.models.pictures import open_picture
    from harness.picture_cells import resolve_picture

    source = rng.choice(sorted((world.folder / "images").iterdir()))
    data = spoiled_bytes(source.read_bytes(), rng)
    path = folder / source.name
    path.write_bytes(data)
    cell = rng.choice(
        (source.name, data, {"bytes": data, "path": None}, base64.b64encode(data).decode())
    )
    if rng.random() < 0.2:
        cell = rng.choice((*VALUES, "data:image/png;base64,", {"bytes": 3}, {"path": 3}))
    return lambda: open_picture(resolve_picture(cell, folder, "data.jsonl line 1"))


KINDS = {
    "task rows": task_items,
    "more task rows": task_items,
    "training rows": training_rows,
    "arrays": arrays,
    "parallel text": parallel,
    "folders": folders,
    "mixtures": mixture,
    "pictures": picture,
}
