"""The `llm` judge over a model on this machine."""

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from harness.chat import KEPT
from harness.errors import DataError, HarnessError
from harness.judges import Case, Verdict, verdicts
from harness.models import loading
from harness.models.causal_lm import CausalLM
from tasks.preference.judges.llm import Llm, LlmConfig
from tasks.preference.judges.local import LocalChat
from tasks.preference.judges.prompts import open_prompt
from tests.tasks.preference.tiny_judges import VOCABULARY, chat_model, spelled, tokenizer

PAIR = Case.of("Why?", "Because.", "Who knows.")


def judge(model: Path, folder: Path, **settings: object) -> Llm:
    config = LlmConfig.model_validate({"model": str(model), "max_tokens": 3, **settings})
    return Llm("llm", config, folder)


def said(*texts: str) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": text}] for text in texts]


def continued(model: Path, text: str, count: int) -> str:
    """A plain greedy continuation of the tests' chat format, one token at a time."""
    module = AutoModelForCausalLM.from_pretrained(model).eval()
    row = [1, *spelled(f"user: {text}"), 2, *spelled("assistant: ")]
    start = len(row)
    with torch.no_grad():
        while len(row) < start + count:
            row.append(module(input_ids=torch.tensor([row])).logits[0, -1].argmax().item())
            if row[-1] == 2:
                break
    tokens = list(VOCABULARY)
    return "".join(tokens[i] for i in row[start:] if i > 3).strip()


@pytest.fixture
def generated(monkeypatch) -> list[str]:
    """Every text that a model was given to continue, as it was."""
    asked: list[str] = []
    generate = CausalLM.generate

    def noted(self, texts, **settings):
        asked.extend(texts)
        return generate(self, texts, **settings)

    monkeypatch.setattr(CausalLM, "generate", noted)
    return asked


def test_answers_are_those_of_a_plain_greedy_continuation(tmp_path):
    model = chat_model(tmp_path / "model")
    texts = ["Why?", "How many apples?", "x", "Say A or B, but not both."]
    answers = LocalChat(str(model), 6, tmp_path / "kept").answers(said(*texts))
    assert [answer.text for answer in answers] == [continued(model, text, 6) for text in texts]
    assert len({answer.text for answer in answers}) > 1


@pytest.mark.parametrize(("token", "decision"), [("[[A]]", "first"), ("[[C]]", "tie")])
def test_a_local_model_judges(token, decision, tmp_path):
    model = chat_model(tmp_path / "model", says=token)
    found = verdicts(judge(model, tmp_path), [PAIR])
    assert found == [Verdict(decision, text=token * 3)]


def test_a_model_that_says_nothing_of_use_gives_failed_judgements(tmp_path):
    (found,) = verdicts(judge(chat_model(tmp_path / "model", says="x"), tmp_path), [PAIR])
    assert (found.decision, found.reason) == (None, "no verdict in the text")


def test_what_is_known_is_not_asked_again_and_loads_no_model(tmp_path, generated, monkeypatch):
    model = chat_model(tmp_path / "model")
    chat = LocalChat(str(model), 3, tmp_path)
    first = chat.answers(said("a", "b", "a"))
    assert first[0] == first[2]
    assert len(generated) == 2
    monkeypatch.setattr(loading, "load", lambda *_: pytest.fail("the model is loaded"))
    assert LocalChat(str(model), 3, tmp_path).answers(said("b", "a")) == [first[1], first[0]]


def test_other_weights_templates_and_limits_are_asked_again(tmp_path, generated):
    model = chat_model(tmp_path / "one" / "judge")
    other = chat_model(tmp_path / "two" / "judge", seed=1)
    LocalChat(str(model), 3, tmp_path).answers(said("a"))
    for changed in ((other, 3), (model, 2)):
        LocalChat(str(changed[0]), changed[1], tmp_path).answers(said("a"))
    tokenizer("{{ messages[0].content }}").save_pretrained(model)
    LocalChat(str(model), 3, tmp_path).answers(said("a"))
    assert len(generated) == 4
    LocalChat(str(other), 3, tmp_path).answers(said("a"))
    assert len(generated) == 4


def ending_after(batches: int):
    """A loader of models that answer two questions at once, and are interrupted after so many."""

    def load(folder, _):
        model = CausalLM.load(folder)
        model.batch_size = 2
        generate, left = model.generate, iter(range(batches))

        def ended(*arguments, **settings):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return generate(*arguments, **settings)

        model.generate = ended
        return model

    return load


def test_an_ended_run_goes_on_after_its_last_whole_batch(tmp_path, generated, monkeypatch):
    model = str(chat_model(tmp_path / "model"))
    questions = said(*("x" * n for n in range(1, 8)))
    monkeypatch.setattr(loading, "load", ending_after(2))
    with pytest.raises(KeyboardInterrupt):
        LocalChat(model, 3, tmp_path, 2).answers(questions)
    assert len((tmp_path / KEPT).read_text().splitlines()) == 4
    monkeypatch.setattr(loading, "load", ending_after(2))
    answers = LocalChat(model, 3, tmp_path, 2).answers(questions)
    assert [text.count("x") for text in generated] == [7, 6, 5, 4, 3, 2, 1]
    monkeypatch.setattr(loading, "load", ending_after(9))
    assert answers == LocalChat(model, 3, tmp_path / "new").answers(questions)


