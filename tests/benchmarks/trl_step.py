"""Our DPO step beside TRL's: the same weights, batch, reference and optimizer.

`python -m tests.benchmarks.trl_step ours|trl` measures the memory of one side, in MiB.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from methods.aspo.config import Unweighted
from tests.benchmarks.measure import Comparison, interleaved, peak_memory, reset_peak_memory
from tests.benchmarks.small import SETTINGS, batch_of_pairs, our_step, small_llava, step_of

SAME_LOSS = 1e-4
MEMORY_STEPS = 2
MEMORY_ROUNDS = 3


def trl_step(module: Any, batch: Mapping[str, Tensor], folder: Path) -> Callable[[], float]:
    """A step of TRL's `DPOTrainer`, reference log-probabilities given, in fp32 as ours.

    The trainer is made by its own constructor, which wants a data set of text and a tokenizer;
    the batch that it steps on is put in its place.
    """
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    from trl import DPOConfig, DPOTrainer

    words = Tokenizer(models.WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    trainer = DPOTrainer(
        module,
        args=DPOConfig(
            output_dir=str(folder),
            beta=Unweighted().beta,
            learning_rate=SETTINGS.lr,
            precompute_ref_log_probs=True,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            report_to=[],
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}]),
        processing_class=tokenizer,
    )
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values")}
    inputs["completion_mask"] = batch["answer_mask"].long()
    inputs["ref_chosen_logps"] = batch["reference_chosen"].sum(1)
    inputs["ref_rejected_logps"] = batch["reference_rejected"]
    return step_of(trainer, inputs)


def make_step(side: str, folder: Path) -> Callable[[], float]:
    """The step of one side on the model and the batch that both share."""
    module = small_llava()
    batch = batch_of_pairs(module)
    if side == "trl":
        return trl_step(module, batch, folder)
    return our_step(module, batch, Unweighted(), folder)


def run(rounds: int, clock: Callable[[], float]) -> Iterator[Comparison]:
    """Seconds of a step in this process, memory of a step in processes of its own."""
    with tempfile.TemporaryDirectory() as folder:
        ours, trl = (make_step(side, Path(folder)) for side in ("ours", "trl"))
        losses = ours(), trl()
        if abs(losses[0] - losses[1]) > SAME_LOSS:
            raise SystemExit(f"the two steps compute different losses: {losses}")
        seconds = interleaved(ours, trl, rounds, clock)
    yield Comparison("DPO step / TRL's: time", "s", *seconds, bound=1.0)
    count = min(rounds, MEMORY_ROUNDS)
    memory = [[_child(side) for _ in range(count)] for side in ("ours", "trl")]
    yield Comparison("DPO step / TRL's: peak memory", "MiB", *memory, bound=0.7)


def _child(side: str) -> float:
    command = [sys.executable, "-m", "tests.benchmarks.trl_step", side]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def step_memory(side: str) -> float:
    """Peak of resident memory in two steps less what was resident before the first, in MiB.

    Subtracted: interpreter, libraries, weights, batch and trainer. Left: activations, the
    projection to the vocabulary, gradients and AdamW's state, which the first step makes.
    """
    with tempfile.TemporaryDirectory() as folder:
        step = make_step(side, Path(folder))
        before = reset_peak_memory()
        for _ in range(MEMORY_STEPS):
            step()
        return peak_memory() - before


if __name__ == "__main__":
    print(step_memory(sys.argv[1]))
