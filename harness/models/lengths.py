"""What models of text share: how much they read, and what fills up a batch."""

import sys
from typing import Any


def positions(module: Any) -> int:
    """Most tokens of a text, by the model's config.

    RoBERTa and its kin number positions from behind the padding token's number: so many fewer.
    """
    config = module.config.get_text_config()
    found = int(getattr(config, "max_position_embeddings", None) or sys.maxsize)
    for name, part in module.named_modules():
        before = getattr(part, "padding_idx", None)
        if name.endswith(".position_embeddings") and before is not None:
            return found - before - 1
    return found


def pad_id(tokenizer: Any) -> int:
    """The token that fills up a batch: the end of a text where there is no other."""
    pad = tokenizer.pad_token_id
    return int(tokenizer.eos_token_id if pad is None else pad)
