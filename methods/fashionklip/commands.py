"""`harness fashionklip`: the graph of concepts, and looking for products."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.shown import echo, shown

if TYPE_CHECKING:
    from harness.models.dual_encoder import DualEncoder
    from methods.fashionklip.drawing import Pictures
    from methods.fashionklip.graph import Graph
    from methods.fashionklip.search import Encoded

app = typer.Typer(help="Of FashionKLIP: the graph of concepts, search.", no_args_is_help=True)
graph_app = typer.Typer(help="Concepts mined from titles.", no_args_is_help=True)
app.add_typer(graph_app, name="graph")

Titles = Annotated[str, typer.Argument(help="Where titles are: file, folder, dataset, hub name.")]
File = Annotated[Path, typer.Argument(help="A graph: JSON lines.")]
Field = Annotated[str, typer.Option(help="Field with the title.")]
Product = Annotated[str, typer.Option(help="Field that views of a product share, else `id`.")]
Runs = Annotated[Path, typer.Option(help="Where vectors are kept.")]
SkipBroken = Annotated[
    bool, typer.Option("--skip-broken", help="Leave out pictures that cannot be read.")
]


@app.callback()
def commands() -> None:
    """Of FashionKLIP: the graph of concepts, search."""


@graph_app.command()
def build(
    titles: Titles,
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("graph.jsonl"),
    phrases: Annotated[str, typer.Option(help="auto, rules or spacy.")] = "auto",
    least: Annotated[int, typer.Option(help="Products that a concept is of at least.")] = 6,
    field: Field = "title",
    product: Product = "product",
) -> None:
    """Mine concepts from titles: phrases that are frequent, with their is-a edges."""
    from methods.fashionklip.graph import Graph
    from methods.fashionklip.phrases import chunker

    texts, products = _titles(titles, field, product)
    graph = Graph.build(texts, chunker(phrases), least, products)
    graph.write(out)
    _say(graph, out)


@graph_app.command()
def extend(
    graph: File, titles: Titles, field: Field = "title", product: Product = "product"
) -> None:
    """Add more products: concepts keep their numbers, phrases that became frequent are added."""
    from methods.fashionklip.graph import Graph

    found = Graph.read(graph)
    new = found.extend(*_titles(titles, field, product))
    found.write(graph)
    echo(f"{len(new)} new: {', '.join(found.concepts[each].phrase for each in new[:10])}")
    _say(found, graph)


@graph_app.command()
def show(
    graph: File,
    concept: Annotated[str | None, typer.Argument(help="Only what is of its kind.")] = None,
    depth: Annotated[int, typer.Option(help="Levels below it.")] = 3,
    breadth: Annotated[int, typer.Option(help="Kinds of each concept, most frequent first.")] = 8,
    svg: Annotated[Path | None, typer.Option(help="Draw it into a file, too.")] = None,
    catalog: Annotated[
        str | None, typer.Option(help="Catalogue that the drawing takes pictures from.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="What finds them. Default: the one beside the graph.")
    ] = None,
    skip_broken: SkipBroken = False,
    runs: Runs = Path("runs"),
) -> None:
    """Print concepts as a tree with the number of their products; with --svg draw one's.

    With --catalog the drawing shows each concept by the pictures that the model finds for it.
    """
    from harness.errors import HarnessError
    from methods.fashionklip.drawing import draw, shown
    from methods.fashionklip.graph import Graph

    found = Graph.read(graph)
    if svg is not None and concept is None:
        raise HarnessError("--svg draws what is of one concept's kind: name it.")
    if catalog is not None and svg is None:
        raise HarnessError("--catalog gives a drawing its pictures: give --svg FILE, too.")
    _print(found, concept, depth, breadth)
    if svg is None or concept is None:
        return
    pictures: Pictures = {}
    if catalog is not None:
        if model is None and not (graph.parent / "config.json").exists():
            raise HarnessError(f"{graph}: no checkpoint lies beside it: give --model.")
        concepts = shown(found, concept, depth + 1, breadth)
        from methods.fashionklip.search import concept_thumbnails

        encoder, encoded = _encoded(model or str(graph.parent), catalog, skip_broken, runs)
        pictures = concept_thumbnails(encoder, encoded, concepts)
    svg.write_text(draw(found, concept, depth + 1, breadth, pictures), encoding="utf-8")
    echo(f"drawn in {svg}")


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
    skip_broken: SkipBroken = False,
    runs: Runs = Path("runs"),
) -> None:
    """Print the pictures of a catalogue that fit a text best, and write a contact sheet."""
    from methods.fashionklip import search as searching

    encoder, found = _encoded(checkpoint, catalog, skip_broken, runs)
    matches = searching.best(found.vectors, encoder.encode_texts([query])[0], top)
    for rank, match in enumerate(matches, start=1):
        name, title = found.shelf.names[match.index], found.shelf.titles[match.index]
        echo(f"{rank:3d}  {match.score:6.3f}  {name}  {title}")
    searching.contact_sheet(found.shelf, matches).save(sheet)
    echo(f"contact sheet: {sheet}")
    if export is not None:
        searching.export(export, found.shelf.names, found.vectors)
        echo(f"vectors of {len(found.vectors)} pictures: {export}")


def _print(graph: "Graph", concept: str | None, depth: int, breadth: int) -> None:
    """Print a concept's tree, or the most frequent trees."""
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    children = graph.children()
    roots = children.get(None, []) if concept is None else [graph.find(concept)]

    def grow(tree: Tree, concept_id: int, left: int) -> None:
        kinds = children.get(concept_id, [])
        for each in kinds[: breadth if left else 0]:
            grow(
                tree.add(Text(shown(f"{each.phrase} ({each.count})"))),
                each.concept_id,
                left - 1,
            )
        hidden = len(kinds) - (breadth if left else 0)
        if hidden > 0:
            tree.add(f"+{hidden} more", highlight=False)

    for root in roots[: max(breadth, 1)]:
        tree = Tree(Text(shown(f"{root.phrase} ({root.count})")))
        grow(tree, root.concept_id, depth)
        Console().print(tree)
    if len(roots) > max(breadth, 1):
        echo(f"+{len(roots) - max(breadth, 1)} more")


def _encoded(
    checkpoint: str, catalog: str, skip_broken: bool, runs: Path
) -> tuple["DualEncoder", "Encoded"]:
    """A model, and the pictures of a catalogue with their vectors by it."""
    from harness import processes

    processes.quiet_libraries()
    from harness.models import loading
    from harness.opening import open_data
    from harness.store import Store
    from methods.fashionklip.search import encode, read_shelf

    folder = loading.resolve(checkpoint)
    shelf = read_shelf(open_data(catalog))
    encoder = loading.load(folder, "dual-encoder")
    found = encode(encoder, folder, shelf, Store(runs / "store"), skip_broken)
    if found.broken:
        echo(f"left out {len(found.broken)}: {found.broken[0]}", err=True)
    return encoder, found


def _titles(name: str, field: str, product: str) -> tuple[list[str], list[str]]:
    """The titles of all rows, and the product of each."""
    from harness.opening import open_data
    from methods.fashionklip.rows import read_views

    dataset = open_data(name)
    views = read_views(dataset, dataset.rows(), field, product)
    return [view.title for view in views], [view.product for view in views]


def _say(graph: "Graph", path: Path) -> None:
    roots = len(graph.children().get(None, []))
    echo(
        f"{len(graph.concepts)} concepts in {roots} trees, by {graph.chunker.name}, "
        f"from {graph.threshold} products on: {path}"
    )
