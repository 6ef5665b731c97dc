"""How the lab's base models do on the dev splits: what their `curve.json` records."""

import random
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch
from transformers import AutoProcessor, CLIPModel, LlavaForConditionalGeneration

from tasks.multimodal.lab.corpus import changed_claim
from tasks.multimodal.lab.questions import LETTERS, SHORT_SUFFIX, lettered
from tasks.multimodal.lab.rows import POPE_CATEGORIES, SPLITS, Row, truth
from tasks.multimodal.lab.world import Scene, describe, draw, mentioned, scenes, sentences_of

Figures = dict[str, float]


def examine_clip(folder: Path) -> Figures:
    """AUC with which the CLIP tells an image's true sentence from a changed one."""
    model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(folder)
    rng = random.Random(0)
    known = list(islice(scenes("dev", 0), 300))
    texts = [t for s in known for t in (rng.choice(describe(s)[:-1]), changed_claim(s, rng))]
    images = [draw(scene) for scene in known]
    with torch.no_grad():
        inputs = processor(images=images, text=texts, padding=True, return_tensors="pt")
        logits = model(**inputs).logits_per_image
    rows = torch.arange(len(known))
    right, wrong = logits[rows, 2 * rows], logits[rows, 2 * rows + 1]
    wins = (right[:, None] > wrong[None, :]).float().mean()
    return {
        "sentence_auc": round(wins.item(), 4),
        "paired": round((right > wrong).float().mean().item(), 4),
    }


def examine_vlm(folder: Path) -> Figures:
    """Wrong sentences, object recall, POPE's F1s and MMBench's circular accuracy, on dev."""
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(folder)
    figures = {**_shr(model, processor), **_pope(model, processor), **_mmbench(model, processor)}
    return {name: round(value, 4) for name, value in figures.items()}


@torch.no_grad()
def answers(model, processor, rows: Sequence[Row], questions: Sequence[str]) -> list[str]:
    """Greedy answers to one question about each row's image."""
    found: list[str] = []
    for start in range(0, len(rows), 200):
        part = slice(start, start + 200)
        prompts = [
            processor.apply_chat_template(
                [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": q}]}],
                add_generation_prompt=True,
            )
            for q in questions[part]
        ]
        images = [row["image"] for row in rows[part]]
        inputs = processor(images=images, text=prompts, padding=True, return_tensors="pt")
        output = model.generate(**inputs, max_new_tokens=64, do_sample=False)
        new = output[:, inputs["input_ids"].shape[1] :]
        found += processor.batch_decode(new, skip_special_tokens=True)
    return found


def _shr(model, processor) -> Figures:
    rows = SPLITS["shr-dev"]()
    texts = answers(model, processor, rows, [row["question"] for row in rows])
    return shr_figures(rows, texts)


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


def _pope(model, processor) -> Figures:
    rows = SPLITS["pope-dev"]()
    said = answers(model, processor, rows, [row["text"] + SHORT_SUFFIX for row in rows])
    figures = {}
    for category in POPE_CATEGORIES:
        pairs = [
            (r["label"], a) for r, a in zip(rows, said, strict=True) if r["category"] == category
        ]
        hits = sum(label == answer == "yes" for label, answer in pairs)
        claimed = sum(answer == "yes" for _, answer in pairs)
        real = sum(label == "yes" for label, _ in pairs)
        figures[f"pope_{category}_f1"] = 2 * hits / max(claimed + real, 1)
    return figures


def _mmbench(model, processor) -> Figures:
    """An item is right only if it is right under every rotation of its options."""
    rows = SPLITS["mmbench-dev"]()
    turned, questions, keys = [], [], []
    for row in rows:
        options = [row[letter] for letter in LETTERS if row[letter] is not None]
        right = LETTERS.index(row["answer"])
        for turn in range(len(options)):
            turned.append(row)
            questions.append(lettered(row["question"], options[turn:] + options[:turn]))
            keys.append(LETTERS[(right - turn) % len(options)])
    said = answers(model, processor, turned, questions)
    circular = {row["index"]: True for row in rows}
    for row, key, answer in zip(turned, keys, said, strict=True):
        circular[row["index"]] &= key == answer
    figures = {"mmbench_circular": sum(circular.values()) / len(rows)}
    for category in sorted({row["category"] for row in rows}):
        marks = [circular[row["index"]] for row in rows if row["category"] == category]
        figures[f"mmbench_{category}"] = sum(marks) / len(marks)
    figures["mmbench_vanilla"] = sum(k == a for k, a in zip(keys, said, strict=True)) / len(keys)
    return figures
