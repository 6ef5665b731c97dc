"""What the sentence weights cost: an ASPO step beside a DPO step on the same pairs."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from torch import Tensor

from harness.method import MethodConfig
from harness.models import loading
from harness.models.vision_language import VisionLanguage
from harness.plan import open_data
from harness.store import Store
from harness.training import Fit
from methods.aspo.batches import Batches
from methods.aspo.config import AspoConfig, LossSettings, PairSettings, Unweighted
from methods.aspo.data import preference_pairs
from methods.aspo.plugin import Aspo
from methods.aspo.prepare import prepared
from tests.benchmarks.measure import Comparison, interleaved
from tests.benchmarks.small import VOCABULARY, batch_of_pairs, our_step, small_llava

BOUND = 1.1
LAB_PAIRS = 32
"""The lab profile's batch."""


def run(rounds: int, clock: Callable[[], float]) -> Iterator[Comparison]:
    """On the lab's model with its own pairs, and with a vocabulary of real size.

    The similarity of sentence and picture does not depend on the policy: it is computed once
    before training, and is no part of a step.
    """
    small = small_llava()
    yield _compared("lab model", *lab_pairs(), 4 * rounds, clock)
    yield _compared(f"vocabulary {VOCABULARY:,}", small, batch_of_pairs(small), rounds, clock)


def _compared(
    where: str,
    module: Any,
    batch: Mapping[str, Tensor],
    rounds: int,
    clock: Callable[[], float],
) -> Comparison:
    with tempfile.TemporaryDirectory() as folder:
        aspo, dpo = (
            our_step(deepcopy(module), batch, settings, Path(folder))
            for settings in (LossSettings(), Unweighted())
        )
        seconds = interleaved(aspo, dpo, rounds, clock, warm_up=2)
    return Comparison(f"ASPO step / DPO step: {where}", "s", *seconds, bound=BOUND)


def lab_pairs() -> tuple[Any, Mapping[str, Tensor]]:
    """The lab's base model and a batch of pairs made of its own answers, as the profile says."""
    preset = Aspo.presets["lab"]
    config = AspoConfig.model_validate(preset.config)
    pairs = PairSettings.model_validate({**config.pairs.model_dump(), "limit": LAB_PAIRS})
    dataset = open_data(preset.dataset)
    with tempfile.TemporaryDirectory() as folder:
        fit = Fit(
            config=MethodConfig(),
            model=VisionLanguage.load(loading.resolve(preset.model)),
            dataset=dataset,
            rows=list(dataset.rows())[: 4 * LAB_PAIRS],
            seed=0,
            folder=Path(folder),
            store=Store(Path(folder)),
            inputs={},
            resolve=lambda name: str(loading.resolve(name)),
        )
        chosen = preference_pairs(fit, pairs)
        batches = Batches(fit.model, pairs.max_length, dataset)
        return fit.model.module, batches.collate(prepared(fit, chosen, batches, config))
