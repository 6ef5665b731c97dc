"""Hostile command lines, config files and cards."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from harness import cli
from tests.attacks import world as valid
from tests.attacks.mutations import VALUES, json_text, spoiled, spoiled_text, yaml_text
from tests.attacks.world import World

APP = cli.app
ROOT = Path(__file__).parents[2]
METHODS = {
    "dpo": ("pope", ("loss.beta", "train.lr", "train.lora.r", "pairs.limit", "train.betas")),
    "aspo": ("pope", ("similarity.model", "loss.alpha", "train", "train.freeze", "train.lora")),
    "ctsd": ("wmt", ("data.source", "decoding.num_beams", "loss.window", "train.lora.targets")),
    "modula": ("arc_easy", ("ranks.expert", "data.domains.math", "targets", "data", "universal")),
    "poir": ("vicuna_eval", ("rewriting.template", "collect.temperature", "collect", "rewriting")),
    "fashionklip": ("fashion_catalog", ("concepts.prompt", "train.epochs", "concepts", "view")),
}
"""Method -> a task for it and fields of its config."""
OPTIONS = (
    ("wmt", ("source", "target", "tokenizer", "references", "ngram", "concepts", "separator")),
    ("shr", ("judges", "question")),
    ("mmbench", ("chinese",)),
    ("llavabench", ("context", "references")),
    ("vicuna_eval", ("baseline", "orders", "instruction", "responder", "endpoint", "kind")),
    ("alpaca_eval", ("gamed", "baseline", "endpoint_key", "reference")),
    ("mtbench", ("turns", "references", "referred", "category")),
    ("fashion_catalog_sample100", ("queries", "draws", "seed", "title", "image", "skip_broken")),
    ("fashion_mnist", ("labels", "prompt", "label")),
    ("arc_easy", ("task", "shots", "rows", "category", "ids", "run_code")),
)
PARTS = ("a", "é", "\udcff", "\x1b[2J", "\n", "=", ",", ".", "/", "..", " ", "{x}", "%s", "--help")
JUDGED = ["--judge", "llm", "--judge-option", "model=m", "--judge-option", "base_url=http://x"]


def command(words: Sequence[str]) -> Callable[[], Any]:
    """A command line, with folders of its own."""
    given = [*words]
    if given[0] in ("run", "score"):
        given += ["--runs", "runs", "--leaderboards", "boards"]
    # A system hands over neither NUL nor what its encoding cannot say.
    plain = [word.replace("\x00", "").encode("utf-8", "replace").decode() for word in given]
    surrogate = [a if "\udcff" in a else b for a, b in zip(given, plain, strict=True)]
    return lambda: APP(surrogate, standalone_mode=False)


def text(rng: random.Random) -> str:
    """A value as somebody may type it."""
    found = rng.choice(
        (
            lambda: yaml_text(rng),
            lambda: yaml_text(rng),
            lambda: json_text(rng.choice(VALUES)),
            lambda: str(rng.choice(VALUES)),
            lambda: "".join(rng.choices(PARTS, k=rng.choice((1, 2, 5)))),
            lambda: "".join(chr(rng.randrange(1, 0x3000)) for _ in range(rng.choice((1, 4, 30)))),
        )
    )
    return found()


def _planned(world: World, method: str, task: str, more: Sequence[str]) -> Callable[[], Any]:
    """A dry run on small files."""
    source = world.folder / f"{task}.jsonl"
    words = ["run", "--method", method, "--tasks", task, "--limit", "2", "--dry-run"]
    words += ["--source", f"{task}={source}", "--model", str(world.models["llama"][1])]
    judged = JUDGED if task in ("vicuna_eval", "alpaca_eval", "mtbench", "llavabench") else []
    return command([*words, "--dataset", str(source), *judged, *more])


def settings(rng: random.Random, world: World, folder: Path) -> Callable[[], Any]:
    """`--set`."""
    method = rng.choice(list(METHODS))
    task, fields = METHODS[method]
    more = []
    for _ in range(rng.choice((1, 1, 2))):
        field = rng.choice(fields) if rng.random() < 0.8 else rng.choice((text(rng), "a.b", "."))
        more += ["--set", f"{field}={text(rng)}"]
    return _planned(world, method, task, more)


def options(rng: random.Random, world: World, folder: Path) -> Callable[[], Any]:
    """`--option`."""
    task, fields = rng.choice(OPTIONS)
    field = rng.choice(fields) if rng.random() < 0.85 else text(rng)
    return _planned(world, "base", task, ["--option", f"{task}.{field}={text(rng)}"])


def judges(rng: random.Random, world: World, folder: Path) -> Callable[[], Any]:
    """`--judge` and `--judge-option`."""
    fields = (
        *("model", "base_url", "key_variable", "max_tokens", "parallel", "timeout", "prompt"),
        *("reviews", "questions", "answers", "annotations", "x", "retries"),
    )
    judge = rng.choice(("llm", "recorded", "reward", "lab", "llm", text(rng)))
    more = ["--judge", judge]
    for _ in range(rng.choice((1, 2, 3))):
        more += ["--judge-option", f"{rng.choice(fields)}={text(rng)}"]
    if judge == "llm" and rng.random() < 0.7:  # else a model is looked for
        more += ["--judge-option", "model=m", "--judge-option", "base_url=http://x"]
    return _planned(world, "base", rng.choice(("vicuna_eval", "mtbench")), more)


def places(rng: random.Random, world: World, folder: Path) -> Callable[[], Any]:
    """`--source`, `--engine`, `--dataset` and `--model` as somebody mistypes them."""
    option = rng.choice(("--source", "--engine", "--dataset", "--model", "--runs"))
    value = text(rng)
    if option in ("--source", "--engine"):
        value = f"{rng.choice(('wmt', 'comet', text(rng)))}={value}"
    if option in ("--model", "--dataset", "--source") and value.count("/") == 1:
        value = value.replace("/", "//")  # else the hub is asked
    return _planned(world, rng.choice(("base", "ctsd")), "wmt", [option, value])


def names(rng: random.Random, world: World, folder: Path) -> Callable[[], Any]:
    """Names and numbers of every other option, and of `show`, `list`, `build`, `engines`."""
    if rng.random() < 0.4:
        verb = rng.choice(("show", "list", "build", "engines", "compare", "score", ""))
        words = [each for each in (verb, *(text(rng) for _ in range(rng.randrange(3)))) if each]
        rooms = ("lm_eval", "flan", "bpo_sets", "pope", "lab", "comet", "lab/scenes", "lab/titles")
        if verb == "show" and rng.random() < 0.5:
            words = ["show", rng.choice((*rooms, f"{rng.choice(rooms)}/{text(rng)}"))]
        return command(words or [""])
    option = rng.choice(
        ("--method", "--tasks", "--profile", "--split", "--seeds", "--baseline", "--limit")
    )
    task = rng.choice(("pope", "lm_eval/gsm8k", "arc_easy", "lm_eval", "flan", text(rng)))
    words = ["run", "--method", "base", "--tasks", task, "--limit", "1", "--dry-run"]
    return command([*words, option, text(rng)])


def config_file(rng: random.Random, world: World, folder: Path) -> Callable[[], Any]:
    """A config in YAML."""
    import yaml

    more = {
        "source": {"pope": str(world.folder / "pope.jsonl")},
        "model": str(world.models["llava"][1]),
        "dataset": str(world.folder / "pope.jsonl"),
        "option": {"pope": {"x": 1}} if rng.random() < 0.1 else {},
        "judge_option": {},
        "engine": {},
    }
    value, which = {**valid.CONFIG, **more}, rng.random()
    if which < 0.5:
        data = json_text(spoiled(value, rng), rng).encode("utf-8", "surrogatepass")
    elif which < 0.75:
        data = spoiled_text(yaml.safe_dump(value), rng)
    else:
        field = rng.choice((*value, ""))
        hostile = yaml_text(rng)
        data = (f"{field}: {hostile}" if field else hostile).encode("utf-8", "surrogatepass")
        if rng.random() < 0.5:
            data = yaml.safe_dump({k: v for k, v in value.items() if k != field}).encode() + data
    (folder / "run.yaml").write_bytes(data)
    return command(["run", "run.yaml", "--dry-run"])


def python(rng: random.Random, world: World, folder: Path) -> Callable[[], Any]:
    """`harness.run` with values of any type; nothing is run."""
    from harness.configs import run_config
    from harness.plan import make_plan

    value = {
        **valid.CONFIG,
        "source": {"pope": str(world.folder / "pope.jsonl")},
        "model": str(world.models["llava"][1]),
        "dataset": str(world.folder / "pope.jsonl"),
    }
    given = spoiled(value, rng)
    if rng.random() < 0.2:
        odd = (b"bytes", {1: 2}, {None: 3}, object(), {"a"}, 3 + 2j, Path("x"), range(10**12))
        given = {**value, rng.choice(list(value)): rng.choice(odd)}
    given = given if isinstance(given, dict) else {"set": given}
    return lambda: make_plan(run_config({str(key): each for key, each in given.items()}))


def cards(rng: random.Random, world: World, folder: Path) -> Callable[[], Any]:
    """A card, read and planned as a registered task's is."""
    import yaml

    name = rng.choice(("pope", "mmbench", "shr", "wmt", "arc_easy", "fashion_mnist", "vicuna_eval"))
    (file,) = ROOT.glob(f"tasks/*/cards/{name}.yaml")
    value = yaml.safe_load(file.read_text(encoding="utf-8"))
    path, which = folder / f"{name}.yaml", rng.random()
    if which < 0.6:
        data = json_text(spoiled(value, rng), rng).encode("utf-8", "surrogatepass")
    elif which < 0.8:
        data = spoiled_text(file.read_text(encoding="utf-8"), rng)
    else:
        field = rng.choice(list(value))
        kept = yaml.safe_dump({key: each for key, each in value.items() if key != field})
        data = f"{kept}{field}: {yaml_text(rng)}".encode("utf-8", "replace")
    path.write_bytes(data)
    return lambda: _card_planned(path, world.folder / f"{name}.jsonl")


def _card_planned(path: Path, source: Path) -> None:
    from harness import registry
    from harness.cards import load_task
    from harness.configs import run_config
    from harness.plan import scored_task

    task, load = load_task(path), registry.load
    asked: dict[str, Any] = {"method": "outputs", "tasks": path.stem, "source": {path.stem: source}}
    asked["source"] = {path.stem: str(source)}
    if task.card.judge:
        asked |= {"judge": "llm", "judge_option": {"model": "m", "base_url": "http://x"}}
    with patch.object(
        registry, "load", lambda kind, name: task if kind == "tasks" else load(kind, name)
    ):
        scored_task(path.stem, run_config(asked))


KINDS = {
    "--set": settings,
    "--option": options,
    "--judge-option": judges,
    "places": places,
    "names": names,
    "config files": config_file,
    "python": python,
    "cards": cards,
}
