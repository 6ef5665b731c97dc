"""Judges of a few thousand weights in plain Hugging Face folders, one token per character."""

import string
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

SPECIALS = ["<pad>", "<s>", "</s>", "<unk>"]
VERDICTS = ["[[A]]", "[[B]]", "[[C]]"]
VOCABULARY = {
    token: i for i, token in enumerate([*SPECIALS, *VERDICTS, *string.printable], start=0)
}
"""Verdicts are said in one token; what is read is spelled."""
TEMPLATE = (
    "<s>{% for message in messages %}{{ message.role }}: {{ message.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
LLAMA = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}


def spelled(text: str) -> list[int]:
    """Token ids of a text without specials, by the vocabulary alone."""
    return [VOCABULARY.get(character, VOCABULARY["<unk>"]) for character in text]


def tokenizer(template: str | None = TEMPLATE, marked: bool = False) -> PreTrainedTokenizerFast:
    """One token per character; `marked`: <s> before and </s> after each text, as BERT does."""
    core = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    core.decoder = decoders.Fuse()
    if marked:
        core.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        chat_template=template,
        clean_up_tokenization_spaces=False,
    )


def chat_model(
    folder: Path,
    seed: int = 0,
    says: str = "",
    positions: int = 4096,
    template: str | None = TEMPLATE,
) -> Path:
    """A Llama of random weights; with `says`, one that repeats this token whatever it reads."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**LLAMA, max_position_embeddings=positions))
    if says:
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.fill_(float("norm" in name or "embed" in name))
            model.lm_head.weight[VOCABULARY[says]] = 1
    model.save_pretrained(folder)
    tokenizer(template).save_pretrained(folder)
    return folder


def reward_model(
    folder: Path,
    seed: int = 0,
    positions: int = 256,
    pad: int | None = 0,
    labels: int = 1,
    template: str | None = TEMPLATE,
) -> Path:
    """A Llama of random weights that scores a text."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        **LLAMA, max_position_embeddings=positions, pad_token_id=pad, num_labels=labels
    )
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer(template).save_pretrained(folder)
    return folder


def reward_encoder(folder: Path, positions: int = 48) -> Path:
    """A BERT that scores a text at its first token, without a chat template."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        initializer_range=0.3,
        max_position_embeddings=positions,
        num_labels=1,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer(None, marked=True).save_pretrained(folder)
    return folder
