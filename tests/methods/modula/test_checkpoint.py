"""The folder: what is saved is what is loaded, by us, by peft and by plain transformers."""

import json
import runpy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_modula import FORMS, RANKS, TARGETS, ids, logits, tiny_adapted, tiny_llama, trained
from torch import nn

from harness.errors import HarnessError
from methods.modula import adapting, checkpoint
from methods.modula.layers import Form

EXAMPLE = Path(checkpoint.__file__).with_name("example.py")


def saved(folder: Path, form: Form = "res", **more) -> tuple[nn.Module, Path]:
    module = tiny_adapted(form, **more)
    checkpoint.save(module, folder / "model", "the/base", "0a1b")
    return module, folder / "model"


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("form", FORMS)
def test_what_is_saved_is_loaded(form: Form, tmp_path: Path) -> None:
    module, folder = saved(tmp_path, form, slope=0.1)
    base = tiny_llama()
    settings = checkpoint.load(base, folder, "0a1b")
    assert torch.equal(logits(base), logits(module))
    assert (settings.form, settings.slope) == (form, 0.1)
    assert list(settings.experts.items()) == list(RANKS.items())
    assert settings == checkpoint.read_settings(folder)
    assert not any(p.requires_grad for n, p in base.named_parameters() if n.endswith("weight"))


def test_the_files_say_what_is_in_them(tmp_path: Path) -> None:
    module, folder = saved(tmp_path)
    assert json.loads((folder / "modula.json").read_text()) == {
        "format": 1,
        "form": "res",
        "experts": {"math": 3, "code": 2, "news": 4},
        "universal_rank": 3,
        "slope": 0.01,
        "targets": [
            f"model.layers.{i}.{part}"
            for i in (0, 1)
            for part in ("self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj")
        ],
        "base": "the/base",
        "base_hash": "0a1b",
    }
    tensors = load_file(folder / "modula.safetensors")
    name = "model.layers.1.mlp.down_proj"
    assert {key.removeprefix(f"{name}.") for key in tensors if key.startswith(name)} == {
        "router",
        *(
            f"{e}.{p}"
            for e in ("universal", *(f"experts.{n}" for n in RANKS))
            for p in ("up", "down")
        ),
    }
    layer = adapting.adapted(module)[name]
    assert torch.equal(tensors[f"{name}.experts.code.up"], layer.experts["code"].up)
    assert torch.equal(tensors[f"{name}.router"], layer.router)


