"""How a model does on the dev splits of the errands: known and held-back, explicit and vague."""

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from harness.errors import HarnessError
from harness.models.loading import resolve
from harness.models.pretrained import read_model, read_tokenizer
from tasks.flan.lab.operations import DOMAINS
from tasks.flan.lab.rows import Row, domain_rows, general_rows

Figures = dict[str, dict[str, float]]


def examine(folder: Path) -> Figures:
    """Greedy accuracy of a model's folder on dev: by domain, then by part and wording.

    Parts are `known` (the general set) and `held_back` (those rows of the domain's own set).
    """
    model = read_model(AutoModelForCausalLM, folder)
    tokenizer = read_tokenizer(folder)
    rows = general_rows("dev") + [
        row for domain in DOMAINS for row in domain_rows(domain, "dev") if row["held_back"]
    ]
    right = correct(model, tokenizer, rows)
    marks: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for row, mark in zip(rows, right, strict=True):
        part = "held_back" if row["held_back"] else "known"
        for name in (part, f"{part}_{row['wording']}"):
            marks[row["domain"], name].append(mark)
            marks["all", name].append(mark)
    found: Figures = defaultdict(dict)
    for (domain, name), values in sorted(marks.items()):
        found[domain][name] = round(sum(values) / len(values), 4)
    return dict(found)


def correct(
    model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row]
) -> list[bool]:
    """Whether the greedy answer to each row is exactly its own."""
    said = answers(model, tokenizer, [row["prompt"] for row in rows])
    return [text == row["answer"] for text, row in zip(said, rows, strict=True)]


@torch.no_grad()
def answers(
    model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]
) -> list[str]:
    """Greedy answers, in the order of the prompts."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i].split()))
    texts: dict[int, str] = {}
    for start in range(0, len(order), 128):
        chosen = order[start : start + 128]
        inputs = tokenizer([prompts[i] for i in chosen], padding=True, return_tensors="pt")
        inputs.pop("token_type_ids", None)
        output = model.generate(**inputs, max_new_tokens=32, do_sample=False)  # type: ignore[operator]
        new = output[:, inputs["input_ids"].shape[1] :]
        decoded = tokenizer.batch_decode(new, skip_special_tokens=True)
        texts |= dict(zip(chosen, decoded, strict=True))
    return [texts[i] for i in range(len(prompts))]


def main() -> None:
    """Print the figures of the model that the command line names."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m tasks.flan.lab.examine MODEL")
    try:
        print(json.dumps(examine(resolve(sys.argv[1])), indent=1))
    except HarnessError as error:
        raise SystemExit(f"harness: {error}") from None


if __name__ == "__main__":
    main()
