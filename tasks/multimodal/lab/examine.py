"""How the lab's base models do on the dev splits: what their `curve.json` records."""

import random
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import torch
from transformers import (
    CLIPModel,
    CLIPProcessor,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from harness.models.pretrained import read_model, read_processor
from tasks.multimodal.lab.corpus import changed_claim
from tasks.multimodal.lab.questions import CATEGORIES, LETTERS, SHORT_SUFFIX, lettered
from tasks.multimodal.lab.rows import POPE_CATEGORIES, SPLITS, Row, truth
from tasks.multimodal.lab.tokens import PROMPT
from tasks.multimodal.lab.world import Scene, describe, draw, mentioned, scenes, sentences_of

Figures = dict[str, float]
Reply = Callable[[Sequence[Row], Sequence[str]], list[str]]
"""Answers of a model to one question about each row's image."""


def examine_clip(folder: Path) -> Figures:
    """Figures of a CLIP's folder on the dev split."""
    return clip_figures(read_model(CLIPModel, folder), read_processor(folder))


@torch.no_grad()
def clip_figures(model: CLIPModel, processor: CLIPProcessor) -> Figures:
    """How the CLIP tells a true sentence from one with a changed attribute.

    Returns:
        sentence_auc over all pairs of images; paired, the share of images on which the true
        one scores higher.
    """
    rng = random.Random(0)
    known = list(islice(scenes("dev", 0), 300))
    texts = [t for s in known for t in (rng.choice(describe(s)[:-1]), changed_claim(s, rng))]
    images = [draw(scene) for scene in known]
    inputs = processor(images=images, text=texts, padding=True, return_tensors="pt")
    logits = model(**inputs).logits_per_image
    rows = torch.arange(len(known))
    right, wrong = logits[rows, 2 * rows], logits[rows, 2 * rows + 1]
    return _rounded(
        {
            "sentence_auc": (right[:, None] > wrong[None, :]).float().mean().item(),
            "paired": (right > wrong).float().mean().item(),
        }
    )


def examine_vlm(folder: Path) -> Figures:
    """Figures of a LLaVA's folder on the dev splits of `shr`, `pope` and `mmbench`."""
    model = read_model(LlavaForConditionalGeneration, folder)
    processor = read_processor(folder)

    def reply(rows: Sequence[Row], questions: Sequence[str]) -> list[str]:
        return answers(model, processor, rows, questions)

    described = SPLITS["shr-dev"]()
    texts = reply(described, [row["question"] for row in described])
    return _rounded({**shr_figures(described, texts), **_pope(reply), **_mmbench(reply)})


@torch.no_grad()
def answers(
    model: LlavaForConditionalGeneration,
    processor: LlavaProcessor,
    rows: Sequence[Row],
    questions: Sequence[str],
) -> list[str]:
    """Greedy answers to one question about each row's image."""
    found: list[str] = []
    for start in range(0, len(rows), 200):
        part = slice(start, start + 200)
        prompts = [PROMPT.format(question=question) for question in questions[part]]
        images = [row["image"] for row in rows[part]]
        inputs = processor(images=images, text=prompts, padding=True, return_tensors="pt")
        output = model.generate(**inputs, max_new_tokens=64, do_sample=False)  # type: ignore[misc]
        new = output[:, inputs["input_ids"].shape[1] :]
        found += processor.batch_decode(new, skip_special_tokens=True)
    return found


def shr_figures(rows: Sequence[Row], texts: Sequence[str]) -> Figures:
    """Share of wrong sentences, share of things rightly mentioned, sentences per answer."""
    claims = [sentences_of(text) for text in texts]
    marks = [mark for row, said in zip(rows, claims, strict=True) for mark in truth(row, said)]
    facts = [Scene.from_facts(row["facts"]) for row in rows]
    found = sum(len(mentioned(s, said)) for s, said in zip(facts, claims, strict=True))
    return {
        "wrong_sentences": 1 - sum(marks) / max(len(marks), 1),
        "object_recall": found / sum(len(scene.things) for scene in facts),
        "sentences": len(marks) / len(rows),
    }


def _pope(reply: Reply) -> Figures:
    """F1 and accuracy of each category."""
    rows = SPLITS["pope-dev"]()
    said = reply(rows, [row["text"] + SHORT_SUFFIX for row in rows])
    figures = {}
    for category in POPE_CATEGORIES:
        picked = [i for i, row in enumerate(rows) if row["category"] == category]
        hits = sum(rows[i]["label"] == said[i] == "yes" for i in picked)
        claimed = sum(said[i] == "yes" for i in picked)
        real = sum(rows[i]["label"] == "yes" for i in picked)
        right = sum(rows[i]["label"] == said[i] for i in picked)
        figures[f"pope_{category}_f1"] = 2 * hits / max(claimed + real, 1)
        figures[f"pope_{category}_accuracy"] = right / len(picked)
    return figures


def _mmbench(reply: Reply) -> Figures:
    """Accuracy over all rotations (plain), and of items right under every one (circular)."""
    rows = SPLITS["mmbench-dev"]()
    turned, questions, keys = [], [], []
    for row in rows:
        options = [row[letter] for letter in LETTERS if row[letter] is not None]
        right = LETTERS.index(row["answer"])
        for turn in range(len(options)):
            turned.append(row)
            questions.append(lettered(row["question"], options[turn:] + options[:turn]))
            keys.append(LETTERS[(right - turn) % len(options)])
    said = reply(turned, questions)
    circular = {row["index"]: True for row in rows}
    for row, key, answer in zip(turned, keys, said, strict=True):
        circular[row["index"]] &= key == answer
    figures = {
        "mmbench_plain": sum(k == a for k, a in zip(keys, said, strict=True)) / len(keys),
        "mmbench_circular": sum(circular.values()) / len(rows),
    }
    for category in CATEGORIES:
        marks = [circular[row["index"]] for row in rows if row["category"] == category]
        figures[f"mmbench_circular_{category}"] = sum(marks) / len(marks)
    return figures


def _rounded(figures: Figures) -> Figures:
    return {name: round(value, 4) for name, value in figures.items()}