def test_a_folder_is_the_same_bytes_each_time_and_replaces_an_older_one(tmp_path: Path) -> None:
    module, folder = saved(tmp_path)
    first = files(folder)
    (folder / "old").touch()
    (tmp_path / "model.partial").mkdir()
    (tmp_path / "model.partial" / "rest").touch()
    checkpoint.save(module, folder, "the/base", "0a1b")
    assert files(folder) == first
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("form", ["flan", "res", "res-without-residual"])
def test_peft_loads_the_universal_expert_alone(form: Form, tmp_path: Path) -> None:
    from peft import PeftModel

    module, folder = saved(tmp_path, form)
    lora = PeftModel.from_pretrained(tiny_llama(), str(folder / "universal"))
    config = json.loads((folder / "universal" / "adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"] == 3
    assert config["base_model_name_or_path"] == "the/base"
    assert config["target_modules"] == sorted(adapting.adapted(module))  # not a set's order
    for layer in adapting.adapted(module).values():
        layer.form = "res"
    adapting.route(module, {})
    assert torch.equal(logits(lora), logits(module))
    assert not torch.allclose(logits(lora), logits(tiny_llama()), atol=1e-3)


def test_molora_has_no_universal_folder(tmp_path: Path) -> None:
    _, folder = saved(tmp_path, "molora")
    assert sorted(files(folder)) == ["modula.json", "modula.safetensors"]
    assert checkpoint.read_settings(folder).universal_rank is None


@pytest.mark.parametrize("form", FORMS)
def test_the_example_gives_the_same_on_plain_transformers(form: Form, tmp_path: Path) -> None:
    module, folder = saved(tmp_path, form, slope=0.2)
    tiny_llama().save_pretrained(tmp_path / "base")
    assert "harness" not in EXAMPLE.read_text() and "methods" not in EXAMPLE.read_text()
    load = runpy.run_path(str(EXAMPLE))["load"]
    plain = load(str(tmp_path / "base"), str(folder))
    torch.testing.assert_close(logits(plain), logits(module), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(logits(plain), logits(tiny_llama()), atol=1e-3)


def test_experts_trained_apart_come_together(tmp_path: Path) -> None:
    whole, base = tiny_adapted("res"), tiny_adapted("res")
    paths = [checkpoint.save_expert(whole, name, tmp_path, "0a1b") for name in RANKS]
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        f"experts/{name}.safetensors" for name in RANKS
    ]
    for layer in adapting.adapted(base).values():
        for name in RANKS:
            for parameter in layer.part(name):
                parameter.data.zero_()
    plain = logits(base)
    assert [checkpoint.load_expert(base, path, "0a1b") for path in paths] == list(RANKS)
    assert torch.equal(logits(base), logits(whole))
    assert not torch.allclose(logits(base), plain, atol=1e-3)


def test_an_expert_joins_a_model_that_was_extended_for_it(tmp_path: Path) -> None:
    other = tiny_adapted("flan")
    adapting.extend(other, "finance", 2)
    trained(other, seed=3)
    path = checkpoint.save_expert(other, "finance", tmp_path, "0a1b")
    module = tiny_adapted("flan")
    with pytest.raises(HarnessError, match=r"finance\.safetensors: no expert 'finance'\. There"):
        checkpoint.load_expert(module, path, "0a1b")
    adapting.extend(module, "finance", 2)
    checkpoint.load_expert(module, path, "0a1b")  # flan's experts do not read the universal one
    for name, layer in adapting.adapted(module).items():
        there = adapting.adapted(other)[name].experts["finance"]
        assert torch.equal(layer.experts["finance"].up, there.up)


def test_an_expert_of_something_else_is_one_line(tmp_path: Path) -> None:
    module = tiny_adapted("res")
    path = checkpoint.save_expert(module, "math", tmp_path, "0a1b")
    other_rank = tiny_llama()
    adapting.adapt(other_rank, TARGETS, "res", {"math": 5}, universal_rank=3)
    for here, base_hash, said in (
        (module, "ffff", r"another base model \(0a1b, here ffff\): train it again"),
        (trained(tiny_adapted("res"), seed=1), "0a1b", "another universal expert"),
        (tiny_adapted("res", slope=0.3), "0a1b", r"another slope \(0.01, here 0.3\)"),
        (tiny_adapted("molora"), "0a1b", r"another form \(res, here molora\)"),
        (other_rank, "0a1b", r"another rank \(3, here 5\)"),
    ):
        before = {key: value.clone() for key, value in here.state_dict().items()}
        with pytest.raises(HarnessError, match=f"math.safetensors: .*{said}") as caught:
            checkpoint.load_expert(here, path, base_hash)
        assert "\n" not in str(caught.value)
        assert all(torch.equal(value, before[key]) for key, value in here.state_dict().items())
    with pytest.raises(HarnessError, match=r"no expert 'mth'\. Did you mean 'math'"):
        checkpoint.save_expert(module, "mth", tmp_path, "0a1b")


def test_the_universal_expert_of_one_form_is_another_forms(tmp_path: Path) -> None:
    module, folder = saved(tmp_path, "res")
    other = trained(tiny_adapted("flan"), seed=1)
    before = {key: value.clone() for key, value in other.state_dict().items()}
    checkpoint.load_universal(other, folder, "0a1b")
    assert checkpoint.universal_hash(other) == checkpoint.universal_hash(module)
    moved = {k for k, v in other.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == {key for key in before if "universal" in key.split(".")}
    with pytest.raises(HarnessError, match="another base model"):
        checkpoint.load_universal(other, folder, "ffff")


def refused(module: nn.Module, folder: Path, base_hash: str = "0a1b") -> str:
    """What is said when a folder cannot be loaded; the module is then as it was."""
    before = list(module.state_dict())
    with pytest.raises(HarnessError) as caught:
        checkpoint.load(module, folder, base_hash)
    assert list(module.state_dict()) == before
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)
    return str(caught.value)


def test_a_checkpoint_of_another_base_is_one_line(tmp_path: Path) -> None:
    _, folder = saved(tmp_path)
    said = refused(tiny_llama(), folder, "ffff")
    assert "another base model (the/base, hash 0a1b; this one has ffff)" in said
    fewer = tiny_llama(tie_word_embeddings=True)
    del fewer.model.layers[1]
    assert "no linear layer 'model.layers.1.self_attn.q_proj'" in refused(fewer, folder)
    wide = tiny_llama()
    wide.model.layers[0].mlp.down_proj = nn.Linear(48, 24, bias=False)
    said = refused(wide, folder)
    assert "'model.layers.0.mlp.down_proj.router' is [3, 32]" in said
    assert "[3, 48]: it was trained on another base model" in said


@pytest.mark.parametrize("name", ["modula.json", "modula.safetensors"])
def test_missing_and_damaged_files_are_one_line(name: str, tmp_path: Path) -> None:
    _, folder = saved(tmp_path)
    content = (folder / name).read_bytes()
    for broken in (content[: len(content) // 2], b"", b"\xff\xfe{}"):
        (folder / name).write_bytes(broken)
        assert f"{name}: damaged" in refused(tiny_llama(), folder)
    (folder / name).unlink()
    said = refused(tiny_llama(), folder)
    assert name in said and ("is not there" in said or "has no" in said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"experts": {"math": 0}}, "expert 'math' has rank 0, not 1 or more"),
        ({"experts": {"math": "many"}}, "'experts.math'"),
        ({"universal_rank": None}, "form 'res' with universal_rank None"),
        ({"form": "ress"}, "'form'"),
        ({"format": 2}, "'format' is of a newer format: update"),
        ({"more": 2}, "'more' is of a newer format: update"),
        ({"targets": []}, "'targets'"),
        ({"experts": {"math": 3, "code": 2}}, "'model.layers.0.mlp.down_proj.experts.news.down'"),
        ({"experts": {"math": 3, "code": 2, "news": 5}}, "experts.news.down' is [4, 24]"),
        ({"experts": {"math": 3, "code": 2, "news": 4, "x": 1}}, "experts.x.down' is missing"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(change: dict, said: str, tmp_path: Path) -> None:
    _, folder = saved(tmp_path)
    path = folder / "modula.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert said in refused(tiny_llama(), folder)


def test_settings_that_are_no_mapping_are_one_line(tmp_path: Path) -> None:
    _, folder = saved(tmp_path)
    (folder / "modula.json").write_text("[1]")
    refused(tiny_llama(), folder)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_weights_that_are_no_finite_numbers_are_one_line(value: str, tmp_path: Path) -> None:
    _, folder = saved(tmp_path)
    tensors = load_file(folder / "modula.safetensors")
    name = "model.layers.0.self_attn.q_proj.router"
    tensors[name][0, 0] = float(value)
    save_file(tensors, folder / "modula.safetensors")
    assert f"'{name}' holds NaN or infinite values" in refused(tiny_llama(), folder)


def test_a_damaged_expert_is_one_line(tmp_path: Path) -> None:
    module = tiny_adapted("res")
    path = checkpoint.save_expert(module, "math", tmp_path, "0a1b")
    tensors = load_file(path)
    save_file(tensors, path)  # what it was trained on is lost
    with pytest.raises(HarnessError, match="no expert ''"):
        checkpoint.load_expert(module, path, "0a1b")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(HarnessError, match=r"math\.safetensors: damaged"):
        checkpoint.load_expert(module, path, "0a1b")
    path.unlink()
    with pytest.raises(HarnessError, match=r"math\.safetensors: is not there"):
        checkpoint.load_expert(module, path, "0a1b")


def test_a_model_is_adapted_once_and_saved_only_then(tmp_path: Path) -> None:
    module, folder = saved(tmp_path)
    with pytest.raises(HarnessError, match="MoDULA's layers already"):
        checkpoint.load(module, folder, "0a1b")
    with pytest.raises(HarnessError, match="adapt it first"):
        checkpoint.save(tiny_llama(), tmp_path / "plain", "the/base", "0a1b")
    assert not (tmp_path / "plain").exists()


def test_half_precision_loads_what_full_precision_saved(tmp_path: Path) -> None:
    module, folder = saved(tmp_path)
    half = tiny_llama().to(torch.bfloat16)
    checkpoint.load(half, folder, "0a1b")
    layer = next(iter(adapting.adapted(half).values()))
    assert {p.dtype for p in layer.part("all")} == {torch.float32}
    with torch.no_grad():
        found = half(ids()).logits.float()
    assert (found - logits(module)).norm() / logits(module).norm() < 0.1
