"""MoDULA's stages and its baselines on a Llama of a few thousand weights."""

import json
import signal
import time
import weakref
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import launch
import pytest
import torch
from safetensors.torch import load_file
from tiny_translators import WORDS, tiny_llama

from harness.errors import DataError, HarnessError
from harness.models import loading
from harness.models.causal_lm import CausalLM
from harness.plan import open_data
from harness.schema import Cost
from harness.sources import open_dataset
from harness.store import Store
from harness.training import Fit
from methods.modula.data import training_rows
from methods.modula.plugin import (
    Lora,
    Modula,
    ModulaFlan,
    ModulaUniform,
    ModulaWithoutResidual,
    Molora,
)

STAGED = [Modula, ModulaFlan, ModulaWithoutResidual]
TRAIN = {"lr": 2e-2, "batch_size": 4, "micro_batch": 4, "epochs": 1, "precision": "fp32"}
RANKS = {"universal": 4, "expert": 2}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A base model and training sets as files, each of which turns words into another."""
    folder = tmp_path_factory.mktemp("world")
    tiny_llama(folder / "model")
    for number, name in enumerate(("general", "math", "code", "news")):
        rows = [
            {"prompt": f"{name} {word} =", "answer": WORDS[(index + number) % 5]}
            for index, word in enumerate(WORDS[:16])
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder


def settings(world: Path, domains=("math", "code"), **more) -> dict:
    sets = {name: str(world / f"{name}.jsonl") for name in domains}
    return {"ranks": RANKS, "data": {"domains": sets, "max_length": 64}, **more}


def staged(world: Path, domains=("math", "code"), **more) -> dict:
    parts = dict.fromkeys(("universal", "experts", "router"), TRAIN)
    return settings(world, domains, **{**parts, **more})


def new_fit(world: Path, folder: Path, name: str = "fit", store: Path | None = None) -> Fit:
    base = world / "model"
    dataset = open_dataset(str(world / "general.jsonl"))
    return Fit(
        config=Modula.Config(),
        model=CausalLM.load(base),
        dataset=dataset,
        rows=dataset.rows(),
        seed=0,
        folder=folder / name,
        store=Store(store or folder / "store"),
        inputs={"base": loading.identity(base)},
        resolve=str,
        base=base,
    )


def trained(method, fit: Fit, config: dict) -> Fit:
    fit.folder.mkdir(parents=True, exist_ok=True)
    method(method.Config.model_validate(config)).fit(fit)
    assert fit.save is not None or method is Lora
    return fit


def written(fit: Fit) -> dict[str, torch.Tensor]:
    """What the fit's checkpoint holds of experts and routers."""
    folder = fit.folder / "checkpoint"
    assert fit.save is not None
    fit.save(folder)
    return load_file(folder / "modula.safetensors")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Where tests find parts that are no matter of theirs, trained by whoever came first."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def plain(world, store, tmp_path_factory) -> tuple[Cost, dict[str, torch.Tensor]]:
    """What an undisturbed fit of two domains costs and comes to."""
    fit = trained(
        Modula, new_fit(world, tmp_path_factory.mktemp("plain"), store=store), staged(world)
    )
    assert fit.cost is not None
    return fit.cost, written(fit)


def logits(module: torch.nn.Module) -> torch.Tensor:
    ids = torch.arange(40).view(2, 20)
    with torch.inference_mode():
        return module(input_ids=ids).logits


@pytest.mark.parametrize("method", STAGED)
def test_every_stage_lowers_its_loss_and_the_whole_is_read_again(method, world, store, tmp_path):
    longer = {part: {**TRAIN, "epochs": 6} for part in ("universal", "experts", "router")}
    fit = trained(method, new_fit(world, tmp_path, store=store), staged(world, **longer))
    stages = json.loads((fit.folder / "stages.json").read_text())
    assert list(stages) == ["universal", "math", "code", "router"]
    for name in ("universal", "math", "code"):
        rows = Path(stages[name]["folder"], "curves.jsonl").read_text().splitlines()
        losses = [json.loads(row)["loss"] for row in rows]
        assert losses[-1] < 0.8 * losses[0], name
    assert fit.cost is not None
    parts = [stage["cost"] for stage in stages.values()]
    for field in ("trainable_parameters", "train_tokens", "train_flops"):
        assert getattr(fit.cost, field) == sum(part[field] for part in parts)
    own = written(fit)
    assert fit.cost.trainable_parameters == sum(tensor.numel() for tensor in own.values())
    again = loading.load(fit.folder / "checkpoint", "causal-lm")
    torch.testing.assert_close(logits(again.module), logits(fit.model.module))


