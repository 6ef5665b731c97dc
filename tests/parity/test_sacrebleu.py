"""Corpus metrics and paired tests against sacrebleu's own command line, run on files."""

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

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


@pytest.mark.parametrize("tokenizer", ["13a", "zh"])
def test_paired_tests_equal_the_command_line(files: dict[str, Path], tokenizer: Any) -> None:
    first, second, a, b = corpus(tokenizer)
    found = paired_tests(list(zip(first, second, strict=True)), a, b, tokenizer, 300, 400)
    common = ("-i", "a", "b", "--tokenize", tokenizer)
    names = {"BLEU": "bleu", "chrF2": "chrf", "chrF2++": "chrf++", "TER": "ter"}
    for metrics in (("bleu", "chrf", "ter"), ("chrf", "-cw", "2")):
        randomization = ("--paired-ar", "--paired-ar-n", "400", "-m", *metrics)
        shown = command(files[tokenizer], ["ref1", "ref2"], *common, *randomization)
        baseline, other = json.loads(shown)
        found_here = {name: found[names[name]] for name in baseline if name in names}
        for name, pair in found_here.items():
            assert pair.a == baseline[name]["score"]
            assert pair.b == other[name]["score"]
            assert pair.p_randomization == other[name]["p_value"]
        # A table, since its JSON of a paired bootstrap fails with NumPy 2 (sacrebleu 2.6.0).
        bootstrap = ("--paired-bs", "--paired-bs-n", "300", "-m", *metrics, "-f", "text", "-nc")
        shown = command(files[tokenizer], ["ref1", "ref2"], *common, *bootstrap)
        expected = [f"{pair.p_bootstrap:.4f}" for pair in found_here.values()]
        assert re.findall(r"\(p = ([\d.]+)\)", shown) == expected
    assert found["bleu"].p_bootstrap < 0.5


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
