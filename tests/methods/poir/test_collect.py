"""Collection: histories as they are told, and the same to the bit after a kill."""

import json
import os
import signal
from multiprocessing import get_context

import launch
import pytest
import torch

from harness.dataset import EmbeddedDataset
from harness.errors import DataError
from harness.models import loading
from harness.models.rewriting import Rewriting
from harness.sources import open_dataset
from methods.poir import collect
from methods.poir.choice import unusable
from methods.poir.collect import Models, collected, questions, scorable
from methods.poir.scoring import Question, Scored, scores
from tests.methods.poir.poir_world import ERRANDS, base, make_fit, prompt_rows, settings

COUNT = 36


def gather(fit, asked, config=None, rewriting=ERRANDS):
    config = config or settings()
    models = Models(fit.model, fit.model)
    return collected(fit, models, asked, rewriting, config.collect, {"by": "test"})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A fit, its questions, and their histories in chunks of 16."""
    fit = make_fit(tmp_path_factory.mktemp("collection"), prompt_rows(COUNT))
    asked = questions(fit.rows, fit.dataset, settings().collect)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collect, "PROMPTS_AT_ONCE", 16)
        return fit, asked, gather(fit, asked)


def candidates(row):
    return [each for one in row["rounds"] for each in one["candidates"]]


def test_a_history_tells_what_was_rewritten_said_scored_dropped_and_decided(world):
    _, asked, found = world
    config = settings().collect
    assert [row["prompt"] for row in found] == [each.prompt for each in asked]
    kinds, decisions = set(), set()
    for row in found:
        assert row.keys() == {"prompt", "score", "rounds"}
        now, score = row["prompt"], row["score"]
        assert 1 <= len(row["rounds"]) <= config.recirculations
        for number, one in enumerate(row["rounds"], start=1):
            assert one.keys() == {"rewritten", "candidates", "decision"}
            assert one["rewritten"] == now and len(one["candidates"]) == config.candidates
            for each in one["candidates"]:
                why = unusable(each["prompt"], row["prompt"], config)
                assert each["prompt"] == ERRANDS.prompt_in(each["text"])
                kinds.add(why)
                if why:
                    assert each.keys() == {"text", "prompt", "score", "dropped"}
                    assert (each["score"], each["dropped"]) == (None, why)
                else:
                    assert each.keys() == {"text", "prompt", "score", "good", "bad"}
                    clamped = [max(each[name], config.floor) for name in ("good", "bad")]
                    assert each["score"] == pytest.approx(clamped[0] - clamped[1], abs=1e-12)
            counted = [each for each in one["candidates"] if each["score"] is not None]
            top = max(counted, key=lambda each: each["score"], default=None)
            last = number == config.recirculations
            decisions.add(one["decision"])
            if top is None or top["score"] <= score:
                assert one["decision"] == "none is better: stop" and one is row["rounds"][-1]
            else:
                assert one["decision"] == (
                    "the best was found: stop" if last else "the best takes its place"
                )
                assert last == (one is row["rounds"][-1])
                now, score = top["prompt"], top["score"]
    assert "" in kinds and len(kinds) > 1 and len(decisions) == 3


def test_scores_in_a_history_are_those_of_each_prompt_alone(world):
    fit, asked, found = world
    for row, question in list(zip(found, asked, strict=True))[:6]:
        ((own,),) = scores(fit.model, [question], [[row["prompt"]]], settings().collect)
        assert row["score"] == pytest.approx(own.score, abs=1e-4)
        for each in candidates(row):
            if each["score"] is not None:
                ((one,),) = scores(fit.model, [question], [[each["prompt"]]], settings().collect)
                assert (each["good"], each["bad"]) == pytest.approx((one.good, one.bad), abs=1e-4)


def test_what_was_collected_stands_in_lines_that_a_person_can_read(world):
    fit, _, found = world
    (path,) = (fit.store.root / "collection").glob("*/rows.jsonl")
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert [{name: line[name] for name in line if name != "hash"} for line in lines] == found


def test_a_collection_is_made_once_and_pairs_margin_and_limit_are_no_part_of_it(world):
    fit, asked, found = world
    again = make_fit(fit.folder.parent, fit.rows)
    again.model.module.generate = None  # nobody samples again
    for changes in ({}, {"pairs": "random"}, {"margin": 2.0}, {"limit": 7}):
        config = settings(collect=changes)
        assert gather(again, asked, config) == found
    hotter = ERRANDS.model_copy(update={"temperature": 0.1})  # of the use, not of the collection
    assert gather(again, asked, rewriting=hotter) == found


def test_the_threshold_holds_a_better_rewrite_back(tmp_path):
    fit = make_fit(tmp_path, prompt_rows(8))
    asked = questions(fit.rows, fit.dataset, settings().collect)
    found = gather(fit, asked, settings(collect={"threshold": 50.0}))
    assert all(len(row["rounds"]) == 1 for row in found)
    assert {row["rounds"][0]["decision"] for row in found} == {"none is better: stop"}
    assert any((each["score"] or -99) > row["score"] for row in found for each in candidates(row))


def test_the_scorer_judges_what_another_model_says(tmp_path):
    fit = make_fit(tmp_path, prompt_rows(4))
    other = loading.load(base(), "causal-lm")
    for parameter in other.module.parameters():
        parameter.data.mul_(1.05)
    asked = questions(fit.rows, fit.dataset, settings().collect)
    made = collected(
        fit, Models(other, fit.model), asked, ERRANDS, settings().collect, {"by": "other"}
    )
    for row, question in zip(made, asked, strict=True):
        ((own,),) = scores(fit.model, [question], [[row["prompt"]]], settings().collect)
        assert row["score"] == pytest.approx(own.score, abs=1e-4)
    assert other.batch_size == settings().collect.batch_size


class Says:
    """Stands for a model's `generate`: every text is continued by the same words."""

    def __init__(self, monkeypatch, model, *said):
        self.asked = []
        self.said = said
        monkeypatch.setattr(model, "generate", self)

    def __call__(self, texts, samples, **_):
        self.asked.append(list(texts))
        return [self.said[k % len(self.said)] for _ in texts for k in range(samples)]


