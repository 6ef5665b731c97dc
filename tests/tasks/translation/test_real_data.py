"""Real text: a product taxonomy in 14 languages; translations of talks by real systems."""

import json
import subprocess
import sys
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from harness.items import read_items
from harness.scoring import scores
from harness.sources import open_dataset
from harness.task import Item, Prediction
from tasks.translation import taxonomy_paths, wmt
from tasks.translation.corpus import corpus_metrics
from tasks.translation.format import Translate
from tasks.translation.score import oscillates
from tasks.translation.text import tokens

DATA = Path(__file__).parents[4] / "shared" / "data" / "translation"
TAXONOMY = DATA / "shopify_taxonomy"
SEGMENTS = DATA / "wmt21_ted_mqm_zhen" / "segments.jsonl"

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the real data sets (../shared/data) are not on this machine"
)

CODES = [
    "en",
    "zh-CN",
    "zh-TW",
    "ja",
    "ko",
    "de",
    "fr",
    "es",
    "it",
    "pt-BR",
    "ru",
    "tr",
    "vi",
    "th",
]
WHOLE = TAXONOMY / "categories.all.en_zh_de_fr_es.jsonl.gz"


def changed(task: Translate, **options: Any) -> Translate:
    return Translate(task.card.model_copy(update={"options": {**task.card.options, **options}}))


def test_paths_of_every_pair_of_languages_are_items() -> None:
    dataset = open_dataset(str(TAXONOMY / "categories.apparel_luggage.jsonl"))
    places = [dataset.place(None, i) for i in range(len(dataset.rows()))]
    rows = list(zip(dataset.rows(), places, strict=True))
    assert len(rows) == 499
    for source, target in permutations(CODES, 2):
        # Words for all: whether a tokenizer's package is installed does not matter here.
        task = changed(taxonomy_paths, source=source, target=target, tokenizer="13a")
        some = rows if source == "en" else rows[::5]
        items = [item for row, place in some for item in task.items(row, place)]
        assert [item.inputs["source"] for item in items] == [row[source] for row, _ in some]
        assert [item.reference["references"] for item in items] == [[r[target]] for r, _ in some]
        assert len({item.category for item in items}) == 2


def test_a_perfect_translation_of_paths_repeats_what_the_reference_repeats() -> None:
    dataset = open_dataset(str(TAXONOMY / "categories.apparel_luggage.jsonl"))
    for target in ("de", "zh-CN", "th"):
        task = changed(taxonomy_paths, target=target)
        items = read_items(task, dataset, limit=100)
        said = [Prediction(item.id, (item.reference["references"][0],)) for item in items]
        metrics = task.aggregate(items, said, scores(task, items, said))
        values = {name: metric.value for name, metric in metrics.items()}
        assert values["oscillation_over_reference"] == 0
        assert values["bleu"] == pytest.approx(100) and values["ter"] == 0
        assert values["rep_1"] and values["rep_1_excess"] == 0


def test_no_branch_of_the_taxonomy_is_trained_and_tested() -> None:
    dataset = open_dataset(f"{WHOLE}:branches")
    rows = {name: dataset.rows(name) for name in dataset.splits()}
    assert {name: len(part) for name, part in rows.items()} == {
        "train": 8543,
        "dev": 742,
        "test": 1310,
    }
    for language in ("en", "de", "zh-CN", "fr", "es"):
        texts = {name: {row[language] for row in part} for name, part in rows.items()}
        assert not texts["test"] & texts["train"]
        assert not texts["dev"] & (texts["train"] | texts["test"])
    items = read_items(taxonomy_paths, dataset, "test")
    assert len({item.cluster for item in items}) == 33
    assert {item.category for item in items} >= {"Electronics", "Hardware"}


def test_values_of_attributes_are_items_too() -> None:
    path = TAXONOMY / "attribute_values.en_zh_de_fr_es.jsonl.gz"
    assert len(read_items(taxonomy_paths, open_dataset(str(path)))) == 20635


