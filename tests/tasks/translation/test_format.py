"""Rows to items, answers to scores, scores to metrics; every card's task."""

import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import DataError, PluginError
from harness.models.prompts import Translation, TranslationPrompt
from harness.scoring import by_category, scores
from harness.task import Item, Prediction, Ratio
from tasks.translation import corpus, ecommerce_titles, ecommerce_titles_near, taxonomy_paths, wmt
from tasks.translation.format import Translate
from tasks.translation.lab.plugins import titles

TASKS = [ecommerce_titles, ecommerce_titles_near, taxonomy_paths, wmt]


def changed(task: Translate, **options: Any) -> Translate:
    card = task.card.model_copy(update={"options": {**task.card.options, **options}})
    return Translate(card)


def item_of(task: Translate, row: dict[str, Any], place: str = "x.jsonl line 1") -> Item:
    (item,) = task.items(row, place)
    return item


def said(item: Item, text: str, **details: Any) -> Prediction:
    return Prediction(item.id, (text,), details)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.card.name)
def test_every_card_is_a_task_whose_decoding_blocks_nothing(task: Translate) -> None:
    assert isinstance(task, Translate)
    assert task.card.family == "translation" and task.role == "translator"
    assert task.card.generation["no_repeat_ngram_size"] == 0
    item = item_of(task, {"source": "a b", "target": "c d"})
    score = task.score(item, said(item, "c d"))
    assert task.card.primary in score
    assert score["sentence_chrf"] == Ratio(1.0)
    assert task.card.higher_is_better == (task.card.primary == "sentence_chrf")


@pytest.mark.parametrize(
    ("row", "name", "references", "cluster", "category"),
    [
        ({"id": 7, "source": "ein Hut", "target": "a hat"}, "7", ["a hat"], "", ""),
        ({"src": "ein Hut", "ref": "a hat"}, "x.jsonl line 1", ["a hat"], "", ""),
        ({"id": "a", "de": "ein Hut", "en": "a hat", "fr": ""}, "a", ["a hat"], "", ""),
        ({"translation": {"de": "ein Hut", "en": "a hat"}, "id": "b"}, "b", ["a hat"], "", ""),
        (
            {"doc": "d1", "seg_id": 3, "source": "ein Hut", "refs": {"A": "a hat", "B": "hat"}},
            "d1/3",
            ["a hat", "hat"],
            "d1",
            "",
        ),
        (
            {"de": "ein Hut", "en": "a hat", "ref2.en": "hat", "ref3.en": None, "category": "rare"},
            "x.jsonl line 1",
            ["a hat", "hat"],
            "",
            "rare",
        ),
    ],
)
def test_every_form_of_row_is_an_item(
    row: dict[str, Any], name: str, references: list[str], cluster: str, category: str
) -> None:
    item = item_of(changed(wmt, source="de", target="en"), row)
    assert item == Item(name, {"source": "ein Hut"}, {"references": references}, cluster, category)


def test_the_first_level_of_a_path_is_the_category() -> None:
    row = {"id": "ap-2", "en": "Pets > Birds", "de": "Tiere > Vögel", "doc": "ap-2"}
    assert item_of(taxonomy_paths, row).category == "Pets"
    german = changed(taxonomy_paths, source="de", target="en")
    assert item_of(german, row).category == "Tiere"
    assert item_of(german, row).cluster == "ap-2"


def test_indonesian_is_no_identifier() -> None:
    task = changed(wmt, source="en", target="id")
    item = item_of(task, {"en": "a hat", "id": "topi"})
    assert (item.id, item.reference["references"]) == ("x.jsonl line 1", ["topi"])


