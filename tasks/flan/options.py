"""What a card of lm-eval's format says, and what its generation settings may be."""

from pydantic import BaseModel, ConfigDict, Field

from harness.schema import Strict


class Options(BaseModel):
    """What a card says about its task beside the card's own fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    """A task or group of lm-eval: a file of ours, or `lm_eval/NAME`."""
    shots: int | None = Field(None, ge=0)
    """Examples in the prompt; None: as the task's file says."""
    rows: str | None = None
    """`module:function` that makes rows of local files those that the task's file expects."""
    category: str | None = None
    """Field of a document that says its category; None: the task of a group."""
    ids: str | None = None
    """File of the ids of the rows that are scored, a line each or JSON; None: all rows are."""
    run_code: bool = False
    """Whether programs that the model writes may be run, where the task does that."""


class Generation(Strict, strict=True, allow_inf_nan=False):
    """What changes the answers that lm-eval's task files ask for."""

    until: list[str] = []
    max_gen_toks: int = Field(256, ge=1)
    max_new_tokens: int = Field(256, ge=1)
    do_sample: bool = False
    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(50, ge=0)
    num_beams: int = Field(1, ge=1)
    repetition_penalty: float = Field(1.0, gt=0)
    no_repeat_ngram_size: int = Field(0, ge=0)