@pytest.fixture(scope="module")
def talks() -> tuple[Translate, list[Item], list[dict[str, Any]]]:
    task = changed(wmt, source="zh", target="en")
    rows = [json.loads(line) for line in SEGMENTS.read_text(encoding="utf-8").splitlines()]
    return task, read_items(task, open_dataset(str(SEGMENTS))), rows


def test_talks_have_two_references_and_are_clusters(talks: Any) -> None:
    _, items, rows = talks
    assert len(items) == len(rows) == 529
    assert {len(item.reference["references"]) for item in items} == {2}
    assert len({item.cluster for item in items}) == 5
    assert items[0].id == "talk.2/84"


def rates(items: list[Item], outputs: list[str], task: Translate) -> dict[str, float]:
    """Per-item metrics together: sums of shares over sums of denominators."""
    sums: dict[str, list[float]] = {}
    for item, text in zip(items, outputs, strict=True):
        for name, share in task.score(item, Prediction(item.id, (text,))).items():
            total = sums.setdefault(name, [0.0, 0.0])
            total[0] += share.numerator
            total[1] += share.denominator
    return {name: top / under for name, (top, under) in sums.items() if under}


def test_people_and_real_systems_hardly_oscillate(talks: Any) -> None:
    task, items, rows = talks
    assert len(rows[0]["systems"]) == 13
    for name in (*rows[0]["systems"], "refB"):
        outputs = [{**row["systems"], **row["refs"]}[name] for row in rows]
        flags = [
            oscillates(tokens(text, "en"), tokens(item.reference["references"][0], "en"))
            for item, text in zip(items, outputs, strict=True)
        ]
        assert sum(flags) <= 5, name
        values = rates(items[::8], outputs[::8], changed(task, references="ref"))
        assert abs(values["rep_4_excess"]) <= 0.01, name
        assert 0.8 <= values["length_ratio"] <= 1.25, name
        assert 0.3 <= values["sentence_chrf"] <= (1 if name == "refB" else 0.75), name
        assert "length_limit" not in values


def test_looped_outputs_of_a_real_system_are_found(talks: Any) -> None:
    task, items, rows = talks
    outputs = [row["systems"]["Online-W"] for row in rows[::4]]
    long = [len(tokens(text, "en")) >= 12 for text in outputs]
    looped = [
        text + 2 * (" " + " ".join(text.split()[-6:])) if each else text
        for text, each in zip(outputs, long, strict=True)
    ]
    before, after = (rates(items[::4], texts, task) for texts in (outputs, looped))
    assert before["oscillation"] <= 0.01
    share = sum(long) / len(long)
    assert after["oscillation_over_reference"] == pytest.approx(share, abs=0.02)
    # A sequence of four Chinese characters stands twice in a source more often than four words.
    assert share - 0.1 <= after["oscillation"] <= share
    assert after["rep_4_excess"] > before["rep_4_excess"] + 0.2


def test_a_real_system_scores_as_on_the_command_line(talks: Any, tmp_path: Path) -> None:
    _, items, rows = talks
    outputs = [row["systems"]["Online-W"] for row in rows[::10]]
    references = [item.reference["references"] for item in items[::10]]
    files = {"out": outputs, "ref": [a for a, _ in references], "refB": [b for _, b in references]}
    for name, texts in files.items():
        (tmp_path / name).write_text("\n".join(texts) + "\n", encoding="utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "sacrebleu", "ref", "refB", "-i", "out", "--quiet"),
            *("-m", "bleu", "chrf", "ter", "--width", "14"),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    metrics = corpus_metrics(outputs, references)
    for name, line in zip(("bleu", "chrf", "ter"), json.loads(done.stdout), strict=True):
        metric = metrics[name]
        assert metric.value is not None and metric.low is not None and metric.high is not None
        assert float(f"{metric.value:.14f}") == line["score"]
        assert metric.low < metric.value < metric.high