def test_references_are_chosen_by_name() -> None:
    row = {"source": "x", "refs": {"ref": "a", "refB": "b"}}
    for given_as in (["refB"], "refB"):
        item = item_of(changed(wmt, references=given_as), row)
        assert item.reference["references"] == ["b"]
    item = item_of(changed(wmt, references="refB, ref"), row)
    assert item.reference["references"] == ["b", "a"]
    with pytest.raises(DataError, match=r"^x.jsonl line 1: .* 'reff'. Did you mean 'ref'\?"):
        item_of(changed(wmt, references="reff"), row)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokeniser": "zh"}, "option 'tokeniser': there is no such option. Did you mean 'tok"),
        ({"tokenizer": "14a"}, "option 'tokenizer': Input should be '13a'"),
        ({"source": ""}, "option 'source': "),
        ({"source": 5}, "option 'source': "),
        ({"target": "en"}, "options 'source' and 'target' are both 'en'"),
        ({"target": "english"}, "option 'target': 'english' is no language code"),
        ({"references": []}, "option 'references': "),
        ({"ngram": 0}, "option 'ngram': "),
        ({"threshold": "many"}, "option 'threshold': "),
    ],
)
def test_wrong_options_are_one_line_with_their_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError) as caught:
        changed(wmt, **options)
    text = str(caught.value)
    assert text.startswith("task 'wmt': option") and message in text and "\n" not in text


def test_a_tokenizer_that_lacks_something_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("SACREBLEU", str(tmp_path))
    monkeypatch.setattr(corpus, "find_spec", lambda module: module)
    with pytest.raises(PluginError, match=r"'flores200' needs a model .*downloads it\.$") as caught:
        changed(wmt, tokenizer="flores200")
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(corpus, "find_spec", lambda _: None)
    with pytest.raises(PluginError, match=r"'ja-mecab' needs .*pip install 'harness\[ja\]'"):
        changed(wmt, target="ja")


