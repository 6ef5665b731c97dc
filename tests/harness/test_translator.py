"""The translator role against plain transformers, on random weights of every kind of model."""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tiny_translators as tiny
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from harness.errors import DataError
from harness.models.languages import matched
from harness.models.prompts import Translation, TranslationPrompt
from harness.models.translator import Translator

TARGETS = ("deu", "fra", "cmn_Hans")
REQUEST = {"de": "German", "zh-CN": "Chinese (China)", "fr": "French"}


@dataclass(frozen=True)
class Kind:
    """A kind of model, and what a user writes by hand to have it translate."""

    build: Callable[[Path], Path]
    codes: Mapping[str, str] = field(default_factory=dict)
    """Code of a prompt -> the tokenizer's own, where it has some."""
    seq2seq: bool = True
    starting: str = "forced_bos_token_id"
    """The setting of `generate` that takes the target language."""

    def asked(self, tokenizer: Any, prompt: TranslationPrompt) -> tuple[list[int], dict[str, int]]:
        """Token ids of the source, and the settings that choose the target language."""
        if "en" in self.codes:
            tokenizer.src_lang = self.codes[prompt.source]
            code = self.codes[prompt.target]
            ids = getattr(tokenizer, "lang_code_to_id", None)
            forced = ids[code] if ids else tokenizer.convert_tokens_to_ids(code)
            return tokenizer(prompt.text)["input_ids"], {self.starting: forced}
        if self.codes:
            return tokenizer(f">>{self.codes[prompt.target]}<< {prompt.text}")["input_ids"], {}
        if self.seq2seq:
            return tokenizer(prompt.text)["input_ids"], {}
        text = f"Translate the following text from English into {REQUEST[prompt.target]}."
        text = f"{text}\n{prompt.text}"
        if not tokenizer.chat_template:
            return tokenizer(f"{text}\n")["input_ids"], {}
        chat = [{"role": "user", "content": text}]
        asked = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)
        return asked["input_ids"], {}

    def answered(self, tokenizer: Any, prompt: TranslationPrompt, translation: str) -> list[int]:
        """Token ids of a translation, its end included."""
        if "en" in self.codes:
            tokenizer.tgt_lang = self.codes[prompt.target]
        if self.seq2seq:
            return tokenizer(text_target=translation)["input_ids"]
        said = tokenizer(translation, add_special_tokens=False)["input_ids"]
        return [*said, tokenizer.eos_token_id]


KINDS = {
    "marian": Kind(tiny.tiny_marian),
    "marian-several": Kind(
        lambda folder: tiny.tiny_marian(folder, targets=TARGETS),
        {"de": "deu", "fr": "fra", "zh-CN": "cmn_Hans"},
    ),
    "marian-words": Kind(tiny.tiny_word_marian),
    "m2m100": Kind(tiny.tiny_m2m100, {"en": "en", "de": "de", "fr": "fr", "zh-CN": "zh"}),
    "nllb": Kind(
        tiny.tiny_nllb,
        {"en": "eng_Latn", "de": "deu_Latn", "fr": "fra_Latn", "zh-CN": "zho_Hans"},
    ),
    "mbart50": Kind(
        tiny.tiny_mbart50, {"en": "en_XX", "de": "de_DE", "fr": "fr_XX", "zh-CN": "zh_CN"}
    ),
    "mbart": Kind(
        tiny.tiny_mbart,
        {"en": "en_XX", "de": "de_DE", "fr": "fr_XX", "zh-CN": "zh_CN"},
        starting="decoder_start_token_id",
    ),
    "llama": Kind(tiny.tiny_llama, seq2seq=False),
    "llama-chat": Kind(lambda folder: tiny.tiny_llama(folder, chat=True), seq2seq=False),
}


SEQ2SEQ = [name for name, kind in KINDS.items() if kind.seq2seq]


class Cutting:
    """A tokenizer that cuts by its own rules."""

    def __init__(self, tokenizer: Any, longest: int) -> None:
        object.__setattr__(self, "own", tokenizer)
        object.__setattr__(self, "longest", longest)

    def __call__(self, *texts: str, **named: str) -> Any:
        return self.own(*texts, **named, truncation=True, max_length=self.longest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.own, name, value)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Callable[[str], Path]:
    built: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in built:
            built[name] = KINDS[name].build(tmp_path_factory.mktemp(name))
        return built[name]

    return folder


