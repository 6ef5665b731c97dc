"""Continuing texts: batched as single, seeded, chat formats with one beginning, clear refusals."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_translators import WORDS, tiny_llama

from harness.errors import DataError, HarnessError
from harness.models.causal_lm import CausalLM
from harness.models.generation import left_padded

PROMPTS = [
    "red dress",
    "a long summer dress for women",
    "blue",
    "white cotton shirt with pocket",
    "red dress",
]
NEW = {"max_new_tokens": 6}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return CausalLM.load(tiny_llama(tmp_path_factory.mktemp("llama")))


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    return CausalLM.load(tiny_llama(tmp_path_factory.mktemp("chat"), chat=True))


@torch.no_grad()
def greedily(model, ids, count):
    """A greedy continuation by plain passes over the whole text, without cache or padding."""
    start = len(ids)
    for _ in range(count):
        logits = model.module(input_ids=torch.tensor([ids])).logits[0, -1]
        ids = [*ids, int(logits.argmax())]
        if ids[-1] == 2:
            break
    return model.tokenizer.decode(ids[start:], skip_special_tokens=True).strip()


def test_greedy_continuations_are_those_of_plain_passes(plain):
    expected = [greedily(plain, plain.tokenizer(text)["input_ids"], 6) for text in PROMPTS]
    assert len(set(expected)) > 2
    for batch_size in (1, 2, 64):
        plain.batch_size = batch_size
        assert plain.generate(PROMPTS, **NEW) == expected
        assert [plain.generate([text], **NEW)[0] for text in PROMPTS] == expected


@settings(deadline=None, max_examples=8)
@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), max_size=6))
def test_a_batch_says_what_each_text_alone_says(plain, texts):
    plain.batch_size = 3
    alone = [plain.generate([text], max_new_tokens=3)[0] for text in texts]
    assert plain.generate(texts, max_new_tokens=3) == alone


def test_equal_texts_are_continued_once_and_samples_repeated(plain, monkeypatch):
    plain.batch_size = 64
    read = []
    real = plain.module.generate
    monkeypatch.setattr(
        plain.module, "generate", lambda **a: read.append(len(a["input_ids"])) or real(**a)
    )
    said = plain.generate(PROMPTS, samples=2, **NEW)
    assert read == [4]
    once = plain.generate(PROMPTS[:4], **NEW)
    assert said == [text for text in [*once, once[0]] for _ in range(2)]


def test_sampling_is_by_its_seed_alone_and_gives_the_samples_of_a_text_together(plain):
    plain.batch_size = 8
    asked = {**NEW, "temperature": 1.0, "samples": 4}
    first = plain.generate(PROMPTS, seed=1, **asked)
    assert len(first) == 4 * len(PROMPTS)
    torch.manual_seed(77)
    before = torch.random.get_rng_state()
    assert plain.generate(PROMPTS, seed=1, **asked) == first
    assert torch.equal(torch.random.get_rng_state(), before)
    assert plain.generate(PROMPTS, seed=2, **asked) != first
    assert len(set(first[:4])) > 1 and first[:4] != first[16:]


def test_samples_are_drawn_from_the_distribution_and_stand_with_their_text(plain):
    plain.batch_size = 2000
    texts = ["blue", "a long summer dress"]
    said = plain.generate(texts, max_new_tokens=1, temperature=1.0, samples=1000, seed=3)
    for place, text in enumerate(texts):
        ids = torch.tensor([plain.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            shares = plain.module(input_ids=ids).logits[0, -1].softmax(-1)
        names = [plain.tokenizer.decode([i], skip_special_tokens=True).strip() for i in range(300)]
        of = said[1000 * place : 1000 * place + 1000]
        for i in shares.topk(3).indices.tolist():
            expected = sum(float(shares[j]) for j in range(300) if names[j] == names[i])
            assert of.count(names[i]) / 1000 == pytest.approx(expected, abs=0.06)


def test_a_small_top_p_is_greedy(plain):
    sampled = plain.generate(PROMPTS, temperature=1.0, top_p=1e-6, seed=5, **NEW)
    assert sampled == plain.generate(PROMPTS, **NEW)


@pytest.mark.parametrize(
    "own",
    [
        {"repetition_penalty": 50.0},
        {"no_repeat_ngram_size": 1},
        {"do_sample": True, "temperature": 9.0, "top_k": 3},
        {"num_beams": 3},
        {"min_p": 0.9, "do_sample": True},
        {"typical_p": 0.1, "do_sample": True},
    ],
    ids=lambda own: next(iter(own)),
)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_nothing_of_a_models_own_settings_is_left(plain, monkeypatch, own, temperature):
    asked = {"max_new_tokens": 12, "temperature": temperature, "seed": 1}
    expected = plain.generate(PROMPTS, **asked)
    for name, value in own.items():
        monkeypatch.setattr(plain.module.generation_config, name, value)
    assert plain.generate(PROMPTS, **asked) == expected


def test_a_prompt_that_leaves_no_room_is_cut_at_its_beginning(plain):
    long = "red " * 700 + "blue dress"
    ids = plain.tokenizer(long)["input_ids"]
    assert len(ids) > 512
    assert plain.generate([long, "blue"], **NEW) == [
        greedily(plain, ids[-506:], 6),
        greedily(plain, plain.tokenizer("blue")["input_ids"], 6),
    ]
    with pytest.raises(HarnessError, match="reads 512 tokens: 512 new ones leave no room"):
        plain.generate(["blue"], max_new_tokens=512)


def test_a_chat_that_leaves_no_room_is_cut_within_its_last_message(chat, caplog):
    """The format's header and what was said first stay, and so does the end of the prompt."""
    first = [{"role": "user", "content": "red"}, {"role": "assistant", "content": "blue"}]
    long = [*first, {"role": "user", "content": "green " * 700}]
    with caplog.at_level("WARNING"):
        short, cut = chat.chat_texts([first, long], new_tokens=6)
    assert short == chat.chat_texts([first])[0]
    assert cut.startswith("<s>user : red </s>user : blue </s>user : green green")
    assert cut.endswith(" </s>assistant : ")
    rows = chat._token_ids([cut])
    assert 500 < len(rows[0]) <= 506
    assert "1 texts are too long and lost their end" in caplog.text
    (alone,) = chat.prompt_texts(["green " * 700], 6)
    assert alone.startswith("<s>user : green") and alone.endswith("assistant : ")
    assert chat.generate([alone], **NEW) == [greedily(chat, chat._token_ids([alone])[0], 6)]


