"""Adapters fit their base or are refused; live, reloaded and merged they compute the same."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_clip import tiny_clip
from tiny_llava import tiny_llava
from tiny_translators import tiny_llama, tiny_m2m100, tiny_word_marian
from torch import Tensor

from harness import fitting
from harness.errors import HarnessError
from harness.models import loading
from harness.store import Store

Weights = dict[str, Tensor]
FILE = "adapter_model.safetensors"
IDS = torch.tensor([[5, 6, 7, 8, 20, 9]])
MIXTURES: list[tuple[Sequence[str], list[str] | None]] = [
    (["embed_tokens"], None),
    (["lm_head"], None),
    (["q_proj"], None),
    ("all-linear", None),
    (["embed_tokens", "q_proj"], None),
    (["embed_tokens", "lm_head"], None),
    (["q_proj"], ["embed_tokens"]),
    (["q_proj"], ["lm_head"]),
    (["embed_tokens"], ["lm_head"]),
]
"""Targets of LoRA, and layers that train as a whole beside it."""


def tied_llava(folder: Path, tie_word_embeddings: bool) -> Path:
    """A LLaVA whose output head may share its weights with the embeddings."""
    module = loading.load(tiny_llava(folder), "vision-language").module
    module.config.tie_word_embeddings = tie_word_embeddings
    module.config.text_config.tie_word_embeddings = tie_word_embeddings
    module.tie_weights()
    module.save_pretrained(folder)
    return folder


MAKERS: dict[str, tuple[str, Callable[..., Path]]] = {
    "llama": ("causal-lm", tiny_llama),
    "llava": ("vision-language", tied_llava),
    "m2m100": ("translator", tiny_m2m100),
    "marian": ("translator", tiny_word_marian),
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bool], Path]:
    folder = tmp_path_factory.mktemp("bases")

    def base(name: str, tied: bool) -> Path:
        path = folder / f"{name}-{tied}"
        return path if path.exists() else MAKERS[name][1](path, tie_word_embeddings=tied)

    return base


def adapted(base: Path, role: str, out: Path, seed: int = 0, **settings: Any) -> Any:
    """A model with an adapter that changes it, and the adapter written to `out`."""
    model = loading.load(base, role)
    torch.manual_seed(seed)
    config = LoraConfig(r=2, init_lora_weights=False, **settings)
    model.module = get_peft_model(model.module, config).eval()
    for name, weight in model.module.named_parameters():
        if "modules_to_save" in name:
            weight.data += 0.1 * torch.randn_like(weight)
    model.save(out)
    return model


@torch.no_grad()
def logits(model: Any) -> Tensor:
    more = {"decoder_input_ids": IDS} if model.role == "translator" else {}
    found: Tensor = model.module(input_ids=IDS, **more).logits
    return found


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings")
@pytest.mark.parametrize(
    ("name", "tied", "mixtures"),
    [
        ("llama", True, MIXTURES),
        ("llama", False, MIXTURES[3:7]),
        ("llava", True, MIXTURES[:2]),
        ("m2m100", True, MIXTURES[:2]),
        ("marian", True, [MIXTURES[3], MIXTURES[6]]),
    ],
    ids=["llama-tied", "llama", "llava-tied", "m2m100-tied", "marian-tied"],
)
def test_live_reloaded_and_merged_compute_the_same(
    name: str,
    tied: bool,
    mixtures: Sequence[tuple[Sequence[str], list[str] | None]],
    bases: Callable[[str, bool], Path],
    tmp_path: Path,
) -> None:
    role, base = MAKERS[name][0], bases(name, tied)
    plain = logits(loading.load(base, role))
    for number, (targets, whole) in enumerate(mixtures):
        adapter, out = tmp_path / f"{number}", tmp_path / f"{number}-merged"
        live = logits(adapted(base, role, adapter, target_modules=targets, modules_to_save=whole))
        assert (live - plain).abs().max() > 1e-2, (targets, whole)
        reloaded = logits(loading.load(adapter, role))
        torch.testing.assert_close(reloaded, live, msg=f"reloaded {targets} {whole}")
        loading.merge(adapter, role, out)
        merged = logits(loading.load(out, role))
        torch.testing.assert_close(
            merged, live, atol=1e-4, rtol=1e-4, msg=f"merged {targets} {whole}"
        )


def test_a_merged_model_stays_tied_where_the_adapter_leaves_what_is_shared(
    bases: Callable[[str, bool], Path], tmp_path: Path
) -> None:
    base = bases("llama", True)
    for targets, tied in ((["q_proj"], True), (["lm_head"], False)):
        adapter, out = tmp_path / targets[0], tmp_path / f"{targets[0]}-merged"
        adapted(base, "causal-lm", adapter, target_modules=targets)
        loading.merge(adapter, "causal-lm", out)
        assert json.loads((out / "config.json").read_text())["tie_word_embeddings"] is tied
        assert ("lm_head.weight" in load_file(out / "model.safetensors")) is not tied


def test_a_training_from_an_adapter_starts_with_what_that_computes(
    bases: Callable[[str, bool], Path], tmp_path: Path
) -> None:
    model = adapted(bases("llama", True), "causal-lm", tmp_path / "a", target_modules=["lm_head"])
    arm: Any = SimpleNamespace(model=str(tmp_path / "a"))
    start = fitting._base(arm, "causal-lm", Store(tmp_path / "store"))
    torch.testing.assert_close(
        logits(loading.load(start, "causal-lm")), logits(model), atol=1e-4, rtol=1e-4
    )


def test_a_dual_encoders_adapter_merges_to_the_same(tmp_path: Path) -> None:
    base = tiny_clip(tmp_path / "clip", "a red shirt")
    live = adapted(
        base, "dual-encoder", tmp_path / "a", target_modules=["token_embedding", "q_proj"]
    )
    loading.merge(tmp_path / "a", "dual-encoder", tmp_path / "merged")
    merged = loading.load(tmp_path / "merged", "dual-encoder")
    torch.testing.assert_close(merged.encode_texts(["a red"]), live.encode_texts(["a red"]))


def test_what_cannot_be_merged_is_one_line(
    bases: Callable[[str, bool], Path], tmp_path: Path
) -> None:
    model = loading.load(bases("llama", False), "causal-lm")
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    model.module = get_peft_model(model.module, config).eval()
    live = logits(model)
    model.save(tmp_path / "a")
    assert torch.equal(logits(loading.load(tmp_path / "a", "causal-lm")), live)
    with pytest.raises(HarnessError, match="cannot be merged into this model"):
        loading.merge(tmp_path / "a", "causal-lm", tmp_path / "merged")


Q = "base_model.model.model.layers.0.self_attn.q_proj."


def _without(weights: Weights, *names: str) -> Weights:
    return {name: weight for name, weight in weights.items() if name not in names}


def _set(weights: Weights, name: str, weight: Tensor) -> Weights:
    return weights | {name: weight}


DAMAGES: dict[str, tuple[Callable[[Weights], Weights], list[str]]] = {
    "every key has a prefix": (
        lambda w: {f"module.{name}": weight for name, weight in w.items()},
        ["5 surplus (module.", "all begin with 'module.': saved from DataParallel"],
    ),
    "every key is another layer's": (
        lambda w: {name.replace("q_proj", "k_proj"): weight for name, weight in w.items()},
        ["4 missing (", "4 surplus (", "k_proj", "another base model"],
    ),
    "one is missing": (
        lambda w: _without(w, f"{Q}lora_A.weight"),
        ["1 missing (", "q_proj.lora_A"],
    ),
    "one is surplus": (
        lambda w: _set(w, Q.replace("layers.0", "layers.7") + "lora_A.weight", torch.ones(2, 32)),
        ["1 surplus (", "layers.7"],
    ),
    "one has a wrong shape": (
        lambda w: _set(w, f"{Q}lora_A.weight", torch.ones(2, 31)),
        ["1 of a wrong shape (", "[2, 31], not [2, 32]"],
    ),
    "one is no number": (
        lambda w: _set(w, f"{Q}lora_B.weight", torch.full((32, 2), float("nan"))),
        ["hold NaN or infinite values", "q_proj.lora_B"],
    ),
    "a whole layer is missing": (
        lambda w: _without(w, "base_model.model.lm_head.weight"),
        ["1 missing (base_model.model.lm_head.weight)"],
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_adapter_that_does_not_fit_is_refused(
    damage: str, bases: Callable[[str, bool], Path], tmp_path: Path
) -> None:
    base = bases("llama", False)
    adapted(base, "causal-lm", tmp_path, target_modules=["q_proj"], modules_to_save=["lm_head"])
    change, parts = DAMAGES[damage]
    save_file(change(load_file(tmp_path / FILE)), tmp_path / FILE)
    text = refusal(tmp_path)
    assert all(part in text for part in parts), text


def refusal(folder: Path, role: str = "causal-lm") -> str:
    with pytest.raises(HarnessError) as caught:
        loading.load(folder, role)
    text = str(caught.value)
    assert text.startswith(str(folder))
    assert "\n" not in text
    return text


def test_an_adapter_of_another_base_is_refused(
    bases: Callable[[str, bool], Path], tmp_path: Path
) -> None:
    adapted(bases("llama", False), "causal-lm", tmp_path / "a", target_modules=["q_proj"])
    settings = tmp_path / "a" / "adapter_config.json"
    written = json.loads(settings.read_text())
    module = loading.load(bases("llama", False), "causal-lm").module
    for name, change, part in (
        ("deeper", {"num_hidden_layers": 3}, "2 missing ("),
        ("shallower", {"num_hidden_layers": 1}, "2 surplus ("),
        ("wider", {"hidden_size": 64}, "of a wrong shape ("),
    ):
        config = module.config.to_dict() | change
        other = type(module)(type(module.config)(**config))
        shutil.copytree(bases("llama", False), tmp_path / name)
        other.save_pretrained(tmp_path / name)
        base = str(tmp_path / name)
        settings.write_text(json.dumps(written | {"base_model_name_or_path": base}))
        assert part in refusal(tmp_path / "a")
    settings.write_text(json.dumps(written | {"target_modules": ["c_attn"]}))
    assert "c_attn" in refusal(tmp_path / "a")


def test_an_adapter_over_an_adapter_is_refused(
    bases: Callable[[str, bool], Path], tmp_path: Path
) -> None:
    adapted(bases("llama", False), "causal-lm", tmp_path / "a", target_modules=["q_proj"])
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    settings = tmp_path / "b" / "adapter_config.json"
    written = json.loads(settings.read_text())
    base = str(tmp_path / "a")
    settings.write_text(json.dumps(written | {"base_model_name_or_path": base}))
    assert "is an adapter itself" in refusal(tmp_path / "b")


def test_an_adapters_pickle_is_not_run(bases: Callable[[str, bool], Path], tmp_path: Path) -> None:
    from test_weights import Runs

    folder = tmp_path / "a"
    adapted(bases("llama", False), "causal-lm", folder, target_modules=["q_proj"])
    weights = load_file(folder / FILE)
    (folder / FILE).unlink()
    torch.save(weights, folder / "adapter_model.bin")
    loading.load(folder, "causal-lm")
    torch.save({"x": Runs(tmp_path / "mark")}, folder / "adapter_model.bin")
    assert "which is never run" in refusal(folder)
    assert not (tmp_path / "mark").exists()
    (folder / "adapter_model.bin").write_bytes(b"PK")
    refusal(folder)
    (folder / "adapter_model.bin").unlink()
    refusal(folder)
