"""The full-size measurement on a model of a few thousand weights."""

import json

import pytest
import torch

from methods.poir import fullsize

SMALL = (
    "--size=tiny --steps=6 --warm-up=1 --pairs=4 --batch-size=4 --micro-batch=2 --lr=0.003 "
    "--prompts=3 --candidates=2 --texts=4 --length=12 --new-tokens=8"
)


@pytest.fixture(scope="module")
def printed() -> list[str]:
    """Table and JSON of both parts."""
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lambda text, **_: lines.append(text))
        fullsize.main(SMALL.split())
    return lines


def test_both_parts_are_a_table_and_json(printed: list[str]) -> None:
    for text, columns in zip(printed, (9, 8), strict=True):
        table, _, found = text.rpartition("\n\n")
        assert {line.count("|") for line in table.splitlines()} == {columns}
        (report,) = json.loads(found)
        assert table.splitlines()[2].startswith(f"| {report['device']} |")


def test_a_collection_counts_prompts_and_tokens(printed: list[str]) -> None:
    (report,) = json.loads(printed[0].rpartition("\n\n")[2])
    seconds = report["seconds_per_step"]
    assert report["prompts_per_minute"] == pytest.approx(60 * 3 / seconds)
    sampling = 3 * 2 * 8 / report["sampled_per_second"]
    texts = 2 * 3 * 2 * (8 + 12 + 1) + 2 * 3 * (12 + 12 + 1)
    scoring = texts / report["scored_per_second"]
    assert sampling + scoring == pytest.approx(seconds)


def test_dpo_begins_at_log_two_and_goes_down(printed: list[str]) -> None:
    (report,) = json.loads(printed[1].rpartition("\n\n")[2])
    assert report["losses"][0] == pytest.approx(0.6931, abs=1e-3)
    assert report["losses"][-1] < report["losses"][0] - 0.02
    rate = 2 * 4 * (12 + 8 + 1) / report["seconds_per_step"]
    assert report["tokens_per_second"] == pytest.approx(rate)
    width, inner, layers, rank = 64, 128, 2, 64
    shapes = 4 * [(width, width)] + 3 * [(width, inner)]
    assert report["trained_parameters"] == layers * sum(rank * (a + b) for a, b in shapes)


@pytest.mark.parametrize("wrong", ["--pairs=7 --batch-size=4", "--steps=2 --warm-up=2"])
def test_sizes_that_do_not_fit_are_refused(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        fullsize.parsed(wrong.split())
    assert "must be" in capsys.readouterr().err


def test_the_full_size_has_the_weights_of_llama_2_7b() -> None:
    model = fullsize.throughput.random_llama("7b", torch.device("meta"), torch.bfloat16)
    assert sum(weight.numel() for weight in model.module.parameters()) == 6_738_415_616