def asked_of(*prompts):
    return [Question(prompt, "3 1", "1 3") for prompt in prompts]


@pytest.mark.parametrize(
    ("said", "why"), [("", "empty"), ("x" * 500, "too long"), ("a", "too short")]
)
def test_where_no_rewrite_is_usable_the_prompt_stops_without_a_score(
    tmp_path, monkeypatch, said, why
):
    fit = make_fit(tmp_path, [])
    Says(monkeypatch, fit.model, said)
    (one, two) = gather(fit, asked_of("sort : 3 1", "please mix : 2"))
    for row in (one, two):
        (only,) = row["rounds"]
        assert {each["dropped"] for each in only["candidates"]} == {why}
        assert only["decision"] == "none is better: stop"


def test_identical_rewrites_do_not_count_and_equal_ones_are_scored_once(tmp_path, monkeypatch):
    fit = make_fit(tmp_path, [])
    Says(monkeypatch, fit.model, "sort : 3 1", "please sort : 3 1")
    read = []
    real = collect.scores
    monkeypatch.setattr(
        collect, "scores", lambda m, q, prompts, s: read.append(prompts) or real(m, q, prompts, s)
    )
    (row,) = gather(fit, asked_of("sort : 3 1"))
    dropped = [each.get("dropped") for each in row["rounds"][0]["candidates"]]
    assert dropped == ["identical", None] * 2
    assert read[:2] == [[["sort : 3 1"]], [["please sort : 3 1"]]]
    scored = [each for each in row["rounds"][0]["candidates"] if each["score"] is not None]
    assert scored[0] == scored[1]


def test_a_later_round_is_measured_against_the_first_prompt(tmp_path, monkeypatch):
    fit = make_fit(tmp_path, [])
    monkeypatch.setattr(
        collect,
        "scores",
        lambda m, q, prompts, s: [[Scored(len(each), 0, 0) for each in of] for of in prompts],
    )
    says = Says(monkeypatch, fit.model, "sort : 3 1 now", "sort : 3 1")
    (row,) = gather(fit, asked_of("sort : 3 1"))
    assert [one["rewritten"] for one in row["rounds"]] == ["sort : 3 1", "sort : 3 1 now"]
    assert says.asked == [["rewrite : sort : 3 1 ="], ["rewrite : sort : 3 1 now ="]]
    assert row["rounds"][1]["candidates"][1]["dropped"] == "identical"
    assert row["rounds"][1]["decision"] == "none is better: stop"


@pytest.mark.parametrize(
    "prompt", ["x" * 10_000, "\x00\x07\x1b[2J\u202e\u2028", "{prompt} {prompt}", "</s> <s> =", "="]
)
def test_hostile_prompts_are_collected(tmp_path, prompt):
    fit = make_fit(tmp_path, [])
    asked = [Question(prompt, "3 1", "1 3"), *asked_of("sort : 3 1")]
    found = gather(fit, asked, settings(collect={"candidates": 2}))
    assert found[0]["prompt"] == prompt and len(found) == 2
    again = gather(make_fit(tmp_path, []), asked, settings(collect={"candidates": 2}))
    assert again == found  # as read from the store


