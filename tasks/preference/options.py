"""What a card of the preference family says beside its own fields."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import PluginError, suggestion
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


class WinRateOptions(AnswerOptions):
    """How answers are compared."""

    instruction: list[str] = ["instruction", "prompt", "text", "question"]
    """Fields that a row's prompt may stand in, the first that is there counts."""
    context: list[str] = ["context", "input"]
    """The same of what the prompt is about, set below it on a line of its own."""
    category: str = "category"
    reference: str = ""
    """Field of the right answer, where there is one."""
    baseline: str = ""
    """File of the answers to compare with; empty: the responder's to the unchanged prompt."""
    orders: Orders = "both"
    """In which orders a judge is shown the two answers: both; or one, drawn at random for each
    item, as BPO does, or always the same."""
    kind: str = ""
    """`module:function` that says what became of a prompt, where a world knows: (before, after)."""
    kept: list[str] = []
    """Kinds of new prompts that ask for the same of the same."""
    lost: list[str] = []
    """Kinds that do not."""


def options_of(card: TaskCard, cls: type[BaseModel]) -> Any:
    """A card's options, checked; raises `PluginError` naming the one that is wrong."""
    try:
        return cls.model_validate(card.options)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        name = str(problem["loc"][0])
        why = problem["msg"]
        if problem["type"] == "extra_forbidden":
            why = f"there is no such option. {suggestion(name, cls.model_fields)}".rstrip()
        raise PluginError(f"task '{card.name}': option '{name}': {why.rstrip('.')}.") from None
