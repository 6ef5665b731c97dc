"""How a checkpoint rewrites prompts before they are answered."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, ValidationError, field_validator

from harness.errors import HarnessError, complaint
from harness.files import write_atomic
from harness.reading import read_text
from harness.schema import Strict

if TYPE_CHECKING:
    from harness.models.causal_lm import CausalLM

FILE = "rewriting.json"
"""Beside a checkpoint's weights, where it rewrites prompts."""
PROMPT = "{prompt}"


class Rewriting(Strict):
    """What becomes of a prompt: a model's rewrite, or a text around it."""

    template: str
    """A text that holds `{prompt}`: what the model is asked, or the new prompt itself."""
    by_model: bool = True
    """Whether the model is asked; else the filled template is the new prompt."""
    after: str = ""
    """Where the model's text has more than the new prompt: the mark after which that stands."""
    temperature: float = Field(0.0, ge=0, allow_inf_nan=False)
    """0: greedy."""
    top_p: float = Field(1.0, gt=0, le=1)
    max_new_tokens: int = Field(512, ge=1)

    @field_validator("template")
    @classmethod
    def _holds_prompt(cls, template: str) -> str:
        if PROMPT not in template:
            raise ValueError(f"a template holds {PROMPT}")
        return template

    def filled(self, prompt: str) -> str:
        """The template with a prompt in it; braces of the prompt's own stay as they are."""
        return self.template.replace(PROMPT, prompt)

    def prompt_in(self, said: str) -> str:
        """The new prompt in what the model said; empty where there is none."""
        return said.partition(self.after)[2].strip() if self.after else said.strip()

    def write(self, folder: Path) -> None:
        """Write it into a checkpoint's folder."""
        write_atomic(folder / FILE, json.dumps(self.model_dump(mode="json"), indent=1) + "\n")


def read_rewriting(folder: Path) -> Rewriting | None:
    """How the checkpoint in a folder rewrites prompts; None where it does not."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        return Rewriting.model_validate_json(read_text(path))
    except ValidationError as error:
        first = error.errors()[0]
        said = ": ".join([*map(str, first["loc"]), complaint(first)])
        raise HarnessError(f"{path}: damaged ({said}).") from None
    except (OSError, ValueError) as error:
        raise HarnessError(f"{path}: damaged ({' '.join(str(error).split())[:200]}).") from None


def rewritten(
    model: "CausalLM", rewriting: Rewriting, prompts: Sequence[str], seed: int = 0
) -> list[str]:
    """The new prompts, in order. Where the model gives none, the prompt stays as it is."""
    if not rewriting.by_model:
        return [rewriting.filled(prompt) for prompt in prompts]
    said = model.generate(
        model.prompt_texts(
            [rewriting.filled(prompt) for prompt in prompts], rewriting.max_new_tokens
        ),
        max_new_tokens=rewriting.max_new_tokens,
        temperature=rewriting.temperature,
        top_p=rewriting.top_p,
        seed=seed,
    )
    return [rewriting.prompt_in(text) or prompt for text, prompt in zip(said, prompts, strict=True)]