def test_the_model_is_loaded_once(tmp_path, monkeypatch):
    chat, loads = LocalChat(str(chat_model(tmp_path / "model")), 3, tmp_path), []
    load = loading.load
    monkeypatch.setattr(loading, "load", lambda *names: loads.append(names) or load(*names))
    for text in "ab":
        chat.answers(said(text))
    assert loads == [(chat.model, "causal-lm")]


def test_a_broken_file_of_answers_is_named(tmp_path):
    (tmp_path / KEPT).write_text(json.dumps({"key": "k"}) + "\n")
    with pytest.raises(DataError, match=f"{KEPT} line 1: not as it was written"):
        LocalChat(str(chat_model(tmp_path / "model")), 3, tmp_path).answers(said("a"))


def test_a_question_that_does_not_fit_is_a_failed_judgement_and_not_cut(tmp_path, generated):
    model = chat_model(tmp_path / "model", positions=64)
    exact = 64 - 3 - len("user: assistant: ") - 2
    long, short = LocalChat(str(model), 3, tmp_path).answers(said("x" * (exact + 1), "x" * exact))
    assert (long.text, long.reason) == (None, "the question has 62 tokens, there is room for 61")
    assert short.text is not None
    assert len(generated) == 1


def test_the_identity_tells_models_of_one_name_apart(tmp_path):
    one = chat_model(tmp_path / "one" / "judge")
    two = chat_model(tmp_path / "two" / "judge", seed=1)
    same = chat_model(tmp_path / "three" / "judge")
    first, second = (judge(model, tmp_path).identity() for model in (one, two))
    assert first.model == f"judge@{loading.identity(one)[:8]}"
    assert second.model.startswith("judge@") and second.model != first.model
    assert judge(same, tmp_path / "x").identity() == first
    assert judge(one, tmp_path, max_tokens=4).identity().prompt != first.prompt
    assert judge(one, tmp_path, prompt="mt-bench-single").identity().prompt != first.prompt


def refused(call, *arguments: object, **settings: object) -> str:
    with pytest.raises(HarnessError) as caught:
        call(*arguments, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_no_local_model_is_one_line(tmp_path):
    message = refused(judge, Path("gpt-4"), tmp_path)
    assert message.startswith("judge 'llm': model: no model 'gpt-4': no such folder")
    assert message.endswith("A model at an endpoint takes base_url.")
    assert "no model: neither config.json" in refused(judge, tmp_path, tmp_path)
    mute = chat_model(tmp_path / "mute", template=None)
    assert "has no chat template" in refused(judge(mute, tmp_path).judge, [PAIR])
    strict = chat_model(tmp_path / "strict", template="{{ raise_exception('no system') }}")
    assert "refuses it (no system)" in refused(judge(strict, tmp_path).judge, [PAIR])
    small = chat_model(tmp_path / "small", positions=64)
    assert refused(judge(small, tmp_path, max_tokens=64).judge, [PAIR]) == (
        "judge 'llm': model: small reads 64 tokens in all, its answer included: set max_tokens, "
        "which is 64, lower."
    )
    assert not (tmp_path / KEPT).exists()


def test_a_model_whose_weights_do_not_fit_is_one_line(tmp_path):
    model = chat_model(tmp_path / "chat")
    weights = load_file(model / "model.safetensors")
    renamed = {f"module.{name}": weight for name, weight in weights.items()}
    save_file(renamed, model / "model.safetensors", {"format": "pt"})
    with pytest.raises(HarnessError, match=r"^judge 'llm': model: .*begin with 'module\.'"):
        judge(model, tmp_path).judge([PAIR])


def test_an_address_is_checked_and_may_be_empty():
    assert LlmConfig(model="m", base_url="").base_url == LlmConfig(model="m").base_url == ""
    assert LlmConfig(model="m", base_url="http://host/v1/").base_url == "http://host/v1"
    for url in ("localhost:8000/v1", "http://me:word@host/v1"):
        with pytest.raises(ValidationError):
            LlmConfig(model="m", base_url=url)


def test_the_prompt_that_a_local_model_reads_is_the_judges(tmp_path, generated):
    judge(chat_model(tmp_path / "model"), tmp_path).judge([PAIR])
    system, user = (message["content"] for message in open_prompt("mt-bench-pair").messages(PAIR))
    assert generated == [f"<s>system: {system}</s>user: {user}</s>assistant: "]


def test_how_many_are_asked_at_once_is_a_setting_and_no_part_of_the_identity(tmp_path, monkeypatch):
    model, sizes = chat_model(tmp_path / "model"), []
    generate = CausalLM.generate

    def noted(self, texts, **settings):
        sizes.append(len(texts))
        return generate(self, texts, **settings)

    monkeypatch.setattr(CausalLM, "generate", noted)
    small, usual = judge(model, tmp_path / "a", batch_size=2), judge(model, tmp_path / "b")
    cases = [Case.of(f"Why {i}?", "Because.", "Who knows.") for i in range(5)]
    assert small.judge(cases) == usual.judge(cases)
    assert sizes == [2, 2, 1, 5]
    assert small.identity() == usual.identity()
