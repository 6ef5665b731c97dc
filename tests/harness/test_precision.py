"""What trains is fp32 wherever it trains; what is saved and scored is what was trained."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import launch
import pytest
import torch
from half import halve, pretend_bf16
from safetensors.torch import load_file
from tiny_clip import tiny_clip
from tiny_llava import tiny_llava
from tiny_translators import tiny_llama, tiny_word_marian
from torch import Tensor, nn
from torch.nn import functional
from training_worker import ROWS, collate, loss

from harness import registry
from harness.arms import make_arm
from harness.dataset import EmbeddedDataset
from harness.method import MethodConfig
from harness.models import loading, precision
from harness.pipeline import run
from harness.run_config import RunConfig
from harness.schema import Cost
from harness.settings import Lora, TrainSettings, full_precision
from harness.store import Store
from harness.training import Fit, adapt
from methods.modula.plugin import Modula, Molora

ROLES = ["causal-lm", "dual-encoder", "translator", "vision-language"]
BF16 = {"precision": "bf16", "batch_size": 8, "micro_batch": 8, "schedule": "constant"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of every role, in half precision."""
    place = tmp_path_factory.mktemp("models")
    tiny_clip(place / "dual-encoder", "a red shirt")
    tiny_llava(place / "vision-language")
    tiny_llama(place / "causal-lm")
    tiny_word_marian(place / "translator")
    return {role: halve(place / role) for role in ROLES}


@pytest.fixture(autouse=True)
def _on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_bf16(monkeypatch)