@cache
def plainly(folder: Path) -> tuple[Any, Any]:
    """Tokenizer and model as plain transformers reads them."""
    seq2seq = AutoConfig.from_pretrained(folder).is_encoder_decoder
    auto = AutoModelForSeq2SeqLM if seq2seq else AutoModelForCausalLM
    return AutoTokenizer.from_pretrained(folder), auto.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def loaded(folders) -> Callable[[str], Translator]:
    """The translator of a kind, read once; nobody may change it."""
    return cache(lambda name: Translator.load(folders(name)))


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


def texts(count: int, seed: int = 0) -> list[str]:
    """Of one to eight words."""
    chance = random.Random(seed)
    return [" ".join(chance.choices(tiny.WORDS, k=1 + i % 8)) for i in range(count)]


def prompts(count: int = 12, targets: tuple[str, ...] = ("de",)) -> list[TranslationPrompt]:
    return [
        TranslationPrompt(text, "en", targets[i % len(targets)])
        for i, text in enumerate(texts(count))
    ]


def plain(
    folder: Path, kind: Kind, asked: list[TranslationPrompt], **settings: Any
) -> list[Translation]:
    """A user's loop over single texts with transformers alone."""
    tokenizer, module = plainly(folder)
    said = []
    for prompt in asked:
        ids, start = kind.asked(tokenizer, prompt)
        inputs = torch.tensor([ids])
        with torch.no_grad():
            out = module.generate(
                input_ids=inputs,
                attention_mask=torch.ones_like(inputs),
                do_sample=False,
                **start,
                **settings,
            )[0]
        out = out[1 if module.config.is_encoder_decoder else len(ids) :]
        text = tokenizer.decode(out, skip_special_tokens=True).strip()
        said.append(Translation(text, bool((out == tokenizer.eos_token_id).any())))
    return said


DECODING = {
    "greedy": {},
    "beam": {"num_beams": 3},
    "4-gram blocking": {"no_repeat_ngram_size": 4},
    "penalty": {"repetition_penalty": 1.2},
}


@pytest.mark.parametrize("remedy", DECODING)
def test_translations_equal_those_of_a_plain_generate_loop(loaded, folders, kind, remedy):
    folder, settings = folders(kind), DECODING[remedy]
    targets = ("de", "zh-CN") if len(KINDS[kind].codes) else ("de",)
    asked = prompts(6, targets)
    ours = loaded(kind).translate(asked, max_new_tokens=10, **settings)
    expected = plain(folder, KINDS[kind], asked, max_new_tokens=10, **{"num_beams": 1, **settings})
    assert ours == expected
    assert len({translation.text for translation in ours}) > 1


def test_a_saved_model_is_read_by_plain_transformers_and_says_the_same(loaded, kind, tmp_path):
    model = loaded(kind)
    model.save(tmp_path)
    asked = prompts(6)
    first = model.translate(asked, max_new_tokens=12)
    assert plain(tmp_path, KINDS[kind], asked, max_new_tokens=12) == first
    again = Translator.load(tmp_path)
    assert again.translate(asked, max_new_tokens=12) == first
    for name, weight in model.module.state_dict().items():
        assert torch.equal(weight, again.module.state_dict()[name])


def test_neither_order_nor_batch_size_changes_a_translation(loaded, kind):
    model = loaded(kind)
    asked = prompts(8)
    first = model.translate(asked, max_new_tokens=8)
    assert model.translate(asked[::-1], max_new_tokens=8)[::-1] == first
    for size in (5, 1):
        some = type(model)(model.module, model.tokenizer, size)
        assert some.translate(asked[::-1], max_new_tokens=8)[::-1] == first


@pytest.mark.parametrize("name", ["m2m100", "nllb", "mbart50", "mbart", "marian-several", "llama"])
def test_every_prompt_of_a_call_has_its_own_languages(loaded, folders, name):
    model = loaded(name)
    asked = prompts(9, ("de", "zh-CN", "fr"))
    together = model.translate(asked, max_new_tokens=6)
    assert together == [model.translate([one], max_new_tokens=6)[0] for one in asked]
    answers = texts(9, seed=1)
    for pair, prompt, answer in zip(model.encode(asked, answers), asked, answers, strict=True):
        tokenizer = plainly(folders(name))[0]
        assert pair.source.tolist() == KINDS[name].asked(tokenizer, prompt)[0]
        assert pair.target.tolist() == KINDS[name].answered(tokenizer, prompt, answer)


