"""What FashionKLIP and its baselines do to fit."""

from pathlib import Path

import torch

from harness import processes
from harness.errors import HarnessError
from harness.settings import TrainSettings
from harness.training import Fit
from methods.fashionklip.concepts import ConceptImages
from methods.fashionklip.config import ClipConfig, FashionKlipConfig
from methods.fashionklip.data import Catalogue, WithConcepts
from methods.fashionklip.graph import Graph
from methods.fashionklip.phrases import chunker
from methods.fashionklip.step import concept_step, contrastive_step

GRAPH = "graph.jsonl"


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
    catalogue = Catalogue(fit.model, fit.dataset, fit.rows, config.data)
    _free_bias(fit)
    step = contrastive_step(fit.model)
    fit.train(range(len(catalogue)), catalogue.batch, step, config.train)


def fit_fashionklip(fit: Fit, config: FashionKlipConfig) -> None:
    """InfoNCE and the concept term, the concept images found anew before each epoch."""
    catalogue = Catalogue(fit.model, fit.dataset, fit.rows, config.data)
    graph = build_graph(catalogue.product_titles, config)
    if not graph.concepts:
        raise HarnessError(
            f"no phrase stands in {config.graph.least} titles: lower graph.least, or train `clip`."
        )
    if processes.is_main():
        graph.write(fit.folder / GRAPH)
    numbers = {each: number for number, each in enumerate(sorted(graph.concepts))}
    phrases = [graph.concepts[each].phrase for each in numbers]
    slots = torch.full((len(catalogue), config.concepts.slots), -1)
    for row, title in enumerate(catalogue.titles):
        own = graph.concepts_of(title, config.concepts.slots)
        slots[row, : len(own)] = torch.tensor([numbers[each] for each in own], dtype=torch.int64)
    prompts = [config.concepts.prompt.format(phrase=phrase) for phrase in ("", *phrases)]
    rows = WithConcepts(catalogue, fit.model, [text.strip() for text in prompts], slots)
    images = ConceptImages(fit, catalogue, phrases, config.concepts)
    _free_bias(fit)
    step = concept_step(fit.model, config.concepts, lambda: images.vectors)
    fit.train(range(len(catalogue)), rows.batch, step, config.train, each_epoch=images.refresh)
    fit.save = lambda folder: save(fit, graph, folder)


def build_graph(titles: list[str], config: FashionKlipConfig) -> Graph:
    """The graph of the titles, or of the file that the settings name."""
    settings = config.graph
    if settings.file is not None:
        return Graph.read(Path(settings.file).expanduser())
    return Graph.build(titles, chunker(settings.phrases), settings.least)


def save(fit: Fit, graph: Graph, folder: Path) -> None:
    """The model, with its graph beside it."""
    fit.model.save(folder)
    graph.write(folder / GRAPH)


def _free_bias(fit: Fit) -> None:
    """SigLIP's bias is no part of this loss."""
    bias = getattr(fit.model.module, "logit_bias", None)
    if bias is not None:
        bias.requires_grad_(False)
