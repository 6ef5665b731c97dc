"""Scores of rewrites: those of one plain forward pass per candidate, in each of the four modes."""

import pytest
import torch
from tiny_translators import tiny_llama

from harness.errors import HarnessError
from harness.models import loading
from harness.models.causal_lm import CausalLM
from methods.poir.config import QUESTION, Collect
from methods.poir.scoring import Question, check_yes_no, filled, scores
from tests.methods.poir.poir_world import base, prompt_rows


@pytest.fixture(scope="module")
def errands():
    return loading.load(base(), "causal-lm")


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    return CausalLM.load(tiny_llama(tmp_path_factory.mktemp("chat"), chat=True))


@torch.no_grad()
def mean(model, prompt, answer):
    """Mean log p of an answer's tokens, by one plain pass; tokens in, joined here."""
    text = torch.tensor([[*prompt, *answer]])
    logits = model.module(input_ids=text).logits[0, :-1].float()
    log_p = logits.log_softmax(-1).gather(1, text[0, 1:, None]).squeeze(1)
    return float(log_p[len(prompt) - 1 :].mean())


ROWS = prompt_rows(4)
ASKED = [Question(row["prompt"], row["good_res"], row["bad_res"]) for row in ROWS]
PROMPTS = [
    [ROWS[0]["prompt"], "please sort : 3 1"],
    [],
    [ROWS[2]["prompt"]],
    ["please reverse : 46 52", ROWS[3]["prompt"], "please reverse : 46 52 55"],
]


def plainly(model, question, prompt):
    """The two means of the lab's model, whose words are a token each."""
    read = model.tokenizer
    context = read(f"{prompt} =")["input_ids"]
    return [
        mean(model, context, [*read(each)["input_ids"], read.eos_token_id])
        for each in (question.good, question.bad)
    ]


FLOOR = -3.0
EXPECTED = {
    "margin": lambda good, bad: good - bad,
    "good": lambda good, bad: good,
    "clamped": lambda good, bad: max(good, FLOOR) - max(bad, FLOOR),
}


@pytest.mark.parametrize("mode", EXPECTED)
def test_scores_are_those_of_one_pass_per_candidate(errands, mode):
    found = scores(errands, ASKED, PROMPTS, Collect(score=mode, response="{prompt} ="))
    assert [len(each) for each in found] == [2, 0, 1, 3]
    clamped = 0
    for of, question, prompts in zip(found, ASKED, PROMPTS, strict=True):
        for value, prompt in zip(of, prompts, strict=True):
            good, bad = plainly(errands, question, prompt)
            assert (value.good, value.bad) == pytest.approx((good, bad), abs=1e-4)
            assert value.score == pytest.approx(EXPECTED[mode](good, bad), abs=2e-4)
            clamped += min(good, bad) < FLOOR
    assert clamped


def test_yes_no_is_the_difference_of_both_logits(chat):
    settings = Collect(score="yes-no")
    question = Question("sort {rewrite} these {prompt}", "", "")
    prompts = ["please sort", "{prompt} {rewrite}"]
    (found,) = scores(chat, [question], [prompts], settings)
    yes, no = (
        chat.tokenizer(word, add_special_tokens=False)["input_ids"] for word in ("Yes", "No")
    )
    for value, prompt in zip(found, prompts, strict=True):
        head, _, rest = QUESTION.partition("{prompt}")
        between, _, tail = rest.partition("{rewrite}")
        text = head + question.prompt + between + prompt + tail
        whole = f"<s>user : {text} </s>assistant : "
        context = chat.tokenizer(whole, add_special_tokens=False)["input_ids"]
        expected = mean(chat, context, yes) - mean(chat, context, no)
        assert value.score == pytest.approx(expected, abs=1e-4)
        assert value.score == value.good - value.bad


def test_of_two_answers_of_a_token_each_it_is_the_logits_themselves(errands):
    settings = Collect(score="yes-no", question="{prompt} {rewrite} =")
    words = errands.tokenizer
    assert len(words("good")["input_ids"]) == len(words("bad")["input_ids"]) == 1
    from methods.poir import scoring

    before = scoring.YES, scoring.NO
    scoring.YES, scoring.NO = "good", "bad"
    try:
        ((value,),) = scores(errands, [Question("sort : 3 1", "", "")], [["again"]], settings)
    finally:
        scoring.YES, scoring.NO = before
    ids = torch.tensor([words("sort : 3 1 again =")["input_ids"]])
    with torch.no_grad():
        logits = errands.module(input_ids=ids).logits[0, -1]
    good, bad = (words(word)["input_ids"][-1] for word in ("good", "bad"))
    assert value.score == pytest.approx(float(logits[good] - logits[bad]), abs=1e-4)


def test_no_prompts_have_no_scores(errands, chat):
    for model in (errands, chat):
        for mode in ("margin", "yes-no"):
            assert scores(model, [], [], Collect(score=mode)) == []
            assert scores(model, ASKED[:1], [[]], Collect(score=mode)) == [[]]


def test_a_tokenizer_that_reads_yes_and_no_alike_is_refused(errands, chat):
    check_yes_no(chat)
    with pytest.raises(HarnessError, match=r"reads Yes and No alike: score by answers"):
        check_yes_no(errands)


@pytest.mark.parametrize("value", ["{prompt}", "{rewrite}", "\\1", "{", "{}", "\udcff"])
def test_braces_of_values_stay_as_they_are(value):
    assert filled("a {prompt} {b} {rewrite}{", prompt=value, rewrite="r") == f"a {value} {{b}} r{{"