@pytest.mark.parametrize("name", ["m2m100", "nllb", "mbart50", "mbart"])
def test_decoding_starts_with_the_target_language(loaded, name, monkeypatch):
    model = loaded(name)
    outputs = []
    generate = model.module.generate
    monkeypatch.setattr(
        model.module, "generate", lambda **inputs: outputs.append(generate(**inputs)) or outputs[-1]
    )
    for target in ("de", "zh-CN"):
        model.translate([TranslationPrompt("red dress", "en", target)], max_new_tokens=4)
    starts = [model.tokenizer.convert_ids_to_tokens(out[0, :2].tolist()) for out in outputs]
    codes = [KINDS[name].codes[target] for target in ("de", "zh-CN")]
    if name == "m2m100":
        codes = [f"__{code}__" for code in codes]
    if name == "mbart":
        assert [start[0] for start in starts] == codes
    else:
        assert starts == [["</s>", code] for code in codes]


@pytest.mark.parametrize("name", ["m2m100", "nllb", "mbart50", "mbart", "marian-several"])
def test_an_unknown_language_is_one_line_with_what_the_model_knows(loaded, name):
    model = loaded(name)
    for call in (
        lambda prompt: model.translate([prompt], max_new_tokens=2),
        lambda prompt: model.encode([prompt], ["x"]),
    ):
        with pytest.raises(DataError, match=r"^language 'tlh': the model has no such") as error:
            call(TranslationPrompt("red dress", "en", "tlh"))
        assert "\n" not in str(error.value)


def test_a_near_miss_is_suggested():
    with pytest.raises(DataError, match="Did you mean 'deu_Latn'"):
        matched("deu_Lant", ["deu_Latn", "eng_Latn"])


@pytest.mark.parametrize(
    ("code", "known", "expected"),
    [
        ("de", ["eng_Latn", "deu_Latn"], "deu_Latn"),
        ("de", ["en_XX", "de_DE"], "de_DE"),
        ("de", ["en", "de"], "de"),
        ("de", ["fra", "deu"], "deu"),
        ("zh-CN", ["zho_Hant", "zho_Hans", "yue_Hant"], "zho_Hans"),
        ("zh", ["zho_Hant", "zho_Hans"], "zho_Hans"),
        ("zh-TW", ["zho_Hant", "zho_Hans"], "zho_Hant"),
        ("zh-CN", ["en_XX", "zh_CN"], "zh_CN"),
        ("zh-CN", ["cmn_Hant", "cmn_Hans"], "cmn_Hans"),
        ("pt-BR", ["por_Latn", "spa_Latn"], "por_Latn"),
        ("nb", ["nob_Latn", "nno_Latn"], "nob_Latn"),
        ("deu_Latn", ["deu_Latn", "de"], "deu_Latn"),
    ],
)
def test_a_language_has_the_models_own_code(code, known, expected):
    assert matched(code, known) == expected


@pytest.mark.parametrize("code", ["xx", "", "x-y", "german", "../en", "\N{SNOWMAN}", "en\nde"])
def test_what_is_no_language_is_none_of_the_models(code):
    with pytest.raises(DataError, match="no such language") as error:
        matched(code, ["deu_Latn", "eng_Latn"])
    assert "\n" not in str(error.value)


def test_a_causal_model_is_asked_by_the_code_where_a_language_has_no_name(loaded):
    model = loaded("llama")
    (pair,) = model.encode([TranslationPrompt("red", "qaa", "zh-Hans")], ["x"])
    asked = model.tokenizer.decode(pair.source, skip_special_tokens=True)
    assert asked == ("Translate the following text from qaa into Chinese (Simplified).\nred\n")