def test_a_further_domain_leaves_every_other_expert_as_it_is_to_the_bit(world, tmp_path):
    two = written(trained(Modula, new_fit(world, tmp_path, "two"), staged(world)))
    folders = {path.name for path in (tmp_path / "store/stages").iterdir()}
    config = staged(world, ("math", "code", "news"))
    three = written(trained(Modula, new_fit(world, tmp_path, "three"), config))
    assert len({path.name for path in (tmp_path / "store/stages").iterdir()} - folders) == 2
    for name, tensor in two.items():
        if not name.endswith("router"):
            assert torch.equal(three[name], tensor), name
    new = {name for name in three if name not in two}
    assert new and all(".experts.news." in name for name in new)
    routers = [name for name in two if name.endswith("router")]
    assert all(len(three[name]) == len(two[name]) + 1 for name in routers)

    back = written(trained(Modula, new_fit(world, tmp_path, "back"), staged(world)))
    assert back.keys() == two.keys()
    assert all(torch.equal(back[name], two[name]) for name in two), "the same backwards"


def test_forms_share_the_universal_stage_and_no_expert(world, tmp_path):
    for method in STAGED:
        trained(method, new_fit(world, tmp_path, method.__name__), staged(world))
    assert len(list((tmp_path / "store/stages").iterdir())) == 1 + 3 * 3


def test_experts_trained_side_by_side_are_the_same(world, plain, tmp_path):
    _, alone = plain
    config = staged(world, jobs=2)
    apart = written(trained(Modula, new_fit(world, tmp_path), config))
    assert alone.keys() == apart.keys()
    assert all(torch.equal(apart[name], alone[name]) for name in alone)
    assert "jobs" not in Modula.Config.model_validate(config).model_dump()


def test_a_training_killed_within_a_stage_ends_as_one_that_was_not(world, plain, tmp_path):
    _, whole = plain
    saving = {**TRAIN, "save_steps": 1}
    config = staged(world, universal=saving, experts=saving, router=saving)
    for ended in (0, 1, 2, 3):
        process = launch.context.Process(target=_train, args=(world, tmp_path / "killed", config))
        process.start()
        _wait_for_a_step(tmp_path / "killed/store/stages", ended, process)
        process.kill()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "killed/fit/stages.json").exists()
    killed = written(trained(Modula, new_fit(world, tmp_path / "killed"), config))
    assert all(torch.equal(killed[name], whole[name]) for name in whole)


def _train(world: Path, folder: Path, config: dict) -> None:
    """What a process of its own does."""
    trained(Modula, new_fit(world, folder), config)


def _wait_for_a_step(stages: Path, ended: int, process: BaseProcess) -> None:
    """Until as many stages have ended and the next has made a step."""
    deadline = time.monotonic() + 120
    while True:
        done = len(list(stages.glob("*/seal.json")))
        if done >= ended and list(stages.glob("*/steps/checkpoint-*/trainer_state.json")):
            return
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.002)


def test_uniform_routing_has_no_third_stage_and_equal_shares(world, store, tmp_path):
    fit = trained(ModulaUniform, new_fit(world, tmp_path, store=store), staged(world))
    assert list(json.loads((fit.folder / "stages.json").read_text())) == [
        "universal",
        "math",
        "code",
    ]
    own = written(fit)
    assert all(not tensor.any() for name, tensor in own.items() if name.endswith("router"))


@pytest.mark.parametrize("method", [Molora, Lora])
def test_baselines_train_on_all_sets_and_are_as_large(method, world, plain, tmp_path):
    config = settings(world, train={**TRAIN, "epochs": 8})
    fit = trained(method, new_fit(world, tmp_path), config)
    assert fit.curves[-1]["loss"] < 0.8 * fit.curves[0]["loss"]
    assert fit.cost is not None
    rows = 3 * 16
    assert fit.cost.train_tokens > rows * 8 * 3
    ours, _ = plain
    # A layer of 32 or 48 inputs makes the routers large beside experts of rank 2; LoRA has none.
    assert fit.cost.trainable_parameters == pytest.approx(ours.trainable_parameters, rel=0.15)


