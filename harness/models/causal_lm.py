"""The causal-lm role: a decoder that continues a text."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM

from harness.errors import DataError, HarnessError
from harness.models.batches import USUAL, in_batches
from harness.models.cutting import beginning, report_cut
from harness.models.generation import left_padded, sampling, seeded
from harness.models.generation_settings import NEW_TOKENS
from harness.models.lengths import pad_id, positions
from harness.models.pretrained import read_model, read_tokenizer
from harness.models.role import RoleModel
from harness.surrogates import HALF

if TYPE_CHECKING:
    from harness.chat import Conversation

DELIMITER = " "
"""What stands between a prompt and its answer, as lm-eval's `target_delimiter`."""


class EncodedAnswer(NamedTuple):
    """A prompt and its answer as tokens, the end of the text included, [length] each."""

    prompt: Tensor
    answer: Tensor

    def excess(self, longest: int) -> int:
        """Return how many tokens it has beyond a length; negative where there is room."""
        return len(self.prompt) + len(self.answer) - longest

    def cut(self, longest: int) -> "EncodedAnswer":
        """Return it with the beginning of the prompt cut away; where the answer leaves no room for
        one of its tokens, with the end of the answer cut away too."""
        answer = self.answer[: longest - 1]
        return EncodedAnswer(self.prompt[-(longest - len(answer)) :], answer)


