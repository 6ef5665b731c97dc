"""Whether the errands tell experts apart: plain PEFT LoRA on the domain sets, scored on dev."""

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from harness.errors import HarnessError
from harness.models.loading import resolve
from harness.models.pretrained import read_model, read_tokenizer
from tasks.flan.lab.examine import correct
from tasks.flan.lab.operations import DOMAINS
from tasks.flan.lab.rows import Row, domain_rows, general_rows, mixture_rows
from tasks.flan.lab.training import batch, tokenized

RANK = 8
BATCH = 32
LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

SETS = [*DOMAINS, "mixture"]

Figures = dict[str, float]


def fit(
    folder: Path, rows: Sequence[Row], steps: int, rate: float, seed: int = 0
) -> torch.nn.Module:
    """A base with a LoRA adapter on all linear layers, of scale 1, trained on rows."""
    torch.manual_seed(seed)
    base = read_model(AutoModelForCausalLM, folder)
    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=LAYERS, task_type="CAUSAL_LM")
    model = get_peft_model(base, config)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    pairs = [tokenized(row["prompt"], row["answer"]) for row in rows]
    rng = random.Random(seed)
    for _ in range(steps):
        loss = model(**batch(rng.sample(pairs, BATCH))).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def score(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase) -> Figures:
    """Greedy accuracy on the dev split of every domain's set, and on the general one."""
    sets: dict[str, list[Row]] = {domain: domain_rows(domain, "dev") for domain in DOMAINS}
    sets["general"] = general_rows("dev")
    found = {}
    for name, rows in sets.items():
        right = correct(model, tokenizer, rows)
        found[name] = round(sum(right) / len(right), 3)
    return found


def main() -> None:
    """Print a line of accuracy on every dev split for each training set and rate."""
    parser = argparse.ArgumentParser(prog="python -m tasks.flan.lab.adapters", description=__doc__)
    parser.add_argument("model", help="the base: a folder or a name")
    parser.add_argument("--only", nargs="+", default=SETS, choices=SETS, help="training sets")
    parser.add_argument(
        "--steps", type=int, default=300, help="of a domain; six times in a mixture"
    )
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 3e-3, 1e-2])
    asked = parser.parse_args()
    try:
        folder = resolve(asked.model)
    except HarnessError as error:
        raise SystemExit(f"harness: {error}") from None
    tokenizer = read_tokenizer(folder)
    base = read_model(AutoModelForCausalLM, folder)
    print(json.dumps({"adapter": "none", **score(base, tokenizer)}), flush=True)
    for name in asked.only:
        single = name == "mixture"
        rows = mixture_rows("train") if single else domain_rows(name, "train")
        for rate in asked.rates:
            model = fit(folder, rows, asked.steps * (6 if single else 1), rate)
            print(
                json.dumps({"adapter": name, "rate": rate, **score(model, tokenizer)}), flush=True
            )


if __name__ == "__main__":
    main()
