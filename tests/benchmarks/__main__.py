"""`python -m tests.benchmarks [NAME ...]`: measure, print a table, record or check it."""

import argparse
import importlib
import os
import shlex
import sys
from pathlib import Path

import torch
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from harness.processes import quiet_libraries
from tests.benchmarks.measure import CLOCKS, HEAD, Comparison, Figure, machine

NAMES = (
    "aspo_step",
    "trl_step",
    "ctsd_step",
    "modula_layer",
    "clip_loss",
    "fashionklip_epoch",
    "candidate_scoring",
    "ranking",
    "evaluation",
    "flan_evaluation",
    "leaderboards",
    "start_up",
)
"""Modules with a `run(rounds, clock)` that gives comparisons."""
RESULTS = Path(__file__).parent / "RESULTS.md"
NOTES = """\
A ratio is ours / peer of one round, both run in turn with the order changed from round to round
after a warm-up; the table shows medians, and the least and greatest ratio. Seconds depend on what
else the machine does, ratios hardly.

- **Clock**: `--clock cpu` counts this process's processor time (all threads), which other work on
  the machine stretches less than the wall's; start-up always goes by the wall.
- **ASPO step, DPO step**: forward, backward, clipped gradient and AdamW by the house's trainer,
  fp32. Lab: 32 pairs of the model's own answers; otherwise a LLaVA of 20 million random weights
  with 8 pairs of 48 prompt (16 of them image) and 96 to 128 answer tokens.
- **TRL**: `DPOTrainer.training_step` and the same optimizer loop on that LLaVA, batch, reference
  and precision; both sides' first loss is equal within 1e-4 or the run stops. TRL's head is
  chunked too, but off Triton devices it projects prompt and padding as well and computes entropy,
  mean logit and top-1 for its log; on a GPU the gap is narrower than here.
- **Peak memory**: `VmHWM` of a fresh process in its first two steps less `VmRSS` before the
  first (interpreter, libraries, weights, batch, trainer); what is left is activations, vocabulary
  projection, gradients and AdamW's state, on both sides. Three processes each.
- **CTSD step, CE step**: on a Marian of 14 million random weights, 8 pairs of 128 tokens, fp32;
  CT loss: forward and backward from logits that are at hand, where both must make the logits'
  gradient and do little else; both sides' value is equal within 1e-5 or the run stops.
- **MoDULA layer**: forward and backward to adapters and input of one layer of 128 x 128 (448
  tokens) and of 1,024 x 1,024 (2,048 tokens) with four experts of rank 8 (and a universal one of
  16), fp32, W0 frozen, all parts training; peft's LoRA has the same total rank; the loop makes,
  weighs and adds expert by expert. W0 alone is the least that either can take.
- **InfoNCE**: forward and backward to pictures, texts and scale, against open_clip's `ClipLoss`
  (its file alone is loaded; left out where the package is absent); equal within 1e-5 or the run
  stops. Masked: with the mask of equal products that `clip` trains with, which open_clip's has not.
- **FashionKLIP epoch**: the lab's first epoch, from its begin (refresh of the concept images) to
  the end of its last step, by the method's own fit from the same base; reading, graph, optimizer
  and the lab's look at which concept images are right are left out.
- **Candidate scoring**: `clamped` scores of the lab's prompts and the different rewrites that its
  model samples of each, and of eight random candidates of 200 tokens on a Llama of 21 million
  random weights, with answers of 64 tokens or by `yes-no`; against forward passes that read every
  text whole, for each alone or for all of a prompt at once, by the same chunked head. Scores are
  equal within 1e-4 or the run stops. Collection: all rounds of the lab's preset, an empty store.
- **Ranking**: ranks of all pictures and of all texts with their best positives; the peer makes
  every score twice, once for each way, in blocks of the same size, and knows pairs on the diagonal
  alone. Memory is that of a fresh process beyond interpreter and libraries, 125 MiB of vectors and
  what drawing them took included.
- **Evaluation**: `predicting.predict` with an empty store, and scoring with its intervals, against
  processor, `generate` and decode in batches of the same size and `max_new_tokens`, greedy, one
  model in memory; the answers are equal or the run stops.
- **Flan evaluation**: reading, `predicting.predict` with an empty store, scoring and intervals,
  against `simple_evaluate` with its own compilation of templates, one model in memory; the values
  are equal or the run stops.
- **Leaderboards**: 10,000 entries of 1,000 items of 0 and 1, 15 MB a file; the peer of `record` is
  the same beside ten entries, that of `compare` reads both files' JSON and no more. All entries of
  the changed file differ in a twentieth of their items.
- **Start-up**: whole processes, warm file cache; the goal is for an idle machine.
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES) + "; else all")
    parser.add_argument("--rounds", type=int, default=7, help="measurements of each (default: 7)")
    parser.add_argument("--threads", type=int, help="of torch (default: its own choice)")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: of this process")
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--check", action="store_true", help="exit 1 if a bound is missed")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in NAMES]
    if unknown or options.rounds < 1:
        parser.error(f"no benchmark {', '.join(unknown)}" if unknown else "--rounds: 1 or more")
    if options.record and options.names:
        parser.error("--record takes all benchmarks: a table of one machine and one run")
    found = measured(options)
    print(f"\n{table(found)}")
    if options.record:
        RESULTS.write_text(report(found), encoding="utf-8")
    if options.check and any(comparison.missed for comparison in found):
        sys.exit(1)


def measured(options: argparse.Namespace) -> list[Comparison | Figure]:
    """Run the benchmarks asked for, a row printed as it is done."""
    quiet_libraries()
    os.environ.setdefault("TQDM_DISABLE", "1")
    set_verbosity_error()
    disable_progress_bar()
    if options.threads:
        torch.set_num_threads(options.threads)
    found: list[Comparison | Figure] = []
    for name in options.names or NAMES:
        benchmark = importlib.import_module(f"tests.benchmarks.{name}")
        for comparison in benchmark.run(options.rounds, CLOCKS[options.clock]):
            print(comparison.row(), flush=True)
            found.append(comparison)
    return found


def table(found: list[Comparison | Figure]) -> str:
    return "\n".join([HEAD, *(comparison.row() for comparison in found)])


def report(found: list[Comparison | Figure]) -> str:
    """The recorded table with what it takes to measure it again."""
    command = shlex.join(["python", "-m", "tests.benchmarks", *sys.argv[1:]])
    return (
        f"# Benchmarks\n\n`{command}` on {machine(torch.get_num_threads())}\n\n"
        f"{table(found)}\n\n{NOTES}"
    )


if __name__ == "__main__":
    main()
