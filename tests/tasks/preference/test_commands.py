"""`harness score` and `harness run` of win rates, with endpoints that are real servers."""

import json

import pytest
from chat_world import Endpoint, Reply, says

from tests.tasks.preference.preference_user import questions
from tests.tasks.preference.recorded_files import answers, lines, reviews
from tests.tasks.preference.recorded_files import questions as reviewed
from tests.tasks.preference.tiny_judges import chat_model

KEY = "c0ffee0123456789"
"""A key that would pass for the name of a variable."""
PATIENCE = ["--judge-option", "first_wait=0", "--judge-option", "retries=1"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return chat_model(tmp_path_factory.mktemp("model") / "served-chat", positions=64)


def world(text, before):
    """One server for both: a judge that prefers the longer answer, and a responder."""
    if "[The Start of Assistant A's Answer]" not in text:
        return says(f"{text} I say.")
    first, second = (
        text.split(f"[The Start of Assistant {letter}'s Answer]\n")[1].split("\n[The End")[0]
        for letter in "AB"
    )
    return says(f"[[{'A' if len(first) > len(second) else 'B'}]]")


def ask(endpoint, file, *more):
    return [
        *("score", "--task", "vicuna_eval", "--source", file, "--judge", "llm"),
        *("--judge-option", f"base_url={endpoint.url}", "--judge-option", "model=judge-1"),
        *PATIENCE,
        *more,
    ]


def test_a_file_of_answers_is_judged_against_another_in_both_orders(harness):
    file = lines(harness.folder / "q.jsonl", questions())
    own = [{"question_id": 1, "text": "long one"}, {"question_id": 2, "text": "x"}]
    own.append({"question_id": 3, "text": "same"})
    other = [{"question_id": i, "text": text} for i, text in ((3, "same"), (2, "yyy"), (1, "o"))]
    said = lines(harness.folder / "own.jsonl", own)
    baseline = f"baseline={lines(harness.folder / 'other.jsonl', other)}"
    with Endpoint(world) as endpoint:
        words = ask(endpoint, file, "--predictions", said, "--option", baseline)
        entry = harness.entry("vicuna_eval", *words)
        assert len(endpoint.asked) == 4  # the equal answers are nobody's to judge
        harness.entry("vicuna_eval", *words)
        assert len(endpoint.asked) == 4
    values = {name: metric.value for name, metric in entry.metrics.items()}
    expected = {"win_rate": 0.5, "wins": 1 / 3, "losses": 1 / 3, "identical": 1 / 3}
    expected |= {"longer_wins": 1, "agreement": 1, "first_wins": 0.5, "delta_win_rate": 0}
    assert {name: values[name] for name in expected} == pytest.approx(expected)
    assert {name: each["win_rate"].value for name, each in entry.categories.items()} == {
        "even": 0,
        "odd": 0.75,
    }
    assert entry.task.judge["name"] == "llm" and entry.task.judge["model"] == "judge-1"
    assert len(entry.task.judge["prompt"]) == 16
    assert entry.task.options == {"baseline": "other.jsonl"}


def test_answers_without_others_to_compare_with_are_one_line_with_the_fix(harness):
    file = lines(harness.folder / "q.jsonl", questions())
    said = lines(harness.folder / "own.jsonl", [{"id": str(i), "text": "A"} for i in (1, 2, 3)])
    with Endpoint(world) as endpoint:
        line = harness.refused(*ask(endpoint, file, "--predictions", said))
    assert line == (
        "own.jsonl line 1: item '1' asks 2 times, but there are 1 outputs: give a list of one per "
        "request, in their order, or the file of the answers to compare with by "
        "--option baseline=FILE."
    )


def answered(harness, *texts):
    """A file of questions, and the words that compare answers to them with `x`."""
    file = lines(harness.folder / "q.jsonl", questions(len(texts)))
    said = lines(harness.folder / "own.jsonl", [{"text": text} for text in texts])
    other = lines(harness.folder / "other.jsonl", [{"text": "x"}] * len(texts))
    return file, "--predictions", said, "--option", f"baseline={other}"


def test_failed_judgements_are_counted_and_asked_again(harness):
    file, *compared = answered(harness, "answer 1", "answer 2", "answer 3")
    broken = [True]

    def weather(text, before):
        return Reply(status=500) if broken[0] and "answer 2" in text else world(text, before)

    with Endpoint(weather) as endpoint:
        words = ask(endpoint, file, *compared)
        entry = harness.entry("vicuna_eval", *words)
        assert entry.metrics["failed"].value == pytest.approx(1 / 3)
        assert entry.metrics["failed_judgements"].value == pytest.approx(2 / 6)
        assert (entry.metrics["win_rate"].value, entry.metrics["win_rate"].n) == (1, 2)
        broken[0], before = False, len(endpoint.asked)
        entry = harness.entry("vicuna_eval", *words)
        assert len(endpoint.asked) - before == 2
        assert entry.metrics["failed"].value == 0


def refusal(harness, *words):
    """The one line of a command that records nothing since its judge decided too little."""
    status, shown, said = harness(*words)
    assert (status, shown) == (1, "")
    assert said.startswith("harness: outputs on vicuna_eval: judge 'llm' ")
    assert said.count("\n") == 1
    assert not list(harness.folder.glob("leaderboards/*.json"))
    return said


def test_too_few_judgements_record_nothing_and_are_asked_again_alone(harness):
    file, *compared = answered(harness, "answer 1", "answer 2", "answer 3")
    broken = ["answer 1", "answer 2", "answer 3"]

    def weather(text, before):
        if any(answer in text for answer in broken):
            return Reply(b'{"error": {"message": "overloaded"}}', 503)
        return world(text, before)

    with Endpoint(weather) as endpoint:
        words = ask(endpoint, file, *compared)
        line = refusal(harness, *words)
        assert "decided 0 of 6 judgements and 0 of 3 items, fewer than half; the first" in line
        assert "that failed: HTTP 503: overloaded (tries: 2). Nothing is recorded" in line
        broken.pop(0)
        line = refusal(harness, *words)
        assert "decided 2 of 6 judgements and 1 of 3 items, fewer than half" in line
        broken.clear()
        before = len(endpoint.asked)
        entry = harness.entry("vicuna_eval", *words)
        assert len(endpoint.asked) - before == 4
    assert (entry.metrics["win_rate"].value, entry.metrics["failed"].value) == (1, 0)


def test_answers_of_a_judge_without_a_verdict_record_nothing(harness):
    file, *compared = answered(harness, "answer 1", "answer 2", "answer 3")
    with Endpoint(lambda *_: says("Both are fine.")) as endpoint:
        line = refusal(harness, *ask(endpoint, file, *compared))
    assert "decided 0 of 6 judgements" in line


def test_ties_of_equal_answers_do_not_stand_for_judgements_that_failed(harness):
    file, *compared = answered(harness, "x", "x", "y")
    with Endpoint(lambda *_: Reply(status=500)) as endpoint:
        line = refusal(harness, *ask(endpoint, file, *compared))
    assert "decided 0 of 2 judgements and 2 of 3 items" in line


def test_one_order_that_always_fails_leaves_no_item_with_a_score(harness):
    """Half of the judgements are there, and no item is decided."""
    file, *compared = answered(harness, "answer 1", "answer 2", "answer 3")

    def weather(text, before):
        own_first = text.index("answer") < text.index("\nx\n")
        return says("neither") if own_first else world(text, before)

    with Endpoint(weather) as endpoint:
        status, _, line = harness(*ask(endpoint, file, *compared))
    assert status == 1
    assert "decided 3 of 6 judgements and 0 of 3 items, fewer than half" in line


def run(endpoint, file, model, *more):
    return [
        *("run", "--profile", "paper", "--method", "base", "--tasks", "vicuna_eval", "--quiet"),
        *("--model", model, "--source", f"vicuna_eval={file}"),
        *("--option", f"vicuna_eval.endpoint={endpoint.url}"),
        *("--judge", "llm", "--judge-option", f"base_url={endpoint.url}"),
        *("--judge-option", "model=judge-1", *more),
    ]


def test_an_endpoint_answers_and_its_key_is_written_nowhere(harness, model, monkeypatch):
    monkeypatch.setenv("SECRET", KEY)
    file = lines(harness.folder / "q.jsonl", questions())
    other = lines(harness.folder / "other.jsonl", [{"text": "x"}] * 3)
    with Endpoint(world) as endpoint:
        entry = harness.entry(
            "vicuna_eval",
            *run(endpoint, file, model, "--option", "vicuna_eval.endpoint_key=SECRET"),
            *("--option", f"vicuna_eval.baseline={other}"),
            *("--judge-option", "key_variable=SECRET"),
        )
        asked = [each for each in endpoint.asked if "Assistant A" not in each.text]
    assert sorted(each.text for each in asked) == ["Q1?", "Q2?", "Q3?"]
    assert {each.body["model"] for each in asked} == {"served-chat"}
    assert {each.headers["Authorization"] for each in endpoint.asked} == {f"Bearer {KEY}"}
    assert entry.metrics["win_rate"].value == 1
    (outputs,) = harness.folder.glob("runs/*/base/vicuna_eval.jsonl")
    rows = [json.loads(line) for line in outputs.read_text().splitlines()]
    assert [row["outputs"] for row in rows] == [[f"Q{i}? I say."] for i in (1, 2, 3)]
    written = [path for path in harness.folder.rglob("*") if path.is_file()]
    assert len(written) > 6
    assert not [path for path in written if KEY.encode() in path.read_bytes()]


def test_a_run_whose_judge_is_down_records_nothing_and_continues(harness, model):
    file = lines(harness.folder / "q.jsonl", questions())
    other = lines(harness.folder / "other.jsonl", [{"text": "x"}] * 3)
    down = [True]

    def weather(text, before):
        return Reply(status=500) if down[0] and "[The Start" in text else world(text, before)

    with Endpoint(weather) as endpoint:
        baseline = ("--option", f"vicuna_eval.baseline={other}")
        words = run(endpoint, file, model, *baseline, *PATIENCE)
        status, shown, said = harness(*words)
        assert (status, shown) == (1, "")
        assert said.startswith(
            "harness: base on vicuna_eval: judge 'llm' decided 0 of 6 judgements"
        )
        assert said.count("\n") == 1
        assert not list(harness.folder.glob("leaderboards/*.json"))
        down[0], before = False, len(endpoint.asked)
        entry = harness.entry("vicuna_eval", *words)
        assert len(endpoint.asked) - before == 6  # the judge alone: answers are kept
    assert entry.metrics["win_rate"].value == 1


def test_a_key_in_place_of_its_variable_is_refused_before_anything_is_written(harness, model):
    file = lines(harness.folder / "q.jsonl", questions())
    with Endpoint(world) as endpoint:
        line = harness.refused(
            *run(endpoint, file, model, "--option", f"vicuna_eval.endpoint_key={KEY}")
        )
        assert not endpoint.asked
    assert "names an environment variable that is not set" in line and KEY not in line
    written = [path for path in harness.folder.rglob("*") if path.is_file() and path != file]
    assert not [path for path in written if KEY.encode() in path.read_bytes()]


REFUSED = {
    "unknown model": (Reply(b'{"error": {"message": "no such model"}}', 404), "no such model"),
    "a question": (
        Reply(b'{"error": {"message": "too long"}}', 400),
        "not answered (HTTP 400: too long)",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_an_endpoint_that_does_not_answer_is_one_line(kind, harness, model):
    reply, message = REFUSED[kind]
    file = lines(harness.folder / "q.jsonl", questions())
    with Endpoint(lambda *_: reply) as endpoint:
        line = harness.refused(*run(endpoint, file, model))
    assert message in line


def test_a_runs_own_outputs_are_a_baseline_and_scored_again(harness, model):
    file = lines(harness.folder / "q.jsonl", questions())
    with Endpoint(world) as endpoint:
        entry = harness.entry("vicuna_eval", *run(endpoint, file, model))
        (outputs,) = harness.folder.glob("runs/*/base/vicuna_eval.jsonl")
        assert entry.metrics["identical"].value == 1
        again = ask(endpoint, file, "--predictions", outputs, "--name", "again")
        assert harness(*again)[0] == 0
        said = lines(harness.folder / "own.jsonl", [{"text": "x"}] * 3)
        against = ["--predictions", said, "--option", f"baseline={outputs}"]
        assert harness(*ask(endpoint, file, *against))[0] == 0
        line = harness.refused(
            *ask(endpoint, file, "--predictions", outputs, "--option", f"baseline={said}")
        )
        assert "name the one to score by --field, as outputs.0" in line
        first = ["--predictions", outputs, "--option", f"baseline={said}", "--field", "outputs.0"]
        assert harness(*ask(endpoint, file, *first))[0] == 0
    rates = {
        place: entry.metrics["win_rate"].value
        for place, entry in {e.place: e for e in harness.entries("vicuna_eval")}.items()
        if place.startswith("outputs")
    }
    assert sorted(rates.values()) == [0, 0.5, 1]


def test_recorded_reviews_decide_without_an_endpoint(harness):
    folder = harness.folder
    asked = lines(folder / "question.jsonl", reviewed())
    own, base = (lines(folder / f"{name}.jsonl", answers(name)) for name in ("own", "base"))
    said = lines(folder / "review.jsonl", reviews([9, 8], [5, 5], [-1, -1]))
    entry = harness.entry(
        "vicuna_eval",
        *("score", "--task", "vicuna_eval", "--source", asked, "--predictions", own),
        *("--option", f"baseline={base}", "--option", "orders=model_first"),
        *("--judge", "recorded", "--judge-option", f"reviews={said}"),
        *("--judge-option", f"questions={asked}", "--judge-option", f"answers={own},{base}"),
    )
    assert entry.metrics["win_rate"].value == 0.75
    assert entry.metrics["failed"].value == pytest.approx(1 / 3)
    assert {name: group["win_rate"].value for name, group in entry.categories.items()} == {
        "generic": 1,
        "math": 0.5,
    }
