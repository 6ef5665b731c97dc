"""What cards of the multimodal family say beside the fields that every card has."""

from pydantic import BaseModel, ConfigDict, Field


class NoOptions(BaseModel):
    """Of a format that takes no options."""

    model_config = ConfigDict(extra="forbid")


class ChoiceOptions(NoOptions):
    """Of multiple choice."""

    chinese: str = ""
    """The prompt where the question or an option is Chinese; empty: the same as for others."""


class DescribeOptions(NoOptions):
    """Of descriptions."""

    question: str = Field(min_length=1)
    """What is asked where a row has no question of its own."""
    judges: dict[str, str] = Field(min_length=1)
    """Field of a row that holds the truth -> what judges an answer by it, `module:function`."""
