"""The words that the lab's CLIP knows, and its processor."""

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CLIPImageProcessorPil, CLIPProcessor, PreTrainedTokenizerFast

from tasks.retrieval.lab.drawing import SIDE
from tasks.retrieval.lab.titles import vocabulary

SPECIAL = {
    # CLIP's text model pools in an old way where end-of-sequence is 2: it must be another.
    "pad_token": "<pad>",
    "bos_token": "<s>",
    "unk_token": "<unk>",
    "eos_token": "</s>",
}
MAX_LENGTH = 24


def words() -> dict[str, int]:
    """Token -> id: the special ones first."""
    return {token: number for number, token in enumerate([*SPECIAL.values(), *vocabulary()])}


def garments_processor() -> CLIPProcessor:
    """Whole words, and CLIP's preprocessing at the lab's size."""
    ids = words()
    core = Tokenizer(models.WordLevel(ids, unk_token=SPECIAL["unk_token"]))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = [(token, ids[token]) for token in (SPECIAL["bos_token"], SPECIAL["eos_token"])]
    core.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        **SPECIAL,
        clean_up_tokenization_spaces=False,
        model_max_length=MAX_LENGTH,
    )
    pictures = CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    return CLIPProcessor(pictures, tokenizer)
