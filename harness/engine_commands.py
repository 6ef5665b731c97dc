"""`harness engines`: scorers in environments of their own."""

import typer

from harness import registry
from harness.shown import echo

engine_commands = typer.Typer(
    help="Scorers in environments of their own: list, install, remove.", no_args_is_help=True
)


@engine_commands.command("list")
def engines_list() -> None:
    """List the engines, and which are installed."""
    from harness import engines

    for name in registry.names("engines"):
        engine = engines.load(name)
        state = engines.folder(engine) if engines.installed(engine) else "not installed"
        echo(f"{name}  {engine.summary}  [{state}]")


@engine_commands.command("install")
def engines_install(name: str) -> None:
    """Make an engine's environment; what was there is left alone."""
    from harness import engines

    engine = engines.load(name)
    echo(f"installing {name}; pip's words are in {engines.install_log(engine)}", err=True)
    echo(str(engines.install(engine)))


@engine_commands.command("remove")
def engines_remove(name: str) -> None:
    """Delete an engine's environments, also those of older versions."""
    from harness import engines

    removed = engines.remove(name)
    for path in removed:
        echo(f"removed {path}")
    if not removed:
        registry.find("engines", name)
        echo(f"there is no environment of '{name}'")
