"""Titles: the world's truth, its splits and spacings, and the shipped base models."""

import subprocess
import sys
from collections import Counter
from functools import cache
from itertools import islice, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.translation.lab import grammar, lexicon, rows
from tasks.translation.score import oscillates

WEIGHTS = Path(rows.__file__).parents[1] / "weights"
WANTED = {"far": range(5, 9), "near": range(1, 5)}
SPLITS = ("train", "dev", "test")
EVERY = [(spacing, split) for spacing in WANTED for split in SPLITS]


@cache
def table(spacing: str, split: str) -> list[rows.Row]:
    return rows.splits(spacing)[split]()


def drawn(spacing: str, split: str, seed: int, count: int = 10) -> list[rows.Row]:
    titles = islice(grammar.titles(split, spacing, seed), count)
    return [rows.row(title, str(number)) for number, title in enumerate(titles)]


def distances(row: rows.Row) -> list[int]:
    """Tokens from each mention of a concept to its next one, read from the reference alone."""
    starts: dict[int, list[int]] = {}
    position = 0
    for word in row["target"].split():
        (owner,) = [n for n, c in enumerate(row["concepts"]) if word in c["forms"]]
        starts.setdefault(owner, []).append(position)
        position += len(lexicon.pieces(word))
    return [b - a for found in starts.values() for a, b in pairwise(found)]


def needed(row: rows.Row) -> int:
    return sum(concept["count"] - 1 for concept in row["concepts"])


seeds = st.integers(0, 2**32)


@settings(deadline=None, max_examples=15)
@given(seeds, st.sampled_from(EVERY))
def test_every_word_of_a_reference_belongs_to_one_concept_and_counts_match(seed, place):
    for row in drawn(*place, seed):
        forms = [form for concept in row["concepts"] for form in concept["forms"]]
        assert len(forms) == len(set(forms))
        words = Counter(row["target"].split())
        assert set(words) <= set(forms)
        for concept in row["concepts"]:
            assert sum(words[form] for form in concept["forms"]) == concept["count"] >= 1


@settings(deadline=None, max_examples=15)
@given(seeds, st.sampled_from(EVERY))
def test_every_repeat_stands_as_far_from_the_last_mention_as_declared(seed, place):
    found = [gap for row in drawn(*place, seed, count=40) for gap in distances(row)]
    assert found and set(found) <= set(WANTED[place[0]])


@pytest.mark.parametrize(("spacing", "middle"), [("far", 6), ("near", 3)])
def test_repeats_stand_about_six_or_about_three_tokens_apart(spacing, middle):
    found = [gap for row in table(spacing, "dev") for gap in distances(row)]
    assert sum(found) / len(found) == pytest.approx(middle, abs=0.5)
    assert (
        set(found)
        == set(WANTED[spacing])
        == set(range(grammar.SPACINGS[spacing][0], grammar.SPACINGS[spacing][1] + 1))
    )


@settings(deadline=None, max_examples=15)
@given(seeds, st.sampled_from(EVERY))
def test_the_source_says_every_concept_as_often_and_nothing_but_noise_beside(seed, place):
    meaning = {
        word: concept
        for kind in lexicon.concepts().values()
        for concept in kind
        for word in concept.source
    }
    for row in drawn(*place, seed):
        said = Counter(
            meaning[word].target if word in meaning else (word,) for word in row["source"].split()
        )
        counts = {tuple(c["forms"]): c["count"] for c in row["concepts"]}
        noise = set(said) - set(counts)
        if row["category"] == "stacked":
            assert not noise and all(said[forms] >= n for forms, n in counts.items())
            continue
        assert {forms: said[forms] for forms in counts} == counts
        if row["category"] == "truncated":
            (fragment,) = row["source"].split()[-1:]
            assert noise <= {(fragment,)} and len(fragment) in (2, 3)
        elif row["category"] == "unseen":
            assert all(set(word) <= set(lexicon.CODE_LETTERS) for (word,) in noise)
        else:
            assert not noise


def test_phrases_stand_in_the_opposite_order_in_the_translation():
    for title in islice(grammar.titles("train", "far", 3), 36):
        assert title.category == "plain"
        words = title.source.split()
        for phrase in reversed(title.phrases):
            size = len(phrase.source)
            assert sorted(words[:size]) == sorted(term.source for term in phrase.target)
            words = words[size:]
        assert not words
        assert [t for p in title.phrases for t in p.target] == title.terms


def test_splits_of_both_datasets_never_share_a_title_or_a_coined_name():
    known = set(lexicon.words())
    titles: dict[str, set[str]] = {split: set() for split in SPLITS}
    names: dict[str, set[str]] = {split: set() for split in SPLITS}
    for spacing, split in EVERY:
        sources = [row["source"] for row in table(spacing, split)]
        assert len(set(sources)) == len(sources)
        titles[split].update(sources)
        unseen = [row for row in table(spacing, split) if row["category"] == "unseen"]
        names[split].update(w for row in unseen for w in row["target"].split() if w not in known)
    for one, other in [("train", "dev"), ("train", "test"), ("dev", "test")]:
        assert not titles[one] & titles[other]
        assert names[one] and not names[one] & names[other]
    assert all(grammar.split_of(t) == split for split in SPLITS for t in titles[split])


def test_what_the_base_models_read_is_in_no_dev_or_test_split():
    for spacing in WANTED:
        read = [title.source for title in islice(grammar.titles("train", spacing, 7), 300)]
        assert {grammar.split_of(source) for source in read} == {"train"}


