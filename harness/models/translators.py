"""The kinds of translators: encoder and decoder, or a decoder alone that is asked."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from harness.models.cutting import beginning, shares
from harness.models.languages import english_name, known_codes, marian_codes, matched
from harness.models.lengths import positions
from harness.models.prompts import TranslationPrompt
from harness.models.translator import EncodedPair, Translator

INSTRUCTION = "Translate the following text from {source} into {target}.\n{text}"
"""What a causal model is asked, in its chat format where it has one."""


class SeqToSeq(Translator):
    """Encoder and decoder: Marian, M2M100, NLLB, mBART."""

    padding = "right"

    def _sources(
        self, texts: Sequence[str], source: str, target: str, longest: int | None = None
    ) -> list[list[int]]:
        if codes := known_codes(self.tokenizer):
            self.tokenizer.src_lang = matched(source, codes)
        elif targets := marian_codes(self.tokenizer):
            texts = [f">>{matched(target, targets)}<< {text}" for text in texts]
        return self._ids(text=list(texts), longest=longest)

    def _targets(
        self, texts: Sequence[str], source: str, target: str, longest: int | None = None
    ) -> list[list[int]]:
        if codes := known_codes(self.tokenizer):
            self.tokenizer.tgt_lang = matched(target, codes)
        return self._ids(text_target=list(texts), longest=longest)

    def _ids(self, longest: int | None, **texts: list[str]) -> list[list[int]]:
        cut = {} if longest is None else {"truncation": True, "max_length": longest}
        ids: list[list[int]] = self.tokenizer(**texts, **cut)["input_ids"]
        return ids

    def _shares(
        self, prompt: TranslationPrompt, source: int, target: int, longest: int
    ) -> tuple[int, int]:
        return longest, longest

    def _room(self, source: int) -> int:
        longest = positions(self.module)
        return longest if source <= longest else 0

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

    def _sources(
        self, texts: Sequence[str], source: str, target: str, longest: int | None = None
    ) -> list[list[int]]:
        if longest is not None:

            def asked_of(text: str) -> list[int]:
                return self._sources([text], source, target)[0]

            return [asked_of(beginning(text, asked_of, longest)) for text in texts]
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

    def _targets(
        self, texts: Sequence[str], source: str, target: str, longest: int | None = None
    ) -> list[list[int]]:
        rows = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        most = None if longest is None else longest - 1
        return [[*row[:most], self.tokenizer.eos_token_id] for row in rows]

    def _shares(
        self, prompt: TranslationPrompt, source: int, target: int, longest: int
    ) -> tuple[int, int]:
        """Both are one text to the model: their sum fits as well."""
        read = positions(self.module)
        asked, said = min(source, longest), min(target, longest)
        if source <= longest and asked + said <= read:
            return asked, said
        (around,) = self._sources([""], prompt.source, prompt.target)
        text, said = shares(asked - len(around), said, read - len(around))
        return (len(around) + text if text > 0 or source == len(around) else 0), said

    def _room(self, source: int) -> int:
        return positions(self.module) - source

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
