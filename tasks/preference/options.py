"""What a card of the preference family says beside its own fields."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from harness.chat import plain_address, plain_variable
from harness.errors import DataError, PluginError, complaint
from harness.models.generation_settings import CausalGeneration, problem
from harness.models.rewriting import PROMPT, Rewriting
from harness.records import nearest_file
from harness.schema import TaskCard

Orders = Literal["both", "random", "model_first", "baseline_first"]


class AnswerOptions(BaseModel):
    """Whose answers they are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    responder: str = ""
    """Model that answers prompts, new and unchanged; empty: the one that training starts from."""
    endpoint: str = ""
    """Address of an OpenAI-compatible endpoint that serves the responder."""
    endpoint_key: str = ""
    """Environment variable that holds the endpoint's key."""
    category: str = "category"

    @field_validator("endpoint")
    @classmethod
    def _address(cls, url: str) -> str:
        return plain_address(url) if url else url

    @field_validator("endpoint_key")
    @classmethod
    def _variable(cls, name: str) -> str:
        return plain_variable(name)


class WinRateOptions(AnswerOptions):
    """How answers are compared."""

    instruction: list[str] = ["instruction", "prompt", "text", "question"]
    """Fields that a row's prompt may stand in, the first that is there counts."""
    context: list[str] = ["context", "input"]
    """The same of what the prompt is about, set below it on a line of its own, as BPO does."""
    reference: str = ""
    """Field of the right answer, where there is one."""
    baseline: str = ""
    """File of the answers to compare with; empty: the responder's to the unchanged prompt."""
    baseline_field: str = ""
    """Field of a row with the answer to compare with, where no file is named."""
    orders: Orders = "both"
    """In which orders a judge is shown the two answers: both; or one, drawn at random for each
    item, as BPO does, or always the same."""
    kind: str = ""
    """`module:function` that says what became of a prompt, where a world knows: (before, after)."""
    kept: list[str] = []
    """Kinds of new prompts that ask for the same of the same."""
    lost: list[str] = []
    """Kinds that do not."""


class AlpacaOptions(WinRateOptions):
    """What length control takes beside the judgements."""

    gamed: str = ""
    """AlpacaEval's `df_gamed.csv`: how difficult each instruction is, and the gamed baselines."""


class GradeOptions(AnswerOptions):
    """How answers are graded, one at a time."""

    turns: Literal[1, 2] = 2
    """How many turns a question has."""
    references: str = ""
    """FastChat's file of reference answers (`reference_answer/gpt-4.jsonl`); empty: what a row has
    as its `reference`."""
    referred: list[str] = ["math", "reasoning", "coding"]
    """Categories that are graded beside a reference answer."""


def check_prompt(card: TaskCard) -> None:
    """Raise `PluginError` where a card's text around a prompt does not hold the prompt."""
    if PROMPT not in card.prompt:
        raise PluginError(
            f"task '{card.name}': prompt: has no {PROMPT}: all items would be asked the same."
        )


def generation_problem(settings: Mapping[str, Any]) -> str:
    """Return what is wrong with generation settings; `rewriting` may be among them."""
    given = dict(settings)
    rewriting = given.pop("rewriting", None)
    if rewriting is not None:
        try:
            Rewriting.model_validate(rewriting)
        except ValidationError as error:
            first = error.errors()[0]
            return f"rewriting: {'.'.join(map(str, first['loc']))}: {complaint(first)}."
    return problem(CausalGeneration, given)


def file_of(option: str, name: str) -> Path:
    """The file that an option names; raises `DataError` where it is not there."""
    path = Path(os.path.expanduser(name))
    if os.path.isdir(path):
        raise DataError(f"option '{option}': {path}: is a folder, give a file.")
    if not os.path.isfile(path):
        raise DataError(f"option '{option}': {path}: no such file. {nearest_file(path)}".rstrip())
    return path


def without_places(card: TaskCard, **instead: Any) -> TaskCard:
    """A card as its identity counts: not where files lie, nor where a model is served.

    Args:
        instead: option -> what counts in its place.
    """
    served = {"endpoint": bool(card.options.get("endpoint")), "endpoint_key": ""}
    changed = {key: value for key, value in {**served, **instead}.items() if key in card.options}
    return card.model_copy(update={"options": {**card.options, **changed}})
