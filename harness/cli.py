"""The command line. Nothing heavy is imported before a command needs it."""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from harness import registry
from harness.compare_command import compare, show_tables
from harness.engine_commands import engine_commands
from harness.errors import HarnessError, NoResultError, one_line, suggestion
from harness.pairs import pairs
from harness.plugin_commands import AsJson, build_model, list_plugins, show_plugin
from harness.shown import echo, shown


class Commands(TyperGroup):
    """The engine's own verbs, and below them the commands that plugins bring by name."""

    def get_command(self, ctx: Any, name: str) -> Any:
        own = super().get_command(ctx, name)
        if own is None and registry.registered("commands", name):
            loaded = registry.load("commands", name)
            if not isinstance(loaded, typer.Typer):
                value = registry.find("commands", name).value
                raise HarnessError(f"command '{name}': '{value}' is not a typer.Typer.")
            return typer.main.get_group(loaded)
        if own is None:
            known = [*self.list_commands(ctx), *registry.names("commands")]
            raise HarnessError(
                f"no command '{name}'. {suggestion(name, known)}`harness --help` shows all."
            )
        return own

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The own verbs, then the plugins' commands by name: nothing is imported for it."""
        super().format_commands(ctx, formatter)
        rows = []
        for plugin in registry.plugins("commands"):
            hidden = " (hidden by the verb of that name)" if plugin.name in self.commands else ""
            origin = f"of {plugin.distribution} {plugin.version}{hidden}"
            rows.append((shown(plugin.name), shown(origin)))
        if rows:
            with formatter.section("Commands of plugins"):
                formatter.write_dl(rows)


