"""What FashionKLIP and its baselines do to fit."""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from harness import processes
from harness.errors import DataError, HarnessError
from harness.selection import by_length, first
from harness.settings import TooLong, TrainSettings
from harness.sources import check_apart, pictured
from harness.trainer import casts
from harness.training import Fit
from methods.fashionklip.concepts import ConceptImages
from methods.fashionklip.config import ClipConfig, DataSettings, FashionKlipConfig
from methods.fashionklip.data import Catalogue, WithConcepts
from methods.fashionklip.graph import Graph
from methods.fashionklip.phrases import chunker, lemma
from methods.fashionklip.rows import View, broken, check_ids, in_one_line, read_views
from methods.fashionklip.step import concept_step, contrastive_step

GRAPH = "graph.jsonl"
CHUNK = 1024
"""Pictures that are looked at between two saves."""


def check_batches(settings: TrainSettings) -> None:
    """Refuse batches that would be compared in parts: the loss is over a whole batch."""
    share = settings.batch_size // processes.count()
    if settings.micro_batch < share:
        raise HarnessError(
            f"train.micro_batch is {settings.micro_batch}, but a contrastive loss compares all "
            f"{share} rows of a batch on one device: raise it, or lower train.batch_size."
        )


def fit_clip(fit: Fit, config: ClipConfig) -> None:
    """Symmetric InfoNCE alone."""
    catalogue = read_catalogue(fit, config.data, config.train.too_long)
    _free_bias(fit)
    step = contrastive_step(fit.model)
    fit.train(range(len(catalogue)), catalogue.batch, step, config.train)


def fit_fashionklip(fit: Fit, config: FashionKlipConfig) -> None:
    """InfoNCE and the concept term, the concept images found anew before each epoch."""
    catalogue = read_catalogue(fit, config.data, config.train.too_long)
    graph = build_graph(catalogue.views, config)
    if not graph.concepts:
        raise HarnessError(
            f"no phrase stands in titles of {config.graph.least} products: lower graph.least, or "
            "train `clip`."
        )
    if processes.is_main():
        graph.write(fit.folder / GRAPH)
    numbers = {each: number for number, each in enumerate(sorted(graph.concepts))}
    phrases = [graph.concepts[each].phrase for each in numbers]
    slots = torch.full((len(catalogue), config.concepts.slots), -1)
    for row, view in enumerate(catalogue.views):
        own = graph.concepts_of(view.title, config.concepts.slots)
        slots[row, : len(own)] = torch.tensor([numbers[each] for each in own], dtype=torch.int64)
    prompts = [config.concepts.prompt.format(phrase=phrase) for phrase in ("", *phrases)]
    rows = WithConcepts(catalogue, fit.model, [text.strip() for text in prompts], slots)
    images = ConceptImages(fit, catalogue, phrases, config.concepts)
    _free_bias(fit)
    step = concept_step(
        fit.model,
        config.concepts,
        lambda: images.vectors,
        words_of(phrases),
        torch.bfloat16 if casts(config.train, fit.device) else None,
    )
    fit.train(range(len(catalogue)), rows.batch, step, config.train, each_epoch=images.refresh)
    fit.save = lambda folder: save(fit, graph, folder)


def words_of(phrases: Sequence[str]) -> torch.Tensor:
    """Codes of each phrase's words, -1 behind them, int [phrases, words]."""
    split = [lemma(phrase).split() for phrase in phrases]
    codes = {word: code for code, word in enumerate(sorted({w for words in split for w in words}))}
    rows = [torch.tensor([codes[word] for word in words]) for words in split]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)


def read_catalogue(fit: Fit, settings: DataSettings, too_long: TooLong = "cut") -> Catalogue:
    """Return the views that are trained on: every row is checked, and every picture opened once.

    Raises:
        DataError: where a row or a picture cannot be trained on, or a product is in two splits.
            Titles longer than the model reads are cut, left out or refused.
            With `skip_broken` broken pictures are left out and named in the fit's folder.
    """
    check_apart(fit.dataset, settings.product, "id")
    pictures = fit.rows
    if settings.image != "image":
        pictures = pictured(fit.dataset, fit.dataset.splits()[0], settings.image)
    views = read_views(fit.dataset, pictures, settings.title, settings.product, settings.limit)
    check_ids(views)

    def look(some: Sequence[View], start: int) -> list[dict[str, bool]]:
        return [{"broken": broken(pictures[view.row], view.place) is not None} for view in some]

    rows = fit.mapped(
        "pictures", {"views": len(views), "image": settings.image}, views, look, CHUNK
    )
    doubtful = [view for view, row in zip(views, rows, strict=True) if row["broken"]]
    # Said anew: what was kept does not know under which names the pictures lie now.
    reasons = {view: said for view in doubtful if (said := broken(pictures[view.row], view.place))}
    if reasons:
        _leave_out(list(reasons.values()), fit, settings.skip_broken)
    if len(reasons) == len(views):
        raise DataError("no picture of the training set can be read.")
    seen = [view for view in views if view not in reasons]
    excess = fit.model.excess([view.title for view in seen])
    fits = by_length(fit.notes, excess, too_long, lambda i: seen[i].place, "titles")
    return Catalogue(fit.model, pictures, [seen[i] for i in fits])


def _leave_out(reasons: Sequence[str], fit: Fit, skip: bool) -> None:
    """Name the pictures that cannot be read: in an error, or in the fit's folder."""
    if not skip:
        raise DataError(f"{in_one_line(reasons)} Leave such pictures out by data.skip_broken=true.")
    fit.notes.add("pictures", reasons)
    if processes.is_main():
        print(f"left out {len(reasons)} pictures to train on: {first(reasons)}", file=sys.stderr)


def build_graph(views: Sequence[View], config: FashionKlipConfig) -> Graph:
    """The graph of the views' titles, or of the file that the settings name."""
    settings = config.graph
    if settings.file is not None:
        return Graph.read(Path(settings.file).expanduser())
    titles, products = [view.title for view in views], [view.product for view in views]
    return Graph.build(titles, chunker(settings.phrases), settings.least, products)


def save(fit: Fit, graph: Graph, folder: Path) -> None:
    """The model, with its graph beside it."""
    fit.model.save(folder)
    graph.write(folder / GRAPH)


def _free_bias(fit: Fit) -> None:
    """SigLIP's bias is no part of this loss."""
    bias = getattr(fit.model.module, "logit_bias", None)
    if bias is not None:
        bias.requires_grad_(False)
