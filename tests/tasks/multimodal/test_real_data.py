"""Real files: POPE's questions, samples of MMBench, photographs of COCO."""

from collections import Counter
from pathlib import Path

import pytest

from harness.items import fingerprint, read_items
from harness.models.pictures import open_picture
from harness.sources import open_dataset
from harness.task import Item, Prediction
from tasks.multimodal import mmbench, pope, shr

DATA = Path(__file__).parents[4] / "shared" / "data" / "multimodal"

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the real data sets (../shared/data) are not on this machine"
)


def pope_items(name: str) -> list[Item]:
    dataset = open_dataset(str(DATA / "pope_text" / name))
    # The pictures are not there, so the items are read without looking for them.
    rows = enumerate(dataset.rows())
    return [item for i, row in rows for item in pope.items(row, dataset.place(None, i))]


@pytest.mark.parametrize("category", ["random", "popular", "adversarial"])
@pytest.mark.parametrize("prefix", ["coco_pope", "gqa_pope_seem"])
def test_pope_files_have_3000_balanced_questions_on_500_pictures(
    prefix: str, category: str
) -> None:
    items = pope_items(f"{prefix}_{category}.json")
    labels = Counter(item.reference for item in items)
    assert labels == {"yes": 1500, "no": 1500}
    assert {item.category for item in items} == {category}
    assert len({item.cluster for item in items}) == 500


def test_pope_ids_are_unique_over_all_files() -> None:
    names = sorted(path.name for path in (DATA / "pope_text").glob("*.json"))
    items = [item for name in names for item in pope_items(name)]
    assert len({item.id for item in items}) == len(items) == 3000 * len(names)


@pytest.mark.parametrize(
    ("name", "count"), [("pope_official_overlap.jsonl", 18), ("pope_style.jsonl", 312)]
)
def test_pope_questions_with_their_photographs(name: str, count: int) -> None:
    items = read_items(pope, open_dataset(str(DATA / "coco_tiny_free" / name)))
    assert len(items) == count
    for item in items:
        assert min(open_picture(item.inputs["image"]).size) > 100
    assert fingerprint(items) == fingerprint(items)
    truth = [Prediction(item.id, (item.reference,)) for item in items]
    shares = [pope.score(item, said) for item, said in zip(items, truth, strict=True)]
    assert all(share["accuracy"].numerator for share in shares)


def test_mmbench_samples_with_their_pictures() -> None:
    items = read_items(mmbench, open_dataset(str(DATA / "mmbench_samples")))
    assert len(items) == 54
    assert Counter(len(item.inputs["options"]) for item in items) == {4: 50, 3: 4}
    assert len({item.cluster for item in items}) == 34
    for item in items:
        open_picture(item.inputs["image"])
        requests = mmbench.requests(item)
        assert len(requests) == len(item.inputs["options"])
        texts = [item.inputs["options"][item.reference]] * len(requests)
        unparsed = mmbench.score(item, Prediction(item.id, texts))["unparsed"]
        assert unparsed.denominator == len(requests)


def test_captions_by_people_seldom_name_what_is_absent() -> None:
    dataset = open_dataset(str(DATA / "coco_tiny_free" / "annotations.jsonl"))
    items = read_items(shr, dataset)
    assert len(items) == 33
    wrong = sentences = named = present = 0.0
    for item, row in zip(items, dataset.rows(), strict=True):
        share = shr.score(item, Prediction(item.id, (" ".join(_stopped(row["captions"])),)))
        wrong += share["wrong_sentences"].numerator
        sentences += share["wrong_sentences"].denominator
        named += share["object_recall"].numerator
        present += share["object_recall"].denominator
    assert sentences >= 165
    assert wrong / sentences < 0.03
    assert named / present > 0.5


def test_captions_of_another_picture_are_often_wrong() -> None:
    dataset = open_dataset(str(DATA / "coco_tiny_free" / "annotations.jsonl"))
    items, rows = read_items(shr, dataset), dataset.rows()
    wrong = sentences = 0.0
    for index, item in enumerate(items):
        other = rows[(index + 11) % len(rows)]["captions"]
        share = shr.score(item, Prediction(item.id, (" ".join(_stopped(other)),)))
        wrong += share["wrong_sentences"].numerator
        sentences += share["wrong_sentences"].denominator
    assert wrong / sentences > 0.3


def _stopped(captions: list[str]) -> list[str]:
    return [caption.strip().rstrip(".") + "." for caption in captions]
