"""The vision-language role: text from a picture and a prompt, for LLaVA-style models."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForImageTextToText

from harness.errors import DataError
from harness.models.batches import USUAL, in_batches
from harness.models.generation import left_padded, sampling, seeded
from harness.models.lengths import pad_id, positions
from harness.models.pictures import Picture, open_picture, picture_key
from harness.models.pretrained import read_model, read_processor
from harness.models.prompts import VisionPrompt
from harness.models.role import RoleModel

TEXT_KEYS = {"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"}
PIXEL_CACHE_BYTES = 256 * 2**20


class Encoded(NamedTuple):
    """A prompt with its answer as tokens.

    input_ids: prompt, answer and end-of-sequence, [length], image tokens expanded.
    prompt_length: tokens before the answer.
    spans: (start, end) of each answer token in the answer's text, end-of-sequence included as an
        empty span at the end; [length - prompt_length].
    """

    input_ids: Tensor
    prompt_length: int
    spans: list[tuple[int, int]]

    def cut(self, length: int | None) -> "Encoded":
        """Return it cut at its end; where that cuts into the prompt no span is left."""
        ids = self.input_ids[:length]
        answered = max(0, len(ids) - self.prompt_length)
        return Encoded(ids, self.prompt_length, self.spans[:answered])


class VisionLanguage(RoleModel):
    """A LLaVA-style model with its processor; `module` is the plain transformers model."""

    role = "vision-language"
    reader = "processor"

    def __init__(self, module: Any, processor: Any, batch_size: int = USUAL) -> None:
        self.module = module
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.batch_size = batch_size
        self.image_token_id = module.config.image_token_id
        self._pixels: OrderedDict[str, tuple[dict[str, Tensor], int]] = OrderedDict()
        self._pixel_bytes = 0

    @classmethod
    def load(
        cls, folder: str | Path, device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> "VisionLanguage":
        """Read a Hugging Face folder (or hub name) onto a device."""
        module = read_model(AutoModelForImageTextToText, folder, device, dtype, cls.role)
        return cls(module, read_processor(folder))

    def prompt_text(self, text: str) -> str:
        """A user's question with its picture in the model's own chat format."""
        return self._prompt_texts([text])[0]

    def _prompt_texts(self, texts: Sequence[str]) -> list[str]:
        if not self.processor.chat_template:
            return [f"USER: {self.processor.image_token}\n{text} ASSISTANT:" for text in texts]
        chats = [
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]
            for text in texts
        ]
        found: list[str] = self.processor.apply_chat_template(chats, add_generation_prompt=True)
        return found

    def pixels(self, image: Picture) -> tuple[dict[str, Tensor], int]:
        """The picture as the model takes it, on the CPU, and how many image tokens it fills."""
        return self._pictures([image])[0]

    def _pictures(self, images: Sequence[Picture]) -> list[tuple[dict[str, Tensor], int]]:
        """`pixels` of several pictures; those not in the cache are preprocessed together."""
        objects = {id(image): image for image in images}
        of_object = {name: picture_key(image) for name, image in objects.items()}
        keys = [of_object[id(image)] for image in images]
        missing = {k: i for k, i in zip(keys, images, strict=True) if k not in self._pixels}
        new = self._preprocessed([open_picture(image) for image in missing.values()])
        found = {key: self._pixels[key] for key in keys if key in self._pixels}
        found |= dict(zip(missing, new, strict=True))
        for key, entry in found.items():
            if key in missing:
                self._pixels[key] = entry
                self._pixel_bytes += _size(entry[0])
            self._pixels.move_to_end(key)
        while self._pixel_bytes > PIXEL_CACHE_BYTES and len(self._pixels) > 1:
            self._pixel_bytes -= _size(self._pixels.popitem(last=False)[1][0])
        return [found[key] for key in keys]

    def _preprocessed(self, images: Sequence[Image]) -> list[tuple[dict[str, Tensor], int]]:
        """Pictures as the processor makes them, each on its own in what it returns.

        Together only where one row of pixels is one picture whatever stands beside it: others
        pad to the largest of a batch or lay their patches end to end.
        """
        alone = self.processor.image_processor.model_input_names != ["pixel_values"]
        step = 1 if alone else max(len(images), 1)
        found = []
        for start in range(0, len(images), step):
            some = list(images[start : start + step])
            out = self.processor(
                text=[self.processor.image_token] * len(some), images=some, return_tensors="pt"
            )
            counts = (out["input_ids"] == self.image_token_id).sum(1).tolist()
            tensors = {name: value for name, value in out.items() if name not in TEXT_KEYS}
            rows = [tensors] if alone else _rows(tensors, len(some))
            found += list(zip(rows, counts, strict=True))
        return found

    def prompt_ids(self, prompt: VisionPrompt) -> list[int]:
        """Token ids of a prompt, its image token expanded to the picture's number of them."""
        _, count = self.pixels(prompt.image)
        return self._expanded(self._text_ids([prompt.text])[0], count)

    def _text_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of prompts with one image token each; a question may not hold another."""
        ids: list[list[int]] = self.tokenizer(self._prompt_texts(texts))["input_ids"]
        for text, row in zip(texts, ids, strict=True):
            if row.count(self.image_token_id) != 1:
                token = self.processor.image_token
                raise DataError(f"'{text[:60]}': '{token}' stands for the picture: remove it.")
        return ids

    def _expanded(self, ids: Sequence[int], count: int) -> list[int]:
        expanded: list[int] = []
        for token in ids:
            expanded.extend([token] * (count if token == self.image_token_id else 1))
        return expanded

    def encode(self, prompt: VisionPrompt, answer: str, max_length: int | None = None) -> Encoded:
        """Prompt and answer as tokens with the answer tokens' places in its text.

        `max_length`, or what the model reads, cuts both at the end; where it cuts into the prompt
        no span is left.
        """
        longest = min(max_length or positions(self.module), positions(self.module))
        return self.encode_whole(prompt, answer).cut(longest)

    def encode_whole(self, prompt: VisionPrompt, answer: str) -> Encoded:
        """Return what `encode` does, with nothing cut and however long it is."""
        prompt_ids = self.prompt_ids(prompt)
        out = self.tokenizer(answer, add_special_tokens=False, return_offsets_mapping=True)
        ids = [*prompt_ids, *out["input_ids"], self.tokenizer.eos_token_id]
        spans = [*map(tuple, out["offset_mapping"]), (len(answer), len(answer))]
        return Encoded(torch.tensor(ids), len(prompt_ids), spans)

    def collate(self, examples: Sequence[tuple[VisionPrompt, Encoded]]) -> dict[str, Tensor]:
        """Encoded prompts with answers as a right-padded batch on the CPU, to train on.

        Returns:
            input_ids, attention_mask: [batch, length].
            answer_mask: true at the answers' tokens, [batch, length].
            the pictures, as the model's forward takes them.
        """
        ids = pad_sequence(
            [encoded.input_ids for _, encoded in examples], True, pad_id(self.tokenizer)
        )
        place = torch.arange(ids.shape[1])
        start = torch.tensor([encoded.prompt_length for _, encoded in examples])[:, None]
        end = torch.tensor([len(encoded.input_ids) for _, encoded in examples])[:, None]
        pictures = [each for each, _ in self._pictures([prompt.image for prompt, _ in examples])]
        return {
            "input_ids": ids,
            "attention_mask": (place < end).long(),
            "answer_mask": (place >= start) & (place < end),
            **{name: torch.cat([each[name] for each in pictures]) for name in pictures[0]},
        }

    def picture_batch(
        self, images: Sequence[Picture], transform: Callable[[Tensor], Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Pictures of a batch on the model's device; `transform` maps each [1, C, H, W]."""
        rows = [tensors for tensors, _ in self._pictures(images)]
        batch = {name: [row[name] for row in rows] for name in rows[0]}
        if transform is not None:
            batch["pixel_values"] = [transform(pixels) for pixels in batch["pixel_values"]]
        return {
            name: torch.cat(values).to(
                self.device, self.dtype if values[0].is_floating_point() else None
            )
            for name, values in batch.items()
        }

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[VisionPrompt],
        *,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        seed: int = 0,
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> list[str]:
        """Answer every prompt, greedily or at a temperature; stripped text without specials.

        Prompts with texts of similar length share a batch. Sampling draws from a generator seeded
        here, batch by batch: it depends on the batch size, not on what ran before. An answer ends
        at the latest where the model has no further position.

        Raises:
            DataError: where a prompt with its picture leaves no room for an answer.
        """
        if not prompts:
            return []
        texts = self._text_ids([prompt.text for prompt in prompts])
        order = sorted(range(len(prompts)), key=lambda i: -len(texts[i]))
        answers = [""] * len(prompts)

        def answer(chosen: Sequence[int]) -> None:
            images = [prompts[i].image for i in chosen]
            counts = [count for _, count in self._pictures(images)]
            rows = list(map(self._expanded, (texts[i] for i in chosen), counts))
            pad, asked = pad_id(self.tokenizer), [prompts[i].text for i in chosen]
            for room, same in self._by_room(asked, rows, max_new_tokens).items():
                batch = left_padded([rows[k] for k in same], pad, self.device)
                out = self.module.generate(
                    **batch,
                    **self.picture_batch([images[k] for k in same], transform),
                    max_new_tokens=room,
                    pad_token_id=pad,
                    **sampling(temperature),
                )
                new = out[:, batch["input_ids"].shape[1] :]
                said = self.tokenizer.batch_decode(new, skip_special_tokens=True)
                for k, text in zip(same, said, strict=True):
                    answers[chosen[k]] = text.strip()

        with seeded(seed, self.device):
            in_batches(self, order, answer)
        return answers

    def _by_room(
        self, texts: Sequence[str], rows: Sequence[Sequence[int]], most: int
    ) -> dict[int, list[int]]:
        """Indices of prompts by how many tokens may follow them: mostly one group, of `most`.

        Raises `DataError` where a prompt leaves no room.
        """
        found: dict[int, list[int]] = {}
        for k, (text, row) in enumerate(zip(texts, rows, strict=True)):
            room = positions(self.module) - len(row)
            if room < 1:
                raise DataError(
                    f"{text[:40]!r}: the question has {len(row)} tokens with its picture, but the "
                    f"model reads {positions(self.module)}: shorten it."
                )
            found.setdefault(min(most, room), []).append(k)
        return found


def _rows(tensors: Mapping[str, Tensor], count: int) -> list[dict[str, Tensor]]:
    """Each row of a batch as a batch of its own that keeps no other row alive."""
    return [
        {name: value[i : i + 1].clone() for name, value in tensors.items()} for i in range(count)
    ]


def _size(tensors: Mapping[str, Tensor]) -> int:
    return sum(value.nbytes for value in tensors.values())
