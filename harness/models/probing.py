"""A first use of a model that was loaded: files of the wrong types show where they are named."""

from typing import Any

IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
"""Settings of a model's generation that name tokens."""


def probe(model: Any) -> None:
    """Read a word by a model's tokenizer, and look at its generation settings.

    Raises:
        Exception: of any kind, where one of its files has a value of the wrong type.
    """
    model.tokenizer(["a"])
    generation = getattr(model.module, "generation_config", None)
    for name in IDS:
        value = getattr(generation, name, None)
        ids = value if isinstance(value, list) else [value]
        if not all(each is None or type(each) is int for each in ids):
            raise ValueError(
                f"generation_config.json: {name} is {value!r:.60}, not a token's number"
            )