@pytest.mark.parametrize(
    ("target", "tokenizer"), [("zh-CN", "zh"), ("zho_Hans", "zh"), ("fr", "13a"), ("th", "13a")]
)
def test_the_tokenizer_follows_the_target_as_in_sacrebleu(target: str, tokenizer: str) -> None:
    assert changed(wmt, target=target).tokenizer == tokenizer
    assert changed(wmt, target=target, tokenizer="char").tokenizer == "char"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": 1, "en": "a hat"}, "there is no language 'de'."),
        ({"id": 1, "en": "a hat", "dee": "ein Hut"}, "Did you mean 'dee'?"),
        ({"id": 1, "en": " ", "de": "ein Hut"}, "'en' is empty."),
        ({"id": 1, "en": "a hat", "de": None}, "'de' is empty."),
        ({"id": 1, "en": 5, "de": "ein Hut"}, "'en' is a int, not text."),
        ({"source": "a hat"}, "there is no 'target' or 'reference' or 'ref'."),
        ({"source": "a hat", "refs": {}}, "'refs' is a blank"),
        ({"source": "a hat", "refs": {"A": ""}}, "'A' is empty."),
        ({"source": "a hat", "refs": ["b"]}, "'refs' is a list"),
        ({"translation": "a hat"}, "'translation' is a str"),
        ({"translation": {"en": "a hat", "fr": "x"}}, "there is no language 'de'."),
    ],
)
def test_malformed_rows_are_one_line_with_the_place(row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        wmt.items(row, "x.jsonl line 1")
    text = str(caught.value)
    assert text.startswith("x.jsonl line 1: ") and message in text and "\n" not in text


@pytest.mark.parametrize(
    "concepts",
    [
        "boro",
        [{"forms": ["a"]}],
        [{"forms": "a", "count": 1}],
        [{"forms": [], "count": 1}],
        [{"forms": ["a"], "count": 0}],
        [{"forms": ["a"], "count": 1}, {"forms": ["b", "a"], "count": 1}],
        [{"forms": [["a"]], "count": 1}],
        {"forms": ["a"], "count": 1},
    ],
)
def test_concepts_that_cannot_be_counted_are_an_error(concepts: Any) -> None:
    row = {"source": "a", "target": "a", "concepts": concepts}
    with pytest.raises(DataError, match=r"^x.jsonl line 1: 'concepts' must be") as caught:
        item_of(ecommerce_titles, row)
    assert "\n" not in str(caught.value)


class Shouting:
    """A translator that says every text in capitals and never comes to an end at `b`."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[TranslationPrompt], dict[str, Any]]] = []

    def translate(self, prompts: Sequence[TranslationPrompt], **given: Any) -> list[Translation]:
        self.asked.append((list(prompts), given))
        return [Translation(prompt.text.upper(), prompt.text != "b") for prompt in prompts]


def test_predictions_keep_what_was_said_and_whether_it_ended() -> None:
    model = Shouting()
    items = [item_of(wmt, {"id": text, "en": text, "de": text}) for text in "ab"]
    predictions = wmt.predict(model, items, num_beams=2)
    assert predictions == [
        Prediction("a", ("A",), {"finished": True}),
        Prediction("b", ("B",), {"finished": False}),
    ]
    asked = [TranslationPrompt("a", "en", "de"), TranslationPrompt("b", "en", "de")]
    assert model.asked == [(asked, {"num_beams": 2})]
    rates = [wmt.score(*pair)["length_limit"] for pair in zip(items, predictions, strict=True)]
    assert rates == [(0, 1), (1, 1)]
    assert wmt.score(items[0], said(items[0], "A"))["length_limit"] == (0, 0)


def test_scores_of_a_loop_by_hand() -> None:
    row = {"en": "red and blue", "de": "rot und blau und rot und grau"}
    item = item_of(wmt, row)
    score = wmt.score(item, said(item, "rot und blau und rot und blau und rot und blau und"))
    assert score["oscillation"] == (1, 1)  # `rot und blau und` three times, the source has none
    assert score["oscillation_over_reference"] == (1, 1)
    assert score["length_ratio"] == (12, 7)
    assert score["rep_1"].numerator == pytest.approx(9 / 12)
    assert score["rep_1_excess"].numerator == pytest.approx(9 / 12 - 3 / 7)
    strict = changed(wmt, threshold=3)
    assert strict.score(item, said(item, "rot und blau und " * 3))["oscillation"] == (1, 1)
    assert strict.score(item, said(item, "rot und blau und " * 2))["oscillation"] == (0, 1)


def test_a_loop_of_characters_is_seen_in_chinese_alone() -> None:
    row = {"en": "hat", "zh-CN": "帽子", "de": "Hut"}
    for target, flagged in (("zh-CN", 1), ("de", 0)):
        task = changed(wmt, target=target)
        item = item_of(task, row)
        assert task.score(item, said(item, "红色帽子" * 3))["oscillation"] == (flagged, 1)


def test_concepts_are_scored_where_a_row_knows_them() -> None:
    row = {"source": "x y", "target": "boro boro nata"}
    known = {**row, "concepts": [{"forms": ["boro"], "count": 2}, {"forms": ["nata"], "count": 1}]}
    item = item_of(ecommerce_titles, known)
    score = ecommerce_titles.score(item, said(item, "boro nata nata"))
    assert score["concepts_rendered"] == (2, 2)
    assert score["lost_repeats"] == (1, 1)
    assert score["needless_repeats"] == (1, 3)
    other = item_of(ecommerce_titles, row)
    blind = ecommerce_titles.score(other, said(other, "boro nata nata"))
    assert set(blind) == set(score)
    assert {blind[name] for name in ("concepts_rendered", "lost_repeats")} == {(0, 0)}
    plain = item_of(wmt, known)
    assert "lost_repeats" not in wmt.score(plain, said(plain, "boro"))


HOSTILE = st.text(st.characters(exclude_categories=()), max_size=80)


@settings(max_examples=150, deadline=None)
@given(HOSTILE, st.sampled_from(["de", "zh-CN", "th"]))
def test_any_answer_is_scored(output: str, target: str) -> None:
    task = changed(wmt, target=target)
    item = item_of(task, {"source": "a b", "target": "c d"})
    score = task.score(item, said(item, output))
    assert set(score) == set(task.score(item, said(item, "")))
    for name, (numerator, denominator) in score.items():
        assert -1 <= numerator <= max(1, denominator) or name == "length_ratio"


def test_hostile_answers_have_metrics() -> None:
    outputs = ["", "\x00\x07", "\ud800", "a\nb\r\n", "c", "c " * 2000, "\u2028", "💩" * 50]
    items = [
        item_of(wmt, {"id": i, "source": "a b", "refs": {"A": "c d", "B": ["d", ""][i % 2]}})
        for i in range(len(outputs))
    ]
    predictions = [said(item, text) for item, text in zip(items, outputs, strict=True)]
    metrics = wmt.aggregate(items, predictions, scores(wmt, items, predictions))
    assert all(metrics[name].value is not None for name in ("bleu", "chrf", "chrf++", "ter"))
    assert "nrefs:var" in str(metrics["bleu"].signature)
    assert metrics["length_limit"].value is None


def test_silence_has_metrics() -> None:
    items = [item_of(wmt, {"id": i, "source": "a b", "target": "c d"}) for i in range(3)]
    predictions = [said(item, "") for item in items]
    metrics = wmt.aggregate(items, predictions, scores(wmt, items, predictions))
    values = {name: metric.value for name, metric in metrics.items()}
    assert (values["bleu"], values["chrf"], values["chrf++"], values["ter"]) == (0, 0, 0, 100)
    assert values["length_ratio"] == 0 and values["diversity"] == 1


def test_the_references_of_the_titles_are_perfect_and_metrics_take_two_seconds() -> None:
    rows = titles.rows("test")[:800]
    items = [item_of(ecommerce_titles, dict(row)) for row in rows]
    predictions = [said(item, item.reference["references"][0], finished=True) for item in items]
    start = time.process_time()
    found = scores(ecommerce_titles, items, predictions)
    metrics = ecommerce_titles.aggregate(items, predictions, found)
    seconds = time.process_time() - start
    values = {name: metric.value for name, metric in metrics.items()}
    assert values["oscillation_over_reference"] == 0
    assert values["concepts_rendered"] == 1
    assert values["lost_repeats"] == values["needless_repeats"] == values["length_limit"] == 0
    assert values["length_ratio"] == 1 and values["sentence_chrf"] == pytest.approx(1)
    assert values["bleu"] == pytest.approx(100) and values["ter"] == 0
    assert all(value == 0 for name, value in values.items() if name.endswith("excess"))
    assert {item.category for item in items} == set(by_category(items, found))
    assert seconds < 6  # about 2.5 as measured on a busy machine


def test_paired_tests_of_predictions() -> None:
    pairs = [
        ("a red hat", "ein roter Hut aus Filz"),
        ("a blue shoe", "ein blauer Schuh aus Leder"),
    ] * 10
    items = [item_of(wmt, {"id": i, "en": en, "de": de}) for i, (en, de) in enumerate(pairs)]
    right = [said(item, item.reference["references"][0]) for item in items]
    wrong = [said(item, "ein Hut Hut Hut") for item in items]
    references = [item.reference for item in items]
    found = wmt.corpus_tests(references, wrong, right)
    assert set(found) == {"bleu", "chrf", "chrf++", "ter"}
    assert found["bleu"].b == pytest.approx(100) and found["ter"].b == 0
    assert all(pair.p_bootstrap < 0.01 and pair.p_randomization < 0.01 for pair in found.values())
    same = wmt.corpus_tests(references, wrong, wrong)
    assert (
        all(pair.p_randomization == 1 for pair in same.values()) or same["bleu"].a == same["bleu"].b
    )
