"""Spoiled predictions, judgements, leaderboards and what runs kept."""

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.attacks import world as valid
from tests.attacks.fuzz_commands import command
from tests.attacks.fuzz_files import written
from tests.attacks.mutations import json_text, spoiled, spoiled_text
from tests.attacks.world import World


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
    from harness.seals import read_rows
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
        "rows": lambda: read_rows(path),
        "graph": lambda: Graph.read(path),
    }[kind]


KINDS = {
    "predictions": predictions,
    "judgements": judgements,
    "leaderboards": leaderboards,
    "kept files": own_files,
}
