"""A decoder that translates: what is too long is cut in the text alone, and nothing runs past."""

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_translators as tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel

from harness.errors import DataError
from harness.models.cutting import beginning, shares
from harness.models.lengths import positions
from harness.models.prompts import TranslationPrompt
from harness.models.translator import Translator
from harness.models.translators import Causal

READ = 140
"""Tokens that the models here read; asking alone takes 54, in a chat 73."""


@pytest.fixture(scope="module", params=["plain", "chat"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Translator:
    """A Llama that reads as many tokens, with rotary positions: nothing would stop it."""
    folder = tiny.tiny_llama(tmp_path_factory.mktemp("llama"), chat=request.param == "chat")
    found = Translator.load(folder)
    found.module.config.max_position_embeddings = READ
    return found


@pytest.fixture(scope="module")
def learned(model: Translator) -> Translator:
    """A GPT-2, whose learned positions end."""
    config = GPT2Config(
        vocab_size=len(model.tokenizer),
        n_embd=32,
        n_layer=1,
        n_head=2,
        n_positions=READ,
        initializer_range=0.5,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    return Causal(GPT2LMHeadModel(config).eval(), model.tokenizer)


def asking(words: int) -> TranslationPrompt:
    return TranslationPrompt(" ".join(["red dress"] * words), "en", "de")


def around(model: Translator) -> tuple[list[int], list[int]]:
    """What stands before and behind any text."""
    texts = ("red", "blue", "")
    rows = [
        pair.source.tolist()
        for pair in model.encode([TranslationPrompt(t, "en", "de") for t in texts], ["x"] * 3)
    ]
    return common(rows), common([row[::-1] for row in rows])[::-1]


def common(rows: list[list[int]]) -> list[int]:
    """How all rows begin."""
    columns = zip(*rows, strict=False)
    different = [len(set(column)) > 1 for column in columns]
    return rows[0][: different.index(True)]


@pytest.mark.parametrize(("source", "target"), [(100, 100), (100, 2), (2, 100), (100, 8)])
def test_source_and_target_are_cut_together_and_the_request_stays(
    model: Translator, source: int, target: int
) -> None:
    before, after = around(model)
    prompt, answer = asking(source), "blue shirt " * target
    (pair,) = model.encode([prompt], [answer])
    assert pair.cut > 0
    assert READ - 2 <= len(pair.source) + len(pair.target) <= READ
    ids = pair.source.tolist()
    assert ids[: len(before)] == before and ids[-len(after) :] == after
    assert pair.target[-1] == model.tokenizer.eos_token_id
    text = model.tokenizer.decode(ids[len(before) : len(ids) - len(after)]).strip()
    assert text and prompt.text.startswith(text)
    said = model.tokenizer.decode(pair.target[:-1])
    assert answer.startswith(said)
    if source == 2:
        assert text == prompt.text
    if target == 2:
        assert said == answer
    inputs = model.collate([pair])
    assert inputs["input_ids"].shape[1] < READ
    assert inputs["label_mask"].sum() == len(pair.target)


def test_what_fits_is_as_it_was(model: Translator) -> None:
    (pair,) = model.encode([asking(2)], ["blau"])
    assert pair.cut == 0


def test_a_setting_cuts_each_and_the_request_stays(model: Translator) -> None:
    before, after = around(model)
    longest = len(before) + len(after) + 4
    (pair,) = model.encode([asking(50)], ["blue " * 50], longest)
    assert len(pair.source) <= longest and len(pair.target) <= longest
    assert pair.source.tolist()[-len(after) :] == after
    with pytest.raises(
        DataError, match=r"^rows.tsv line 3: what the model is asked leaves no room"
    ):
        model.encode([asking(50)], ["blue"], len(before), places=["rows.tsv line 3"])


def test_what_is_cut_is_counted(model: Translator) -> None:
    asked = [asking(1), asking(100), asking(100)]
    pairs = model.encode(asked, ["x"] * 3, places=["line 1", "line 2", "line 3"])
    assert pairs[0].cut == 0 and pairs[1].cut == pairs[2].cut > 0
    assert len(pairs[1].source) + len(pairs[1].target) <= positions(model.module)


@pytest.mark.parametrize("kind", ["rotary", "learned"])
def test_generation_stops_at_the_last_position(
    model: Translator, learned: Translator, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = model if kind == "rotary" else learned
    lengths: list[int] = []
    generate: Callable[..., torch.Tensor] = used.module.generate

    def seen(**inputs: torch.Tensor) -> torch.Tensor:
        out = generate(**inputs)
        lengths.append(out.shape[1])
        return out

    monkeypatch.setattr(used.module, "generate", seen)
    asked = [asking(words) for words in (1, 6, 2)]
    together = used.translate(asked, max_new_tokens=500)
    assert max(lengths) <= READ
    assert together == [used.translate([one], max_new_tokens=500)[0] for one in asked]
    assert not all(translation.finished for translation in together)


def test_a_source_without_room_for_a_translation_is_named(model: Translator) -> None:
    with pytest.raises(DataError, match=rf"^'red dress .*': .*\d+ tokens.* reads {READ}"):
        model.translate([asking(1), asking(100)])


def test_positions_are_those_of_the_config(model: Translator, tmp_path: Path) -> None:
    assert positions(model.module) == READ


@given(st.integers(0, 50), st.integers(1, 50), st.integers(2, 60))
def test_shares_fill_the_room_and_take_only_from_who_has_more(
    source: int, target: int, room: int
) -> None:
    asked, said = shares(source, target, room)
    assert (asked, said) == (source, target) or asked + said == room
    assert asked <= source and said <= target
    if source + target > room:
        assert asked == source or asked >= room // 2
        assert said == target or said >= room // 2


@given(st.text(max_size=40), st.integers(5, 60))
def test_a_beginning_is_the_longest_that_fits(text: str, most: int) -> None:
    def read(some: str) -> bytes:
        return b"five " + some.encode("utf-8", "surrogatepass")

    found = beginning(text, read, most)
    assert text.startswith(found) and len(read(found)) <= most
    assert found == text or len(read(text[: len(found) + 1])) > most
