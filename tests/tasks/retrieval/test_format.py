"""Retrieval over a small catalogue: which items there are, their ranks, and their metrics."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_clip import tiny_clip

import harness
from harness import registry, scoring
from harness.errors import DataError, PluginError
from harness.items import read_items
from harness.schema import TaskCard
from harness.sources import open_dataset
from harness.task import Item, Prediction
from tasks.retrieval.format import FullRanking, SampledRanking, median_rank

TITLES = ["red shirt", "blue shirt", "red dress", "long dress"]


class Told:
    """A dual encoder that has its vectors from a table, by title and by file name."""

    def __init__(self, vectors: dict[str, Sequence[float]]) -> None:
        self.vectors = {
            name: torch.tensor(vector, dtype=torch.float32) for name, vector in vectors.items()
        }

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.stack([self.vectors[text] for text in texts])

    def encode_images(self, images: Sequence[Path]) -> torch.Tensor:
        return torch.stack([self.vectors[Path(image).stem] for image in images])


def catalogue(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """A catalogue's file with a picture for each row."""
    for index, row in enumerate(rows):
        name = f"{row['id']}.png"
        Image.new("RGB", (40, 40), (index * 20 % 256, 90, 200)).save(folder / name)
        row.setdefault("image", name)
    path = folder / "catalogue.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def card(task: str, **options: Any) -> TaskCard:
    found: TaskCard = registry.load("tasks", task).card
    return found.model_copy(update={"options": {**found.options, **options}})


def views(folder: Path) -> Path:
    """Four products; the first has two views, the last two the same title."""
    rows = [
        {"id": "a1", "product": "a", "title": "red shirt", "category": "shirts"},
        {"id": "a2", "product": "a", "title": "red shirt", "category": "shirts"},
        {"id": "b", "product": "b", "title": "blue shirt", "category": "shirts"},
        {"id": "c", "product": "c", "title": "long dress", "category": "dresses"},
        {"id": "d", "product": "d", "title": "long dress", "category": "dresses"},
    ]
    return catalogue(folder, rows)


def scored(task: FullRanking, items: list[Item], model: Any) -> tuple[list[Prediction], Any]:
    predictions = task.predict(model, items)
    scores = scoring.scores(task, items, predictions)
    return predictions, task.aggregate(items, predictions, scores)


def test_views_and_different_titles_are_items(tmp_path: Path) -> None:
    task = FullRanking(card("fashion_catalog"))
    items = read_items(task, open_dataset(str(views(tmp_path))))
    titles = [item for item in items if "text" in item.inputs]
    assert [item.id for item in items][:3] == ["a1", "title of a1", "a2"]
    assert [(item.inputs["text"], item.reference) for item in titles] == [
        ("red shirt", ["a"]),
        ("blue shirt", ["b"]),
        ("long dress", ["c", "d"]),
    ]
    assert {item.cluster for item in items} == {"a", "b", "c", "d"}


def test_the_best_view_and_every_product_of_a_title_count(tmp_path: Path) -> None:
    task = FullRanking(card("fashion_catalog"))
    items = read_items(task, open_dataset(str(views(tmp_path))))
    model = Told(
        {
            "red shirt": [1, 0, 0],
            "blue shirt": [0, 1, 0],
            "long dress": [0, 0, 1],
            **{"a1": [1, 0, 0], "a2": [0, 1, 0.1], "b": [0.9, 0.1, 0], "c": [1, 0, 0.5]},
            "d": [0, 0, 1],
        }
    )
    predictions, metrics = scored(task, items, model)
    ranks = {each.id: each.details["ranks"] for each in predictions}
    assert ranks["a1"] == [1] and ranks["a2"] == [3] and ranks["b"] == [2] and ranks["d"] == [1]
    assert ranks["title of a1"] == [2]  # c ties with a1, its better view
    assert ranks["title of c"] == [1]
    assert metrics["i2t_r1"].value == 2 / 5 and metrics["t2i_r1"].value == 1 / 3
    recalls = [metrics[f"{way}_r{k}"].value for way in ("i2t", "t2i") for k in (1, 5, 10)]
    assert metrics["mean_recall"].value == pytest.approx(np.mean(recalls))
    assert metrics["i2t_median_rank"].value == 2


def test_a_limit_leaves_out_what_has_no_match(tmp_path: Path) -> None:
    task = FullRanking(card("fashion_catalog"))
    items = read_items(task, open_dataset(str(views(tmp_path))), limit=1)
    model = Told({"a1": [1.0, 0.0], "red shirt": [1.0, 0.0]})
    with pytest.raises(DataError, match="no title of a picture is among the items: raise --limit"):
        scored(task, items, model)


