"""The tokenizer of the lab's translators: whole words, and syllables for the others."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tasks.translation.lab.lexicon import CODE_LETTERS, CONSONANTS, SYLLABLES, pieces, words

SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
CONTINUED = "##"
MAX_LENGTH = 128


def vocabulary() -> dict[str, int]:
    """Token -> id: special ones, syllables and letters of codes or cut words, whole words."""
    spelled = [*SYLLABLES, *CODE_LETTERS, *CONSONANTS]
    tokens = [*SPECIAL.values(), *spelled, *(CONTINUED + piece for piece in spelled)]
    tokens += [word for word in words() if pieces(word) == (word,)]
    return {token: number for number, token in enumerate(tokens)}


def title_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of both languages that closes a text with </s>."""
    ids = vocabulary()
    core = Tokenizer(
        models.WordPiece(ids, unk_token=SPECIAL["unk_token"], continuing_subword_prefix=CONTINUED)
    )
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.decoder = decoders.WordPiece(CONTINUED, cleanup=False)
    core.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", ids["</s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        **SPECIAL,
        clean_up_tokenization_spaces=False,
        model_max_length=MAX_LENGTH,
        padding_side="right",
    )
