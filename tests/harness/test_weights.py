"""A checkpoint holds what its architecture needs, or is refused in one line that says why."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import launch
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_clip import tiny_clip
from tiny_llava import tiny_llava
from tiny_translators import tiny_llama, tiny_m2m100
from torch import Tensor, nn

from harness.errors import HarnessError
from harness.models import loading
from harness.models.checking import check_finite

Weights = dict[str, Tensor]
FILE = "model.safetensors"
LAYER = {
    "causal-lm": "model.layers.1.self_attn.q_proj.weight",
    "vision-language": "language_model.model.layers.1.self_attn.q_proj.weight",
    "translator": "model.decoder.layers.1.self_attn.q_proj.weight",
    "dual-encoder": "text_model.encoder.layers.0.self_attn.q_proj.weight",
}
"""A weight of each role's model, by its name in the file."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "causal-lm": tiny_llama(folder / "llama"),
        "vision-language": tiny_llava(folder / "llava"),
        "translator": tiny_m2m100(folder / "m2m100"),
        "dual-encoder": tiny_clip(folder / "clip", "a red shirt"),
    }


def changed(model: Path, folder: Path, change: Callable[[Weights], Weights]) -> Path:
    """A copy of a model whose weights are what `change` makes of them."""
    shutil.copytree(model, folder)
    save_file(change(load_file(model / FILE)), folder / FILE, {"format": "pt"})
    return folder


def refusal(folder: Path, role: str) -> str:
    """The one line that a model is refused with."""
    with pytest.raises(HarnessError) as caught:
        loading.load(folder, role)
    text = str(caught.value)
    assert text.startswith(str(folder))
    assert "\n" not in text
    assert len(text) < 600
    return text.removeprefix(str(folder))


def prefixed(prefix: str) -> Callable[[Weights], Weights]:
    return lambda weights: {prefix + name: weight for name, weight in weights.items()}


@pytest.mark.parametrize("role", LAYER)
@pytest.mark.parametrize(
    ("prefix", "cause"),
    [
        ("module.", "saved from DataParallel: strip the prefix"),
        ("base_model.model.", "saved from a peft model: merge the adapter"),
        ("_orig_mod.", "saved from torch.compile"),
    ],
)
def test_a_prefix_on_every_key_is_named(
    models: Mapping[str, Path], tmp_path: Path, role: str, prefix: str, cause: str
) -> None:
    count = len(load_file(models[role] / FILE))
    text = refusal(changed(models[role], tmp_path / "model", prefixed(prefix)), role)
    assert f"all {count} surplus keys begin with '{prefix}': {cause}" in text
    assert f"{count} surplus ({prefix}" in text


@pytest.mark.parametrize("role", LAYER)
def test_a_missing_weight_is_named_and_never_random(
    models: Mapping[str, Path], tmp_path: Path, role: str
) -> None:
    name = LAYER[role]
    text = refusal(changed(models[role], tmp_path / "model", lambda w: without(w, name)), role)
    assert "1 missing (" in text
    assert ".".join(name.split(".")[-5:]) in text
    assert "truncated" in text


@pytest.mark.parametrize("role", LAYER)
def test_a_surplus_weight_is_named(models: Mapping[str, Path], tmp_path: Path, role: str) -> None:
    more = {"a.third.tower": torch.zeros(2)}
    text = refusal(changed(models[role], tmp_path / "model", lambda w: w | more), role)
    assert "1 surplus (a.third.tower): config.json describes less" in text


@pytest.mark.parametrize("role", LAYER)
def test_a_wrong_shape_is_named_with_both(
    models: Mapping[str, Path], tmp_path: Path, role: str
) -> None:
    name = LAYER[role]
    rows, width = load_file(models[role] / FILE)[name].shape
    smaller = {name: torch.zeros(rows - 1, width)}
    text = refusal(changed(models[role], tmp_path / "model", lambda w: w | smaller), role)
    assert f"is [{rows - 1}, {width}], not [{rows}, {width}]): config.json is that of" in text


@pytest.mark.parametrize("role", LAYER)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_weight_that_is_no_finite_number_is_named(
    models: Mapping[str, Path], tmp_path: Path, role: str, value: str
) -> None:
    def broken(weights: Weights) -> Weights:
        weights[LAYER[role]][0, 0] = float(value)
        return weights

    text = refusal(changed(models[role], tmp_path / "model", broken), role)
    assert "1 of " in text
    assert "NaN or infinite" in text
    assert "q_proj.weight" in text


def test_finite_weights_whose_sum_overflows_pass() -> None:
    layer = nn.Linear(4, 4)
    nn.init.constant_(layer.weight, 3e38)
    layer.register_buffer("mask", torch.tensor([0.0, float("-inf")]), persistent=False)
    check_finite(layer, Path())
    with torch.no_grad():
        layer.weight[1, 1] = float("nan")
    with pytest.raises(HarnessError, match=r"1 of 2 weights .*\(weight\)"):
        check_finite(layer, Path())


def test_an_adapter_that_was_not_merged_is_called_so(
    models: Mapping[str, Path], tmp_path: Path
) -> None:
    def wrapped(weights: Weights) -> Weights:
        layer = LAYER["causal-lm"].removesuffix("weight")
        weight = weights.pop(f"{layer}weight")
        low = {f"{layer}lora_{x}.default.weight": weight[:2].clone() for x in "AB"}
        return weights | low | {f"{layer}base_layer.weight": weight}

    text = refusal(changed(models["causal-lm"], tmp_path / "model", wrapped), "causal-lm")
    assert "it is an unmerged adapter: merge it" in text