@pytest.mark.parametrize("negatives", [2, 50])
def test_candidates_are_of_the_category_and_never_of_the_product(
    negatives: int, tmp_path: Path
) -> None:
    rows = [
        {"id": f"{i}", "product": f"{i // 2}", "title": f"thing {i // 2}", "category": f"{i % 4}"}
        for i in range(24)
    ]
    task = SampledRanking(
        card("fashion_catalog_sample100", queries=5, negatives=negatives, draws=3)
    )
    items = read_items(task, open_dataset(str(catalogue(tmp_path, rows))))
    generator = torch.Generator().manual_seed(0)
    names = [*(f"{i}" for i in range(24)), *(f"thing {i}" for i in range(12))]
    model = Told({name: torch.randn(4, generator=generator).tolist() for name in names})
    predictions, metrics = scored(task, items, model)
    again, _ = scored(task, items, model)
    assert [each.details for each in again] == [each.details for each in predictions]
    asked = [len(each.details["ranks"]) for each in predictions]
    assert sum(asked) == 2 * 3 * 5
    largest = max(rank for each in predictions for rank in each.details["ranks"])
    assert largest <= 1 + negatives
    assert metrics["mean_recall"].value is not None and metrics["i2t_r1"].n <= 15


def test_a_collapsed_model_finds_nothing_and_a_perfect_one_everything(tmp_path: Path) -> None:
    rows = [{"id": f"{i}", "title": f"thing {i}", "category": "x"} for i in range(30)]
    dataset = open_dataset(str(catalogue(tmp_path, rows)))
    names = [name for i in range(30) for name in (f"{i}", f"thing {i}")]
    for task in (
        FullRanking(card("fashion_catalog")),
        SampledRanking(card("fashion_catalog_sample100", negatives=20)),
    ):
        items = read_items(task, dataset)
        same = Told({name: [1.0, 0.0] for name in names})
        assert scored(task, items, same)[1]["mean_recall"].value == 0
        own = torch.eye(30)
        right = Told({name: own[int(name.split()[-1])].tolist() for name in names})
        assert scored(task, items, right)[1]["mean_recall"].value == 1


def test_a_median_has_the_interval_of_its_order_statistics() -> None:
    found = median_rank(list(range(1, 102)))
    assert (found.value, found.n) == (51, 101)
    assert found.low is not None and 40 <= found.low <= 42
    assert found.high is not None and 60 <= found.high <= 62
    assert median_rank([]).value is None


def test_a_whole_run_from_a_catalogue_of_ones_own(tmp_path: Path) -> None:
    model = tiny_clip(tmp_path / "clip", " ".join(TITLES))
    file = views(tmp_path)
    tasks = ["fashion_catalog", "fashion_catalog_sample100"]
    entries = harness.run(
        profile="paper",
        method="base",
        model=str(model),
        tasks=tasks,
        source=dict.fromkeys(tasks, str(file)),
        runs=tmp_path / "runs",
        leaderboards=tmp_path / "boards",
    )
    assert [entry.task.name for entry in entries] == tasks
    for entry in entries:
        assert 0 <= entry.metrics["mean_recall"].value <= 1
        assert list(entry.paired) == ["i2t_r1", "t2i_r1"]


WRONG = {
    "no title": ({"id": "x", "product": "p"}, "line 1: there is no 'title'."),
    "an empty title": ({"id": "x", "title": " "}, "line 1: 'title' is empty."),
    "no picture": ({"id": "x", "title": "t", "image": None}, "line 1: 'image' is empty."),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_row_is_one_line(case: str, tmp_path: Path) -> None:
    row, message = WRONG[case]
    with pytest.raises(DataError) as caught:
        read_items(
            FullRanking(card("fashion_catalog")),
            open_dataset(str(catalogue(tmp_path, [row]))),
        )
    assert message in str(caught.value)


def test_an_id_that_stands_twice_and_a_wrong_option_are_one_line(tmp_path: Path) -> None:
    rows = [{"id": "x", "title": "t"}, {"id": "x", "title": "u"}]
    with pytest.raises(DataError, match=r"line 2: id 'x' stands at .* line 1 already"):
        read_items(
            FullRanking(card("fashion_catalog")), open_dataset(str(catalogue(tmp_path, rows)))
        )
    with pytest.raises(PluginError, match="option 'negatives': Input should be greater"):
        SampledRanking(card("fashion_catalog_sample100", negatives=0))
