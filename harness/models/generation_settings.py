"""How a card or a method may change the answers of a role: the settings of its generate call.

Apart from the models, so that a plan checks them without torch. A test compares them with the
calls' own signatures.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError

from harness.errors import complaint, suggestion
from harness.schema import Strict

NEW_TOKENS = 256
"""Most tokens that a model says where nobody says otherwise."""


class Greedy(Strict, strict=True, allow_inf_nan=False):
    """What every model that writes takes."""

    max_new_tokens: int = Field(NEW_TOKENS, ge=1)


class CausalGeneration(Greedy):
    """`CausalLM.generate`, but for `samples`: an item's request has one answer."""

    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int = Field(0, ge=0, lt=2**63)


class VisionGeneration(Greedy):
    """`VisionLanguage.generate`."""

    temperature: float = Field(0.0, ge=0)
    seed: int = Field(0, ge=0, lt=2**63)


class Translation(Greedy):
    """`Translator.translate`."""

    num_beams: int = Field(1, ge=1)
    no_repeat_ngram_size: int = Field(0, ge=0)
    repetition_penalty: float = Field(1.0, gt=0)


BY_ROLE: Mapping[str, type[Strict]] = {
    "causal-lm": CausalGeneration,
    "vision-language": VisionGeneration,
    "translator": Translation,
    "dual-encoder": Strict,
}
"""Role -> its settings; a dual encoder writes nothing."""


def problem(kind: type[Strict], settings: Mapping[str, Any]) -> str:
    """Return what is wrong with generation settings, or an empty string."""
    fields = kind.model_fields
    for name in settings:
        if name not in fields:
            takes = f"It takes {', '.join(fields)}." if fields else "It takes none."
            return f"no setting '{name}'. {suggestion(name, fields)}{takes}"
    try:
        kind.model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        return (
            f"{'.'.join(map(str, first['loc']))}: {complaint(first)} (got {first['input']!r:.60})."
        )
    return ""