def test_a_body_without_its_head_is_no_language_model(
    models: Mapping[str, Path], tmp_path: Path
) -> None:
    def body(weights: Weights) -> Weights:
        return {k.removeprefix("model."): w for k, w in weights.items() if k != "lm_head.weight"}

    text = refusal(changed(models["causal-lm"], tmp_path / "model", body), "causal-lm")
    assert "1 missing (lm_head.weight)" in text


def test_what_an_architecture_leaves_out_or_ignores_is_no_fault(
    models: Mapping[str, Path], tmp_path: Path
) -> None:
    ids = {"text_model.embeddings.position_ids": torch.arange(16)[None]}
    loading.load(
        changed(models["dual-encoder"], tmp_path / "clip", lambda w: w | ids), "dual-encoder"
    )
    turns = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}
    head = {"v_head.summary.weight": torch.ones(1, 32)}
    llama = changed(models["causal-lm"], tmp_path / "llama", lambda w: w | turns | head)
    expected = load_file(llama / FILE)
    found = loading.load(llama, "causal-lm").module.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    tied = tiny_llama(tmp_path / "tied", tie_word_embeddings=True)
    assert "lm_head.weight" not in load_file(tied / FILE)
    module = loading.load(tied, "causal-lm").module
    assert module.lm_head.weight is module.model.embed_tokens.weight


def test_a_head_is_ignored_only_by_the_role_that_does_not_use_it(
    models: Mapping[str, Path], tmp_path: Path
) -> None:
    head = {"v_head.summary.weight": torch.ones(1, 32)}
    folder = changed(models["dual-encoder"], tmp_path / "clip", lambda w: w | head)
    assert "1 surplus (v_head.summary.weight)" in refusal(folder, "dual-encoder")


def without(weights: Weights, *names: str) -> Weights:
    return {name: weight for name, weight in weights.items() if name not in names}


def sharded(model: Path, folder: Path) -> Path:
    """The same model in two files with an index."""
    weights = load_file(model / FILE)
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns(FILE))
    names = sorted(weights)
    parts = {"model-00001-of-00002.safetensors": names[::2]}
    parts["model-00002-of-00002.safetensors"] = names[1::2]
    for file, own in parts.items():
        save_file({name: weights[name] for name in own}, folder / file, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {n: f for f, own in parts.items() for n in own}}
    (folder / f"{FILE}.index.json").write_text(json.dumps(index))
    return folder


def test_shards_are_whole_and_all_there(models: Mapping[str, Path], tmp_path: Path) -> None:
    folder = sharded(models["causal-lm"], tmp_path / "model")
    loading.load(folder, "causal-lm")
    shard = folder / "model-00002-of-00002.safetensors"
    weights = load_file(shard)
    lost = min(weights)
    save_file(without(weights, lost), shard, {"format": "pt"})
    text = refusal(folder, "causal-lm")
    assert f"1 missing ({lost}): {shard.name} lacks what {FILE}.index.json says of it" in text
    shard.unlink()
    assert shard.name in refusal(folder, "causal-lm")


def test_a_plain_file_of_torch_is_read_and_counted(
    models: Mapping[str, Path], tmp_path: Path
) -> None:
    weights = load_file(models["causal-lm"] / FILE)
    folder = with_bin(models["causal-lm"], tmp_path / "model", weights)
    found = loading.load(folder, "causal-lm").module.state_dict()
    assert all(torch.equal(found[name], weights[name]) for name in found)
    assert loading.parameters(folder) == sum(weight.numel() for weight in weights.values())


class Runs:
    """A pickle of it makes a folder when it is read without care."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


def with_bin(model: Path, folder: Path, content: object) -> Path:
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns(FILE))
    torch.save(content, folder / "pytorch_model.bin")
    return folder


def test_a_pickle_with_code_is_refused_and_not_run(
    models: Mapping[str, Path], tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    folder = with_bin(models["causal-lm"], tmp_path / "model", {"x": Runs(mark)})
    assert "a pickle that holds more than weights" in refusal(folder, "causal-lm")
    with pytest.raises(HarnessError, match="damaged, or no weights"):
        loading.parameters(folder)
    assert not mark.exists()


@pytest.mark.parametrize("size", [0, 10, 2000])
def test_a_truncated_file_of_torch_is_one_line(
    models: Mapping[str, Path], tmp_path: Path, size: int
) -> None:
    weights = load_file(models["causal-lm"] / FILE)
    folder = with_bin(models["causal-lm"], tmp_path / "model", weights)
    path = folder / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:size])
    refusal(folder, "causal-lm")


def test_a_precision_that_is_asked_for_is_the_weights(models: Mapping[str, Path]) -> None:
    assert loading.load(models["causal-lm"], "causal-lm").dtype == torch.float32
    half = loading.load(models["causal-lm"], "causal-lm", torch.bfloat16)
    assert half.dtype == torch.bfloat16


def test_the_command_ends_with_one_line(models: Mapping[str, Path], tmp_path: Path) -> None:
    world = launch.little_world(tmp_path / "data", 2, 2)
    model = changed(models["vision-language"], tmp_path / "model", prefixed("module."))
    command = ["run", "--method", "base", "--tasks", "pope", "--model", model]
    run = launch.run([*command, "--source", f"pope={world / 'pope.jsonl'}"], tmp_path / "run")
    assert run.status == 2
    assert run.stderr.startswith(f"harness: {model}: not the weights of Llava")
    assert run.stderr.count("\n") == 1
    assert "surplus keys begin with 'module.'" in run.stderr
    assert not list((tmp_path / "run").rglob("leaderboards/*.json"))
