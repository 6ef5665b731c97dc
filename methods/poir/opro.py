"""OPRO (arXiv 2309.03409): proposals of the model, each scored on training prompts."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

from harness.files import write_atomic
from harness.models.rewriting import Rewriting
from harness.schema import Cost, digest
from harness.store import JsonRow
from harness.training import Fit
from methods.poir.collect import questions, scorable
from methods.poir.config import OproConfig
from methods.poir.scoring import Question, filled, scores

HISTORY = "proposals.jsonl"
DIGITS = 3


def search(fit: Fit, config: OproConfig) -> None:
    """Find the text that gives training prompts the highest mean score; no weights change."""
    asked = questions(fit.rows, fit.dataset, config.collect)
    scorable(fit, asked)
    chosen = random.Random(fit.seed).sample(asked, min(config.prompts, len(asked)))
    history = _tried(fit, config, chosen, ["", *map(_plain, config.start)], [])
    for step in range(config.steps):
        fit.report("proposals", step, config.steps, {"score": _best(history)["score"]})
        history += _tried(fit, config, chosen, _proposals(fit, config, history, step), history)
    fit.report("proposals", config.steps, config.steps, {"score": _best(history)["score"]})
    parameters = sum(each.numel() for each in fit.model.module.parameters())
    fit.cost = Cost(total_parameters=parameters)
    best = _best(history)["text"]

    def save(folder: Path) -> None:
        fit.model.save(folder)
        template = around(config, best, "{prompt}")
        Rewriting(template=template, by_model=False).write(folder)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in history)
        write_atomic(folder / HISTORY, lines)

    fit.save = save


def around(config: OproConfig, text: str, prompt: str) -> str:
    """The new prompt that a text and a prompt make; the prompt alone where the text is empty."""
    if not text:
        return prompt
    return filled(config.around, text=text, prompt=prompt)


def shown(config: OproConfig, history: Sequence[JsonRow]) -> str:
    """The best texts so far with their scores, the best at the end."""
    ranked = sorted(history, key=lambda row: row["score"])[-config.shown :]
    return "\n\n".join(f"text: {row['text']}\nscore: {row['score']:.{DIGITS}f}" for row in ranked)


def _best(history: Sequence[JsonRow]) -> JsonRow:
    return max(history, key=lambda row: row["score"])


def _proposals(fit: Fit, config: OproConfig, history: Sequence[JsonRow], step: int) -> list[str]:
    """New texts of the model."""
    asked = filled(config.template, history=shown(config, history))
    key = {"asked": asked, "config": config.model_dump(mode="json"), "seed": fit.seed, "step": step}

    def propose(_: Sequence[int], __: int) -> list[JsonRow]:
        texts = fit.model.generate(
            fit.model.prompt_texts([asked], config.max_new_tokens),
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            samples=config.proposals,
            seed=int(digest([fit.seed, step]), 16) >> 1,
        )
        return [{"texts": texts}]

    (row,) = fit.mapped("proposals", key, [step], propose)
    return [_plain(text) for text in row["texts"]]


def _plain(text: str) -> str:
    """A text without a place for the prompt: that is ours to set."""
    return text.replace("{prompt}", "").strip()


def _tried(
    fit: Fit,
    config: OproConfig,
    asked: Sequence[Question],
    texts: Sequence[str],
    history: Sequence[JsonRow],
) -> list[JsonRow]:
    """Mean score of each new text over the prompts."""
    known = {row["text"] for row in history}
    new = [text for text in dict.fromkeys(texts) if text not in known]
    prompts = [[around(config, text, each.prompt) for text in new] for each in asked]
    key = {
        "questions": digest([list(each) for each in asked]),
        "prompts": digest(prompts),
        "collect": config.collect.model_dump(mode="json"),
    }

    def score(some: Sequence[int], _: int) -> list[JsonRow]:
        found = scores(
            fit.model, [asked[i] for i in some], [prompts[i] for i in some], config.collect
        )
        return [{"scores": [each.score for each in of_prompt]} for of_prompt in found]

    rows = fit.mapped("proposal scores", key, range(len(asked)), score) if new else []
    return [
        {"text": text, "score": sum(row["scores"][i] for row in rows) / len(rows)}
        for i, text in enumerate(new)
    ]
