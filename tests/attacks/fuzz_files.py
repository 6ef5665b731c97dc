"""Spoiled data files, mixtures, pictures, predictions, judgements, leaderboards."""

import json
import random
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.attacks import world as valid
from tests.attacks.fuzz_commands import command
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
    from harness.fitting import dataset_fingerprint
    from harness.parallel import parallel_text
    from harness.plan import open_data
    from harness.records import require_text
    from methods.aspo.data import check_rows
    from methods.fashionklip.rows import broken, check_ids, read_views
    from methods.modula.data import ANSWER, PROMPT
    from methods.poir.collect import questions
    from methods.poir.config import Collect

    data = open_data(str(path))
    dataset_fingerprint(str(path))
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
        from harness.plan import open_data

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

    from harness.plan import open_data
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


def predictions(rng: random.Random, world: World, folder: Path) -> Callable[[], Any]:
    """Outputs that were made elsewhere, scored and recorded."""
    task = rng.choice(("pope", "mmbench", "shr", "wmt", "arc_easy", "gsm8k", "fashion_mnist"))
    rows: list[Any] = valid.OUTPUTS
    if task == "wmt":
        rows = [{**row, "id": f"t{row['id']}"} for row in rows]
    path = written(rows, folder, rng, "out")
    if rng.random() < 0.2:
        path = folder / "out.txt"
        path.write_bytes(spoiled_text("yes\nno\nyes\nno\n", rng))
    field = rng.choice(
        ([], [], ["--field", rng.choice(("output", "a.b", "outputs.0", "", "\x1b"))])
    )
    name = rng.choice(
        ([], [], ["--name", rng.choice(("x", "", "a/b", "\x1b[1m", "a" * 300, ".."))])
    )
    words = ["score", "--task", task, "--predictions", str(path), *field, *name]
    return command([*words, "--source", str(world.folder / f"{task}.jsonl")])


def judgements(rng: random.Random, world: World, folder: Path) -> Callable[[], Any]:
    """FastChat's reviews, AlpacaEval's annotations and gamed baselines, prompts of judges."""
    from harness.judges import Case, open_judge, verdicts
    from tasks.preference.recorded import read_gamed
    from tests.tasks.preference import recorded_files as files

    which = rng.random()
    if which < 0.35:
        parts = {
            "reviews": files.reviews([9, 8], [8, 8], [-1, -1]),
            "questions": files.questions(),
            "answers": [*files.answers("own"), *files.answers("base")],
        }
        wrong = rng.choice(list(parts))
        given = {
            key: str(
                written(rows, folder, rng, key)
                if key == wrong
                else valid.lines(folder / f"{key}.jsonl", rows)
            )
            for key, rows in parts.items()
        }
    elif which < 0.6:
        rows = [files.annotation(1, 1.2), files.annotation(2, None), files.annotation(3, 2)]
        given = {"annotations": str(written(rows, folder, rng))}
    elif which < 0.75:
        rows = [
            {
                **{"index": i, "preference": 0.5, "std_delta_len": 0.1},
                "instruction_difficulty": 0.3,
            }
            for i in range(3)
        ]
        path = written(rows, folder, rng)
        return lambda: read_gamed(path)
    else:
        text = "<|im_start|>user\n{instruction} {output_1} {output_2} m or M<|im_end|>\n"
        (folder / "prompt.txt").write_bytes(spoiled_text(text, rng))
        given = {"model": "m", "base_url": "http://x", "prompt": str(folder / "prompt.txt")}
        return lambda: open_judge("llm", given, folder)
    case = Case.of("How?", "own 1", "base 1")
    return lambda: verdicts(open_judge("recorded", given, folder), [case])


def leaderboards(rng: random.Random, world: World, folder: Path) -> Callable[[], Any]:
    """A leaderboard's file, compared with a whole one."""
    source = rng.choice(sorted(Path(__file__).parents[2].glob("leaderboards/lab/*.json")))
    whole = json.loads(source.read_text(encoding="utf-8"))
    places = rng.sample(sorted(whole["entries"]), min(3, len(whole["entries"])))
    value = {**whole, "entries": {place: whole["entries"][place] for place in places}}
    for side in ("a", "b"):
        (folder / side / "lab").mkdir(parents=True)
        text = json.dumps(value, ensure_ascii=False)
        if side == "b":
            text = json_text(spoiled(value, rng), rng)
        data = text.encode("utf-8", "surrogatepass")
        if side == "b" and rng.random() < 0.3:
            data = spoiled_text(json.dumps(value, indent=0), rng)
        (folder / side / "lab" / source.name).write_bytes(data)
    whole_or_file = rng.choice(("", f"/lab/{source.name}"))
    return command(["compare", f"./a{whole_or_file}", f"./b{whole_or_file}"])


def own_files(rng: random.Random, world: World, folder: Path) -> Callable[[], Any]:
    """Outputs and rows that runs kept, and FashionKLIP's graph."""
    from harness.kept import read_outputs
    from harness.store import load_rows
    from methods.fashionklip.graph import Graph

    rows: Iterable[Any] = [{"id": "1", "outputs": ["a"], "reference": "b"}] * 2
    kind = rng.choice(("outputs", "rows", "graph"))
    if kind == "graph":
        rows = [
            {"chunker": "rules", "threshold": 2},
            {"concept_id": 0, "phrase": "dress", "parent": None, "count": 3},
            {"concept_id": 1, "phrase": "red dress", "parent": 0, "count": 2},
        ]
    text = "".join(json_text(spoiled(row, rng), rng) + "\n" for row in rows)
    data = spoiled_text(text, rng) if rng.random() < 0.5 else text.encode("utf-8", "surrogatepass")
    path = folder / "rows.jsonl"
    path.write_bytes(data)
    return {
        "outputs": lambda: read_outputs(path, 2),
        "rows": lambda: load_rows(path),
        "graph": lambda: Graph.read(path),
    }[kind]


KINDS = {
    "task rows": task_items,
    "more task rows": task_items,
    "training rows": training_rows,
    "arrays": arrays,
    "parallel text": parallel,
    "folders": folders,
    "mixtures": mixture,
    "pictures": picture,
    "predictions": predictions,
    "judgements": judgements,
    "leaderboards": leaderboards,
    "kept files": own_files,
}
