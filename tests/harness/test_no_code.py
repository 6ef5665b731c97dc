"""No code of a checkpoint, a card or an option runs, whatever standard input answers."""

import ast
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import launch
import pytest
from jinja2.exceptions import SecurityError
from tiny_llava import tiny_llava
from tiny_translators import tiny_llama

from harness.cards import resolve
from harness.errors import HarnessError, PluginError
from harness.models import loading
from harness.models.pretrained import read_tokenizer, refuse_code
from harness.registry import load

ROOT = Path(__file__).parents[2]
ADAPTERS_CONFIG = "PeftConfig.from_pretrained"
"""Reads a JSON file into a class of peft's own; there is no code to trust."""
EVIL = """import pathlib

pathlib.Path(__file__).with_name("ran").touch()
pathlib.Path({mark!r}).touch()


class Evil:
    pass
"""


def agree() -> None:
    """Have standard input answer `y` to every question."""
    read, write = os.pipe()
    os.write(write, b"y\n" * 100)
    os.close(write)
    os.dup2(read, 0)
    sys.stdin = os.fdopen(0)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = launch.little_world(tmp_path_factory.mktemp("world") / "data", 2, 2)
    tiny_llava(folder / "model")
    return folder


def rewrite(path: Path, **changes: Any) -> None:
    written = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(written | changes))


def evil_config(folder: Path) -> None:
    classes = dict.fromkeys(["AutoConfig", "AutoModelForImageTextToText"], "evil.Evil")
    rewrite(folder / "config.json", model_type="evil", auto_map=classes)


def evil_model(folder: Path) -> None:
    classes = dict.fromkeys(["AutoModelForImageTextToText", "AutoModelForCausalLM"], "evil.Evil")
    rewrite(folder / "config.json", model_type="bert", auto_map=classes)


def evil_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    classes = {"AutoTokenizer": ["evil.Evil", None]}
    rewrite(folder / "tokenizer_config.json", tokenizer_class="Evil", auto_map=classes)


def evil_processor(folder: Path) -> None:
    rewrite(
        folder / "processor_config.json",
        processor_class="Evil",
        auto_map={"AutoProcessor": "evil.Evil"},
    )


def evil_image_processor(folder: Path) -> None:
    nested = {"image_processor_type": "Evil", "auto_map": {"AutoImageProcessor": "evil.Evil"}}
    rewrite(folder / "processor_config.json", image_processor=nested)


PARTS = [evil_config, evil_model, evil_tokenizer, evil_processor, evil_image_processor]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__.removeprefix("evil_"))
def test_a_checkpoints_code_never_runs_even_where_the_answer_is_yes(
    part: Callable[[Path], None], world: Path, tmp_path: Path
) -> None:
    model, mark = tmp_path / "model", tmp_path / "ran"
    shutil.copytree(world / "model", model)
    (model / "evil.py").write_text(EVIL.format(mark=str(mark)))
    part(model)
    command = ["run", "--method", "base", "--tasks", "pope", "--model", model]
    command += ["--source", f"pope={world / 'pope.jsonl'}"]
    run = launch.run(command, tmp_path / "run", before=agree)
    assert run.status == 2, run.stderr
    assert "Python code of the checkpoint's own, which is never run" in run.stderr
    assert run.stderr.startswith("harness: ")
    assert run.stderr.count("\n") == 1
    assert "custom code" not in run.stdout
    assert not mark.exists()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["x--evil.Evil", None]}}),
        ("preprocessor_config.json", {"auto_map": {"AutoImageProcessor": "evil.Evil"}}),
        ("video_preprocessor_config.json", {"auto_map": {"AutoVideoProcessor": "evil.Evil"}}),
        ("config.json", {"model_type": "none", "auto_map": {"AutoConfig": "evil.Evil"}}),
    ],
)
def test_code_is_refused_by_file_and_class(
    file: str, content: Mapping[str, Any], tmp_path: Path
) -> None:
    (tmp_path / file).write_text(json.dumps(content))
    with pytest.raises(HarnessError, match=rf"{file}: 'auto_map' names \S*evil\.Evil"):
        refuse_code(tmp_path)


def test_code_beside_which_transformers_has_its_own_is_not_needed(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "llama")
    classes = {"AutoConfig": "configuration_x.XConfig", "AutoModelForCausalLM": "modeling_x.X"}
    rewrite(folder / "config.json", auto_map=classes)
    fast = {"AutoTokenizer": ["tokenization_x.LlamaTokenizer", "x.LlamaTokenizerFast"]}
    rewrite(folder / "tokenizer_config.json", auto_map=fast)
    loading.load(folder, "causal-lm")
    (folder / "generation_config.json").write_text("{")
    refuse_code(folder)  # what is no JSON is for whoever needs it


def test_every_reading_of_transformers_refuses_code() -> None:
    """Each `from_pretrained` says `trust_remote_code=False`, or is the config of an adapter."""
    found = 0
    for room in ("harness", "methods", "tasks"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                called = ast.unparse(node.func)
                if not called.endswith(".from_pretrained"):
                    continue
                found += 1
                said = {word.arg: ast.unparse(word.value) for word in node.keywords}
                safe = said.get("trust_remote_code") == "False" or called == ADAPTERS_CONFIG
                assert safe, f"{path.relative_to(ROOT)} line {node.lineno}"
    assert found


def test_nothing_in_the_product_trusts_code() -> None:
    for room in ("harness", "methods", "tasks"):
        for path in (ROOT / room).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert "trust_remote_code=True" not in text, path
            assert "weights_only=False" not in text, path
            assert "allow_pickle=True" not in text, path


@pytest.mark.parametrize(
    "reference",
    ["os:system", "subprocess:getoutput", "builtins:exec", "antigravity:x", "pathlib:Path"],
)
def test_a_card_and_an_option_name_what_plugins_packages_hold(reference: str) -> None:
    loaded = set(sys.modules)
    with pytest.raises(PluginError, match=f"^here is '{reference}': it is not in a package"):
        resolve(reference, "here")
    assert "antigravity" not in set(sys.modules) - loaded


def with_option(name: str, **options: Any) -> Any:
    """A task whose card has these options."""
    task = load("tasks", name)
    return type(task)(task.card.model_copy(update={"options": {**task.card.options, **options}}))


def test_functions_that_options_name_are_held_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.flan.lm_eval_files.declared", lambda _: [])
    monkeypatch.setattr("tasks.flan.lm_eval_files.leaves", lambda _: [])
    asks: list[tuple[str, Callable[[], object]]] = [
        ("kind", lambda: with_option("errands_prompts", kind="os:system")._kind),
        ("rows", lambda: list(with_option("mmlu", rows="os:system").read(None, None))),
        (
            "judges.facts",
            lambda: with_option("shr", judges={"facts": "os:system"})._truth("facts", {}, "x"),
        ),
    ]
    for option, ask in asks:
        with pytest.raises(PluginError, match=f"option '{option}' is 'os:system'"):
            ask()


def test_a_chat_template_is_sandboxed(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "llama", chat=True)
    escape = "{{ ().__class__.__base__.__subclasses__() }}"
    (folder / "chat_template.jinja").write_text(escape)
    with pytest.raises(SecurityError):
        read_tokenizer(folder).apply_chat_template([{"role": "user", "content": "x"}])
