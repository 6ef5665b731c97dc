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
from harness.models.languages import english_name, known_codes, marian_codes, matched
from harness.models.lengths import pad_id, positions
from harness.models.pretrained import read_config, read_model, read_tokenizer
from harness.models.prompts import Translation, TranslationPrompt
from harness.models.role import RoleModel

INSTRUCTION = "Translate the following text from {source} into {target}.\n{text}"
"""What a causal model is asked, in its chat format where it has one."""

NOT_THE_MODELS: dict[str, Any] = {
    "do_sample": False,
    "max_length": None,
    "min_length": 0,
    "min_new_tokens": None,
    "forced_eos_token_id": None,
    "exponential_decay_length_penalty": None,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": None,
}
"""Off, whatever a model's generation settings say: it would hide repetition and the limit."""


class EncodedPair(NamedTuple):
    """A text and its translation as tokens, both whole: specials included, [length] each."""

    source: Tensor
    target: Tensor
    start: int | None = None
    """The token that a decoder begins with; None: as the model's config says."""


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
        auto: Any = AutoModelForSeq2SeqLM if seq2seq else AutoModelForCausalLM
        module = read_model(auto, folder, device, dtype, cls.role)
        kind = SeqToSeq if seq2seq else Causal
        return kind(module, read_tokenizer(folder))

    def encode(
        self,
        prompts: Sequence[TranslationPrompt],
        translations: Sequence[str],
        max_length: int | None = None,
    ) -> list[EncodedPair]:
        """Texts and their translations as tokens, each cut at its end where it is longer than
        `max_length` or than the model reads."""
        longest = min(max_length or positions(self.module), positions(self.module))
        sources = self._by_languages(self._sources, prompts, [prompt.text for prompt in prompts])
        targets = self._by_languages(self._targets, prompts, translations)
        starts = [self._start(prompt).get("decoder_start_token_id") for prompt in prompts]
        return [
            EncodedPair(torch.tensor(source[:longest]), torch.tensor(target[:longest]), start)
            for source, target, start in zip(sources, targets, starts, strict=True)
        ]

    def whole_lengths(
        self, prompts: Sequence[TranslationPrompt], translations: Sequence[str]
    ) -> list[int]:
        """Return how many tokens each text and its translation have together, uncut."""
        sources = self._by_languages(self._sources, prompts, [prompt.text for prompt in prompts])
        targets = self._by_languages(self._targets, prompts, translations)
        return [len(a) + len(b) for a, b in zip(sources, targets, strict=True)]

    @abstractmethod
    def collate(self, pairs: Sequence[EncodedPair]) -> dict[str, Tensor]:
        """Encoded pairs as a right-padded batch on the CPU, to train on.

        Returns:
            what the model's forward takes;
            labels: the token that each position's last hidden state foretells, [batch, length];
            label_mask: true where there is one, [batch, length].
        """

    @abstractmethod
    def _sources(self, texts: Sequence[str], source: str, target: str) -> list[list[int]]:
        """Token ids of what the model reads before it translates."""

    @abstractmethod
    def _targets(self, texts: Sequence[str], source: str, target: str) -> list[list[int]]:
        """Token ids of translations, the end of sentence included."""

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
        translation ends at the latest where a decoder has no further position.

        Raises:
            DataError: where a text is longer than the model reads, or a language unknown to it.
        """
        sources = self._by_languages(self._sources, prompts, [prompt.text for prompt in prompts])
        for prompt, source in zip(prompts, sources, strict=True):
            if len(source) > positions(self.module):
                raise DataError(
                    f"{prompt.text[:40]!r}: the text has {len(source)} tokens, but the model reads "
                    f"{positions(self.module)}: shorten or split it."
                )
        languages = [(prompt.source, prompt.target) for prompt in prompts]
        order = sorted(range(len(prompts)), key=lambda i: (languages[i], -len(sources[i])))
        found: list[Translation] = [Translation("", True)] * len(prompts)

        def translated(chosen: Sequence[int]) -> None:
            ids, mask = self._padded([torch.tensor(sources[i]) for i in chosen])
            out = self.module.generate(
                input_ids=ids.to(self.device),
                attention_mask=mask.to(self.device),
                max_new_tokens=min(max_new_tokens, positions(self.module)),
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

        for _, members in groupby(order, key=lambda i: languages[i]):
            in_batches(self, list(members), translated)
        return found

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


class SeqToSeq(Translator):
    """Encoder and decoder: Marian, M2M100, NLLB, mBART."""

    padding = "right"

    def _sources(self, texts: Sequence[str], source: str, target: str) -> list[list[int]]:
        if codes := known_codes(self.tokenizer):
            self.tokenizer.src_lang = matched(source, codes)
        elif targets := marian_codes(self.tokenizer):
            texts = [f">>{matched(target, targets)}<< {text}" for text in texts]
        ids: list[list[int]] = self.tokenizer(list(texts))["input_ids"]
        return ids

    def _targets(self, texts: Sequence[str], source: str, target: str) -> list[list[int]]:
        if codes := known_codes(self.tokenizer):
            self.tokenizer.tgt_lang = matched(target, codes)
        ids: list[list[int]] = self.tokenizer(text_target=list(texts))["input_ids"]
        return ids

    def _start(self, prompt: TranslationPrompt) -> Mapping[str, Any]:
        codes = known_codes(self.tokenizer)
        if not codes:
            return {"forced_bos_token_id": None}
        language = self._language_id(matched(prompt.target, codes))
        if self._language_last:
            return {"decoder_start_token_id": language, "forced_bos_token_id": None}
        return {"forced_bos_token_id": language}

    @property
    def _language_last(self) -> bool:
        """Whether a text ends with its language and decoding begins with it: the first mBART."""
        return self.module.config.model_type == "mbart" and not self.tokenizer.prefix_tokens

    def _language_id(self, code: str) -> int:
        named = getattr(self.tokenizer, "lang_code_to_token", {}).get(code, code)
        return int(self.tokenizer.convert_tokens_to_ids(named))

    def collate(self, pairs: Sequence[EncodedPair]) -> dict[str, Tensor]:
        ids, mask = self._padded([pair.source for pair in pairs])
        labels, label_mask = self._padded([pair.target for pair in pairs])
        usual = self.module.config.decoder_start_token_id
        starts = [usual if pair.start is None else pair.start for pair in pairs]
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "decoder_input_ids": torch.cat([torch.tensor(starts)[:, None], labels[:, :-1]], 1),
            "labels": labels,
            "label_mask": label_mask.bool(),
        }

    def _generated(self, out: Tensor, sources: Tensor) -> Tensor:
        return out[:, 1:]


class Causal(Translator):
    """A decoder alone that is asked for a translation."""

    padding = "left"

    def _sources(self, texts: Sequence[str], source: str, target: str) -> list[list[int]]:
        names = {"source": english_name(source), "target": english_name(target)}
        asked = [INSTRUCTION.format(text=text, **names) for text in texts]
        chat = bool(self.tokenizer.chat_template)
        if chat:
            asked = self.tokenizer.apply_chat_template(
                [[{"role": "user", "content": text}] for text in asked],
                add_generation_prompt=True,
                tokenize=False,
            )
        else:
            asked = [f"{text}\n" for text in asked]
        ids: list[list[int]] = self.tokenizer(asked, add_special_tokens=not chat)["input_ids"]
        return ids

    def _targets(self, texts: Sequence[str], source: str, target: str) -> list[list[int]]:
        rows = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return [[*row, self.tokenizer.eos_token_id] for row in rows]

    def collate(self, pairs: Sequence[EncodedPair]) -> dict[str, Tensor]:
        rows = [torch.cat([pair.source, pair.target]) for pair in pairs]
        ids, mask = self._padded(rows, side="right")
        place = torch.arange(ids.shape[1] - 1)
        first = torch.tensor([len(pair.source) - 1 for pair in pairs])[:, None]
        last = torch.tensor([len(row) - 2 for row in rows])[:, None]
        return {
            "input_ids": ids[:, :-1],
            "attention_mask": mask[:, :-1],
            "labels": ids[:, 1:],
            "label_mask": (place >= first) & (place <= last),
        }

    def _generated(self, out: Tensor, sources: Tensor) -> Tensor:
        return out[:, sources.shape[1] :]