def test_packed_rows_train_the_same_model_as_rows_alone(world, tmp_path):
    both = []
    for pack in (False, True):
        config = settings(world, train={**TRAIN, "batch_size": 1, "epochs": 1, "lr": 1e-3})
        config["data"] = {**config["data"], "pack": pack, "max_length": 2000}
        if not pack:
            config["train"] = {**config["train"], "batch_size": 48, "micro_batch": 48}
        fit = trained(Lora, replace(new_fit(world, tmp_path / str(pack))), config)
        both.append((fit.curves[0]["loss"], fit.cost.train_tokens))
    (alone, tokens), (packed, same) = both
    assert tokens == same
    assert packed == pytest.approx(alone, rel=1e-4)


WRONG = {
    "a domain without data": ("empty", "", "empty.jsonl: is empty"),
    "too few rows": ("few", '{"prompt": "a", "answer": "b"}\n', "stage 'few': 1 training rows"),
    "no answer": ("odd", '{"prompt": "a", "anser": "b"}\n', "odd.jsonl line 1: there is no 'answ"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_set_is_one_line(case, world, plain, store, tmp_path):
    name, text, message = WRONG[case]
    (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
    config = staged(world)
    config["data"]["domains"][name] = str(tmp_path / f"{name}.jsonl")
    with pytest.raises(HarnessError) as caught:
        trained(Modula, new_fit(world, tmp_path, store=store), config)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def with_long_rows(world: Path, folder: Path) -> Path:
    """The world with an answer of 90 words in a domain's third row."""
    for path in world.glob("*.jsonl"):
        rows = path.read_text(encoding="utf-8").splitlines()
        if path.stem == "code":
            rows[2] = json.dumps({"prompt": "code =", "answer": " ".join(WORDS * 90)[:400]})
        (folder / path.name).write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "model").symlink_to(world / "model")
    return folder


def test_a_row_too_long_for_a_later_stage_is_refused_before_the_first_trains(world, tmp_path):
    long = with_long_rows(world, tmp_path)
    fit = new_fit(long, tmp_path)
    refusing = {**TRAIN, "too_long": "refuse"}
    with pytest.raises(DataError, match=r"^code\.jsonl line 3: \d+ tokens too long\. Set too_long"):
        trained(Modula, fit, staged(long, experts=refusing))
    assert not (tmp_path / "store" / "stages").exists()


@pytest.mark.parametrize(("how", "rows"), [("drop", 15), ("cut", 16)])
def test_a_row_too_long_is_left_out_or_cut_and_named(world, tmp_path, caplog, how, rows):
    long = with_long_rows(world, tmp_path)
    fit = new_fit(long, tmp_path)
    did = {"drop": "left out", "cut": "cut"}[how]
    parts = {key: {**TRAIN, "too_long": how} for key in ("universal", "experts", "router")}
    config = Modula.Config.model_validate(staged(long, **parts))
    (found,) = [
        training_rows(fit, [(open_data(name), open_data(name).rows())], config.data, how)
        for domain, name in config.data.sets.items()
        if domain == "code"
    ]
    assert len(found.rows) == rows
    assert max(len(row.prompt) + len(row.answer) for row in found.rows) <= 64
    trained(Modula, fit, config.model_dump())
    assert caplog.text.count(f"{did} 1 rows to train on: code.jsonl line 3: ") == 1
    (line,) = (fit.folder / "left_out.jsonl").read_text().splitlines()
    assert list(json.loads(line)) == [did.replace(" ", "_")]


def test_packed_rows_are_trained_apart_from_plain_ones(world, tmp_path):
    few = {**TRAIN, "batch_size": 2, "micro_batch": 2}
    for pack in (False, True):
        config = staged(world, ("math",), **dict.fromkeys(("universal", "experts", "router"), few))
        config["data"] = {**config["data"], "pack": pack, "max_length": 12}
        trained(Modula, new_fit(world, tmp_path, f"pack-{pack}"), config)
    assert len(list((tmp_path / "store" / "stages").glob("*"))) == 6  # three of each


def test_stages_hold_one_model_at_a_time(world, tmp_path, monkeypatch):
    fit = new_fit(world, tmp_path)
    seen = [weakref.ref(each) for each in fit.model.module.modules()]
    alive = []
    load = loading.load

    def noted(folder, role, dtype=None):
        alive.append(sum(each() is not None for each in seen))
        model = load(folder, role, dtype)
        seen.extend(weakref.ref(each) for each in model.module.modules())
        return model

    monkeypatch.setattr(loading, "load", noted)
    trained(Modula, fit, staged(world))
    assert alive == [0] * 5  # of four stages, and of the whole
