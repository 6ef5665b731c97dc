"""Corpus metrics and paired tests against sacrebleu's own command line, run on files."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sacrebleu.metrics import BLEU

from tasks.translation.corpus import Tokenizer, corpus_metrics, paired_tests, sentence_chrf

WORDS = {
    "13a": "The red, red dress (size 4.5) doesn't fit: 1,000 people's well-known shoes & bags!",
    "zh": "红色 的 连衣裙 , 尺寸 4.5 ; iPhone 手机壳 和 女式 运动 鞋 。 服装 动物 用品",
    "ja-mecab": "赤い ドレス と 靴 を 買い ました 。 運動 用品 ・ ペット 用 の iPhone ケース",
    "char": "เสื้อผ้า และ เครื่องประดับ ชุด สำหรับ เล่นกีฬา สีแดง",
}
DIGITS = "14"


def corpus(tokenizer: str, count: int = 60) -> tuple[list[str], list[str], list[str], list[str]]:
    """Two references and two systems' outputs: some empty, some equal, some in a loop."""
    rng = random.Random(tokenizer)
    words = WORDS[tokenizer].split()
    glue = "" if tokenizer in ("zh", "ja-mecab") else " "

    def changed(text: Sequence[str], rate: float) -> list[str]:
        return [rng.choice(words) if rng.random() < rate else word for word in text]

    first = [[rng.choice(words) for _ in range(rng.randint(1, 14))] for _ in range(count)]
    second = [changed(text, 0.5) for text in first]
    a = [changed(text, 0.3) for text in first]
    b = [changed(text, 0.4)[: rng.randint(0, 15)] for text in first]
    a[3], a[5], b[7] = [], first[5], first[7] * 6
    return tuple([glue.join(text) for text in side] for side in (first, second, a, b))  # type: ignore[return-value]


