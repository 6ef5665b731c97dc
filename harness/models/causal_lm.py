"""The causal-lm role: a decoder that continues a text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.errors import DataError
from harness.models.lengths import pad_id, positions
from harness.models.role import RoleModel

DELIMITER = " "
"""What stands between a prompt and its answer, as lm-eval's `target_delimiter`."""


class EncodedAnswer(NamedTuple):
    """A prompt and its answer as tokens, the end of the text included, [length] each."""

    prompt: Tensor
    answer: Tensor


class CausalLM(RoleModel):
    """A causal language model with its tokenizer; `module` is the plain transformers model."""

    role = "causal-lm"

    def __init__(self, module: Any, tokenizer: Any, batch_size: int = 64) -> None:
        self.module = module
        self.tokenizer = tokenizer
        self.batch_size = batch_size

    @classmethod
    def load(
        cls, folder: str | Path, device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> "CausalLM":
        """Read a Hugging Face folder (or hub name) onto a device."""
        module: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        return cls(module.to(device).eval(), AutoTokenizer.from_pretrained(folder))

    def encode(
        self,
        prompts: Sequence[str],
        answers: Sequence[str],
        max_length: int | None = None,
        delimiter: str = DELIMITER,
    ) -> list[EncodedAnswer]:
        """Prompts and answers as tokens, cut together as lm-eval cuts them to be scored.

        The boundary is where the prompt alone would end. A prompt that leaves no room for its
        answer is cut at its beginning.

        Raises:
            DataError: where an answer alone is longer than `max_length` or than the model reads.
        """
        longest = min(max_length or positions(self.module), positions(self.module))
        if not prompts:
            return []
        texts = [
            prompt + delimiter + answer for prompt, answer in zip(prompts, answers, strict=True)
        ]
        whole = self.tokenizer(texts)["input_ids"]
        alone = self.tokenizer(list(prompts))["input_ids"]
        end = self.tokenizer.eos_token_id
        found = []
        for ids, prompt_ids, answer in zip(whole, alone, answers, strict=True):
            ids = [*ids, end] if ids[-1] != end else ids
            prompt_ids = prompt_ids[:-1] if prompt_ids[-1:] == [end] else prompt_ids
            prompt, said = ids[: len(prompt_ids)], ids[len(prompt_ids) :]
            room = longest - len(said)
            if room < 1:
                raise DataError(
                    f"{answer[:40]!r}: the answer has {len(said)} tokens, but a text may have "
                    f"{longest}: shorten it, or raise the length."
                )
            found.append(EncodedAnswer(torch.tensor(prompt[-room:]), torch.tensor(said)))
        return found

    def collate(self, rows: Sequence[EncodedAnswer]) -> dict[str, Tensor]:
        """Encoded rows as a right-padded batch on the CPU, to train on.

        Returns:
            input_ids, attention_mask [batch, length];
            answer_mask: true where `input_ids` holds a token of the answer, [batch, length].
        """
        texts = [torch.cat(row) for row in rows]
        masks = [
            torch.cat([torch.zeros_like(row.prompt), torch.ones_like(row.answer)]) for row in rows
        ]
        return {
            "input_ids": pad_sequence(texts, True, self.pad_id),
            "attention_mask": pad_sequence([torch.ones_like(text) for text in texts], True, 0),
            "answer_mask": pad_sequence(masks, True, 0).bool(),
        }

    @property
    def pad_id(self) -> int:
        """What fills up a batch."""
        return pad_id(self.tokenizer)