class CausalLM(RoleModel):
    """A causal language model with its tokenizer; `module` is the plain transformers model."""

    role = "causal-lm"

    def __init__(self, module: Any, tokenizer: Any, batch_size: int = USUAL) -> None:
        self.module = module
        self.tokenizer = tokenizer
        self.batch_size = batch_size

    @classmethod
    def load(
        cls, folder: str | Path, device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> "CausalLM":
        """Read a Hugging Face folder (or hub name) onto a device."""
        module = read_model(AutoModelForCausalLM, folder, device, dtype, cls.role)
        return cls(module, read_tokenizer(folder))

    def encode(
        self,
        prompts: Sequence[str],
        answers: Sequence[str],
        max_length: int | None = None,
        delimiter: str = DELIMITER,
    ) -> list[EncodedAnswer]:
        """Prompts and answers as tokens, cut together as lm-eval cuts them to be scored.

        The boundary is where the prompt alone would end. A prompt that leaves no room for its
        answer is cut at its beginning, and a warning says so.

        Raises:
            DataError: where an answer alone is longer than `max_length` or than the model reads.
        """
        longest = self.longest(max_length)
        found = self.encode_whole(prompts, answers, delimiter)
        for row, text in zip(found, answers, strict=True):
            if len(row.answer) >= longest:
                raise DataError(
                    f"{text[:40]!r}: the answer has {len(row.answer)} tokens, but a text may have "
                    f"{longest}: shorten it, or raise the length."
                )
        texts = zip(found, prompts, strict=True)
        report_cut([repr(t[:40]) for row, t in texts if row.excess(longest) > 0], "beginning")
        return [row.cut(longest) for row in found]

    def longest(self, max_length: int | None = None) -> int:
        """Return how many tokens a text may have: at most those that the model reads."""
        return min(max_length or positions(self.module), positions(self.module))

    def encode_whole(
        self, prompts: Sequence[str], answers: Sequence[str], delimiter: str = DELIMITER
    ) -> list[EncodedAnswer]:
        """Return what `encode` does, with nothing cut and however long it is."""
        if not prompts:
            return []
        texts = [
            prompt + delimiter + answer for prompt, answer in zip(prompts, answers, strict=True)
        ]
        whole, alone = self._token_ids(texts), self._token_ids(prompts)
        end = self.tokenizer.eos_token_id
        found = []
        for ids, prompt_ids in zip(whole, alone, strict=True):
            prompt = ids[: len(prompt_ids)] or self._nothing()
            said = [*ids[len(prompt_ids) :], end]
            found.append(EncodedAnswer(torch.tensor(prompt), torch.tensor(said)))
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

    def room(self, new_tokens: int) -> int:
        """Return how many tokens a prompt may have beside so many new ones."""
        room = positions(self.module) - new_tokens
        if room < 1:
            raise HarnessError(
                f"the model reads {positions(self.module)} tokens: {new_tokens} new ones leave "
                "no room for a prompt: lower max_new_tokens."
            )
        return room

    def chat_texts(
        self, conversations: Sequence["Conversation"], new_tokens: int | None = None
    ) -> list[str]:
        """Conversations as the texts that the model's own chat format makes of them.

        Args:
            new_tokens: what the model is to say beside it. Of a conversation that leaves no room
                for so much the last message is cut at its end, and a warning says so: cut at its
                beginning it would have lost the format's header and what the model was told first.

        Raises:
            HarnessError: where the tokenizer has no such format, or refuses what it is given;
                where a conversation leaves no room without its last message.
        """
        texts = self._chat_texts(conversations)
        if new_tokens is None or not texts:
            return texts
        room = self.room(new_tokens)
        long = [i for i, row in enumerate(self._token_ids(texts)) if len(row) > room]
        for i in long:
            texts[i] = self._shortened(conversations[i], room)
        report_cut([repr(conversations[i][-1]["content"][:40]) for i in long])
        return texts

    def _shortened(self, conversation: "Conversation", room: int) -> str:
        """The text of a conversation with as much of its last message as there is room for."""
        *before, last = conversation

        def told(content: str) -> str:
            return self._chat_texts([[*before, {**last, "content": content}]])[0]

        def read(content: str) -> list[int]:
            return self._token_ids([told(content)])[0]

        if len(read("")) > room:
            raise HarnessError(
                f"a conversation has {len(read(''))} tokens without its last message, and there is "
                f"room for {room}: lower max_new_tokens, or leave the conversation out."
            )
        return told(beginning(last["content"], read, room))

    def _chat_texts(self, conversations: Sequence["Conversation"]) -> list[str]:
        if not conversations:
            return []
        if not self.tokenizer.chat_template:
            raise HarnessError(
                f"{self.tokenizer.name_or_path}: the tokenizer has no chat template: take a model "
                "that was tuned to follow instructions, or give the prompt's whole text."
            )
        chats = [[dict(message) for message in conversation] for conversation in conversations]
        try:
            texts: list[str] = self.tokenizer.apply_chat_template(
                chats, tokenize=False, add_generation_prompt=True
            )
        except Exception as error:  # templates are programs: they refuse in many ways
            reason = " ".join(str(error).split())[:200]
            raise HarnessError(
                f"{self.tokenizer.name_or_path}: the chat template refuses it ({reason})."
            ) from None
        return texts

    def prompt_texts(self, prompts: Sequence[str], new_tokens: int | None = None) -> list[str]:
        """A user's messages in the model's own chat format, as `chat_texts`; as they are where it
        has none."""
        if not self.tokenizer.chat_template:
            return list(prompts)
        chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
        return self.chat_texts(chats, new_tokens)

    @torch.inference_mode()
    def generate(
        self,
        texts: Sequence[str],
        *,
        max_new_tokens: int = NEW_TOKENS,
        temperature: float = 0.0,
        top_p: float = 1.0,
        samples: int = 1,
        seed: int = 0,
    ) -> list[str]:
        """Continue every text, greedily or at a temperature; stripped text without specials.

        Args:
            texts: whole prompts. One that leaves no room for `max_new_tokens` is cut at its
                beginning, as lm-eval does; a warning says so. `chat_texts` cuts chats before.
            samples: continuations per text; those of a text stand together.

        Texts of similar length share a batch, equal greedy ones are continued once. Sampling draws
        from a generator seeded here, batch by batch: it depends on the batch size, not on what ran
        before. Greedy texts do not depend on it but for rounding.
        """
        if temperature <= 0 and (samples > 1 or len(set(texts)) < len(texts)):
            alone = list(dict.fromkeys(texts))
            said = dict(
                zip(alone, self.generate(alone, max_new_tokens=max_new_tokens), strict=True)
            )
            return [said[text] for text in texts for _ in range(samples)]
        rows = self._prompts(texts, self.room(max_new_tokens))
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
        found: list[str] = [""] * (len(texts) * samples)

        def answer(chosen: Sequence[int]) -> None:
            batch = left_padded([rows[i] for i in chosen], self.pad_id, self.device)
            out = self.module.generate(
                **batch,
                max_new_tokens=max_new_tokens,
                num_return_sequences=samples,
                pad_token_id=self.pad_id,
                **sampling(temperature, top_p),
            )
            new = out[:, batch["input_ids"].shape[1] :]
            said_here = self.tokenizer.batch_decode(new, skip_special_tokens=True)
            for place, i in enumerate(chosen):
                for k in range(samples):
                    found[i * samples + k] = said_here[place * samples + k].strip()

        with seeded(seed, self.device):
            in_batches(self, order, answer, each=samples)
        return found

    def _prompts(self, texts: Sequence[str], room: int) -> list[list[int]]:
        """Prompts as tokens; what there is no room for is cut off at the beginning."""
        rows = [row or self._nothing() for row in self._token_ids(texts)]
        cut = [repr(text[:40]) for text, row in zip(texts, rows, strict=True) if len(row) > room]
        report_cut(cut, "beginning")
        return [row[-room:] for row in rows]

    def _token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids without an end; a chat format's own beginning is not set before it again.

        Raises `DataError` where a text holds half of a character, which no tokenizer reads.
        """
        if not texts:
            return []
        half = next((text for text in texts if HALF.search(text)), None)
        if half is not None:
            raise DataError(
                f"{half[:40]!r}: holds half of a character (a surrogate): write the character "
                "itself."
            )
        start, end = self.tokenizer.bos_token, self.tokenizer.eos_token_id
        rows: list[list[int]] = self.tokenizer(list(texts))["input_ids"]
        found = []
        for text, row in zip(texts, rows, strict=True):
            twice = row[:2] == [self.tokenizer.bos_token_id] * 2
            row = row[1:] if start and text.startswith(start) and twice else row
            found.append(row[:-1] if row[-1:] == [end] else row)
        return found

    def _nothing(self) -> list[int]:
        """What stands for a text of no tokens, as lm-eval's `prefix_token_id`."""
        start = self.tokenizer.bos_token_id
        return [self.tokenizer.eos_token_id if start is None else start]

    @property
    def pad_id(self) -> int:
        """What fills up a batch."""
        return pad_id(self.tokenizer)