def pictures(rows: list[int]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(rows[0])
    ids = torch.tensor([[1, 4 + row % 3, 5, 3] for row in rows])
    return {
        "input_ids": ids,
        "pixel_values": torch.randn(len(rows), 3, 32, 32, generator=generator),
    }


def contrastive(module: nn.Module, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
    logits = module(**batch).logits_per_image
    return functional.cross_entropy(logits, torch.arange(len(logits))), {}


def translating(module: nn.Module, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
    return module(**batch, labels=batch["input_ids"] % 40 + 2).loss, {}


DATA: dict[str, tuple[Any, Any, Any]] = {
    "causal-lm": (ROWS, collate, loss),
    "vision-language": (ROWS, collate, loss),
    "dual-encoder": (list(range(24)), pictures, contrastive),
    "translator": ([[each % 30 + 2 for each in row] for row in ROWS], collate, translating),
}


def make_fit(role: str, base: Path, folder: Path) -> Fit:
    return Fit(
        config=MethodConfig(),
        model=loading.load(base, role),
        dataset=EmbeddedDataset("rows", {"train": list}),
        rows=[],
        seed=3,
        folder=folder,
        store=Store(folder / "store"),
        inputs={},
        resolve=str,
        base=base,
    )


def moved(fit: Fit, role: str, settings: TrainSettings, chosen: Any = None) -> float:
    """Train, and return the share of the weights with a gradient that are other than before."""
    rows, batch, plain = DATA[role]
    before: dict[str, Tensor] = {}
    seen: dict[str, Tensor] = {}

    def note(name: str, gradient: Tensor) -> None:
        seen[name] |= gradient != 0

    def watched(module: nn.Module, given: Any) -> tuple[Tensor, Any]:
        if not before:
            for name, weight in module.named_parameters():
                if weight.requires_grad:
                    before[name] = weight.detach().double().clone()
                    seen[name] = torch.zeros_like(weight, dtype=torch.bool)
                    weight.register_hook(partial(note, name))
        return plain(module, given)

    fit.train(rows, batch, watched, settings, parameters=chosen)
    after = dict(fit.model.module.named_parameters())
    changed = sum(int((after[n].double() != before[n])[seen[n]].sum()) for n in before)
    return changed / sum(int(mask.sum()) for mask in seen.values())


@pytest.mark.parametrize("rate", [2e-5, 1e-5, 2e-6, 5e-7])
@pytest.mark.parametrize("role", ROLES)
def test_nearly_all_weights_move_at_the_rates_of_fine_tuning(
    role: str, rate: float, folders: dict[str, Path], tmp_path: Path
) -> None:
    fit = make_fit(role, folders[role], tmp_path)
    assert fit.model.dtype == torch.bfloat16
    assert moved(fit, role, TrainSettings(**BF16, lr=rate)) > 0.95


def paper_presets() -> list[tuple[str, str]]:
    found = []
    for name in registry.names("methods"):
        cls = registry.load("methods", name)
        if cls.trains and "paper" in cls.presets:
            found += [(name, key) for key in arm_of(name).method.config.model_fields]
    return [each for each in found if isinstance(section(*each), TrainSettings)]


def arm_of(name: str) -> Any:
    asked = RunConfig(method=[name], tasks=["any"], profile="paper")
    return make_arm(name, registry.load("methods", name), asked, "model", {})


def section(name: str, key: str) -> Any:
    return getattr(arm_of(name).method.config, key)


@pytest.mark.parametrize(("name", "key"), paper_presets())
def test_every_presets_training_is_ready_in_fp32(
    name: str, key: str, folders: dict[str, Path]
) -> None:
    arm = arm_of(name)
    model = loading.load(folders[arm.method.role], arm.method.role)
    whole = arm.method.prepare(model, key)
    trained = [p for p in model.module.parameters() if p.requires_grad]
    assert trained and {p.dtype for p in trained} == {torch.float32}
    frozen = {p.dtype for p in model.module.parameters() if not p.requires_grad}
    assert whole or torch.bfloat16 in frozen


@pytest.mark.parametrize(("method", "key"), [(Modula, "universal"), (Molora, "train")])
def test_nearly_all_weights_of_a_methods_own_layers_move(
    method: Any, key: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    fit = make_fit("causal-lm", folders["causal-lm"], tmp_path)
    settings = TrainSettings(**BF16, lr=5e-7)
    sets = {"domains": {"math": "math", "code": "code"}}
    chosen = method(method.Config(**{key: settings, "data": sets}))
    torch.manual_seed(0)
    chosen.prepare(fit.model, key)
    for weight in fit.model.module.parameters():
        if weight.requires_grad:  # as if trained: else up and router have no gradient yet
            weight.data += 0.02 * torch.randn(weight.shape)
    base = fit.model.module.lm_head.weight.detach().clone()
    trained = [p for p in fit.model.module.parameters() if p.requires_grad]
    assert moved(fit, "causal-lm", settings, trained) > 0.95
    assert torch.equal(fit.model.module.lm_head.weight, base) and base.dtype == torch.bfloat16


def test_nearly_all_weights_of_adapters_move_and_none_of_the_base(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    fit = make_fit("causal-lm", folders["causal-lm"], tmp_path)
    base = {n: p.detach().clone() for n, p in fit.model.module.named_parameters()}
    lora = Lora(r=4, alpha=4, targets=["q_proj", "down_proj"])
    assert moved(fit, "causal-lm", TrainSettings(**BF16, lr=5e-7, epochs=3, lora=lora)) > 0.95
    kept = fit.model.module.unload().state_dict()
    assert all(torch.equal(kept[name], value) for name, value in base.items())


def same(found: Any, expected: Any) -> bool:
    return found.keys() == expected.keys() and all(
        found[name].dtype == expected[name].dtype and torch.equal(found[name], expected[name])
        for name in expected
    )


@pytest.mark.parametrize("role", ROLES)
def test_a_trained_model_is_saved_and_loaded_as_it_was_trained(
    role: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    fit = make_fit(role, folders[role], tmp_path)
    rows, batch, plain = DATA[role]
    frozen = [next(n for n, _ in fit.model.module.named_parameters() if "layers.0" in n)]
    fit.train(rows, batch, plain, TrainSettings(**BF16, lr=5e-7, freeze=frozen))
    fit.model.save(tmp_path / "saved")
    live = fit.model.module.state_dict()
    assert {value.dtype for value in live.values() if value.is_floating_point()} == {torch.float32}
    again = loading.load(tmp_path / "saved", role).module.state_dict()
    for positions in [name for name in live if "embed_positions" in name]:  # Marian's are not saved
        del live[positions], again[positions]
    assert same(again, live)


@pytest.mark.parametrize(
    "lora", [None, Lora(r=4, alpha=4, targets=["q_proj"])], ids=["all", "lora"]
)
def test_a_training_from_half_precision_resumes_to_the_same_bits(
    lora: Lora | None, folders: dict[str, Path], tmp_path: Path
) -> None:
    rows, batch, plain = DATA["vision-language"]
    settings = TrainSettings(
        **BF16, lr=5e-7, epochs=2, save_steps=1, lora=lora, freeze=["vision_tower"]
    )

    def trained(folder: Path, loss: Callable[..., Any]) -> dict[str, Tensor]:
        fit = make_fit("vision-language", folders["vision-language"], folder)
        fit.train(rows, batch, loss, settings)
        return dict(fit.model.module.state_dict())

    whole = trained(tmp_path / "whole", plain)
    calls = 0

    def stopping(module: nn.Module, given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise RuntimeError("stopped")
        return plain(module, given)

    with pytest.raises(RuntimeError, match="stopped"):
        trained(tmp_path / "again", stopping)
    assert (tmp_path / "again/steps/checkpoint-3").is_dir()
    assert same(trained(tmp_path / "again", plain), whole)


def test_the_cost_names_the_precision_of_a_training(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    fit = make_fit("causal-lm", folders["causal-lm"], tmp_path)
    rows, batch, plain = DATA["causal-lm"]
    fit.train(rows, batch, plain, TrainSettings(**BF16))
    assert fit.cost is not None
    assert (fit.cost.trained_precision, fit.cost.product_precision) == ("fp32", "bf16")
    assert "product_precision" in fit.cost.model_dump()
    assert (
        not {"trained_precision", "product_precision"}
        & Cost(total_parameters=1).model_dump().keys()
    )


def test_files_in_fp32_are_not_rounded_where_they_are_scored(tmp_path: Path) -> None:
    tiny_llama(tmp_path / "model")
    model = loading.load(tmp_path / "model", "causal-lm")
    assert same(model.module.state_dict(), load_file(tmp_path / "model/model.safetensors"))


def test_full_precision_is_also_that_of_loading(folders: dict[str, Path]) -> None:
    base = folders["causal-lm"]
    config = Molora.Config(train=TrainSettings(precision="fp32"))
    assert precision.of_loading(base, full_precision(config)) == "fp32"
    assert precision.of_loading(base, full_precision(Molora.Config())) == "bf16"
    assert precision.of_loading(base) == "bf16"


def test_an_adapter_is_merged_in_fp32_without_rounding_the_sum(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    model = loading.load(folders["causal-lm"], "causal-lm")
    adapted: Any = adapt(model.module, Lora(r=2, alpha=2, targets=["q_proj"]))
    torch.manual_seed(0)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(0, 1e-4)
    adapted.save_pretrained(tmp_path / "adapter")
    loading.merge(tmp_path / "adapter", "causal-lm", tmp_path / "merged")
    name = "model.layers.0.self_attn.q_proj"
    layer = adapted.base_model.model.get_submodule(name)
    expected = layer.base_layer.weight.float() + layer.get_delta_weight("default").float()
    merged = load_file(tmp_path / "merged/model.safetensors")[f"{name}.weight"]
    assert merged.dtype == torch.float32
    torch.testing.assert_close(merged, expected, rtol=0, atol=1e-7)


def recorded(folder: Path, **settings: Any) -> dict[str, dict[str, Any]]:
    """What the entries of `base` and `dpo` say of precision, by method."""
    world = launch.little_world(folder / "data")
    halve(tiny_llava(folder / "model"))
    rows = [json.loads(line) for line in (world / "pairs.jsonl").read_text().splitlines()]
    pairs = [
        {**row, "chosen": "a red circle", "rejected": f"no {n % 5}"} for n, row in enumerate(rows)
    ]
    (world / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    entries = run(
        RunConfig(
            method=["dpo"],
            tasks=["pope"],
            model=str(folder / "model"),
            dataset=str(world / "pairs.jsonl"),
            source={"pope": str(world / "pope.jsonl")},
            set={"train.lr": 5e-7, "train.batch_size": 8, **settings},
            limit=4,
            runs=folder / "runs",
            leaderboards=folder / "leaderboards",
        )
    )
    return {
        entry.method: {
            **{key: value for key, value in written["cost"].items() if "precision" in key},
            **{key: value for key, value in written.items() if "precision" in key},
        }
        for entry in entries
        for written in [entry.model_dump(mode="json")]
    }


def test_entries_name_the_precision_of_products_and_of_scoring(tmp_path: Path) -> None:
    found = recorded(tmp_path, **{"train.precision": "bf16"})
    assert found == {"base": {"scored_precision": "bf16"}, "dpo": {"product_precision": "bf16"}}


def test_a_run_in_full_precision_is_that_throughout(tmp_path: Path) -> None:
    lora = {"train.lora.r": 2, "train.lora.targets": ["q_proj"]}
    found = recorded(tmp_path, **{"train.precision": "fp32", **lora})
    assert found == {"base": {"scored_precision": "bf16"}, "dpo": {}}
    adapted = next(tmp_path.glob("runs/store/fits/*/checkpoint"))
    config = Molora.Config(train=TrainSettings(precision="fp32"))
    assert precision.of_loading(adapted, full_precision(config)) == "fp32"
