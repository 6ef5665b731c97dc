"""LLaVA-1.5's own processor, made by hand with its settings, and ours: the same ids and pixels."""

from pathlib import Path

import pytest
import torch
from paper_user import noise_picture
from PIL import Image
from tiny_llava import SPECIALS, WORDS
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from torch import nn
from transformers import CLIPImageProcessor, LlavaProcessor, PreTrainedTokenizerFast

from harness.models.prompts import VisionPrompt
from harness.models.vision_language import VisionLanguage

PHOTOGRAPHS = Path(__file__).parents[3] / "shared/data/multimodal/coco_tiny_free/images"

TEMPLATE = (
    "{% for message in messages %}{% if message['role'] != 'system' %}"
    "{{ message['role'].upper() + ': '}}{% endif %}"
    "{# Render all images first #}{% for content in message['content'] | "
    "selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{# Render all text next #}{% if message['role'] != 'assistant' %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ content['text'] + ' '}}{% endfor %}{% else %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% generation %}{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
"""The chat template of llava-hf/llava-1.5-7b-hf."""


@pytest.fixture(scope="module")
def processor() -> LlavaProcessor:
    words = {word: i for i, word in enumerate(dict.fromkeys([*SPECIALS, *WORDS.split()]))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    # Like Llama's: the tokenizer, not the template, writes the beginning of the sequence.
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return LlavaProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}
        ),
        tokenizer=PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            bos_token="<s>",
            eos_token="</s>",
            pad_token="<pad>",
            unk_token="<unk>",
            additional_special_tokens=["<image>"],
        ),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )


def pictures() -> list[Image.Image]:
    photographs = sorted(PHOTOGRAPHS.glob("*.jpg"))[:3] if PHOTOGRAPHS.is_dir() else []
    return [noise_picture(0).resize((640, 427)), *map(Image.open, photographs)]


def test_prompts_and_pixels_equal_those_of_llavas_processor(processor: LlavaProcessor) -> None:
    module = nn.Linear(1, 1)
    module.config = type("Config", (), {"image_token_id": SPECIALS.index("<image>")})
    model = VisionLanguage(module, processor)
    question = "what color is the circle ?\nanswer with one letter only please"
    text = f"USER: <image>\n{question} ASSISTANT:"
    assert model.prompt_text(question) == text
    for picture in pictures():
        expected = processor(text=text, images=picture.convert("RGB"), return_tensors="pt")
        ids = model.prompt_ids(VisionPrompt(picture, question))
        assert ids == expected["input_ids"][0].tolist()
        assert ids[0] == SPECIALS.index("<s>")
        assert ids.count(SPECIALS.index("<image>")) == 576
        pixels, count = model.pixels(picture)
        assert count == 576
        assert torch.equal(pixels["pixel_values"], expected["pixel_values"])
        assert pixels["pixel_values"].shape == (1, 3, 336, 336)
