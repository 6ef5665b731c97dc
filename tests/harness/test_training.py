"""The one trainer: batches, resume, adapters, processes."""

import json
import signal
import time

import launch
import pytest
import torch
import training_worker
from tiny_llava import tiny_llava

from harness import trainer
from harness.errors import HarnessError
from harness.settings import Lora, TrainSettings, too_large, training_key
from methods.aspo.config import DpoConfig

SETTINGS = {"lr": 1e-2, "epochs": 2, "batch_size": 8, "micro_batch": 8, "save_steps": 1}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_llava(tmp_path_factory.mktemp("model") / "tiny")


def started(model, folder, settings, pause=0.0, environment=None):
    """A process of its own, which can be killed."""
    process = launch.context.Process(
        target=training_worker.train, args=(model, folder, settings, pause, environment)
    )
    process.start()
    return process


def trained(model, folder, settings, count=1):
    each = launch.one_of(count) if count > 1 else [None]
    started_ = [started(model, folder, settings, environment=one) for one in each]
    try:
        for process in started_:
            process.join(120)
            assert process.exitcode == 0
    finally:
        for process in started_:  # one waits for ever where another failed
            process.kill()
    return torch.load(folder / "weights.pt"), json.loads((folder / "fit.json").read_text())


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    return trained(model, tmp_path_factory.mktemp("whole"), SETTINGS)


def furthest(a, b):
    return max((a[name].double() - b[name].double()).abs().max().item() for name in a)


def test_the_loss_goes_down(whole):
    losses = whole[1]["losses"]
    assert len(losses) == 6
    assert losses[-1] < 0.9 * losses[0]


def test_accumulated_micro_batches_equal_the_whole_batch(model, whole, tmp_path):
    weights, record = trained(model, tmp_path, {**SETTINGS, "micro_batch": 2})
    assert record["cost"] == whole[1]["cost"]
    assert furthest(weights, whole[0]) < 2e-5


def test_two_processes_equal_one_with_the_doubled_batch(model, whole, tmp_path):
    weights, record = trained(model, tmp_path, {**SETTINGS, "micro_batch": 4}, count=2)
    assert record["cost"] == whole[1]["cost"]
    assert furthest(weights, whole[0]) < 2e-5


