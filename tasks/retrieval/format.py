"""The formats of a retrieval task: pictures and titles, each looked for by the other."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from harness.cards import checked_options
from harness.dataset import Dataset, Row
from harness.errors import DataError
from harness.records import is_missing, require
from harness.schema import Metric, TaskCard
from harness.sources import check_apart, pictured
from harness.task import Item, Prediction, Ratio, Score, Task
from tasks.retrieval.draws import Draw, draws
from tasks.retrieval.options import RankingOptions, SampleOptions
from tasks.retrieval.pictures import Located, checked, skipped
from tasks.retrieval.ranking import Pairs, pairs_of, ranks, ranks_both_ways

CUTOFFS = (1, 5, 10)
DIRECTIONS = {"image": "i2t", "text": "t2i"}
"""What is looked for with -> what its recalls are called."""
OUTSIDE = Ratio(0, 0)


class FullRanking(Task):
    """Every text against all pictures and back.

    A row is a view of a product: `image` and a title. Items are the views and the different
    titles, in the order of the rows; equal titles are one text of all their products. Views of a
    product and its titles are a cluster.
    """

    role = "dual-encoder"
    chunk = None

    def __init__(self, card: TaskCard) -> None:
        super().__init__(card)
        self.options = self._options(card)

    def read(self, data: Dataset, split: str | None) -> Iterator[tuple[str, Item]]:
        """The views of all rows, each new title behind the first view that has it.

        Raises `DataError` too where a product stands in two splits of a folder.
        """
        check_apart(data, self.options.product, "id")
        rows = pictured(data, split, self.options.image)
        places = [data.place(split, index) for index in range(len(rows))]
        located = [(place, self._view(row, place)) for row, place in zip(rows, places, strict=True)]
        views: Iterable[Located] = checked(located, self.options.skip_broken)
        if self.options.skip_broken:
            # The titles of what is left out are no candidates: all must be known first.
            views = located = list(views)
        of_text: dict[str, list[Item]] = {}
        for _, view in located:
            if "title" in view.inputs:
                of_text.setdefault(view.inputs["title"], []).append(view)
        for place, view in views:
            yield place, view
            same = of_text.get(view.inputs.get("title", ""), [])
            if same and same[0] is view:
                yield place, _title(same)

    def items(self, row: Row, place: str) -> Sequence[Item]:
        """A view and its title, as if there were no other row."""
        view = self._view(row, place)
        return [view, _title([view])]

    def requests(self, item: Item) -> Sequence[Any]:
        return [item.inputs.get("image", item.inputs.get("text"))]

    def predict(self, model: Any, items: Sequence[Item], **generation: Any) -> list[Prediction]:
        """The ranks of each item's best positive, as details; there is no text."""
        views = [item for item in items if "image" in item.inputs]
        titles = [item for item in items if "text" in item.inputs]
        if not titles:
            raise DataError(
                f"task '{self.card.name}': no title of a picture is among the items: raise --limit."
            )
        images = model.encode_images([item.inputs["image"] for item in views])
        texts = model.encode_texts([item.inputs["text"] for item in titles])
        found = self.ranks(views, titles, images, texts)
        return [Prediction(item.id, (), {"ranks": found.get(item.id, [])}) for item in items]

    def ranks(
        self,
        views: Sequence[Item],
        titles: Sequence[Item],
        images: torch.Tensor,
        texts: torch.Tensor,
    ) -> dict[str, list[int]]:
        """Item -> its rank; none where no candidate is right, as under a `--limit`.

        Args:
            images: unit vectors of the views, [views, width].
            texts: unit vectors of the titles, [titles, width].
        """
        pairs = _pairs(views, titles)
        by_image, by_text = ranks_both_ways(images, texts, pairs)
        return {
            **{views[i].id: [int(by_image[i])] for i in np.unique(pairs.images)},
            **{titles[i].id: [int(by_text[i])] for i in np.unique(pairs.texts)},
        }

    def score(self, item: Item, prediction: Prediction) -> Score:
        """An item's shares with every query of its direction counting alike."""
        return self.scores([item], [prediction])[0]

    def scores(self, items: Sequence[Item], predictions: Sequence[Prediction]) -> list[Score]:
        """Recall at 1, 5 and 10 of each direction, and their mean, both directions counting alike.

        A query that was drawn several times counts as often.
        """
        asked: dict[str, int] = dict.fromkeys(DIRECTIONS.values(), 0)
        for item, prediction in zip(items, predictions, strict=True):
            asked[_direction(item)] += len(_ranks(prediction))
        directions = sum(count > 0 for count in asked.values())
        found: list[Score] = []
        for item, prediction in zip(items, predictions, strict=True):
            own, places = _direction(item), _ranks(prediction)
            times = len(places)
            hits = {k: sum(rank <= k for rank in places) for k in CUTOFFS}
            share = 1 / (directions * asked[own]) if times else 0.0
            mean = sum(hits.values()) / len(CUTOFFS)
            shares = {"mean_recall": Ratio(mean * share, times * share)}
            for name in DIRECTIONS.values():
                for k in CUTOFFS:
                    shares[f"{name}_r{k}"] = Ratio(hits[k], times) if name == own else OUTSIDE
            found.append(shares)
        return found

    def aggregate(
        self, items: Sequence[Item], predictions: Sequence[Prediction], scores: Sequence[Score]
    ) -> dict[str, Metric]:
        """Recalls; the median rank of each direction with an interval over its queries; how many
        pictures were left out, where that is allowed."""
        found = super().aggregate(items, predictions, scores)
        for name in DIRECTIONS.values():
            places = [
                rank
                for item, prediction in zip(items, predictions, strict=True)
                if _direction(item) == name
                for rank in _ranks(prediction)
            ]
            found[f"{name}_median_rank"] = median_rank(places)
        return found | ({"skipped": skipped(items)} if self.options.skip_broken else {})

    def metric_names(self, item: Item) -> Sequence[str]:
        return list(self.score(item, Prediction(item.id, (), {"ranks": [1]})))

    def _view(self, row: Row, place: str) -> Item:
        options = self.options
        title = str(require(row, place, options.title)).strip()
        image = require(row, place, *dict.fromkeys(("image", options.image)))
        name = str(row["id"]) if not is_missing(row.get("id")) else place
        product = name if is_missing(row.get(options.product)) else str(row[options.product])
        category = "" if is_missing(row.get(options.category)) else str(row[options.category])
        finer = row.get(options.subcategory)
        inputs = {
            "image": image,
            "title": title,
            "products": [product],
            "subcategory": category if is_missing(finer) else str(finer),
        }
        return Item(name, inputs, [product], product, category)

    @staticmethod
    def _options(card: TaskCard) -> Any:
        return checked_options(RankingOptions, card)