@pytest.mark.parametrize("spacing", WANTED)
def test_splits_are_large_even_and_of_one_length_range(spacing):
    assert len(table(spacing, "train")) >= 2000
    assert len(table(spacing, "dev")) >= 400 and len(table(spacing, "test")) >= 800
    lengths = {}
    for split in SPLITS:
        found = table(spacing, split)
        kinds = Counter(row["category"] for row in found)
        assert set(kinds) == {"plain", *grammar.HARD}
        if split == "train":
            assert kinds["plain"] == 0.975 * len(found)
        else:
            assert set(kinds.values()) == {len(found) / 5}
        assert sum(needed(row) >= 2 for row in found) > 0.75 * len(found)
        lengths[split] = sum(len(row["target"].split()) for row in found) / len(found)
    assert max(lengths.values()) < 1.06 * min(lengths.values())


@pytest.mark.parametrize(("spacing", "split"), EVERY)
def test_the_same_split_has_the_same_rows_twice_and_ids_of_its_own(spacing, split):
    again = rows.splits(spacing)[split]()
    assert again == table(spacing, split)
    assert [row["id"] for row in again] == [f"{split}-{n:06}" for n in range(len(again))]
    assert drawn(spacing, split, 1) != drawn(spacing, split, 2)


def test_rare_titles_use_the_rarer_half_and_coined_names_are_translated_by_themselves():
    rarer = {c.target for known in lexicon.concepts().values() for c in known[len(known) // 2 :]}
    links = {c.target for c in lexicon.concepts()["link"]}
    known = set(lexicon.words())
    coined = 0
    for row in table("far", "test"):
        if row["category"] == "rare":
            assert {tuple(c["forms"]) for c in row["concepts"]} <= rarer | links
        for word in set(row["target"].split()) - known:
            coined += 1
            assert row["category"] == "unseen" and word in row["source"].split()
    assert coined > 100


def test_no_reference_oscillates_by_itself():
    for spacing, split in EVERY:
        for row in table(spacing, split):
            assert not oscillates(row["target"].split(), row["source"].split())


def test_rows_load_no_torch():
    code = "import sys, tasks.translation.lab.plugins; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=WEIGHTS.parents[2], capture_output=True, text=True
    )
    assert done.stdout.strip() == "False", done.stderr


@cache
def loaded(name: str):
    from transformers import AutoTokenizer, MarianMTModel

    model = MarianMTModel.from_pretrained(WEIGHTS / name, dtype="float32").eval()
    return model, AutoTokenizer.from_pretrained(WEIGHTS / name)


MODELS = ("titles-young", "titles-mature")


@pytest.mark.parametrize("name", MODELS)
def test_shipped_translators_end_what_they_say_and_render_concepts(name):
    from tasks.translation.lab.examine import figures, translate

    model, tokenizer = loaded(name)
    found = table("far", "dev")[:40]
    texts, cut = translate(model, tokenizer, [row["source"] for row in found])
    measured = figures(found, texts)
    assert all(texts) and cut < 0.15
    assert measured["concepts_rendered"] > (0.35 if name == "titles-young" else 0.65)
    assert 0.05 < measured["lost_repeats"] < 0.6


@pytest.mark.parametrize("name", MODELS)
def test_shipped_configurations_have_the_ids_of_the_vocabulary_and_room_to_oscillate(name):
    import torch

    model, tokenizer = loaded(name)
    assert len(tokenizer) == model.config.vocab_size == model.config.decoder_vocab_size
    ids = (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert len({*ids, tokenizer.unk_token_id}) == 4
    for config in (model.config, model.generation_config):
        assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == ids
        assert config.decoder_start_token_id == tokenizer.bos_token_id
        assert getattr(config, "forced_eos_token_id", None) is None
        assert getattr(config, "bad_words_ids", None) is None
    longest = max(len(tokenizer(row["target"])["input_ids"]) for row in table("far", "test"))
    assert model.generation_config.max_new_tokens == 96 > 1.5 * longest
    assert all(torch.isfinite(weight).all() for weight in model.parameters())
    assert 700_000 < sum(weight.numel() for weight in model.parameters()) < 900_000


def test_the_tokenizer_reads_words_as_declared_and_writes_them_back():
    _, tokenizer = loaded("titles-young")
    text = " ".join([*lexicon.words(), "2q7x", "bor"])
    ids = tokenizer(text, truncation=False)["input_ids"]
    assert ids[-1] == tokenizer.eos_token_id and tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    for word in (*lexicon.words(), "2q7x"):
        tokens = tokenizer.tokenize(word)
        assert tuple(token.removeprefix("##") for token in tokens) == lexicon.pieces(word)


def test_a_source_is_within_the_positions_of_the_model():
    model, tokenizer = loaded("titles-young")
    for spacing, split in EVERY:
        sources = tokenizer([row["source"] for row in table(spacing, split)])["input_ids"]
        assert max(map(len, sources)) <= model.config.max_position_embeddings


def test_labels_and_their_shift_are_what_the_model_was_trained_on():
    import random

    from tasks.translation.lab.training import BATCH, IGNORED, Corpus

    model, tokenizer = loaded("titles-young")
    batch = next(Corpus(tokenizer, 512, seed=0).batches(random.Random(0)))
    assert len(batch["labels"]) == BATCH
    said = [[i for i in row if i != IGNORED] for row in batch["labels"].tolist()]
    assert all(row[-1] == tokenizer.eos_token_id for row in said)
    start = model.prepare_decoder_input_ids_from_labels(batch["labels"])
    assert set(start[:, 0].tolist()) == {tokenizer.bos_token_id}
