"""Errands to be worded better: answers of the operations' own, mostly vague, splits apart."""

from collections import Counter
from itertools import combinations

import pytest

from tasks.flan.lab import plugins
from tasks.flan.lab.operations import DOMAINS, operations
from tasks.flan.lab.payloads import split_of
from tasks.flan.lab.prompts import confusable, read
from tests.tasks.flan.test_errands import SPLITS, slowly

ROWS = {split: plugins.prompts.rows(split) for split in SPLITS}


@pytest.mark.parametrize("split", SPLITS)
def test_answers_are_of_the_operation_and_of_one_it_can_be_taken_for(split):
    for row in ROWS[split]:
        prompt = read(row["prompt"])
        assert prompt is not None and prompt.text == row["prompt"]
        name = prompt.wording.operation
        assert (row["operation"], row["wording"]) == (name, prompt.wording.kind)
        assert row["domain"] == operations()[name].domain
        assert row["good_res"] == slowly(name, prompt.payload)
        wrong = {slowly(other, prompt.payload) for other in confusable(name, prompt.payload)}
        assert row["bad_res"] in wrong and row["bad_res"] != row["good_res"]
        assert row["good_res"].strip() and row["bad_res"].strip()


@pytest.mark.parametrize("split", SPLITS)
def test_prompts_are_distinct_named_and_evenly_of_the_domains(split):
    rows = ROWS[split]
    assert len(rows) == {"train": 2400, "dev": 300, "test": 600}[split]
    assert len({row["prompt"] for row in rows}) == len({row["id"] for row in rows}) == len(rows)
    counts = Counter(row["domain"] for row in rows)
    assert set(counts) == set(DOMAINS) and set(counts.values()) == {len(rows) / 6}
    assert plugins.prompts.rows(split) == rows


@pytest.mark.parametrize("split", SPLITS)
def test_three_quarters_are_vague(split):
    vague = sum(row["wording"] == "vague" for row in ROWS[split])
    assert vague / len(ROWS[split]) == pytest.approx(0.75, abs=0.06)


def test_splits_share_no_payload():
    payloads = {
        split: {read(row["prompt"]).payload for row in rows} for split, rows in ROWS.items()
    }
    for one, other in combinations(SPLITS, 2):
        assert not payloads[one] & payloads[other]
    for split, texts in payloads.items():
        assert {split_of(text) for text in texts} == {split}
