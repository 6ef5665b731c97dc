"""The full-size measurement on a model of a few thousand weights."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.losses import answer_log_probs
from harness.settings import Lora
from harness.training import adapt
from methods.aspo import fullsize
from methods.aspo.plugin import LANGUAGE_MODEL_LAYERS
from methods.aspo.synthetic import SIZES, SyntheticModel, random_pairs, sequence_flops

SMALL = "--size=tiny --steps=4 --warm-up=1 --pairs=8 --batch-size=4 --micro-batch=2"


@pytest.fixture(scope="module")
def printed():
    lines = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lines.append)
        fullsize.main(SMALL.split())
    return lines[-1]


def test_the_report_is_a_table_and_json_of_what_was_measured(printed):
    table, _, text = printed.rpartition("\n\n")
    head, rule, row = table.splitlines()
    assert head.count("|") == rule.count("|") == row.count("|")
    report = json.loads(text)
    assert report["size"] == "tiny" and report["device"] in row
    assert set(report["versions"]) == {"python", "torch", "transformers", "peft", "accelerate"}
    assert report["train"]["lora"]["r"] == 8
    assert 0 < report["trained_parameters"] < report["parameters"]
    assert report["peak_memory_gib"] > 0 and report["matmul_tflops"] > 0
    rate = report["tokens_per_step"] / report["seconds_per_step"]
    assert report["tokens_per_second"] == pytest.approx(rate)
    assert 0 < report["model_share"] < report["hardware_share"]


def test_the_loss_begins_at_log_two_and_goes_down(printed):
    losses = json.loads(printed.rpartition("\n\n")[2])["losses"]
    assert len(losses) == 4
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)
    assert losses[-1] < losses[0] - 0.02


def counted(checkpointing: bool) -> tuple[int, int, int]:
    """Operations of one answer's forward and backward pass as torch counts them (attention apart,
    which it does not count here), with the answer's tokens and all."""
    model = SyntheticModel(SIZES["tiny"], torch.device("cpu"), torch.float32)
    module = adapt(model.module, Lora(r=8, targets=LANGUAGE_MODEL_LAYERS)).train()
    # In the language model alone: transformers' own switch sends the gradient through the pictures.
    module.get_input_embeddings().register_forward_hook(lambda _, __, out: out.requires_grad_())
    if checkpointing:
        module.gradient_checkpointing_enable({"use_reentrant": False})
    (pair,) = random_pairs(1, SIZES["tiny"], 0)
    batch = model.collate([(pair.prompt, model.encode(pair.prompt, pair.chosen))])
    answered = batch.pop("answer_mask")
    with FlopCounterMode(display=False) as counter:
        answer_log_probs(module, batch, answered).sum().backward()
    attention = ("scaled_dot_product", "bmm")
    total = sum(
        flops
        for operator, flops in counter.get_flop_counts()["Global"].items()
        if not any(name in str(operator) for name in attention)
    )
    return total, answered.shape[1], int(answered.sum())


def test_the_flop_formula_equals_what_torch_counts():
    size = SIZES["tiny"]
    plain, tokens, answered = counted(checkpointing=False)
    formula = sequence_flops(size, 8, tokens, answered)
    text, vision = size.text, size.vision
    attention = 6 * text.num_hidden_layers * text.hidden_size * tokens**2
    seen = size.image_tokens + 1
    attention += 4 * vision.num_hidden_layers * vision.hidden_size * seen**2
    assert formula.model - attention == plain
    again = counted(checkpointing=True)[0] - plain
    # torch stops each layer's second pass at the last tensor that the gradient needs
    assert 0.75 * formula.recomputed < again < formula.recomputed


@pytest.mark.parametrize("wrong", ["--pairs 6 --batch-size 4", "--steps 2 --warm-up 2"])
def test_settings_that_measure_nothing_are_refused(wrong, capsys):
    with pytest.raises(SystemExit):
        fullsize.parsed(wrong.split())
    assert "must be" in capsys.readouterr().err


def test_the_full_size_has_the_weights_of_llava_1_5_7b():
    with torch.device("meta"):
        model = SyntheticModel(SIZES["7b"], torch.device("meta"), torch.bfloat16)
    assert sum(p.numel() for p in model.module.parameters()) == 7_063_427_072
    assert SIZES["7b"].image_tokens == 576
