"""`harness fashionklip`: the graph of concepts, and looking for products."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from methods.fashionklip.graph import Graph

app = typer.Typer(help="Of FashionKLIP: the graph of concepts, search.", no_args_is_help=True)
graph_app = typer.Typer(help="Concepts mined from titles.", no_args_is_help=True)
app.add_typer(graph_app, name="graph")

Titles = Annotated[str, typer.Argument(help="Where titles are: file, folder, dataset, hub name.")]
File = Annotated[Path, typer.Argument(help="A graph: JSON lines.")]
Field = Annotated[str, typer.Option(help="Field with the title.")]


@app.callback()
def commands() -> None:
    """Of FashionKLIP: the graph of concepts, search."""


@graph_app.command()
def build(
    titles: Titles,
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("graph.jsonl"),
    phrases: Annotated[str, typer.Option(help="auto, rules or spacy.")] = "auto",
    least: Annotated[int, typer.Option(help="Titles that a concept stands in at least.")] = 2,
    field: Field = "title",
) -> None:
    """Mine concepts from titles: phrases that are frequent, with their is-a edges."""
    from methods.fashionklip.graph import Graph
    from methods.fashionklip.phrases import chunker

    graph = Graph.build(_titles(titles, field), chunker(phrases), least)
    graph.write(out)
    _say(graph, out)


@graph_app.command()
def extend(graph: File, titles: Titles, field: Field = "title") -> None:
    """Add more titles: concepts keep their numbers, phrases that became frequent are added."""
    from methods.fashionklip.graph import Graph

    found = Graph.read(graph)
    new = found.extend(_titles(titles, field))
    found.write(graph)
    typer.echo(f"{len(new)} new: {', '.join(found.concepts[each].phrase for each in new[:10])}")
    _say(found, graph)


@graph_app.command()
def show(
    graph: File,
    concept: Annotated[str | None, typer.Argument(help="Only what is of its kind.")] = None,
    depth: Annotated[int, typer.Option(help="Levels below it.")] = 3,
    breadth: Annotated[int, typer.Option(help="Kinds of each concept, most frequent first.")] = 8,
    svg: Annotated[Path | None, typer.Option(help="Draw it into a file, too.")] = None,
) -> None:
    """Print concepts as a tree with the number of their titles; with --svg draw one's."""
    from rich.console import Console
    from rich.tree import Tree

    from harness.errors import HarnessError, suggestion
    from methods.fashionklip.drawing import draw
    from methods.fashionklip.graph import Graph

    found = Graph.read(graph)
    children = found.children()
    roots = children.get(None, [])
    if concept is not None:
        roots = [each for each in found.concepts.values() if each.phrase == concept]
        if not roots:
            near = suggestion(concept, (each.phrase for each in found.concepts.values()))
            raise HarnessError(f"{graph}: no concept '{concept}'. {near}".rstrip())
    if svg is not None and concept is None:
        raise HarnessError("--svg draws what is of one concept's kind: name it.")

    def grow(tree: Tree, concept_id: int, left: int) -> None:
        kinds = children.get(concept_id, [])
        for each in kinds[: breadth if left else 0]:
            grow(
                tree.add(f"{each.phrase} ({each.count})", highlight=False),
                each.concept_id,
                left - 1,
            )
        hidden = len(kinds) - (breadth if left else 0)
        if hidden > 0:
            tree.add(f"+{hidden} more", highlight=False)

    for root in roots[: max(breadth, 1)] if concept is None else roots:
        tree = Tree(f"{root.phrase} ({root.count})", highlight=False)
        grow(tree, root.concept_id, depth)
        Console().print(tree)
    if concept is None and len(roots) > breadth:
        typer.echo(f"+{len(roots) - breadth} more")
    if svg is not None and concept is not None:
        svg.write_text(draw(found, concept, depth + 1, breadth), encoding="utf-8")
        typer.echo(f"drawn in {svg}")


@app.command()
def search(
    checkpoint: Annotated[str, typer.Argument(help="Folder of a run's checkpoint, or a model.")],
    query: Annotated[str, typer.Argument(help="What is looked for, in words.")],
    catalog: Annotated[str, typer.Option(help="The catalogue: file, folder, dataset, hub name.")],
    top: Annotated[int, typer.Option(min=1, help="How many matches.")] = 12,
    sheet: Annotated[Path, typer.Option(help="Contact sheet to write.")] = Path("matches.png"),
    export: Annotated[
        Path | None, typer.Option(help="Write all vectors: .npy, .parquet or .faiss.")
    ] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave out pictures that cannot be read.")
    ] = False,
    runs: Annotated[Path, typer.Option(help="Where vectors are kept.")] = Path("runs"),
) -> None:
    """Print the pictures of a catalogue that fit a text best, and write a contact sheet."""
    from harness.models import loading
    from harness.plan import open_data
    from harness.store import Store
    from methods.fashionklip import search as searching

    folder = loading.resolve(checkpoint)
    shelf = searching.read_shelf(open_data(catalog), skip_broken)
    model = loading.load(folder, "dual-encoder")
    vectors = searching.vectors_of(model, folder, shelf, Store(runs / "store"))
    matches = searching.best(vectors, model.encode_texts([query])[0], top)
    for rank, match in enumerate(matches, start=1):
        name, title = shelf.names[match.index], shelf.titles[match.index]
        typer.echo(f"{rank:3d}  {match.score:6.3f}  {name}  {title}")
    searching.contact_sheet(shelf, matches).save(sheet)
    typer.echo(f"contact sheet: {sheet}")
    if export is not None:
        searching.export(export, shelf.names, vectors)
        typer.echo(f"vectors of {len(vectors)} pictures: {export}")
    if shelf.broken:
        typer.echo(f"left out {len(shelf.broken)}: {shelf.broken[0]}", err=True)


def _titles(name: str, field: str) -> list[str]:
    from harness.plan import open_data
    from harness.records import require

    dataset = open_data(name)
    return [
        str(require(row, dataset.place(None, index), field))
        for index, row in enumerate(dataset.rows())
    ]


def _say(graph: "Graph", path: Path) -> None:
    roots = len(graph.children().get(None, []))
    typer.echo(
        f"{len(graph.concepts)} concepts in {roots} trees, by {graph.chunker.name}, "
        f"from {graph.threshold} titles on: {path}"
    )
