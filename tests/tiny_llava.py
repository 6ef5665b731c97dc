"""A LLaVA of a few thousand random weights in a plain Hugging Face folder."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

SPECIALS = ["<pad>", "<s>", "</s>", "<unk>", "<image>"]
WORDS = """
    USER ASSISTANT : . , ? ! a an the there is are and or not in on at of with which what where who
    how many one two three four no yes top bottom left right middle red blue green yellow purple
    black white circle square triangle star cross picture image this it describe shape object
    objects color answer question option letter only please A B C D b c d 0 1 2 3 4
"""
CHAT_TEMPLATE = (
    "<s>{% for message in messages %}{% if message.role == 'user' %}USER : "
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}<image> {% else %}{{ part.text }} {% endif %}{% endfor %}"
    "{% else %}ASSISTANT : {{ message.content[0].text }}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT : {% endif %}"
)


def tiny_llava(folder: Path, seed: int = 0, words: str = WORDS) -> Path:
    """Write a random LLaVA with its processor: 32 x 32 pictures, one token per known word.

    Read it back with `AutoModelForImageTextToText` and `AutoProcessor`. Unknown words become
    `<unk>`; sequences hold up to 512 tokens, four of them per picture.
    """
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys([*SPECIALS, *words.split()]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
        clean_up_tokenization_spaces=False,
    )
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
        ),
        tokenizer=fast,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=32,
            patch_size=16,
            projection_dim=16,
        ),
        text_config=LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=512,
            pad_token_id=vocabulary["<pad>"],
            bos_token_id=vocabulary["<s>"],
            eos_token_id=vocabulary["</s>"],
        ),
        image_token_index=vocabulary["<image>"],
        vision_feature_layer=-2,
        pad_token_id=vocabulary["<pad>"],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
