"""The words that the lab's models know, and the processors that carry them."""

import re

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPImageProcessorPil,
    CLIPProcessor,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from tasks.multimodal.lab.questions import CATEGORIES, DESCRIBE, LETTERS, SHORT_SUFFIX, lettered
from tasks.multimodal.lab.world import COLORS, NUMBERS, PLACES, SHAPES, SIDE

PATCH = 16
IMAGE_TOKENS = (SIDE // PATCH) ** 2
SPECIAL = {
    # CLIP's text model pools in an old way where end-of-sequence is 2: it must be another.
    "pad_token": "<pad>",
    "bos_token": "<s>",
    "unk_token": "<unk>",
    "eos_token": "</s>",
}
IMAGE = "<image>"
PROMPT = f"USER: {IMAGE}\n{{question}} ASSISTANT:"
"""What `CHAT_TEMPLATE` makes of one question about one image."""

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ message['role'] | upper + ': ' }}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% if message['role'] == 'assistant' %}{{ ' ' + eos_token }}{% else %}{{ ' ' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
"""LLaVA-1.5's conversation: images first, then text; content is a list of parts."""

_WORD = r"[A-D]\.|\w+|[^\w\s]"
_GRAMMAR = (
    "USER: ASSISTANT: yes no A B C D a an and not it is are of on with shows picture",
    "there is a red circle at the top left .",
    "the image has one object . the image has two objects .",
    "is there a red circle in the image ?",
    "what color is the object at the top left ?",
    "what shape is the red object ? where is it ? how many objects are in the image ?",
    DESCRIBE + SHORT_SUFFIX,
    lettered("", LETTERS),
    " ".join((*COLORS, *SHAPES, *PLACES, *NUMBERS, *CATEGORIES)),
)


def vocabulary() -> dict[str, int]:
    """Token -> id: the special ones first, then every word of the grammar."""
    words = {word for text in _GRAMMAR for word in re.findall(_WORD, text)}
    return {token: i for i, token in enumerate([*SPECIAL.values(), IMAGE, *sorted(words)])}


def word_tokenizer(end: bool) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words, an option's "A." being one; `end` closes texts with </s>."""
    words = vocabulary()
    core = Tokenizer(models.WordLevel(words, unk_token=SPECIAL["unk_token"]))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True)
    template = "<s> $A </s>" if end else "<s> $A"
    ids = [(token, words[token]) for token in ("<s>", "</s>")]
    core.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        **SPECIAL,
        additional_special_tokens=[IMAGE],
        clean_up_tokenization_spaces=False,
        model_max_length=128,
        padding_side="right" if end else "left",
    )


def image_processor() -> CLIPImageProcessorPil:
    """CLIP's preprocessing at the lab's size, with CLIP's own mean and deviation."""
    return CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )


def clip_processor() -> CLIPProcessor:
    """The processor of the lab's CLIP."""
    return CLIPProcessor(image_processor(), word_tokenizer(end=True))


def llava_processor() -> LlavaProcessor:
    """The processor of the lab's LLaVA."""
    return LlavaProcessor(
        image_processor(),
        word_tokenizer(end=False),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