def test_finished_is_false_exactly_where_the_limit_ended_a_translation(loaded, folders):
    model, kind = loaded("marian-words"), KINDS["marian-words"]
    asked = prompts(16)
    endless = plain(folders("marian-words"), kind, asked, max_new_tokens=40)
    lengths = [len(translation.text.split()) for translation in endless]
    ended = sorted(
        length for length, one in zip(lengths, endless, strict=True) if one.finished and length
    )
    limit = ended[len(ended) // 2] + 1  # the end of sentence itself is the last token
    found = model.translate(asked, max_new_tokens=limit)
    expected = [
        one.finished and length < limit for length, one in zip(lengths, endless, strict=True)
    ]
    assert [translation.finished for translation in found] == expected
    assert limit - 1 in lengths
    assert 2 < sum(expected) < 14


FORCING = {
    "forced_eos_token_id": 0,
    "no_repeat_ngram_size": 2,
    "encoder_no_repeat_ngram_size": 1,
    "repetition_penalty": 1.5,
    "encoder_repetition_penalty": 3.0,
    "exponential_decay_length_penalty": [1, 3.0],
    "min_length": 9,
    "max_length": 5,
    "num_beams": 4,
    "do_sample": True,
}


@pytest.mark.parametrize("setting", FORCING)
def test_a_models_own_generation_settings_do_not_hide_repetition(loaded, setting, tmp_path):
    model = loaded("marian-words")
    expected = model.translate(prompts(), max_new_tokens=12)
    assert 0 < sum(translation.finished for translation in expected) < 12
    model.save(tmp_path)
    path = tmp_path / "generation_config.json"
    own = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**own, setting: FORCING[setting]}), encoding="utf-8")
    changed = Translator.load(tmp_path)
    assert getattr(changed.module.generation_config, setting) == FORCING[setting]
    assert changed.translate(prompts(), max_new_tokens=12) == expected


def transformers_loss(folder: Path, kind: Kind, prompt: TranslationPrompt, answer: str) -> Tensor:
    """The model's own cross-entropy of one pair, its sum over the translation's tokens."""
    tokenizer, module = plainly(folder)
    source = torch.tensor([kind.asked(tokenizer, prompt)[0]])
    target = torch.tensor([kind.answered(tokenizer, prompt, answer)])
    if module.config.is_encoder_decoder:
        inputs, labels = source, target
    else:
        inputs = torch.cat([source, target], 1)
        labels = torch.cat([torch.full_like(source, -100), target], 1)
    with torch.no_grad():
        return module(input_ids=inputs, labels=labels).loss * target.shape[1]


def test_labels_of_a_batch_have_the_models_own_cross_entropy(loaded, folders, kind):
    model = loaded(kind)
    asked, answers = prompts(5), texts(5, seed=1)[::-1]
    batch = model.collate(model.encode(asked, answers))
    labels, mask = batch.pop("labels"), batch.pop("label_mask")
    assert labels.shape == mask.shape
    with torch.no_grad():
        log_probs = model.module(**batch).logits.log_softmax(-1)
    token = log_probs.gather(-1, labels[..., None]).squeeze(-1) * mask
    expected = [
        transformers_loss(folders(kind), KINDS[kind], prompt, answer)
        for prompt, answer in zip(asked, answers, strict=True)
    ]
    torch.testing.assert_close(-token.sum(1), torch.stack(expected), rtol=1e-4, atol=1e-3)


def test_the_label_mask_covers_exactly_the_translation_and_its_end(loaded, folders, kind):
    model = loaded(kind)
    asked, answers = prompts(5), texts(5, seed=1)[::-1]
    pairs = model.encode(asked, answers)
    batch = model.collate(pairs)
    tokenizer = plainly(folders(kind))[0]
    for row, (prompt, answer) in enumerate(zip(asked, answers, strict=True)):
        labels = batch["labels"][row][batch["label_mask"][row]].tolist()
        assert labels == KINDS[kind].answered(tokenizer, prompt, answer)
        if not model.module.config.is_encoder_decoder:
            whole = torch.cat([pairs[row].source, pairs[row].target])
            read = batch["input_ids"][row][batch["attention_mask"][row].bool()]
            assert read.tolist()[: len(whole)] == whole[: len(read)].tolist()
            first = int(batch["label_mask"][row].int().argmax())
            assert first == len(pairs[row].source) - 1


