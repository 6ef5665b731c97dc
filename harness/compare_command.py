"""`harness compare`: two states of leaderboards, or two of anything in them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from harness.errors import HarnessError
from harness.pairs import by_comma
from harness.plugin_commands import AsJson
from harness.shown import echo


def compare(
    before: Annotated[str, typer.Argument(help="File, folder, git revision; value of --across.")],
    after: Annotated[str, typer.Argument(help="The same, to be compared with it.")],
    details: Annotated[
        bool, typer.Option("--details", help="Every result, not a summary.")
    ] = False,
    tasks: Annotated[str | None, typer.Option(help="These alone, by comma, in detail.")] = None,
    across: Annotated[
        str | None,
        typer.Option(help="Compare two models, methods, seeds, judges, or values of a setting."),
    ] = None,
    per_seed: Annotated[bool, typer.Option("--per-seed", help="Seeds one by one.")] = False,
    fail_on: Annotated[
        str | None, typer.Option(help="worse, missing, refused, by comma: exit 1 if any is.")
    ] = None,
    as_json: AsJson = False,
    leaderboards: Annotated[
        Path | None, typer.Option(help="Folder of leaderboards inside revisions.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of runs, where outputs may lie.")] = Path(
        "runs"
    ),
) -> None:
    """Compare two states of leaderboards, or two of anything in them, paired item by item."""
    from harness import compare as comparing
    from harness.boards import folder
    from harness.report.comparison import comparison_summary, comparison_table

    failures = set(by_comma(fail_on))
    if unknown := failures - set(comparing.FAILURES):
        known = ", ".join(comparing.FAILURES)
        raise HarnessError(f"--fail-on takes {known}, by comma, not '{sorted(unknown)[0]}'.")
    result = comparing.compare(
        before,
        after,
        leaderboards=folder(leaderboards),
        runs=runs,
        tasks=by_comma(tasks),
        per_seed=per_seed,
        across=across,
    )
    if as_json:
        echo(result.model_dump_json(indent=1))
    else:
        show_tables(comparison_table(result) if details or tasks else comparison_summary(result))
    if failures & result.failures():
        raise typer.Exit(1)


def show_tables(tables: Any) -> None:
    """Print tables at the terminal's width."""
    from rich.console import Console

    Console().print(tables)
