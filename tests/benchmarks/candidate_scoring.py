"""Scores of candidates with shared beginnings read once, beside passes that read every text whole;
and how many prompts a collection gets through."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from harness.dataset import EmbeddedDataset
from harness.losses import answer_log_probs
from harness.models import loading
from harness.models.causal_lm import CausalLM
from harness.plan import open_data
from harness.store import JsonRow, Store
from harness.training import Fit
from methods.poir.collect import Models, collected, questions
from methods.poir.config import Collect, PoirConfig
from methods.poir.plugin import LAB
from methods.poir.scoring import NO, YES, Question, scores
from tests.benchmarks.measure import Comparison, Figure, interleaved

BOUND = 1 / 3
SAME_SCORE = 1e-4
PROMPTS, LONG_PROMPTS = 64, 2
WORDS, LENGTH, ANSWER = 8000, 200, 64
"""Of the larger shape: vocabulary, tokens of a prompt and of an answer."""


class Asked(NamedTuple):
    """What is scored, and the texts with their answers that this takes, by question."""

    what: str
    model: CausalLM
    questions: Sequence[Question]
    candidates: Sequence[Sequence[str]]
    settings: Collect
    pairs: Sequence[Sequence[tuple[str, str]]]


def run(
    rounds: int, clock: Callable[[], float], prompts: int = PROMPTS, long: int = LONG_PROMPTS
) -> Iterator[Comparison | Figure]:
    """Different candidates of the lab's prompts, and long ones on random weights."""
    config = PoirConfig.model_validate(LAB.config)
    model = loading.load(loading.resolve(LAB.model), "causal-lm")
    rows = list(open_data(LAB.dataset).rows())[:prompts]
    dataset = EmbeddedDataset("errands", {"train": lambda: rows})
    asked = questions(rows, dataset, config.collect)
    collect = partial(collection, model, dataset, asked, config)
    lab = of_lab(model, asked, collect(), config.collect)
    yield compared(lab, "a pass per candidate and answer", 1, rounds, clock, BOUND)
    yield compared(lab, "a pass per prompt", None, rounds, clock)
    large = large_model()
    for settings in (Collect(), Collect(score="yes-no")):
        yield compared(of_large(large, long, settings), "a pass per prompt", None, rounds, clock)
    rates = []
    for _ in range(rounds):
        started = clock()
        collect()
        rates.append(60 * len(asked) / (clock() - started))
    yield Figure(f"collection: lab, {len(asked)} prompts", "prompts/min", rates)


def collection(
    model: CausalLM, dataset: EmbeddedDataset, asked: Sequence[Question], config: PoirConfig
) -> list[JsonRow]:
    """All rounds of the lab's preset, kept in a store of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fit = Fit(
            config=config,
            model=model,
            dataset=dataset,
            rows=[],
            seed=0,
            folder=folder,
            store=Store(folder / "store"),
            inputs={},
            resolve=str,
        )
        both = Models(model, model)
        return collected(fit, both, asked, config.rewriting, config.collect, {})


def of_lab(
    model: CausalLM, asked: Sequence[Question], history: Sequence[JsonRow], settings: Collect
) -> Asked:
    """The different rewrites of the first round, good and bad."""
    candidates = [
        list(dict.fromkeys(each["prompt"] for each in row["rounds"][0]["candidates"]))
        for row in history
    ]
    pairs = [
        [
            (settings.response.replace("{prompt}", each), answer)
            for each in some
            for answer in (question.good, question.bad)
        ]
        for question, some in zip(asked, candidates, strict=True)
    ]
    count = sum(map(len, candidates))
    what = f"lab: {len(asked)} prompts, {count} candidates"
    return Asked(what, model, asked, candidates, settings, pairs)


def large_model() -> CausalLM:
    """20 million random weights, in layers 512 wide, and a tokenizer of made-up words."""
    words = ["<unk>", "</s>", YES, NO, *(f"w{i}" for i in range(4, WORDS))]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=4,
        num_attention_heads=8,
        max_position_embeddings=1024,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = LlamaForCausalLM(config).eval()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")
    return CausalLM(module, fast)


def of_large(model: CausalLM, prompts: int, settings: Collect) -> Asked:
    """Random words: the eight candidates of a prompt are as long as it is, and share nothing."""
    generator = torch.Generator().manual_seed(0)

    def text(length: int) -> str:
        drawn = torch.randint(4, WORDS, (length,), generator=generator).tolist()
        return " ".join(f"w{i}" for i in drawn)

    asked = [Question(text(LENGTH), text(ANSWER), text(ANSWER)) for _ in range(prompts)]
    candidates = [[text(LENGTH) for _ in range(settings.candidates)] for _ in asked]
    pairs = []
    for question, some in zip(asked, candidates, strict=True):
        read, answers = some, (question.good, question.bad)
        if settings.score == "yes-no":
            form = settings.question.replace("{prompt}", question.prompt)
            read, answers = [form.replace("{rewrite}", each) for each in some], (YES, NO)
        pairs.append([(each, answer) for each in read for answer in answers])
    what = f"512 wide: {prompts} prompts of {LENGTH} tokens, {settings.score}"
    return Asked(what, model, asked, candidates, settings, pairs)


def compared(
    asked: Asked,
    peer: str,
    at_once: int | None,
    rounds: int,
    clock: Callable[[], float],
    bound: float | None = None,
) -> Comparison:
    """Against passes that read every text whole, so many at once; None: all of a prompt's."""

    def ours() -> Tensor:
        found = scores(asked.model, asked.questions, asked.candidates, asked.settings)
        return torch.tensor([[each.good, each.bad] for of in found for each in of]).flatten()

    def other() -> Tensor:
        return torch.cat([whole(asked, pairs, at_once or len(pairs)) for pairs in asked.pairs])

    if (ours() - other()).abs().max() > SAME_SCORE:
        raise SystemExit(f"{asked.what}: not the scores of {peer}")
    seconds = interleaved(ours, other, rounds, clock, warm_up=0)
    return Comparison(f"scores / {peer} ({asked.what})", "s", *seconds, bound=bound)


@torch.inference_mode()
def whole(asked: Asked, pairs: Sequence[tuple[str, str]], at_once: int) -> Tensor:
    """Mean log p of each answer, every text read from its beginning."""
    model = asked.model
    rows = model.encode([text for text, _ in pairs], [answer for _, answer in pairs])
    if asked.settings.score == "yes-no":  # the answer alone, without the end of the text
        rows = [each._replace(answer=each.answer[:-1]) for each in rows]
    found = []
    for start in range(0, len(rows), at_once):
        batch = model.collate(rows[start : start + at_once])
        answered = batch.pop("answer_mask")
        found.append(answer_log_probs(model.module, batch, answered).sum(1) / answered.sum(1))
    return torch.cat(found)
