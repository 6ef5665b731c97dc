"""The loss of a batch of pairs: DPO and cross-entropy against what is written out by hand."""

from functools import partial

import pytest
import torch
from half import pretend_bf16
from torch.nn import functional

from harness.errors import DataError
from harness.settings import Lora, TrainSettings
from harness.training import prepare
from methods.poir.choice import Pair
from methods.poir.config import LossSettings
from methods.poir.step import collate, examples, pair_loss
from tests.methods.poir.poir_world import ERRANDS, make_fit

PAIRS = [
    Pair("today tackle : 3 1", "please sort : 3 1", "sort"),
    Pair("quickly manage : 4 0 2", "please reverse : 4 0 2", "please sort : 4 0 2 now"),
    Pair("{prompt} : 5 5", "please sort : 5 5", "</s> <s>"),
    Pair("mix : 7", "please twice : 7", "please twice : 7 7"),
]


@pytest.fixture(scope="module")
def fit(tmp_path_factory):
    return make_fit(tmp_path_factory.mktemp("step"), [])


@pytest.fixture(scope="module")
def rows(fit):
    return examples(fit, fit.model, PAIRS, ERRANDS, TrainSettings(micro_batch=3))


def log_p(module, row):
    """log p of an answer's tokens given its prompt, by a plain pass over one text, [answer]."""
    ids = torch.cat(row)[None]
    logits = module(input_ids=ids).logits[0, :-1].float()
    found = logits.log_softmax(-1).gather(1, ids[0, 1:, None]).squeeze(1)
    return found[len(row.prompt) - 1 :]


def moved(fit, by=0.01):
    """The model with other weights than the reference has."""
    again = make_fit(fit.folder.parent, []).model
    generator = torch.Generator().manual_seed(5)
    for parameter in again.module.parameters():
        parameter.data += by * torch.randn(parameter.shape, generator=generator)
        parameter.requires_grad_(True)
    return again


def test_examples_are_rewrites_given_the_wish_to_rewrite_with_the_references_log_probs(fit, rows):
    read = fit.model.tokenizer
    for row, pair in zip(rows, PAIRS, strict=True):
        wish = read(f"rewrite : {pair.prompt} =")["input_ids"]
        for name in ("chosen", "rejected"):
            tokens = getattr(row, name)
            assert tokens.prompt.tolist() == wish
            whole = read(f"rewrite : {pair.prompt} = {getattr(pair, name)}")["input_ids"]
            assert [*wish, *tokens.answer.tolist()] == [*whole, read.eos_token_id]
            with torch.no_grad():
                expected = float(log_p(fit.model.module, tokens).sum())
            assert getattr(row, f"reference_{name}") == pytest.approx(expected, abs=1e-3)


def test_references_are_computed_once(fit, rows):
    again = make_fit(fit.folder.parent, [])
    again.model.module.forward = None
    found = examples(again, again.model, PAIRS, ERRANDS, TrainSettings(micro_batch=2))
    assert [row[2:] for row in found] == [row[2:] for row in rows]


def test_a_batch_has_the_chosen_first_and_marks_the_answers(fit, rows):
    batch = collate(fit.model)(rows[:2])
    assert batch["input_ids"].shape[0] == 4
    ordered = [row.chosen for row in rows[:2]] + [row.rejected for row in rows[:2]]
    for place, tokens in enumerate(ordered):
        kept = batch["attention_mask"][place].bool()
        assert batch["input_ids"][place][kept].tolist() == torch.cat(tokens).tolist()
        marked = batch["input_ids"][place][batch["answer_mask"][place]]
        assert marked.tolist() == tokens.answer.tolist()
    expected = [row.reference_chosen for row in rows[:2]]
    expected += [row.reference_rejected for row in rows[:2]]
    assert batch["reference"].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("beta", [0.1, 0.5])