def command(folder: Path, references: Sequence[str], *given: str) -> str:
    names = [str(folder / name) for name in references]
    done = subprocess.run(
        [sys.executable, "-m", "sacrebleu", *names, "--width", DIGITS, "--quiet", *given],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=folder,
        env={key: value for key, value in os.environ.items() if "SACREBLEU" not in key},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {}
    for tokenizer in WORDS:
        folder = folders[tokenizer] = tmp_path_factory.mktemp(tokenizer)
        for name, side in zip(("ref1", "ref2", "a", "b"), corpus(tokenizer), strict=True):
            (folder / name).write_text("".join(f"{text}\n" for text in side), encoding="utf-8")
    return folders


@pytest.mark.parametrize(
    ("tokenizer", "count"), [("13a", 2), ("zh", 1), ("zh", 2), ("ja-mecab", 1), ("char", 2)]
)
def test_values_intervals_and_signatures_equal_the_command_line(
    files: dict[str, Path], tokenizer: Any, count: int
) -> None:
    if tokenizer == "ja-mecab":
        pytest.importorskip("ipadic", reason="sacrebleu's extra for Japanese is not installed")
    first, second, hypotheses, _ = corpus(tokenizer)
    found = corpus_metrics(hypotheses, list(zip(*(first, second)[:count], strict=True)), tokenizer)
    names = ["ref1", "ref2"][:count]
    common = ("-i", "a", "--confidence", "--tokenize", tokenizer)
    shown = json.loads(command(files[tokenizer], names, *common, "-m", "bleu", "chrf", "ter"))
    plus = json.loads(command(files[tokenizer], names, *common, "-m", "chrf", "-cw", "2"))
    expected = dict(zip(("bleu", "chrf", "ter"), shown, strict=True)) | {"chrf++": plus}
    assert set(found) == set(expected)
    for name, line in expected.items():
        metric = found[name]
        assert metric.signature == line["signature"]
        assert metric.value is not None and metric.low is not None and metric.high is not None
        assert float(f"{metric.value:.{DIGITS}f}") == line["score"]
        assert (metric.high - metric.low) / 2 == pytest.approx(line["confidence_var"], abs=1e-12)
        assert metric.low <= line["confidence_mean"] <= metric.high
        assert metric.n == 60
    assert f"|tok:{tokenizer}" in str(found["bleu"].signature)
    assert f"nrefs:{count}|bs:1000|seed:12345" in str(found["ter"].signature)


def test_randomization_equals_the_command_line_where_nothing_ties(files: dict[str, Path]) -> None:
    for tokenizer in ("13a", "zh"):
        first, second, a, b = corpus(tokenizer)
        found = paired_tests(list(zip(first, second, strict=True)), a, b, tokenizer, 300, 400)
        common = ("-i", "a", "b", "--tokenize", tokenizer, "--paired-ar", "--paired-ar-n", "400")
        names = {"BLEU": "bleu", "chrF2": "chrf", "chrF2++": "chrf++", "TER": "ter"}
        for metrics in (("bleu", "chrf", "ter"), ("chrf", "-cw", "2")):
            shown = command(files[tokenizer], ["ref1", "ref2"], *common, "-m", *metrics)
            baseline, other = json.loads(shown)
            for name, pair in ((name, found[names[name]]) for name in baseline if name in names):
                assert pair.a == pytest.approx(baseline[name]["score"], abs=1e-9)
                assert pair.b == pytest.approx(other[name]["score"], abs=1e-9)
                if (tokenizer, name) == ("zh", "TER"):
                    # Texts without blanks are one word: eight segments differ, and swaps tie.
                    assert other[name]["p_value"] < 0.05 < pair.p_randomization
                else:
                    assert pair.p_randomization == other[name]["p_value"]


def test_resampled_scores_are_sacrebleus_own() -> None:
    """Its paired bootstrap has another p, but the same resamplings."""
    from sacrebleu.significance import PairedTest

    first, _, a, b = corpus("13a")
    measure = BLEU(force=True)
    test = PairedTest([("a", a), ("b", b)], {"bleu": measure}, [first], "bs", 300)
    statistics = [np.array(measure._extract_corpus_statistics(side, [first])) for side in (a, b)]
    score = lambda sums: measure._compute_score_from_stats(sums).score  # noqa: E731
    draws = np.random.default_rng(12345).choice(len(a), size=(300, len(a)), replace=True)
    rows = [[score(side[draw].sum(axis=0)) for draw in draws] for side in statistics]
    differences = np.abs(np.subtract(*rows))
    observed = abs(score(statistics[0].sum(axis=0)) - score(statistics[1].sum(axis=0)))
    count = (differences - differences.mean() > observed).sum()
    result = test()[1]["BLEU"][1]
    assert result.p_value == pytest.approx((1 + count) / 301)


@pytest.mark.parametrize("changed", [1, 2, 3, 5])
def test_few_changed_lines_have_the_exact_p(changed: int) -> None:
    """All lines that changed became worse: of 2^k swaps, two give as large a difference."""
    rng = np.random.default_rng(changed)
    words = [f"w{i}" for i in range(40)]
    references = [[" ".join(rng.choice(words, 15))] for _ in range(60)]
    a = [texts[0] for texts in references]
    b = ["nothing like it" if i < changed else text for i, text in enumerate(a)]
    found = paired_tests(references, a, b, "13a", 200, 1000)
    for pair in found.values():
        assert pair.p_randomization == 2 / 2**changed
        assert pair.p_bootstrap > 0.05 or changed > 3
    same = paired_tests(references, b, b, "13a", 200, 1000)
    assert {(pair.p_bootstrap, pair.p_randomization) for pair in same.values()} == {(1, 1)}


@pytest.mark.parametrize("changed", [1, 2, 3, 5])
def test_few_lines_that_changed_to_and_fro_have_the_p_of_all_swaps(changed: int) -> None:
    """sacrebleu's own score of the texts, for each of the 2^k ways to swap the changed lines."""
    chance = random.Random(changed)
    words = [f"w{i}" for i in range(40)]
    references = [[" ".join(chance.choices(words, k=12))] for _ in range(30)]
    a, b = ([texts[0] for texts in references] for _ in "ab")
    for line in range(changed):
        worse = (a, b)[line % 3 == 1]  # most became worse, of a different size each
        worse[line] = " ".join([*worse[line].split()[: 3 + line], *chance.choices(words, k=5)])
    measure = BLEU(force=True)

    def apart(swapped: Sequence[int]) -> float:
        pairs = list(zip(a, b, strict=True))
        first = [pair[i in swapped] for i, pair in enumerate(pairs)]
        second = [pair[i not in swapped] for i, pair in enumerate(pairs)]
        streams = [[texts[0] for texts in references]]
        scores = [measure.corpus_score(side, streams).score for side in (first, second)]
        return abs(scores[0] - scores[1])

    swaps = [s for size in range(changed + 1) for s in combinations(range(changed), size)]
    as_large = sum(apart(swapped) >= apart(()) - 1e-9 for swapped in swaps)
    found = paired_tests(references, a, b, "13a", 50, 1000)["bleu"]
    assert found.p_randomization == as_large / 2**changed
    assert changed < 3 or 2 / 2**changed < found.p_randomization < 1


def test_a_lone_surrogate_is_scored_by_every_tokenizer() -> None:
    pytest.importorskip("ipadic", reason="sacrebleu's extra for Japanese is not installed")
    tokenizers: list[Tokenizer] = ["13a", "zh", "ja-mecab", "char", "intl", "none"]
    for tokenizer in tokenizers:
        assert corpus_metrics(["\ud800"], [["a"]], tokenizer)["bleu"].value == 0


def test_the_seed_is_not_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    first, _, a, b = corpus("13a", count=8)
    references = [[text] for text in first]
    results = []
    for seed in ("12345", "1", "none"):
        monkeypatch.setenv("SACREBLEU_SEED", seed)
        results.append(
            (corpus_metrics(a, references), paired_tests(references, a, b, "13a", 50, 50))
        )
    assert results[0] == results[1] == results[2]


def test_sentence_chrf_equals_the_command_line(files: dict[str, Path]) -> None:
    first, second, hypotheses, _ = corpus("zh")
    given = ("-i", "a", "-m", "chrf", "-cw", "2", "--sentence-level", "--score-only")
    shown = [float(line) for line in command(files["zh"], ["ref1", "ref2"], *given).split()]
    for value, text, *references in zip(shown, hypotheses, first, second, strict=True):
        assert sentence_chrf(text, references) * 100 == pytest.approx(value, abs=1e-12)
