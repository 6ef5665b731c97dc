"""What a mixture's file says: its parts, and expressions over their rows.

seed: 0
parts:
  - source: arc_easy.jsonl
    templates: flan_templates.json#arc
    fields:
      options: choices.text
      answer: choices.text[choices.label.index(answerKey)]
    weight: 2
  - source: owner/name:config
    templates:
      - {prompt: "Question: {question}", answer: "{answer}"}
    weight: 1
    limit: 30000
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from harness.dataset import Row
from harness.errors import DataError, suggestion
from harness.reading import read_text
from harness.schema import Strict
from harness.values import check_plain, quoted, read_yaml


class Patterns(Strict):
    """A template that stands in the mixture itself."""

    prompt: str
    answer: str


class Part(Strict):
    """One source of a mixture, and how its rows are asked."""

    source: str
    """A registered dataset, a file or folder (against the mixture's own), or a hub name."""
    revision: str | None = None
    """The hub's commit."""
    split: str | None = None
    """Split to draw from; default: the source's first."""
    columns: list[str] | None = None
    """Names for a tab-separated file without a header, as Flan's chains of thought are."""
    fields: dict[str, str] = {}
    """Further fields: name -> expression over the row's own, as in lm-eval's task files."""
    templates: str | Annotated[list[Patterns], Field(min_length=1)] = [
        Patterns(prompt="{prompt}", answer="{answer}")
    ]
    """`FILE#TASK` in Flan's form, or the templates themselves."""
    task: str | None = None
    """What its rows say as `task`; default: their own `task`, else the source."""
    weight: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Its share of the rows; default: its number of rows, up to `limit`."""
    limit: int | None = Field(None, ge=1)
    """Most rows of the source that are used, chosen at random (Flan: 30,000)."""


class Recipe(Strict):
    """What a mixture's file says."""

    seed: int = 0
    rows: int | None = Field(None, ge=1)
    """How many rows to draw; default: as many as the parts have, up to their limits."""
    parts: list[Part] = Field(min_length=1)


Expression = Callable[[Row, str], Any]
"""(row, place) -> value; raises `DataError` with the place."""


def expression(text: str, where: str) -> Expression:
    """A Jinja expression over a row's columns; `row["a name"]` for names that are no words."""
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined)
    environment.globals.clear()
    del environment.filters["random"]  # a mixture is always the same
    try:
        compiled = environment.compile_expression(text, undefined_to_none=False)
    except jinja2.TemplateError as error:
        raise DataError(
            f"{where}: '{text}' is no expression ({' '.join(str(error).split())})."
        ) from None

    def value(row: Row, place: str) -> Any:
        try:
            found = compiled({"row": row, **row})
            if isinstance(found, jinja2.Undefined):
                str(found)  # raises
        except Exception as error:  # whatever an expression can do wrong
            reason = " ".join(str(error).split())
            raise DataError(
                f"{where}: '{text}' fails at {place}: {reason}. It has: {', '.join(map(str, row))}."
            ) from None
        return found

    return value


def read_recipe(path: Path) -> Recipe:
    """Read and check a mixture's file; raises `DataError` naming file, part and setting."""
    try:
        said = read_yaml(read_text(path))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}).") from None
    except ValueError as error:
        raise DataError(f"{path.name}: not YAML: {error}.") from None
    if not isinstance(said, dict):
        raise DataError(f"{path.name}: a mixture is a mapping with `parts`.")
    try:
        recipe = Recipe.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"{path.name}{_problem(first)}.") from None
    check_plain(said, path.name, DataError)
    return recipe


def _problem(problem: Any) -> str:
    """One error of pydantic in words, parts counted from one."""
    place, loc, known = "", list(problem["loc"]), Recipe.model_fields
    if loc[:1] == ["parts"] and len(loc) > 1:
        place, loc, known = f" part {loc[1] + 1}", loc[2:], Part.model_fields
    field = ".".join(map(str, loc))
    if loc[:1] == ["templates"]:
        return f"{place}: templates: give FILE#TASK or a list of {{prompt, answer}}"
    if problem["type"] == "extra_forbidden":
        near = suggestion(field, known)
        return f"{place}: no setting '{field}'. {near}There are {', '.join(known)}"
    if problem["type"] == "missing":
        return f"{place}: '{field}' is missing"
    where = f": {field}" if field else ""
    return f"{place}{where}: {problem['msg']} (got {quoted(problem['input'])})"
