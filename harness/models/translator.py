"""The translator role: text from text in another language, by seq2seq or causal models."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from harness.errors import DataError
from harness.models.batches import USUAL, in_batches
from harness.models.generation import NOT_THE_MODELS
from harness.models.lengths import pad_id, positions
from harness.models.pretrained import read_config, read_model, read_tokenizer
from harness.models.prompts import Translation, TranslationPrompt
from harness.models.role import RoleModel


class EncodedPair(NamedTuple):
    """A text and its translation as tokens, specials included, [length] each."""

    source: Tensor
    target: Tensor
    start: int | None = None
    """The token that a decoder begins with; None: as the model's config says."""
    cut: int = 0
    """How many tokens of both were cut away."""


class Translator(RoleModel, ABC):
    """A translation model with its tokenizer; `module` is the plain transformers model."""

    role = "translator"
    padding: str

    def __init__(self, module: Any, tokenizer: Any, batch_size: int = USUAL) -> None:
        self.module = module
        self.tokenizer = tokenizer
        self.batch_size = batch_size

    @classmethod
    def load(
        cls, folder: str | Path, device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> "Translator":
        """Read a Hugging Face folder (or hub name) onto a device."""
        seq2seq = read_config(folder).is_encoder_decoder
        from harness.models.translators import Causal, SeqToSeq

        auto: Any = AutoModelForSeq2SeqLM if seq2seq else AutoModelForCausalLM
        module = read_model(auto, folder, device, dtype, cls.role)
        kind = SeqToSeq if seq2seq else Causal
        return kind(module, read_tokenizer(folder))

    def encode(
        self,
        prompts: Sequence[TranslationPrompt],
        translations: Sequence[str],
        max_length: int | None = None,
        places: Sequence[str] = (),
    ) -> list[EncodedPair]:
        """Return texts and their translations as tokens.

        A text or a translation longer than `max_length`, or than the model reads, loses its end,
        but no special token and nothing of the request around it; `cut` says how much.

        Args:
            places: where each prompt comes from, for messages; its text without them.

        Raises:
            DataError: where a request leaves no room for a text and its translation.
        """
        longest = min(max_length or positions(self.module), positions(self.module))
        sources = self._by_languages(self._sources, prompts, [prompt.text for prompt in prompts])
        targets = self._by_languages(self._targets, prompts, translations)
        named = places or [repr(prompt.text[:40]) for prompt in prompts]
        return [
            self._pair(*each, longest)
            for each in zip(named, prompts, translations, sources, targets, strict=True)
        ]

    def _pair(
        self,
        place: str,
        prompt: TranslationPrompt,
        translation: str,
        source: list[int],
        target: list[int],
        longest: int,
    ) -> EncodedPair:
        whole, languages = len(source) + len(target), (prompt.source, prompt.target)
        asked, said = self._shares(prompt, len(source), len(target), longest)
        if min(asked, said) < 1:
            raise DataError(
                f"{place}: what the model is asked leaves no room for the text and its translation "
                f"in {longest} tokens: raise the length, or take a model that reads more."
            )
        if len(source) > asked:
            (source,) = self._sources([prompt.text], *languages, asked)
        if len(target) > said:
            (target,) = self._targets([translation], *languages, said)
        start = self._start(prompt).get("decoder_start_token_id")
        cut = whole - len(source) - len(target)
        return EncodedPair(torch.tensor(source), torch.tensor(target), start, cut)

    @abstractmethod
    def collate(self, pairs: Sequence[EncodedPair]) -> dict[str, Tensor]:
        """Encoded pairs as a right-padded batch on the CPU, to train on.

        Returns:
            what the model's forward takes;
            labels: the token that each position's last hidden state foretells, [batch, length];
            label_mask: true where there is one, [batch, length].
        """

    @abstractmethod
    def _sources(
        self, texts: Sequence[str], source: str, target: str, longest: int | None = None
    ) -> list[list[int]]:
        """Token ids of what the model reads before it translates, the texts cut to `longest`."""

    @abstractmethod
    def _targets(
        self, texts: Sequence[str], source: str, target: str, longest: int | None = None
    ) -> list[list[int]]:
        """Token ids of translations, the end of sentence included, cut to `longest` before it."""

    @abstractmethod
    def _shares(
        self, prompt: TranslationPrompt, source: int, target: int, longest: int
    ) -> tuple[int, int]:
        """Most tokens of a source and of its translation, by how many they have; 0: no room."""

    @abstractmethod
    def _room(self, source: int) -> int:
        """How many tokens may follow a source of so many; less than 1: it is too long itself."""

    def _start(self, prompt: TranslationPrompt) -> Mapping[str, Any]:
        """Generation settings by the languages of a prompt."""
        return {}

    @abstractmethod
    def _generated(self, out: Tensor, sources: Tensor) -> Tensor:
        """The tokens that were said, without those that were given."""

    @torch.inference_mode()
    def translate(
        self,
        prompts: Sequence[TranslationPrompt],
        *,
        max_new_tokens: int = 256,
        num_beams: int = 1,
        no_repeat_ngram_size: int = 0,
        repetition_penalty: float = 1.0,
    ) -> list[Translation]:
        """Translate every prompt, greedily or by beam search; stripped text without specials.

        Texts of similar length share a batch. Nothing but the arguments shapes the decoding:
        what a model's own generation settings say of repetition and length is left aside. A
        translation ends at the latest where the model has no further position.

        Raises:
            DataError: where a text is longer than the model reads, or a language unknown to it.
        """
        sources, rooms = self._with_room(prompts)
        # Of one batch all may say as much: else a translation would depend on its neighbours.
        kinds = [
            (prompt.source, prompt.target, min(max_new_tokens, room))
            for prompt, room in zip(prompts, rooms, strict=True)
        ]
        order = sorted(range(len(prompts)), key=lambda i: (kinds[i], -len(sources[i])))
        found: list[Translation] = [Translation("", True)] * len(prompts)

        def translated(chosen: Sequence[int]) -> None:
            ids, mask = self._padded([torch.tensor(sources[i]) for i in chosen])
            out = self.module.generate(
                input_ids=ids.to(self.device),
                attention_mask=mask.to(self.device),
                max_new_tokens=kinds[chosen[0]][2],
                num_beams=num_beams,
                no_repeat_ngram_size=no_repeat_ngram_size,
                repetition_penalty=repetition_penalty,
                pad_token_id=pad_id(self.tokenizer),
                **NOT_THE_MODELS,
                **self._start(prompts[chosen[0]]),
            )
            said = self._generated(out, ids)
            finished = torch.isin(said, self._ends).any(1).tolist()
            texts = self.tokenizer.batch_decode(said, skip_special_tokens=True)
            for i, text, done in zip(chosen, texts, finished, strict=True):
                found[i] = Translation(text.strip(), done)

        for _, members in groupby(order, key=lambda i: kinds[i]):
            in_batches(self, list(members), translated)
        return found

    def _with_room(self, prompts: Sequence[TranslationPrompt]) -> tuple[list[list[int]], list[int]]:
        """Each prompt's tokens, and how many its translation may have."""
        sources = self._by_languages(self._sources, prompts, [prompt.text for prompt in prompts])
        rooms = [self._room(len(source)) for source in sources]
        for prompt, source, room in zip(prompts, sources, rooms, strict=True):
            if room < 1:
                raise DataError(
                    f"{prompt.text[:40]!r}: the text has {len(source)} tokens with its request, "
                    f"but the model reads {positions(self.module)}: shorten or split it."
                )
        return sources, rooms

    def _by_languages(
        self,
        tokenized: Callable[[Sequence[str], str, str], list[list[int]]],
        prompts: Sequence[TranslationPrompt],
        texts: Sequence[str],
    ) -> list[list[int]]:
        """Texts as tokens, those of one pair of languages together."""
        groups: dict[tuple[str, str], list[int]] = {}
        for index, prompt in enumerate(prompts):
            groups.setdefault((prompt.source, prompt.target), []).append(index)
        found: list[list[int]] = [[]] * len(prompts)
        for languages, members in groups.items():
            rows = tokenized([texts[i] for i in members], *languages)
            for i, row in zip(members, rows, strict=True):
                found[i] = row
        return found

    def _padded(self, rows: Sequence[Tensor], side: str | None = None) -> tuple[Tensor, Tensor]:
        side = side or self.padding
        ids = pad_sequence(list(rows), True, pad_id(self.tokenizer), padding_side=side)
        mask = pad_sequence([torch.ones_like(row) for row in rows], True, 0, padding_side=side)
        return ids, mask

    @property
    def _ends(self) -> Tensor:
        """The tokens that end a text, as the model's generation settings name them."""
        ends = self.module.generation_config.eos_token_id
        return torch.tensor(
            self.tokenizer.eos_token_id if ends is None else ends, device=self.device
        )