def test_a_row_in_a_batch_has_the_log_probabilities_that_it_has_alone(loaded, kind):
    model = loaded(kind)
    pairs = model.encode(prompts(6), texts(6, seed=1)[::-1])
    found = []
    for group in ([pairs], [[pair] for pair in pairs]):
        for rows in group:
            batch = model.collate(rows)
            labels, mask = batch.pop("labels"), batch.pop("label_mask")
            with torch.no_grad():
                log_probs = model.module(**batch).logits.log_softmax(-1)
            found.append((log_probs.gather(-1, labels[..., None]).squeeze(-1) * mask).sum(1))
    torch.testing.assert_close(found[0], torch.cat(found[1:]), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", SEQ2SEQ)
@pytest.mark.parametrize("longest", [3, 5])
def test_texts_are_cut_as_their_tokenizer_cuts_and_decoding_still_starts_as_ever(
    loaded, folders, name, longest
):
    model = loaded(name)
    asked, answers = prompts(4), texts(4, seed=1)[::-1]
    whole, cut = model.encode(asked, answers), model.encode(asked, answers, longest)
    for pair, prompt, answer in zip(cut, asked, answers, strict=True):
        tokenizer = Cutting(plainly(folders(name))[0], longest)
        assert pair.source.tolist() == KINDS[name].asked(tokenizer, prompt)[0]
        assert pair.target.tolist() == KINDS[name].answered(tokenizer, prompt, answer)
    lost = [len(pair.source) + len(pair.target) for pair in whole]
    kept = [len(pair.source) + len(pair.target) for pair in cut]
    assert [pair.cut for pair in cut] == [a - b for a, b in zip(lost, kept, strict=True)]
    starts = [model.collate(pairs)["decoder_input_ids"][:, 0] for pairs in (whole, cut)]
    assert torch.equal(*starts)
    first = model.module.config.decoder_start_token_id
    if name == "mbart":
        first = model.tokenizer.convert_tokens_to_ids("de_DE")
    assert set(starts[0].tolist()) == {first}


HOSTILE = {
    "empty": "",
    "blank": " \t\u3000",
    "control": "red\x00dress\x07\r\nshirt",
    "specials": "red </s> <pad> <s> <unk> dress",
    "code": ">>fra<< __fr__ fra_Latn red",
    "bidi": "\u202ered\u202c שמלה \u200f",
    "emoji": "👗👩‍👩‍👧 red 🇩🇪",
    "combining": "e\u0301" * 20,
    "braces": "{text} {0} %s {{ messages }}",
    "unseen": "\U0001f9a9ÿ\uffff𝔘",
}


def test_hostile_text_is_translated_as_plain_transformers_does(loaded, folders, kind):
    model = loaded(kind)
    asked = [TranslationPrompt(text, "en", "de") for text in HOSTILE.values()]
    ours = model.translate(asked, max_new_tokens=5)
    assert ours == plain(folders(kind), KINDS[kind], asked, max_new_tokens=5)


def test_hostile_text_is_encoded_and_every_translation_has_an_end(loaded, kind):
    model = loaded(kind)
    asked = [TranslationPrompt(text, "en", "de") for text in HOSTILE.values()]
    batch = model.collate(model.encode(asked, list(HOSTILE.values())[::-1]))
    assert {value.dtype for value in batch.values()} == {torch.long, torch.bool}
    ends = batch["labels"] == model.tokenizer.eos_token_id
    assert (ends & batch["label_mask"]).any(1).all()


@pytest.mark.parametrize("name", ["marian", "marian-words", "m2m100", "mbart50"])
def test_a_text_longer_than_the_model_reads_is_named(loaded, name):
    model = loaded(name)
    text = "red dress " * 100
    with pytest.raises(DataError, match=r"^'red dress .*': .*\d+ tokens.* reads 128") as error:
        model.translate([*prompts(2), TranslationPrompt(text, "en", "de")], max_new_tokens=4)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["marian-words", "mbart50"])
def test_a_translation_ends_where_the_decoder_has_no_further_position(loaded, name):
    """An oscillating model runs into every limit: it must not fail there."""
    model = loaded(name)
    found = model.translate(prompts(4), max_new_tokens=500)
    assert found == model.translate(prompts(4), max_new_tokens=128)
    assert not all(translation.finished for translation in found)


def test_no_prompts_are_no_translations(loaded, kind):
    model = loaded(kind)
    assert model.translate([]) == []
    assert model.encode([], []) == []
