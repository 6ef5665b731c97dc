"""Spoiled folders of models, and what endpoints and engines answer."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.attacks.mutations import VALUES, json_text, spoiled, spoiled_bytes, spoiled_text
from tests.attacks.world import World

TEMPLATES = (
    *("{{", "{%", "{% for x in messages %}", "{{ messages.0.content.x.y }}", "{{ 1 / 0 }}"),
    *("{{ raise_exception('no') }}", "{% include 'x' %}", "{{ ''.__class__ }}", "{{ x() }}"),
    *("{{ messages[9].role }}", "{% set x = range(10**9) %}", "{{ 'a' * 10**7 }}", "\x00"),
    *("{{ 1|x }}", "{{ messages }}", "", "{#", "{% break %}"),
    "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
)


def model(rng: random.Random, world: World, folder: Path) -> Callable[[], Any]:
    """A model's folder with one file spoiled."""
    name = rng.choice(list(world.models))
    role, source = world.models[name]
    place = folder / "model"
    shutil.copytree(source, place)
    files = sorted(path for path in place.rglob("*") if path.is_file())
    settings = [path for path in files if path.suffix in (".json", ".jinja", ".txt", ".model")]
    file = rng.choice(settings if settings and rng.random() < 0.85 else files)
    _spoil(file, rng)
    if rng.random() < 0.05:
        (place / "chat_template.jinja").write_text(rng.choice(TEMPLATES), encoding="utf-8")
    if rng.random() < 0.03:
        rng.choice(files).unlink(missing_ok=True)
    return lambda: _used(place, role)


def _spoil(file: Path, rng: random.Random) -> None:
    if file.suffix == ".json" and rng.random() < 0.8:
        value = spoiled(json.loads(file.read_text(encoding="utf-8")), rng)
        file.write_bytes(json_text(value, rng).encode("utf-8", "surrogatepass"))
    elif file.suffix == ".jinja" and rng.random() < 0.6:
        file.write_text(rng.choice(TEMPLATES), encoding="utf-8")
    elif file.suffix == ".safetensors" and rng.random() < 0.7:
        data = file.read_bytes()
        head = 8 + int.from_bytes(data[:8], "little")
        file.write_bytes(spoiled_bytes(data[:head], rng) + data[head:])
    else:
        file.write_bytes(spoiled_bytes(file.read_bytes(), rng))


def _used(place: Path, role: str) -> None:
    from harness.models import loading
    from harness.models.rewriting import read_rewriting

    folder = loading.resolve(str(place))
    loading.identity(folder)
    loading.parameters(folder)
    read_rewriting(folder)
    loaded = loading.load(folder, role)
    if role == "causal-lm":
        loaded.prompt_texts(["How are you?"])


def open_clip(rng: random.Random, world: World, folder: Path) -> Callable[[], Any]:
    """A config of open_clip's."""
    shape = {"width": 16, "layers": 1}
    config = {
        "model_cfg": {
            "embed_dim": 8,
            "vision_cfg": {**shape, "image_size": 32, "patch_size": 16, "head_width": 8},
            "text_cfg": {**shape, "heads": 2, "context_length": 16, "vocab_size": 40},
        },
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "size": [32, 32]},
    }
    place = folder / "open"
    place.mkdir()
    for path in world.models["clip"][1].glob("*token*"):
        shutil.copy(path, place)
    shutil.copy(
        world.models["clip"][1] / "model.safetensors", place / "open_clip_model.safetensors"
    )
    text = json_text(spoiled(config, rng), rng).encode("utf-8", "surrogatepass")
    (place / "open_clip_config.json").write_bytes(text)
    return lambda: _used(place, "dual-encoder")


def rewriting(rng: random.Random, world: World, folder: Path) -> Callable[[], Any]:
    """How a checkpoint rewrites prompts."""
    value = {"template": "{prompt} !", "by_model": True, "temperature": 0.5, "max_new_tokens": 3}
    text = json_text(spoiled(value, rng), rng)
    data = spoiled_text(text, rng) if rng.random() < 0.5 else text.encode("utf-8", "surrogatepass")
    (folder / "rewriting.json").write_bytes(data)
    from harness.models.rewriting import read_rewriting

    def read() -> None:
        found = read_rewriting(folder)
        if found:
            found.filled("a"), found.prompt_in("b")

    return read


def endpoint(rng: random.Random, world: World, folder: Path) -> Callable[[], Any]:
    """What an endpoint answers a judge."""
    from harness.judges import Case, open_judge, verdicts
    from harness.posting import Response

    said = rng.choice(("[[A]]", "Rating: [[7]]", "[[99]]", "[[", "\x1b[2J", *map(str, VALUES)))
    good = {"choices": [{"message": {"content": said}, "finish_reason": "stop"}], "error": None}
    text = json_text(spoiled(good, rng) if rng.random() < 0.8 else good, rng)
    content = spoiled_text(text, rng) if rng.random() < 0.5 else text.encode("utf-8", "replace")
    status = rng.choice((200, 200, 200, 200, 204, 302, 400, 401, 404, 422, 500, 100, 999))
    response = Response(status, content, rng.choice((None, 0.0, 1e9)))
    settings = {"base_url": "http://x", "model": "m", "retries": 1, "first_wait": 0}
    cases = [Case.of("q", "a", "b")] if rng.random() < 0.5 else [Case.of("q", "a")]

    def read() -> None:
        with patch("harness.chat.post", return_value=response):
            judge = open_judge("llm", {**settings, "longest_wait": 0}, folder)
            verdicts(judge, cases)
            verdicts(judge, cases)  # from what was kept

    return read


def kept_answers(rng: random.Random, world: World, folder: Path) -> Callable[[], Any]:
    """Answers that were kept on disk, and an engine's own."""
    rows = [{"key": "a" * 64, "text": "yes"}, {"key": "b" * 64, "text": "no"}]
    text = "".join(json_text(spoiled(row, rng), rng) + "\n" for row in rows)
    data = spoiled_text(text, rng)
    (folder / "answers.jsonl").write_bytes(data)
    from harness import engines
    from harness.chat import KeptAnswers

    if rng.random() < 0.5:
        return lambda: KeptAnswers(folder).read()
    return lambda: engines._parsed(data, 2)


KINDS = {
    "models": model,
    "more models": model,
    "open_clip": open_clip,
    "rewriting": rewriting,
    "endpoint": endpoint,
    "kept answers": kept_answers,
}
