"""The learning rate of every step, against formulas written out by hand."""

import math

import pytest
import torch
from torch import nn

from harness.errors import HarnessError
from harness.settings import TrainSettings
from harness.trainer import PlainTrainer, training_arguments

PEAK = 0.5


def rates(folder, steps: int, **settings) -> list[float]:
    """The rate that the trainer's optimizer has at each step."""
    chosen = TrainSettings(lr=PEAK, precision="fp32", **settings)
    arguments = training_arguments(chosen, 0, folder, torch.device("cpu"))
    trainer = PlainTrainer(model=nn.Linear(1, 1), args=arguments)
    trainer.create_optimizer_and_scheduler(steps)
    found = []
    for _ in range(steps):
        found.append(trainer.optimizer.param_groups[0]["lr"])
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    return found


def by_hand(schedule: str, share: float, steps: int) -> list[float]:
    warmed = math.ceil(share * steps)
    found = []
    for step in range(steps):
        if step < warmed:
            factor = step / warmed
        else:
            done = (step - warmed) / (steps - warmed)
            factor = {
                "constant": 1.0,
                "linear": 1 - done,
                "cosine": (1 + math.cos(math.pi * done)) / 2,
            }[schedule]
        found.append(PEAK * factor)
    return found


@pytest.mark.parametrize("steps", [2, 3, 20, 41])
@pytest.mark.parametrize("share", [0.0, 0.003, 0.25, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_every_step_has_the_rate_of_the_formula(tmp_path, schedule, share, steps):
    found = rates(tmp_path, steps, schedule=schedule, warmup=share)
    assert found == pytest.approx(by_hand(schedule, share, steps), abs=1e-12)


def test_a_warmup_of_all_steps_rises_to_the_end(tmp_path):
    assert rates(tmp_path, 4, schedule="cosine", warmup=1.0) == [0.0, 0.125, 0.25, 0.375]


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_a_training_of_one_step_has_the_full_rate_or_is_refused(tmp_path, schedule):
    assert rates(tmp_path, 1, schedule=schedule) == [PEAK]
    for share in (0.001, 1.0):
        with pytest.raises(HarnessError, match=r"warmup is .* one step in all"):
            rates(tmp_path, 1, schedule=schedule, warmup=share)
