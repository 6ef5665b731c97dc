"""The `reward` judge against one plain forward pass per conversation."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from harness import judges
from harness.errors import HarnessError
from harness.judges import Case, Judge
from harness.models import lifetime
from tasks.preference.judges import reward
from tasks.preference.judges.reward import Reward, RewardConfig
from tests.tasks.preference.tiny_judges import (
    chat_model,
    reward_encoder,
    reward_model,
    spelled,
    tokenizer,
)


def judge(model: Path, **settings: object) -> Reward:
    config = RewardConfig.model_validate({"model": str(model), **settings})
    return Reward("reward", config, model.parent)


def said(found: Judge, cases: list[Case]) -> list[tuple[float, float]]:
    """The rewards that a judge tells, which are rounded to six digits."""
    return [tuple(map(float, v.text.split())) for v in judges.verdicts(found, cases)]


def scored(model: Path, *rows: list[int]) -> list[float]:
    """Rewards of rows of tokens, one plain forward pass each."""
    module = AutoModelForSequenceClassification.from_pretrained(model).eval()
    with torch.no_grad():
        return [module(input_ids=torch.tensor([row])).logits.item() for row in rows]


def chat(*turns: tuple[str, str]) -> list[int]:
    """What the tests' template makes of a conversation, token by token."""
    row = [1]
    for asked, answer in turns:
        row += [*spelled(f"user: {asked}"), 2, *spelled(f"assistant: {answer}"), 2]
    return row


CASES = [
    Case.of("Why?", "Because it is.", "No."),
    Case.of("How many are there in all?", "2", "A long and wordy answer, which is wrong."),
    Case.of("Why?", "No.", "Because it is."),
    Case.of("Why?", "", "Same"),
    Case.of("Why?", "Same", "Same"),
]


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    return reward_model(tmp_path_factory.mktemp("reward") / "llama")


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_rewards_are_those_of_one_plain_pass_each(llama, batch_size):
    found = judge(llama, batch_size=batch_size)
    for case, pair in zip(CASES, said(found, CASES), strict=True):
        expected = scored(llama, *(chat((case.turns[0], answer)) for (answer,) in case.answers))
        assert pair == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("pad", [None, 2])
def test_the_end_of_a_text_may_be_the_padding_or_there_may_be_none(tmp_path, pad):
    model = reward_model(tmp_path / "model", pad=pad)
    for case, pair in zip(CASES, said(judge(model), CASES), strict=True):
        expected = scored(model, *(chat((case.turns[0], answer)) for (answer,) in case.answers))
        assert pair == pytest.approx(expected, abs=1e-4)


def test_the_higher_reward_wins_in_either_order(llama):
    decisions = [verdict.decision for verdict in judge(llama).judge(CASES)]
    for case, decision in zip(CASES, decisions, strict=True):
        first, second = scored(llama, *(chat((case.turns[0], text)) for (text,) in case.answers))
        sign = (first > second) - (first < second)
        assert decision == {1: "first", -1: "second", 0: "tie"}[sign]
    assert {decisions[0], decisions[2]} == {"first", "second"}
    assert decisions[4] == "tie"


def test_rewards_that_differ_by_at_most_the_margin_are_a_tie(llama):
    ((first, second),) = said(judge(llama), CASES[:1])
    apart = abs(first - second)
    assert judge(llama, margin=apart * 1.01).judge(CASES[:1])[0].decision == "tie"
    assert judge(llama, margin=apart * 0.99).judge(CASES[:1])[0].decision != "tie"


def test_a_conversation_of_two_turns_is_scored_as_a_whole(llama):
    case = Case(("Why?", "Really?"), (("So.", "Yes"), ("Hm", "No!")))
    expected = scored(
        llama,
        chat(("Why?", "So."), ("Really?", "Yes")),
        chat(("Why?", "Hm"), ("Really?", "No!")),
    )
    assert said(judge(llama), [case])[0] == pytest.approx(expected, abs=1e-4)


def test_equal_conversations_are_scored_once(llama, monkeypatch):
    rows = []
    forward = reward._forward
    monkeypatch.setattr(
        reward, "_forward", lambda model, batch: rows.extend(batch) or forward(model, batch)
    )
    judge(llama, batch_size=4).judge(CASES + CASES)
    assert len(rows) == 6
    assert rows == sorted(rows, key=len, reverse=True)


def test_a_long_question_is_cut_at_its_beginning_and_the_answer_kept(tmp_path):
    model = reward_model(tmp_path / "model", positions=60)
    case = Case.of("x" * 100 + " why?", "Because.", "So.")
    expected = scored(model, *(chat((case.turns[0], text))[-60:] for (text,) in case.answers))
    assert said(judge(model), [case])[0] == pytest.approx(expected, abs=1e-4)


def test_an_answer_that_cannot_be_read_as_a_whole_is_a_failed_judgement(tmp_path):
    model = reward_model(tmp_path / "model", positions=60)
    long, short = judge(model).judge([Case.of("Why?", "So.", "y" * 60), Case.of("Why?", "a", "b")])
    assert long.decision is None
    assert long.reason == "the second answer has 60 tokens or more, the model reads 60"
    assert short.decision is not None


