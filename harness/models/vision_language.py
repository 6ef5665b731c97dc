"""The vision-language role: text from a picture and a prompt, for LLaVA-style models."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForImageTextToText, AutoProcessor

from harness.models.pictures import Picture, open_picture, picture_key
from harness.models.prompts import VisionPrompt

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


class VisionLanguage:
    """A LLaVA-style model with its processor; `module` is the plain transformers model."""

    role = "vision-language"

    def __init__(self, module: nn.Module, processor: Any, batch_size: int = 64) -> None:
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
        module = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype)
        return cls(module.to(device).eval(), AutoProcessor.from_pretrained(folder))

    def save(self, folder: Path) -> None:
        """Write weights (safetensors) and processor; an adapter alone where there is one."""
        self.module.save_pretrained(folder)
        self.processor.save_pretrained(folder)

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.module.parameters()).dtype

    def prompt_text(self, text: str) -> str:
        """A user's question with its picture in the model's own chat format."""
        content = [{"type": "image"}, {"type": "text", "text": text}]
        if self.processor.chat_template:
            return self.processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True
            )
        return f"USER: {self.processor.image_token}\n{text} ASSISTANT:"

    def pixels(self, image: Picture) -> tuple[dict[str, Tensor], int]:
        """The picture as the model takes it, on the CPU, and how many image tokens it fills."""
        key = picture_key(image)
        if key in self._pixels:
            self._pixels.move_to_end(key)
            return self._pixels[key]
        out = self.processor(
            text=self.processor.image_token, images=open_picture(image), return_tensors="pt"
        )
        count = int((out["input_ids"] == self.image_token_id).sum())
        tensors = {name: value for name, value in out.items() if name not in TEXT_KEYS}
        self._pixels[key] = tensors, count
        self._pixel_bytes += _size(tensors)
        while self._pixel_bytes > PIXEL_CACHE_BYTES and len(self._pixels) > 1:
            self._pixel_bytes -= _size(self._pixels.popitem(last=False)[1][0])
        return tensors, count

    def prompt_ids(self, prompt: VisionPrompt) -> list[int]:
        """Token ids of a prompt, its image token expanded to the picture's number of them."""
        _, count = self.pixels(prompt.image)
        ids: list[int] = []
        for token in self.tokenizer(self.prompt_text(prompt.text))["input_ids"]:
            ids.extend([token] * (count if token == self.image_token_id else 1))
        return ids

    def encode(self, prompt: VisionPrompt, answer: str, max_length: int | None = None) -> Encoded:
        """Prompt and answer as tokens with the answer tokens' places in its text."""
        prompt_ids = self.prompt_ids(prompt)
        out = self.tokenizer(answer, add_special_tokens=False, return_offsets_mapping=True)
        ids = [*prompt_ids, *out["input_ids"], self.tokenizer.eos_token_id]
        spans = [*map(tuple, out["offset_mapping"]), (len(answer), len(answer))]
        cut = slice(max_length)
        return Encoded(
            torch.tensor(ids[cut]), len(prompt_ids), spans[: len(ids[cut]) - len(prompt_ids)]
        )

    def picture_batch(
        self, images: Sequence[Picture], transform: Callable[[Tensor], Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Pictures of a batch on the model's device; `transform` maps each [1, C, H, W]."""
        rows = [self.pixels(image)[0] for image in images]
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

        Prompts of similar length share a batch. Sampling draws from a generator seeded here, so
        the answers do not depend on what ran before.
        """
        encoded = [self.prompt_ids(prompt) for prompt in prompts]
        order = sorted(range(len(prompts)), key=lambda i: -len(encoded[i]))
        answers = [""] * len(prompts)
        sampling: Mapping[str, Any] = (
            {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
            if temperature > 0
            else {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        )
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            for start in range(0, len(order), self.batch_size):
                chosen = order[start : start + self.batch_size]
                ids, mask = self._left_padded([encoded[i] for i in chosen])
                out = self.module.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    **self.picture_batch([prompts[i].image for i in chosen], transform),
                    max_new_tokens=max_new_tokens,
                    pad_token_id=self._pad_id,
                    **sampling,
                )
                texts = self.tokenizer.batch_decode(
                    out[:, ids.shape[1] :], skip_special_tokens=True
                )
                for i, text in zip(chosen, texts, strict=True):
                    answers[i] = text.strip()
        return answers

    @property
    def _pad_id(self) -> int:
        pad = self.tokenizer.pad_token_id
        return self.tokenizer.eos_token_id if pad is None else pad

    def _left_padded(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        ids = [torch.tensor(row) for row in rows]
        padded = pad_sequence(ids, True, self._pad_id, padding_side="left")
        mask = pad_sequence([torch.ones_like(row) for row in ids], True, 0, padding_side="left")
        return padded.to(self.device), mask.to(self.device)


def _size(tensors: Mapping[str, Tensor]) -> int:
    return sum(value.nbytes for value in tensors.values())
