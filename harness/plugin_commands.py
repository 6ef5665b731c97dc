"""`harness list`, `show` and `build`: what is registered."""

import json
from pathlib import Path
from typing import Annotated

import typer

from harness import registry
from harness.errors import HarnessError, suggestion
from harness.shown import echo, shown

AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


def list_plugins(
    kind: Annotated[
        str, typer.Argument(help="methods, tasks, datasets, models, engines or judges.")
    ],
    as_json: AsJson = False,
) -> None:
    """List what is registered, without importing it."""
    if kind not in registry.KINDS:
        raise HarnessError(
            f"no kind '{kind}'. {suggestion(kind, registry.KINDS)}"
            f"There are {', '.join(registry.KINDS)}."
        )
    plugins = registry.plugins(kind)
    if as_json:
        fields = ("name", "value", "distribution", "version")
        rows = [{f: getattr(p, f) for f in fields} | {"summary": p.summary()} for p in plugins]
        echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    width = max((len(plugin.name) for plugin in plugins), default=0)
    counts = {plugin.name: 0 for plugin in plugins}
    for plugin in plugins:
        counts[plugin.name] += 1
    for plugin in plugins:
        foreign = "" if plugin.distribution == registry.DISTRIBUTION else plugin.distribution
        notes = [foreign] if foreign else []
        if counts[plugin.name] > 1:
            notes.append(f"ambiguous: {plugin.distribution} {plugin.value}")
        note = f"  [{', '.join(notes)}]" if notes else ""
        echo(shown(f"{plugin.name:<{width}}  {plugin.summary()}{note}".rstrip()))


def show_plugin(
    name: Annotated[str, typer.Argument(help="A method, task, dataset, model, engine or judge.")],
) -> None:
    """Show one plugin: a task's card, a method's settings, a model's origin."""
    found = [kind for kind in registry.KINDS if registry.registered(kind, name)]
    if not found:
        known = [each for kind in registry.KINDS for each in registry.names(kind)]
        raise HarnessError(
            f"no plugin '{name}'. {suggestion(name, known)}`harness list tasks` shows the tasks."
        )
    from harness.report.show import show_text

    for kind in found:
        echo(show_text(registry.find(kind, name)))


def build_model(
    name: Annotated[str, typer.Argument(help="An embedded model: lab/scenes-vlm.")],
    seed: Annotated[int | None, typer.Option(help="Another seed than the model's own.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to instead of the package's.")
    ] = None,
) -> None:
    """Train an embedded base model from scratch."""
    model = registry.load("models", name)
    folder = out or model.folder
    echo(f"building {name} in {folder}", err=True)
    model.build(folder, seed)
