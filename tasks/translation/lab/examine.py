"""How the lab's base models do on the dev splits: what their `curve.json` records."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import MarianMTModel, PreTrainedTokenizerBase

from harness.errors import HarnessError
from harness.models.loading import resolve
from harness.models.pretrained import read_model, read_tokenizer
from harness.task import Ratio
from tasks.translation.lab.grammar import SPACINGS
from tasks.translation.lab.rows import Row, splits
from tasks.translation.score import concept_scores, oscillates

Figures = dict[str, float]


def examine(folder: Path) -> dict[str, Figures]:
    """Figures of a translator's folder on the dev split of each spacing, decoded greedily."""
    model = read_model(MarianMTModel, folder)
    tokenizer = read_tokenizer(folder)
    found = {}
    for spacing in SPACINGS:
        rows = splits(spacing)["dev"]()
        texts, cut = translate(model, tokenizer, [row["source"] for row in rows])
        found[spacing] = figures(rows, texts) | {"length_limit": cut}
    return {s: {name: round(value, 4) for name, value in f.items()} for s, f in found.items()}


@torch.no_grad()
def translate(
    model: MarianMTModel, tokenizer: PreTrainedTokenizerBase, sources: Sequence[str]
) -> tuple[list[str], float]:
    """Greedy translations, and the share of them that the length limit cut."""
    texts: list[str] = []
    ended = 0
    for start in range(0, len(sources), 128):
        inputs = tokenizer(list(sources[start : start + 128]), padding=True, return_tensors="pt")
        output: Tensor = model.generate(**inputs)  # type: ignore[misc, assignment]
        ended += int((output == tokenizer.eos_token_id).any(dim=1).sum())
        texts += tokenizer.batch_decode(output, skip_special_tokens=True)
    return texts, 1 - ended / len(sources)


def figures(rows: Sequence[Row], texts: Sequence[str]) -> Figures:
    """Both errors of repetition, and what else tells a good translation from a short one.

    Returns:
        oscillation: share of titles whose most frequent 4-gram stands at least twice more often
        in the translation than in the source; needless_repeats, of the words; lost_repeats, of
        those that the reference has; concepts_rendered; bleu, in percent; length_ratio; and
        oscillation_<category>.
    """
    from sacrebleu.metrics import BLEU

    said = [text.split() for text in texts]
    flags = [oscillates(w, row["source"].split()) for w, row in zip(said, rows, strict=True)]
    scores = [concept_scores(w, row["concepts"]) for w, row in zip(said, rows, strict=True)]
    references = [row["target"] for row in rows]
    return {
        "oscillation": sum(flags) / len(flags),
        **{name: _over_all([score[name] for score in scores]) for name in scores[0]},
        "bleu": BLEU(tokenize="none").corpus_score(texts, [references]).score,
        "length_ratio": sum(map(len, said)) / sum(len(r.split()) for r in references),
        **_by_category(rows, flags),
    }


def _by_category(rows: Sequence[Row], flags: Sequence[bool]) -> Figures:
    found: dict[str, list[bool]] = {}
    for row, flag in zip(rows, flags, strict=True):
        found.setdefault(row["category"], []).append(flag)
    return {f"oscillation_{name}": sum(marks) / len(marks) for name, marks in found.items()}


def _over_all(ratios: Sequence[Ratio]) -> float:
    return sum(r.numerator for r in ratios) / max(sum(r.denominator for r in ratios), 1)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m tasks.translation.lab.examine MODEL")
    try:
        print(json.dumps(examine(resolve(sys.argv[1])), indent=1))
    except HarnessError as error:
        raise SystemExit(f"harness: {error}") from None
