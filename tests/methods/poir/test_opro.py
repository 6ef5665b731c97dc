"""OPRO's search: the best of what was tried, shown best last, and kept as a text around prompts."""

import json
import random

import pytest

from harness.models import loading
from harness.models.rewriting import read_rewriting, rewritten
from methods.poir import opro
from methods.poir.config import OproConfig
from methods.poir.opro import HISTORY, around, search, shown
from methods.poir.scoring import Scored, scores
from tests.methods.poir.poir_world import COLLECT, base, make_fit, prompt_rows

GOOD = "please"
ROWS = prompt_rows(12)


def settings(**more):
    given = {"steps": 3, "proposals": 4, "prompts": 8, "max_new_tokens": 6, "collect": COLLECT}
    return OproConfig.model_validate({**given, "around": "{text} {prompt}", **more})


def by_words(model, asked, prompts, _):
    """Each text's score is by how many of its words are good, more for some prompts."""
    return [
        [Scored(prompt.count(GOOD) + 0.1 * (len(question.prompt) % 3), 0, 0) for prompt in of]
        for question, of in zip(asked, prompts, strict=True)
    ]


class Proposes:
    """A model's proposals of each step; what it was asked is kept."""

    def __init__(self, *steps):
        self.steps, self.asked = list(steps), []

    def __call__(self, texts, *, samples, **_):
        (text,) = texts
        self.asked.append(text)
        step = self.steps[len(self.asked) - 1]
        return [step[k % len(step)] for k in range(samples)]


def searched(fit, config, folder):
    search(fit, config)
    fit.save(folder)
    text = (folder / HISTORY).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_the_best_text_is_found_shown_last_and_set_before_prompts(tmp_path, monkeypatch):
    fit = make_fit(tmp_path, ROWS)
    says = Proposes(["now", GOOD], [f"{GOOD} {GOOD}", "now", ""], ["never", f" {GOOD} {GOOD} "])
    monkeypatch.setattr(fit.model, "generate", says)
    monkeypatch.setattr(opro, "scores", by_words)
    history = searched(fit, settings(), tmp_path / "out")
    assert [row["text"] for row in history] == [
        "",
        "Let's think step by step.",
        "now",
        GOOD,
        f"{GOOD} {GOOD}",
        "never",
    ]
    extra = history[0]["score"]
    assert [row["score"] - extra for row in history] == pytest.approx([0, 0, 0, 1, 2, 0])
    assert len(says.asked) == 3
    assert says.asked[0].index("step by step") < says.asked[1].index(f"text: {GOOD}\nscore")
    assert says.asked[2].rindex("text: ") == says.asked[2].index(f"text: {GOOD} {GOOD}\n")
    rewriting = read_rewriting(tmp_path / "out")
    assert rewriting.template == f"{GOOD} {GOOD} {{prompt}}" and not rewriting.by_model
    model = loading.load(tmp_path / "out", "causal-lm")
    assert rewritten(model, rewriting, ["sort {prompt}"]) == [f"{GOOD} {GOOD} sort {{prompt}}"]
    assert fit.cost.train_tokens == 0 and fit.cost.total_parameters > 0


def test_no_text_at_all_is_kept_where_none_is_better(tmp_path, monkeypatch):
    fit = make_fit(tmp_path, ROWS)
    monkeypatch.setattr(fit.model, "generate", Proposes(*[["worse", "still"]] * 3))
    monkeypatch.setattr(
        opro, "scores", lambda m, q, p, s: [[Scored(-len(t), 0, 0) for t in of] for of in p]
    )
    searched(fit, settings(), tmp_path / "out")
    assert read_rewriting(tmp_path / "out").template == "{prompt}"


def test_a_search_is_made_once_and_its_scores_are_means_over_the_prompts(tmp_path):
    fit = make_fit(tmp_path, ROWS)
    history = searched(fit, settings(steps=1), tmp_path / "out")
    again = make_fit(tmp_path, ROWS)
    again.model.module.generate = again.model.module.forward = None
    assert searched(again, settings(steps=1), tmp_path / "again") == history
    asked = opro.questions(ROWS, fit.dataset, settings().collect)
    chosen = random.Random(0).sample(asked, 8)
    text = history[1]["text"]
    found = scores(
        fit.model, chosen, [[f"{text} {each.prompt}"] for each in chosen], settings().collect
    )
    mean = sum(each.score for (each,) in found) / 8
    assert history[1]["score"] == pytest.approx(mean, abs=1e-4)


def test_equal_prompts_with_other_answers_are_scored_anew(tmp_path):
    good, bad = ROWS[2]["good_res"], ROWS[2]["bad_res"]
    both = ((good, bad), (bad, good))
    one = [dict(ROWS[2], good_res=good, bad_res=bad) for good, bad in both]
    found = [
        searched(make_fit(tmp_path, [row]), settings(steps=1), tmp_path / str(number))[0]["score"]
        for number, row in enumerate(one)
    ]
    assert found[0] == pytest.approx(-found[1]) and found[0] != 0


@pytest.mark.parametrize("hostile", ["{prompt} {prompt}", "{text}", "{}", "\\1", "{history}"])
def test_braces_of_proposals_and_prompts_stay_ours_to_fill(tmp_path, monkeypatch, hostile):
    config = settings(start=[hostile], steps=1)
    fit = make_fit(tmp_path, [dict(ROWS[0], prompt="sort {text} {prompt} : 3 1")])
    monkeypatch.setattr(fit.model, "generate", Proposes([hostile, f"{hostile} more"]))
    seen = []

    def note(model, asked, prompts, _):
        seen.extend(text for of in prompts for text in of)
        return [[Scored(len(text), 0, 0) for text in of] for of in prompts]

    monkeypatch.setattr(opro, "scores", note)
    history = searched(fit, config, tmp_path / "out")
    rewriting = read_rewriting(tmp_path / "out")
    assert rewriting.template.count("{prompt}") == 1
    assert all(text.count("sort {text} {prompt} : 3 1") == 1 for text in seen)
    best = max(history, key=lambda row: row["score"])["text"]
    assert rewriting.filled("p") == around(config, best, "p")


def test_the_best_so_many_are_shown():
    history = [{"text": str(i), "score": float(i % 5)} for i in range(9)]
    lines = shown(settings(shown=3), history).split("\n\n")
    assert lines == [f"text: {i}\nscore: {i % 5}.000" for i in (3, 8, 4)]


def test_the_weights_are_the_bases(tmp_path, monkeypatch):
    fit = make_fit(tmp_path, ROWS)
    monkeypatch.setattr(fit.model, "generate", Proposes(["a"], ["b"], ["c"]))
    monkeypatch.setattr(opro, "scores", by_words)
    searched(fit, settings(), tmp_path / "out")
    kept = loading.load(base(), "causal-lm").module.state_dict()
    found = loading.load(tmp_path / "out", "causal-lm").module.state_dict()
    assert all(kept[name].equal(found[name]) for name in kept)