class SampledRanking(FullRanking):
    """The literature's protocol: one positive among negatives of the same sub-category.

    Each draw chooses queries of either direction, and for each a positive and negatives of other
    products; where a sub-category has too few, others fill up. All is decided by the card's seed.
    """

    def ranks(
        self,
        views: Sequence[Item],
        titles: Sequence[Item],
        images: torch.Tensor,
        texts: torch.Tensor,
    ) -> dict[str, list[int]]:
        pairs = _pairs(views, titles)
        found: dict[str, list[int]] = {}
        ways = (
            (views, images, texts, pairs, [_finer(item) for item in titles]),
            (titles, texts, images, Pairs(*pairs[::-1]), [_finer(item) for item in views]),
        )
        for queries, vectors, candidates, own, finer in ways:
            options = self.options
            for draw in draws(own, [_finer(item) for item in queries], finer, options):
                for index, rank in zip(
                    draw.queries, _drawn(draw, vectors, candidates), strict=True
                ):
                    found.setdefault(queries[index].id, []).append(rank)
        return found

    @staticmethod
    def _options(card: TaskCard) -> Any:
        return checked_options(SampleOptions, card)


def median_rank(places: Sequence[int]) -> Metric:
    """The median with its 95 % interval from the order statistics; none of no rank."""
    from scipy.stats import quantile_test

    if not places:
        return Metric(value=None, n=0)
    low, high = quantile_test(places).confidence_interval(0.95)
    bounds = [float(bound) if np.isfinite(bound) else None for bound in (low, high)]
    return Metric(value=float(np.median(places)), low=bounds[0], high=bounds[1], n=len(places))


def _title(views: Sequence[Item]) -> Item:
    """The text that some views have in common, of all their products."""
    first = views[0]
    products = list(dict.fromkeys(view.inputs["products"][0] for view in views))
    inputs = {
        "text": first.inputs["title"],
        "products": products,
        "subcategory": first.inputs["subcategory"],
    }
    return Item(f"title of {first.id}", inputs, products, first.cluster, first.category)


def _pairs(views: Sequence[Item], titles: Sequence[Item]) -> Pairs:
    return pairs_of(*([set(item.inputs["products"]) for item in side] for side in (views, titles)))


def _finer(item: Item) -> str:
    return str(item.inputs["subcategory"])


def _direction(item: Item) -> str:
    return DIRECTIONS["text" if "text" in item.inputs else "image"]


def _ranks(prediction: Prediction) -> list[int]:
    found = prediction.details.get("ranks")
    if not isinstance(found, list) or any(type(rank) is not int or rank < 1 for rank in found):
        raise DataError(f"prediction '{prediction.id}': its details have no 'ranks'.")
    return found


def _drawn(draw: Draw, queries: torch.Tensor, candidates: torch.Tensor) -> list[int]:
    """Rank of the first candidate of each query of a draw among its own."""
    chosen = candidates[torch.from_numpy(draw.candidates)]
    scores = torch.einsum("qd,qcd->qc", queries[torch.from_numpy(draw.queries)], chosen)
    positive = torch.zeros_like(scores, dtype=torch.bool)
    positive[:, 0] = True
    found: list[int] = ranks(scores, positive).tolist()
    return found