def test_dpo_and_its_gradient_are_those_written_by_hand(fit, rows, beta):
    model = moved(fit)
    loss, logged = pair_loss(LossSettings(beta=beta), 1.0)(model.module, collate(model)(rows))
    found = torch.autograd.grad(loss, list(model.module.parameters()))

    value, gradient, margins = 0.0, None, []
    for row in rows:
        chosen = log_p(model.module, row.chosen).sum()
        rejected = log_p(model.module, row.rejected).sum()
        reference = row.reference_chosen - row.reference_rejected
        margin = beta * float((chosen - rejected).detach() - reference)
        margins.append(margin)
        value -= float(functional.logsigmoid(torch.tensor(margin))) / len(rows)
        # DPO, equation 7's gradient: a pair counts by how wrongly it is ranked.
        weight = beta * float(torch.sigmoid(torch.tensor(-margin))) / len(rows)
        of_pair = torch.autograd.grad(-weight * (chosen - rejected), model.module.parameters())
        gradient = of_pair if gradient is None else [a + b for a, b in zip(gradient, of_pair)]  # noqa: B905
    assert float(loss.detach()) == pytest.approx(value, abs=1e-4)
    assert float(logged["margin"]) == pytest.approx(sum(margins) / 4, abs=1e-4)
    assert float(logged["accuracy"]) == sum(margin > 0 for margin in margins) / 4
    for ours, theirs in zip(found, gradient, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_at_the_reference_the_margin_is_zero(fit, rows):
    with torch.no_grad():
        loss, logged = pair_loss(LossSettings(), 1.0)(fit.model.module, collate(fit.model)(rows))
    assert float(loss) == pytest.approx(0.693147, abs=1e-5)
    assert float(logged["chosen_logratio"]) == pytest.approx(0, abs=1e-4)
    assert float(logged["rejected_logratio"]) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("lora", [None, Lora(r=2, alpha=2)], ids=["all", "lora"])
def test_from_half_precision_the_margin_is_zero_before_the_first_step(lora, tmp_path, monkeypatch):
    pretend_bf16(monkeypatch)
    fit = make_fit(tmp_path, [])
    assert fit.model.dtype == torch.bfloat16
    settings = TrainSettings(precision="bf16", micro_batch=4, lora=lora)
    rows = examples(fit, fit.model, PAIRS, ERRANDS, settings)
    prepare(fit.model, settings)
    with torch.autocast("cpu", torch.bfloat16):
        _, logged = pair_loss(LossSettings(), 1.0)(fit.model.module, collate(fit.model)(rows))
    assert float(logged["chosen_logratio"]) == float(logged["rejected_logratio"]) == 0


def test_sft_is_cross_entropy_of_the_chosen_tokens_in_whatever_batches(fit, rows):
    model = moved(fit)
    tokens = sum(len(row.chosen.answer) for row in rows) / len(rows)
    step = pair_loss(LossSettings(kind="sft"), tokens)
    loss, logged = step(model.module, collate(model)(rows))
    expected = -torch.cat([log_p(model.module, row.chosen) for row in rows]).mean()
    assert float(loss.detach()) == pytest.approx(float(expected), abs=1e-4)
    found = torch.autograd.grad(loss, list(model.module.parameters()))
    for ours, theirs in zip(
        found, torch.autograd.grad(expected, list(model.module.parameters())), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        parts = [float(step(model.module, collate(model)([row]))[0]) for row in rows]
    assert sum(parts) / 4 == pytest.approx(float(expected), abs=1e-4)
    assert float(logged["accuracy"]) in (0, 0.25, 0.5, 0.75, 1)


def test_pairs_of_the_same_tokens_are_left_out_and_named(fit, rows, caplog):
    same = Pair("mix : 7", "please blorp : 7", "please  zonk : 7 ")  # both words are unknown
    again = make_fit(fit.folder.parent, [])
    places = [f"row {n}" for n in range(5)]
    found = examples(
        again, again.model, [*PAIRS, same], ERRANDS, TrainSettings(micro_batch=3), places=places
    )
    assert [row[2:] for row in found] == [row[2:] for row in rows]
    said = "left out 1 pairs to train on: row 4: both answers are the same tokens."
    assert said in caplog.text
    with pytest.raises(DataError, match=r"^no pairs are left to train on: 'mix : 7': both answers"):
        examples(again, again.model, [same], ERRANDS, TrainSettings(micro_batch=3))


def test_pairs_too_long_are_refused_left_out_or_cut(fit, rows, caplog):
    long = Pair("mix : 7", "please sort : 7", "sort : 7" * 100)  # the model reads 128 tokens
    again = make_fit(fit.folder.parent, [])
    places = [f"row {n}" for n in range(5)]
    call = partial(
        examples,
        again,
        again.model,
        [*PAIRS, long],
        ERRANDS,
        places=places,
    )

    def settings(too_long):
        return TrainSettings(micro_batch=3, too_long=too_long)

    with pytest.raises(DataError, match=r"^row 4: \d+ tokens too long\. Set too_long=drop"):
        call(settings=settings("refuse"))
    assert [row[2:] for row in call(settings=settings("drop"))] == [row[2:] for row in rows]
    cut = call(settings=settings("cut"))
    assert len(cut) == 5
    assert len(cut[4].rejected.prompt) + len(cut[4].rejected.answer) == 128
    said = caplog.text
    assert "left out 1 pairs" in said and "cut 1 pairs to train on: row 4: " in said