def test_the_explicit_schema_goes_on_with_what_follows_the_mark(tmp_path, monkeypatch):
    fit = make_fit(tmp_path, [])
    Says(monkeypatch, fit.model, "Reasoning: so\nNew: please sort : 3 1", "Reasoning: endless")
    rewriting = Rewriting(template="better {prompt}", after="New:", max_new_tokens=20)
    (row,) = gather(fit, asked_of("sort : 3 1"), rewriting=rewriting)
    first, second = row["rounds"][0]["candidates"][:2]
    assert (first["prompt"], first["text"][:9]) == ("please sort : 3 1", "Reasoning")
    assert (second["prompt"], second["dropped"]) == ("", "empty")


BAD_ROWS = {
    "no prompt": ({"good_res": "a", "bad_res": "b"}, "there is no 'prompt' or 'instruction'"),
    "an empty prompt": ({"prompt": " ", "good_res": "a", "bad_res": "b"}, "'prompt' is empty"),
    "no bad answer": ({"prompt": "p", "good_res": "a"}, "no 'bad_res' or 'rejected'.*yes-no"),
    "an empty answer": ({"prompt": "p", "good_res": "", "bad_res": "b"}, "no 'good_res' or 'cho"),
    "a list": ({"prompt": ["p"], "good_res": "a", "bad_res": "b"}, "'prompt' is no text"),
    "a mapping": ({"prompt": "p", "good_res": "a", "bad_res": {"b": 1}}, "'bad_res' is no text"),
    "half a character": (
        {"prompt": "p\ud800", "good_res": "a", "bad_res": "b"},
        r"'\\ud800' is half of a character",
    ),
}


def read(file):
    data = open_dataset(str(file))
    return questions(data.rows(), data, settings().collect)


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_named_by_its_place_in_one_line(tmp_path, case):
    row, said = BAD_ROWS[case]
    good = {"prompt": "q", "good_res": "a", "bad_res": "b"}
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps(good) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(DataError, match=said) as error:
        read(file)
    assert "prompts.jsonl line 2" in str(error.value) and "\n" not in str(error.value)


def test_answers_may_be_called_chosen_and_rejected_and_yes_no_needs_none():
    rows = [{"instruction": "p", "chosen": "a", "rejected": "b"}]
    data = EmbeddedDataset("test", {"train": lambda: rows})
    assert questions(rows, data, settings().collect) == [Question("p", "a", "b")]
    yes_no = settings(collect={"score": "yes-no"}).collect
    assert questions([{"text": "p"}], data, yes_no) == [Question("p", "", "")]


def test_two_seeds_collect_differently(world, tmp_path):
    _, asked, found = world
    other = gather(make_fit(tmp_path, [], seed=1), asked[:8])
    texts = [[each["text"] for each in candidates(row)] for row in (*other, *found[:8])]
    assert texts[:8] != texts[8:]
    assert [row["score"] for row in other] == pytest.approx(
        [r["score"] for r in found[:8]], abs=1e-4
    )


def killed_in_the_middle(folder):
    """Collect, and be killed when the second chunk is done but not yet named."""
    torch.set_num_threads(1)
    os.chdir(folder)
    launch.kill_at("os.rename", "collection/*/chunk-000001.jsonl")
    collect.PROMPTS_AT_ONCE = 16
    fit = make_fit(folder, prompt_rows(COUNT))
    gather(fit, questions(fit.rows, fit.dataset, settings().collect))


def test_a_collection_killed_in_its_middle_continues_to_the_same_bytes(world, tmp_path):
    fit, asked, found = world
    whole = next((fit.store.root / "collection").glob("*/rows.jsonl")).read_bytes()
    # Forked from here, where all is imported; a pool of threads would not survive that.
    process = get_context("fork").Process(target=killed_in_the_middle, args=(tmp_path,))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    left = {path.name for path in (tmp_path / "store/collection").glob("*/*.jsonl")}
    assert left == {"chunk-000000.jsonl"}
    again = make_fit(tmp_path, prompt_rows(COUNT))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collect, "PROMPTS_AT_ONCE", 16)
        assert gather(again, asked) == found
    made = next((tmp_path / "store/collection").glob("*/rows.jsonl")).read_bytes()
    assert made == whole


def test_an_answer_too_long_to_score_is_named_before_anything_is_sampled(tmp_path, caplog):
    rows = prompt_rows(6)
    rows[2] = {**rows[2], "bad_res": "red " * 200}  # the model reads 128 tokens
    fit = make_fit(tmp_path, rows)
    asked = questions(fit.rows, fit.dataset, settings().collect)
    for how in ("refuse", "cut"):
        with pytest.raises(DataError, match=r"^train row 3: \d+ tokens too long\."):
            scorable(fit, asked, how)
    assert scorable(fit, asked, "drop") == [0, 1, 3, 4, 5]
    assert "left out 1 prompts to train on: train row 3: " in caplog.text