def test_a_chat_that_is_too_long_without_its_last_message_is_refused(chat):
    long = [{"role": "user", "content": "green " * 700}, {"role": "user", "content": "red"}]
    with pytest.raises(HarnessError, match=r"without its last message, and there is room for 506:"):
        chat.chat_texts([long], new_tokens=6)


def test_no_texts_are_continued_by_none(plain, chat):
    for model in (plain, chat):
        assert model.prompt_texts([]) == []
        for temperature in (0.0, 1.0):
            assert model.generate([], temperature=temperature, **NEW) == []
        assert model.encode([], []) == []
    assert chat.chat_texts([]) == []


def test_a_text_of_no_tokens_is_continued_from_the_beginning(tmp_path):
    model = CausalLM.load(tiny_llama(tmp_path))
    model.tokenizer.backend_tokenizer.post_processor = None  # which sets the beginning
    assert model.tokenizer("")["input_ids"] == []
    assert model.generate(["", "red"], **NEW)[0] == greedily(model, [1], 6)
    (row,) = model.encode([""], ["red"], None, "")
    assert row.prompt.tolist() == [1] and row.answer.tolist()[-1] == 2


def test_a_users_message_stands_in_the_chat_format_or_as_it_is(plain, chat):
    assert plain.prompt_texts(["red {dress}"]) == ["red {dress}"]
    assert chat.prompt_texts(["red {dress}"]) == ["<s>user : red {dress} </s>assistant : "]
    talk = [{"role": "user", "content": "red"}, {"role": "assistant", "content": "blue"}]
    assert chat.chat_texts([talk]) == ["<s>user : red </s>user : blue </s>assistant : "]
    with pytest.raises(HarnessError, match="has no chat template: take a model that was tuned"):
        plain.chat_texts([talk])


def test_a_chat_template_that_refuses_says_why_on_one_line(chat, monkeypatch):
    template = "{{ raise_exception('roles must\\nalternate') }}"
    monkeypatch.setattr(chat.tokenizer, "chat_template", template)
    with pytest.raises(HarnessError, match=r"refuses it \(roles must alternate\)\.$"):
        chat.prompt_texts(["red"])


def test_a_chat_formats_beginning_is_not_doubled(chat, monkeypatch):
    (text,) = chat.prompt_texts(["red"])
    assert chat.tokenizer(text)["input_ids"][:2] == [1, 1]  # as the tokenizer alone has it
    read = []
    real = chat.module.generate
    monkeypatch.setattr(
        chat.module, "generate", lambda **a: read.append(a["input_ids"]) or real(**a)
    )
    chat.generate([text], max_new_tokens=1)
    expected = chat.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert read[0].tolist() == [expected]
    (row,) = chat.encode([text], ["blue"], None, "")
    assert row.prompt.tolist()[:5] == expected[:5] and expected[:2] != [1, 1]
    (row,) = chat.encode(["red"], ["blue"], None, " ")
    assert row.prompt.tolist()[0] == 1  # without the format it is set


@pytest.mark.parametrize("text", ["\ud800 red", "red \udcff"])
def test_half_a_character_is_refused_on_one_line(plain, text):
    for attempt in (
        lambda: plain.generate([text], **NEW),
        lambda: plain.generate(["blue", text], temperature=1.0, **NEW),
        lambda: plain.encode([text], ["blue"]),
        lambda: plain.encode(["blue"], [text]),
    ):
        with pytest.raises(DataError, match="half of a character") as error:
            attempt()
        str(error.value).encode()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["x" * 10_000, "\x00\x07\x1b[2J\u202e", "{prompt}{}{{", "</s><s>"])
def test_hostile_texts_are_continued(plain, text):
    (said,) = plain.generate([text], **NEW)
    assert isinstance(said, str)


def test_a_batch_is_padded_on_the_left():
    batch = left_padded([[5, 6, 7], [8]], 0, torch.device("cpu"))
    assert batch["input_ids"].tolist() == [[5, 6, 7], [0, 0, 8]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]


def test_a_cut_prompt_is_counted_and_named(plain, caplog, monkeypatch):
    monkeypatch.setattr(plain.module.config, "max_position_embeddings", 20)
    texts = ["blue", "red dress " * 30, "green dress " * 30]
    plain.generate(texts, max_new_tokens=4)
    plain.encode(texts, ["x"] * 3)
    said = "2 texts are too long and lost their beginning, the first: 'red dress red dress"
    assert len(caplog.messages) == 2
    assert all(message.startswith(said) for message in caplog.messages)
    caplog.clear()
    plain.generate(texts[:1], max_new_tokens=4)
    plain.encode(texts[:1], ["x"])
    assert caplog.messages == []