def test_without_a_template_the_text_is_a_plain_dialogue_and_keeps_its_marks(tmp_path):
    model = reward_encoder(tmp_path / "model", positions=48)
    short, long = Case.of("Why?", "So.", "No."), Case.of("Why? " * 20, "So.", "No.")

    def row(case: Case, answer: str) -> list[int]:
        text = spelled(f"\n\nHuman: {case.turns[0]}\n\nAssistant: {answer}")
        return [1, *text[-46:], 2]

    for case, pair in zip([short, long], said(judge(model), [short, long]), strict=True):
        expected = scored(model, *(row(case, text) for (text,) in case.answers))
        assert pair == pytest.approx(expected, abs=1e-4)


def test_a_reward_that_is_no_number_is_a_failed_judgement(tmp_path):
    found = judge(reward_model(tmp_path / "model"))
    found.judge(CASES[:1])  # loads it: a file with such weights is refused
    with torch.no_grad():
        lifetime._kept[found].get_input_embeddings().weight[spelled("@")] = float("nan")
    broken, fine = found.judge([Case.of("Why?", "So", "@"), Case.of("Why?", "a", "b")])
    assert (broken.decision, broken.reason) == (None, "the second answer has reward nan")
    assert fine.decision in ("first", "second")


def test_no_cases_are_no_verdicts(llama):
    assert judge(llama).judge([]) == []


def test_the_identity_tells_weights_template_and_margin(llama, tmp_path):
    same = reward_model(tmp_path / "elsewhere" / "llama")
    other = reward_model(tmp_path / "other" / "llama", seed=1)
    plain = reward_model(tmp_path / "plain" / "llama", template=None)
    first = judge(llama).identity()
    assert judge(same, batch_size=2).identity() == first
    assert (first.name, first.model.partition("@")[0], len(first.prompt)) == ("reward", "llama", 16)
    assert judge(other).identity().model != first.model
    assert judge(plain).identity().prompt != first.prompt
    assert judge(llama, margin=1).identity().prompt != first.prompt


def refused(call, *arguments: object) -> str:
    with pytest.raises(HarnessError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert message.startswith("judge 'reward': ") and "\n" not in message
    return message


def test_one_answer_is_not_graded(llama):
    message = refused(judge(llama).judge, [Case.of("Why?", "So.")])
    assert "a reward is no score from 1 to 10" in message


def test_models_that_are_no_reward_models_are_refused_at_once(tmp_path):
    classes = reward_model(tmp_path / "classes", labels=2)
    assert "has 2 labels, a reward model has one" in refused(judge, classes)
    assert "no model 'nowhere'" in refused(judge, Path("nowhere"))
    (tmp_path / "config.json").write_text("{}")
    assert "cannot be read as a reward model" in refused(judge, tmp_path)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "x"}))
    assert "is an adapter: merge it" in refused(judge, adapter)


def test_weights_without_a_head_are_refused_and_not_made_up(tmp_path):
    model = chat_model(tmp_path / "chat")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"id2label": {"0": "LABEL_0"}}))
    message = refused(judge(model).judge, CASES[:1])
    assert "1 missing (score.weight)" in message


def test_damaged_weights_are_one_line(tmp_path):
    model = reward_model(tmp_path / "model")
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    assert "cannot be loaded as a reward model" in refused(judge(model).judge, CASES[:1])


def test_a_template_that_refuses_is_one_line(tmp_path):
    model = reward_model(tmp_path / "model")
    tokenizer("{{ raise_exception('no\nsuch role') }}").save_pretrained(model)
    message = refused(judge(model).judge, CASES[:1])
    assert "chat template refuses a conversation (no such role)" in message


@pytest.mark.parametrize(
    ("setting", "value"),
    [("model", ""), ("batch_size", 0), ("margin", -1), ("margin", float("nan")), ("labels", 1)],
)
def test_settings_are_checked_by_name(setting, value, tmp_path, monkeypatch):
    monkeypatch.setattr(judges.registry, "load", lambda kind, name: Reward)
    message = refused(judges.open_judge, "reward", {"model": "m", setting: value}, tmp_path)
    assert setting in message


@pytest.mark.parametrize("prefix", ["module.", "base_model.model."])
def test_weights_of_other_names_are_refused(tmp_path, prefix):
    model = reward_model(tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    renamed = {prefix + name: weight for name, weight in weights.items()}
    save_file(renamed, model / "model.safetensors", {"format": "pt"})
    message = refused(judge(model).judge, CASES[:1])
    assert message.startswith("judge 'reward': model: ")
    assert f"all {len(weights)} surplus keys begin with '{prefix}'" in message


def test_the_head_of_the_language_model_it_was_made_from_is_not_used(llama, tmp_path):
    model = reward_model(tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    more = {"lm_head.weight": torch.zeros_like(weights["model.embed_tokens.weight"])}
    save_file(weights | more, model / "model.safetensors", {"format": "pt"})
    assert said(judge(model), CASES) == said(judge(llama), CASES)
