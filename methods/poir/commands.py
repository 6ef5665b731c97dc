"""`harness poir`: prompts rewritten by a trained rewriter."""

import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.shown import echo

app = typer.Typer(help="Of POIR: rewriting prompts.", no_args_is_help=True)


@app.callback()
def commands() -> None:
    """Of POIR: rewriting prompts."""


@app.command()
def rewrite(
    checkpoint: Annotated[
        Path, typer.Argument(help="A trained rewriter: runs/.../poir-seed0/checkpoint.")
    ],
    prompt: Annotated[
        str | None, typer.Argument(help="The prompt; standard input where there is none.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="A file of prompts instead: JSON lines, a table, lines.")
    ] = None,
    field: Annotated[str | None, typer.Option(help="Where a record has its prompt.")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="0: greedy; without it what the checkpoint says.", min=0)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the sampling.", min=0, max=2**63 - 1)] = 0,
) -> None:
    """Print the optimized prompt; of a file, a line of JSON for each prompt."""
    from harness.errors import HarnessError
    from harness.models import loading
    from harness.models.rewriting import read_rewriting, rewritten
    from harness.schema import canonical_json

    if prompt is not None and file is not None:
        raise HarnessError("give a prompt or --file, not both.")
    folder = loading.resolve(str(checkpoint))
    rewriting = read_rewriting(folder)
    if rewriting is None:
        raise HarnessError(
            f"{checkpoint}: is no rewriter of prompts: give the checkpoint of a run of poir, bpo "
            "or opro."
        )
    if temperature is not None:
        if not math.isfinite(temperature):
            raise HarnessError(f"--temperature: {temperature} is not a finite number.")
        rewriting = rewriting.model_copy(update={"temperature": temperature})
    prompts = _of_file(file, field) if file else [_said() if prompt is None else prompt]
    if not (prompts and all(each.strip() for each in prompts)):
        raise HarnessError("the prompt is empty.")
    found = rewritten(loading.load(folder, "causal-lm"), rewriting, prompts, seed)
    for before, after in zip(prompts, found, strict=True):
        echo(canonical_json({"prompt": before, "rewrite": after}) if file else after)


def _said() -> str:
    """The prompt of the standard input."""
    from harness.errors import DataError

    try:
        return sys.stdin.buffer.read().decode().strip()
    except UnicodeDecodeError as error:
        raise DataError(
            f"standard input: no UTF-8 (byte {error.start + 1}), give the prompt as UTF-8."
        ) from None


def _of_file(file: Path, field: str | None) -> list[str]:
    """The prompts of a file: of records, or a line each."""
    from harness.errors import DataError
    from harness.parallel import read_lines
    from harness.records import SUFFIXES, kind_of, nearest_file, read_records, require_text

    if not file.exists():
        raise DataError(f"{file}: no such file. {nearest_file(file)}".rstrip())
    if kind_of(file) not in SUFFIXES:
        return [line for line in read_lines(file) if line.strip()]
    names = (field,) if field else ("prompt", "instruction", "question", "text")
    return [require_text(each.fields, each.place, *names) for each in read_records(file)]
