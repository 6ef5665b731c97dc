"""Language codes: what a task calls a language -> what a model's tokenizer calls it."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from harness.errors import DataError, suggestion

_CODE = re.compile(r"[a-z]{2,3}_[A-Za-z]{2,4}")


def known_codes(tokenizer: Any) -> list[str]:
    """The language codes of a multilingual tokenizer (M2M100, NLLB, mBART); none for others."""
    if hasattr(tokenizer, "lang_code_to_token"):
        return list(tokenizer.lang_code_to_token)
    if not hasattr(tokenizer, "tgt_lang"):
        return []
    return [token for token in tokenizer.all_special_tokens if _CODE.fullmatch(token)]


def marian_codes(tokenizer: Any) -> list[str]:
    """The target languages of a Marian model with several, chosen by a `>>code<<` in the text."""
    codes = getattr(tokenizer, "supported_language_codes", [])
    return [code.strip("<>") for code in codes]


def matched(code: str, known: Sequence[str]) -> str:
    """The one of a model's codes that means a language: `zh-CN` is NLLB's `zho_Hans`.

    Raises `DataError` for a language that the model does not know.
    """
    return _matched(code, tuple(known))


@cache
def _matched(code: str, known: tuple[str, ...]) -> str:
    import langcodes

    if code in known:
        return code
    try:
        found = langcodes.closest_supported_match(code, list(known), max_distance=9)
    except ValueError:
        found = None
    if found is None:
        raise DataError(
            f"language {code!r}: the model has no such language. {suggestion(code, known)}"
            f"It knows {len(known)}: {', '.join(sorted(known)[:8])}{', ...' * (len(known) > 8)}"
        )
    return found


def english_name(code: str) -> str:
    """The language's name for a prompt; the code itself where it has none."""
    import langcodes

    try:
        name = langcodes.Language.get(code).display_name()
    except ValueError:
        return code
    return code if name.startswith("Unknown language") else name