def test_a_killed_training_continues_to_the_same_weights(model, whole, tmp_path):
    process = started(model, tmp_path, SETTINGS, pause=0.3)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("steps/checkpoint-*/trainer_state.json")):
        assert time.monotonic() < deadline
        assert process.is_alive()
        time.sleep(0.05)
    process.kill()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "weights.pt").exists()
    last = max(tmp_path.glob("steps/checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
    half_written = last.with_name("checkpoint-99")  # a kill in the middle of a save
    half_written.mkdir()
    (half_written / "model.safetensors").write_bytes(b"half")
    weights, record = trained(model, tmp_path, SETTINGS)
    assert furthest(weights, whole[0]) == 0
    assert record == whole[1]


def test_a_training_killed_after_a_save_by_the_clock_continues_to_the_same_weights(
    model, whole, tmp_path
):
    settings = {**SETTINGS, "save_steps": 1000, "save_minutes": 1e-9}
    process = started(model, tmp_path, settings, pause=0.3)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("steps/checkpoint-*/trainer_state.json")):
        assert time.monotonic() < deadline
        assert process.is_alive()
        time.sleep(0.05)
    process.kill()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    weights, record = trained(model, tmp_path, {**SETTINGS, "save_steps": 1000})
    assert furthest(weights, whole[0]) == 0
    assert record == whole[1]


def test_a_step_is_saved_when_the_last_save_is_too_long_ago(model, tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr(trainer, "monotonic", lambda: now)
    told = []

    def slow(module, batch):
        nonlocal now
        now += 240
        return training_worker.loss(module, batch)

    fit = training_worker.make_fit(model, tmp_path)
    fit.report = lambda what, done, total, figures: told.append((done, figures.get("saved_mib")))
    settings = TrainSettings(batch_size=4, micro_batch=4, save_steps=1000, save_minutes=8)
    fit.train(training_worker.ROWS, training_worker.collate, slow, settings)
    saved = {step: size for step, size in told if size is not None}
    assert list(saved) == [2, 4, 6]
    last = tmp_path / "steps/checkpoint-6"
    assert saved[6] == sum(path.stat().st_size for path in last.iterdir()) / 2**20


def test_processes_whose_clocks_differ_save_the_same_steps(model, tmp_path):
    minutes = (1e-9, 1e9)
    each = [
        started(model, tmp_path, {**SETTINGS, "micro_batch": 4, **mine}, environment=one)
        for one, last in zip(launch.one_of(2), minutes, strict=True)
        for mine in [{"save_steps": 1000, "save_minutes": last}]
    ]
    try:
        for process in each:
            process.join(120)
            assert process.exitcode == 0
    finally:
        for process in each:
            process.kill()
    states = [sorted(path.glob("rng_state_*.pth")) for path in tmp_path.glob("steps/checkpoint-*")]
    assert [len(found) for found in states] == [2, 2], "the last two of six steps"


OUT_OF_MEMORY = {
    "a GPU": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "a CPU": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"),
    "Python": MemoryError(),
}


@pytest.mark.parametrize("where", OUT_OF_MEMORY)
def test_a_step_that_memory_does_not_suffice_for_is_one_line(model, tmp_path, where):
    """Of a forward or a backward pass, after steps that were saved."""
    count = 0

    def full(module, batch):
        nonlocal count
        count += 1
        if count > 2:
            raise OUT_OF_MEMORY[where]
        return training_worker.loss(module, batch)

    fit = training_worker.make_fit(model, tmp_path)
    settings = TrainSettings(**{**SETTINGS, "micro_batch": 4})
    said = (
        "micro_batch 4: set train.micro_batch=2 .*, train.gradient_checkpointing=true, train.lora"
    )
    with pytest.raises(HarnessError, match=said):
        fit.train(training_worker.ROWS, training_worker.collate, full, settings)
    assert trainer.last_checkpoint(tmp_path / "steps")
    small = settings.model_copy(update={"micro_batch": 1, "lora": Lora(r=2)})
    assert "micro_batch=" not in too_large(small) and "lora" not in too_large(small)


def test_another_error_of_a_step_stays_itself(model, tmp_path):
    def wrong(module, batch):
        raise RuntimeError("shapes differ")

    fit = training_worker.make_fit(model, tmp_path)
    with pytest.raises(RuntimeError, match="shapes differ"):
        fit.train(training_worker.ROWS, training_worker.collate, wrong, TrainSettings(**SETTINGS))


def test_how_often_a_training_saves_is_no_part_of_what_it_depends_on():
    often = DpoConfig(train=TrainSettings(save_steps=1, save_minutes=1))
    assert training_key(often) == training_key(DpoConfig())
    assert training_key(often.train) == training_key(TrainSettings())
    assert training_key(often) != training_key(DpoConfig(train=TrainSettings(lr=1)))
    assert "save_minutes" not in often.train.model_dump()


def test_adapters_alone_train_and_reload_with_peft(model, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    fit = training_worker.make_fit(model, tmp_path)
    before = {name: value.clone() for name, value in fit.model.module.state_dict().items()}
    settings = TrainSettings(
        lr=1e-2, batch_size=8, lora=Lora(r=2, alpha=4, targets=["q_proj"]), precision="fp32"
    )
    fit.train(training_worker.ROWS, training_worker.collate, training_worker.loss, settings)
    fit.model.save(tmp_path / "adapter")
    assert fit.cost.trainable_parameters < 0.1 * fit.cost.total_parameters
    assert not list((tmp_path / "adapter").glob("model*.safetensors"))
    base = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32)
    assert furthest(base.state_dict(), before) == 0
    reloaded = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    batch = training_worker.collate(training_worker.ROWS[:4])
    with torch.inference_mode():
        assert torch.equal(reloaded(**batch).logits, fit.model.module(**batch).logits)
        assert not torch.equal(reloaded.unload()(**batch).logits, fit.model.module(**batch).logits)


def test_frozen_parts_stay_as_they_are(model, tmp_path):
    fit = training_worker.make_fit(model, tmp_path)
    before = {name: value.clone() for name, value in fit.model.module.state_dict().items()}
    settings = TrainSettings(lr=1e-2, batch_size=8, freeze=["language_model.layers.0"])
    fit.train(training_worker.ROWS, training_worker.collate, training_worker.loss, settings)
    after = fit.model.module.state_dict()
    frozen = [name for name in after if "language_model.layers.0" in name]
    assert frozen
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert not torch.equal(before["lm_head.weight"], after["lm_head.weight"])


def test_more_rows_per_batch_than_there_are_is_an_error(model, tmp_path):
    fit = training_worker.make_fit(model, tmp_path)
    with pytest.raises(HarnessError, match="fewer than one batch"):
        fit.train([[5]], training_worker.collate, training_worker.loss, TrainSettings())


def test_a_batch_that_does_not_divide_is_an_error(model, tmp_path):
    fit = training_worker.make_fit(model, tmp_path)
    settings = TrainSettings(batch_size=8, micro_batch=3)
    with pytest.raises(HarnessError, match="micro-batches of 3"):
        fit.train(training_worker.ROWS, training_worker.collate, training_worker.loss, settings)
