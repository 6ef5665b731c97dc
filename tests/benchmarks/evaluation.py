"""Evaluation through the engine beside the loop that a user would write by hand."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from harness import scoring
from harness.arms import Arm
from harness.fitting import Fitted, untrained
from harness.models.prompts import VisionPrompt
from harness.models.vision_language import VisionLanguage
from harness.plan import Scored, make_plan
from harness.predicting import predict
from harness.report.progress import Quiet
from harness.run_config import RunConfig
from harness.store import Store
from tests.benchmarks.measure import Comparison, interleaved

BOUND = 1.1
TASKS = ("pope", "shr")


def run(rounds: int, clock: Callable[[], float], limit: int | None = None) -> Iterator[Comparison]:
    """All items of the lab: prompts, pictures, answers, storing and scoring against a loop that
    only answers. Both begin with nothing but the loaded model."""
    plan = make_plan(RunConfig(method=["base"], tasks=list(TASKS), limit=limit))
    fitted = untrained(plan.arms[0])
    model = VisionLanguage.load(fitted.path)
    for scored in plan.tasks:
        yield _compared(scored, plan.arms[0], model, fitted, rounds, clock)


def _compared(
    scored: Scored,
    arm: Arm,
    model: VisionLanguage,
    base: Fitted,
    rounds: int,
    clock: Callable[[], float],
) -> Comparison:
    task, items = scored.task, scored.items
    prompts = [prompt for item in items for prompt in task.requests(item)]
    new_tokens = task.card.generation["max_new_tokens"]
    answers: dict[str, list[str]] = {}

    def ours() -> None:
        forgetful = VisionLanguage(model.module, model.processor, model.batch_size)
        fitted: Any = SimpleNamespace(fitted=base, asked=None, role=lambda _: forgetful)
        with tempfile.TemporaryDirectory() as folder:
            store, silent = Store(Path(folder)), Quiet()
            predictions = predict(scored, arm.method.generation(), fitted, store, "base", silent)
        task.aggregate(items, predictions, scoring.scores(task, items, predictions))
        answers["ours"] = [output for each in predictions for output in each.outputs]

    def peer() -> None:
        answers["peer"] = bare_loop(
            model.module, model.processor, prompts, model.batch_size, new_tokens
        )

    seconds = interleaved(ours, peer, rounds, clock)
    if answers["ours"] != answers["peer"]:
        raise SystemExit(f"{scored.ref.name}: the engine's answers are not the bare loop's")
    what = f"evaluation / bare generate loop: {scored.ref.name}, {len(items)} items"
    return Comparison(what, "s", *seconds, bound=BOUND)


@torch.inference_mode()
def bare_loop(
    module: Any,
    processor: Any,
    prompts: Sequence[VisionPrompt],
    batch_size: int,
    max_new_tokens: int,
) -> list[str]:
    """Greedy answers in batches of the prompts' own order."""
    processor.tokenizer.padding_side = "left"
    answers: list[str] = []
    for start in range(0, len(prompts), batch_size):
        batch = prompts[start : start + batch_size]
        chats = [
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": p.text}]}]
            for p in batch
        ]
        inputs = processor(
            text=processor.apply_chat_template(chats, add_generation_prompt=True),
            images=[prompt.image for prompt in batch],
            padding=True,
            return_tensors="pt",
        )
        out = module.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        said = processor.batch_decode(
            out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        answers += [answer.strip() for answer in said]
    return answers