app = typer.Typer(
    cls=Commands,
    name="harness",
    help="Train methods, score them on tasks, and keep leaderboards one can trust.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Pairs = list[str]
Profile = Annotated[str | None, typer.Option(help="lab (default) or paper.")]
Split = Annotated[str | None, typer.Option(help="test (default) or dev.")]
Limit = Annotated[int | None, typer.Option(help="Only the first items of each task.")]
Engines = Annotated[Pairs, typer.Option(help="NAME=WHAT that scores too: comet=CHECKPOINT.")]
Judge = Annotated[str | None, typer.Option(help="Who judges answers: see list judges.")]
JudgeOptions = Annotated[Pairs, typer.Option("--judge-option", help="FIELD=VALUE: model=gpt-4o.")]
BatchSize = Annotated[int | None, typer.Option(help="Texts that a model is scored on at once: 64.")]
Runs = Annotated[Path | None, typer.Option(help="Folder of runs and cache.")]
Leaderboards = Annotated[Path | None, typer.Option(help="Folder of leaderboards.")]

PATIENCE = 5
"""Seconds that another process than the first waits before it says what went wrong."""


@app.command()
def run(
    config: Annotated[
        Path | None, typer.Argument(help="YAML file with any of the options below.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="Methods, by comma.")] = None,
    tasks: Annotated[str | None, typer.Option(help="Tasks, by comma.")] = None,
    profile: Profile = None,
    model: Annotated[
        str | None, typer.Option(help="Base model: embedded, folder or hub name.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Training set: embedded, file or hub name.")
    ] = None,
    source: Annotated[
        Pairs, typer.Option(help="TASK=FILE: items instead of the card's source.")
    ] = [],  # noqa: B006
    split: Split = None,
    seeds: Annotated[
        str | None, typer.Option(help="A number of seeds (5), or seeds by comma (4,).")
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="Method to compare with: base.")] = None,
    set_: Annotated[
        Pairs, typer.Option("--set", help="FIELD=VALUE of the methods' config: loss.beta=0.2.")
    ] = [],  # noqa: B006
    option: Annotated[
        Pairs, typer.Option(help="TASK.FIELD=VALUE of a task's card: taxonomy_paths.target=fr.")
    ] = [],  # noqa: B006
    engine: Engines = [],  # noqa: B006
    judge: Judge = None,
    judge_option: JudgeOptions = [],  # noqa: B006
    limit: Limit = None,
    batch_size: BatchSize = None,
    runs: Runs = None,
    leaderboards: Leaderboards = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Train methods, score them and their base model on tasks, write leaderboards."""
    given: dict[str, Any] = {
        "method": method,
        "tasks": tasks,
        "profile": profile,
        "model": model,
        "dataset": dataset,
        "source": pairs("--source", source),
        "split": split,
        "seeds": seeds,
        "baseline": baseline,
        "set": pairs("--set", set_),
        "option": pairs("--option", option),
        "engine": pairs("--engine", engine),
        "judge": judge,
        "judge_option": pairs("--judge-option", judge_option),
        "limit": limit,
        "batch_size": batch_size,
        "runs": runs,
        "leaderboards": leaderboards,
    }
    for kind, names in (("methods", method), ("tasks", tasks)):
        for name in filter(None, map(str.strip, (names or "").split(","))):
            registry.find(kind, name)
    from harness.configs import run_config

    settings = run_config({k: v for k, v in given.items() if v not in (None, {})}, config)
    from harness import plan as planning

    plan = planning.make_plan(settings)
    if dry_run:
        from harness.report.plan import plan_text

        echo(plan_text(plan))
        return
    from harness.pipeline import execute
    from harness.report.progress import progress

    with progress(quiet=quiet or as_json) as reporter, _shown(settings.baseline, as_json) as found:
        found += execute(plan, reporter)
    if _main_process() and not as_json:
        _print_examples(reporter.shown)


@app.command()
def score(
    task: Annotated[str, typer.Option(help="The task that the outputs answer.")],
    predictions: Annotated[
        Path, typer.Option(help="JSON lines, a table, or plain text with a line per item.")
    ],
    field: Annotated[
        str | None, typer.Option(help="Where a record has its output: systems.NAME.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call them: the file's name.")] = None,
    source: Annotated[
        str | None, typer.Option(help="File with the items instead of the card's source.")
    ] = None,
    profile: Profile = None,
    split: Split = None,
    option: Annotated[Pairs, typer.Option(help="FIELD=VALUE of the task's card: target=fr.")] = [],  # noqa: B006
    engine: Engines = [],  # noqa: B006
    judge: Judge = None,
    judge_option: JudgeOptions = [],  # noqa: B006
    limit: Limit = None,
    runs: Runs = None,
    leaderboards: Leaderboards = None,
    as_json: AsJson = False,
) -> None:
    """Score outputs that were made elsewhere; no model is needed."""
    registry.find("tasks", task)
    from harness.configs import run_config
    from harness.outputs import METHOD, score_outputs

    given: dict[str, Any] = {
        "method": METHOD,
        "tasks": task,
        "source": {task: source} if source else {},
        "profile": profile,
        "split": split,
        "option": {f"{task}.{key}": value for key, value in pairs("--option", option).items()},
        "engine": pairs("--engine", engine),
        "judge": judge,
        "judge_option": pairs("--judge-option", judge_option),
        "limit": limit,
        "runs": runs,
        "leaderboards": leaderboards,
    }
    settings = run_config({k: v for k, v in given.items() if v not in (None, {})})
    with _shown(METHOD, as_json) as found:
        found += score_outputs(settings, predictions, field, name)


app.add_typer(engine_commands, name="engines")


for name, command in (
    ("compare", compare),
    ("list", list_plugins),
    ("show", show_plugin),
    ("build", build_model),
):
    app.command(name)(command)


@contextmanager
def _shown(baseline: str, as_json: bool) -> Iterator[list[Any]]:
    """Show the entries that are found within; those too that stand beside a missing one."""
    entries: list[Any] = []
    try:
        yield entries
    except NoResultError as error:
        _show([*entries, *error.entries], baseline, as_json)
        raise
    _show(entries, baseline, as_json)


def _show(entries: Any, baseline: str, as_json: bool) -> None:
    if not (entries and _main_process()):
        return
    if as_json:
        echo(json.dumps([entry.model_dump(mode="json") for entry in entries], indent=1))
    else:
        from harness.report.terminal import run_table

        show_tables(run_table(entries, baseline))


def _print_examples(examples: Any) -> None:
    for what, lines in examples.items():
        echo("\n".join(["", f"{shown(what)}, for example:", *(f"  {shown(x)}" for x in lines)]))


def _main_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def main() -> None:
    """The entry point: errors of the user are one line and exit status 2."""
    interrupted = "interrupted: the same command continues where it stopped."
    try:
        status = app(standalone_mode=False)
        if status == 130:  # Typer ends so where it met the interrupt itself
            _fail(interrupted, 130)
    except NoResultError as error:
        _fail(str(error), 1)
    except HarnessError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail(interrupted, 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            # Its message is the help; empty where a plugin's own has been printed.
            print(str(error), file=sys.stderr, end="\n" if str(error) else "")
            sys.exit(2)
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):
            _fail(str(error.format_message()))
        if isinstance(error.__cause__, EOFError):  # of which Typer makes an Abort
            _fail("a file that was read ends too early: get it again.")
        if type(error).__name__ == "Abort":
            _fail(interrupted, 130)
        raise
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int = 2) -> None:
    sys.stdout.flush()
    if not _main_process():
        # Where the first process fails as well, it speaks for all: torchrun then ends the others.
        time.sleep(PATIENCE)
    print(f"harness: {one_line(message)}", file=sys.stderr)
    sys.exit(status)
