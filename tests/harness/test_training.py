"""The one trainer: batches, resume, adapters, processes."""

import json
import signal
import time

import launch
import pytest
import torch
import training_worker
from tiny_llava import tiny_llava

from harness.errors import HarnessError
from harness.settings import Lora, TrainSettings

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
