"""What counts as a token: words, or characters in languages that are written without blanks."""

import regex

CHARACTER_LANGUAGES = frozenset({"zh", "zho", "cmn", "yue", "ja", "jpn", "th", "tha"})
"""Chinese, Japanese and Thai, by the codes of ISO 639-1 and 639-3."""

_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+|[^\p{L}\p{M}\p{N}]")


def primary_language(code: str) -> str:
    """The language of a code, without region or script: `zh-CN` is `zh`, `zho_Hans` is `zho`."""
    return code.replace("_", "-").partition("-")[0].lower()


def is_by_characters(language: str) -> bool:
    """Whether the tokens of a language are its characters."""
    return primary_language(language) in CHARACTER_LANGUAGES


def tokens(text: str, language: str) -> list[str]:
    """The tokens of a text, in linear time for any text.

    Words are runs of letters, marks and digits; every other visible character stands alone, also
    within `t-shirt`, so that a loop over `blue-` is seen. Case is kept. In Chinese, Japanese and
    Thai each character that is no blank is a token.
    """
    parts = text.split()
    if is_by_characters(language):
        return list("".join(parts))
    return [token for part in parts for token in _WORD.findall(part)]
