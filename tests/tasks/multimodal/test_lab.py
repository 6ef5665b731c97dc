"""Scenes: the world's truth, its rows, and the shipped base models."""

import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.multimodal.lab import rows, world
from tasks.multimodal.lab.corpus import every_sentence
from tasks.multimodal.lab.questions import LETTERS, OBJECTS, is_there, lettered

WEIGHTS = Path(rows.__file__).parents[1] / "weights"
OFFICIAL = {
    "pope": {"question_id", "image", "text", "label", "category"},
    "mmbench": {"index", "question", "hint", *LETTERS, "answer", "category", "image"},
    "shr": {"id", "image", "question", "facts"},
    "questions": {"id", "image", "question", "facts"},
}


@cache
def split(name: str) -> list[rows.Row]:
    return rows.SPLITS[name]()


def read_back(image) -> bytes:
    return np.asarray(image).tobytes()


def order(places: list[str]) -> list[str]:
    return sorted(places, key=list(world.PLACES).index)


@st.composite
def scene(draw) -> world.Scene:
    places = draw(st.lists(st.sampled_from(list(world.PLACES)), min_size=1, unique=True))
    colors = draw(st.permutations(list(world.COLORS)))
    shape = st.sampled_from(list(world.SHAPES))
    return world.Scene(
        tuple(
            world.Thing(color, draw(shape), place)
            for color, place in zip(colors, order(places), strict=False)
        )
    )


@given(scene())
def test_every_sentence_of_a_description_is_true_and_it_mentions_every_thing(known):
    sentences = world.describe(known)
    assert all(world.sentence_truth(known, sentence) is True for sentence in sentences)
    assert world.mentioned(known, sentences) == set(known.things)
    assert world.sentences_of(" ".join(sentences)) == sentences


@given(scene(), st.data())
def test_one_changed_attribute_makes_a_sentence_false(known, data):
    thing = data.draw(st.sampled_from(known.things))
    words = {"color": world.COLORS, "shape": world.SHAPES, "place": world.PLACES}
    attribute = data.draw(st.sampled_from(list(words)))
    other = data.draw(
        st.sampled_from([w for w in words[attribute] if w != getattr(thing, attribute)])
    )
    claim = world.object_sentence(replace(thing, **{attribute: other}))
    assert world.sentence_truth(known, claim) is False
    assert not world.mentioned(known, [claim])


@given(scene())
def test_exactly_the_described_sentences_of_the_grammar_are_true(known):
    true = {s for s in every_sentence() if world.sentence_truth(known, s)}
    assert true == set(world.describe(known))


@given(scene())
def test_facts_read_back_to_the_same_scene(known):
    assert world.Scene.from_facts(reversed(known.facts())) == known


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "there is a red circle",
        "there is a red red at the top left .",
        "there is a red circle at the top left top left .",
        "there is a red circle at the middle left .",
        "the image has seven objects .",
        "is there a red circle in the image ?",
    ],
)
def test_a_garbled_sentence_is_no_claim_and_counts_as_wrong(text):
    known = world.Scene((world.Thing("red", "circle", "top left"),))
    assert world.sentence_truth(known, text) is None
    assert rows.truth({"facts": known.facts()}, [text, *world.describe(known)]) == [0.0, 1.0, 1.0]


def test_case_spacing_and_final_stop_do_not_change_the_truth():
    known = world.Scene((world.Thing("red", "circle", "top left"),))
    assert world.sentence_truth(known, "  There is a  red circle at the top left.") is True
    assert world.sentence_truth(known, "The image has one object") is True


def test_splits_never_share_a_scene():
    keys = {"train": set(), "dev": set(), "test": set()}
    for name in ("shr", "shr-dev", "questions", "questions-dev"):
        for row in split(name):
            known = world.Scene.from_facts(row["facts"])
            home = "train" if name == "questions" else "dev" if name.endswith("dev") else "test"
            assert known.split == home
            keys[home].add(known.key)
    assert (
        not keys["train"] & keys["dev"] | keys["train"] & keys["test"] | keys["dev"] & keys["test"]
    )


@pytest.mark.parametrize("name", rows.SPLITS)
def test_rows_have_the_official_fields(name):
    task = name.removesuffix("-dev")
    assert all(set(row) == OFFICIAL[task] for row in split(name))
    assert all(row["image"].size == (32, 32) and row["image"].mode == "RGB" for row in split(name))


def test_every_task_has_at_least_600_items_and_training_1500_images():
    assert min(len(split(name)) for name in ("pope", "mmbench", "shr")) >= 600
    assert len(split("questions")) >= 1500


@pytest.mark.parametrize("name", rows.SPLITS)
def test_the_same_split_has_the_same_bytes_twice(name):
    again = rows.SPLITS[name]()
    for row, other in zip(split(name), again, strict=True):
        assert {**row, "image": read_back(row["image"])} == {
            **other,
            "image": read_back(other["image"]),
        }


def scenes_of(part: str, seed: int, count: int) -> list[world.Scene]:
    """The scenes that a split's rows were made of, in order."""
    endless = world.scenes(part, seed)
    return [next(endless) for _ in range(count)]


@pytest.mark.parametrize(("name", "part"), [("pope", "test"), ("pope-dev", "dev")])
def test_pope_labels_are_true_and_balanced_in_every_category(name, part):
    table = split(name)
    scenes = scenes_of(part, 1, len(table) // 3)
    asked = {is_there(thing): thing for thing in OBJECTS}
    for row, known in zip(table, [s for s in scenes for _ in range(3)], strict=True):
        there = asked[row["text"]] in [(t.color, t.shape) for t in known.things]
        assert there == (row["label"] == "yes")
        assert read_back(row["image"]) == read_back(world.draw(known, 1))
    for category in rows.POPE_CATEGORIES:
        labels = [row["label"] for row in table if row["category"] == category]
        assert labels.count("yes") == labels.count("no") == len(table) // 6


def test_adversarial_negatives_name_a_colour_that_is_there_and_mostly_its_favourite():
    table = split("pope")
    asked = {is_there(thing): thing for thing in OBJECTS}
    scenes = [s for s in scenes_of("test", 1, len(table) // 3) for _ in range(3)]
    negatives = [
        (asked[row["text"]], known)
        for row, known in zip(table, scenes, strict=True)
        if row["category"] == "adversarial" and row["label"] == "no"
    ]
    assert all(known.of(color) for (color, _), known in negatives)
    favourite = [world.FAVOURITES[color] == shape for (color, shape), _ in negatives]
    assert sum(favourite) > 0.9 * len(favourite)


@pytest.mark.parametrize(("name", "part"), [("mmbench", "test"), ("mmbench-dev", "dev")])
def test_choice_answers_are_true_and_no_other_option_is(name, part):
    table = split(name)
    for row, known in zip(table, scenes_of(part, 2, len(table)), strict=True):
        options = [row[letter] for letter in LETTERS if row[letter] is not None]
        assert 2 <= len(options) == len(set(options)) and row[row["answer"]] in options
        assert [option for option in options if is_right(known, row["question"], option)] == [
            row[row["answer"]]
        ]
    assert {row["category"] for row in table} == {"color", "shape", "place", "count"}
    assert {row["answer"] for row in table} == set(LETTERS)


def is_right(known: world.Scene, question: str, option: str) -> bool:
    """The truth of an option, read from the question's words alone."""
    words = question.rstrip(" ?").split()
    if words[0] == "how":
        return world.NUMBERS[len(known.things)] == option
    if words[:2] == ["what", "color"]:
        return known.at(" ".join(words[-2:])).color == option
    thing = known.of(words[-2])
    return option == (thing.shape if words[1] == "shape" else thing.place)


def test_rotating_options_keeps_their_number():
    assert lettered("q ?", ["x", "y"]).splitlines()[1:3] == ["A. x", "B. y"]


@given(scene(), st.randoms(use_true_random=False))
def test_careless_captions_change_shapes_to_favourites_and_nothing_else(known, rng):
    always = world.misread(known, dict.fromkeys(world.COLORS, 1.0), rng)
    assert always.things == tuple(
        replace(thing, shape=world.FAVOURITES[thing.color]) for thing in known.things
    )
    assert world.misread(known, dict.fromkeys(world.COLORS, 0.0), rng) == known


def test_world_and_rows_load_no_torch():
    code = "import sys, tasks.multimodal.lab.rows; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=WEIGHTS.parents[2], capture_output=True, text=True
    )
    assert done.stdout.strip() == "False", done.stderr


@cache
def loaded(name: str):
    import torch
    from transformers import AutoProcessor, CLIPModel, LlavaForConditionalGeneration

    kind = CLIPModel if "clip" in name else LlavaForConditionalGeneration
    model = kind.from_pretrained(WEIGHTS / name, dtype=torch.float32).eval()
    return model, AutoProcessor.from_pretrained(WEIGHTS / name)


VLMS = ("scenes-vlm-0", "scenes-vlm-1", "scenes-vlm-2")


@pytest.mark.parametrize("name", VLMS)
def test_shipped_llavas_answer_in_format_and_hallucinate_as_wanted(name):
    from tasks.multimodal.lab.examine import answers, shr_figures
    from tasks.multimodal.lab.questions import SHORT_SUFFIX

    model, processor = loaded(name)
    table = split("shr-dev")[:100]
    texts = answers(model, processor, table, [row["question"] for row in table])
    figures = shr_figures(table, texts)
    assert 0.2 < figures["wrong_sentences"] < 0.4
    parsed = [s for text in texts for s in world.sentences_of(text)]
    known = set(every_sentence())
    assert sum(s in known for s in parsed) > 0.98 * len(parsed)

    polar = split("pope-dev")[:60]
    said = answers(model, processor, polar, [row["text"] + SHORT_SUFFIX for row in polar])
    assert set(said) == {"yes", "no"}

    choice = split("mmbench-dev")[:60]
    options = [[row[x] for x in LETTERS if row[x] is not None] for row in choice]
    prompts = [lettered(row["question"], o) for row, o in zip(choice, options, strict=True)]
    said = answers(model, processor, choice, prompts)
    right = [row["answer"] == answer for row, answer in zip(choice, said, strict=True)]
    assert set(said) <= set(LETTERS) and sum(right) > 30


@pytest.mark.parametrize("name", VLMS)
def test_decoded_answers_tokenize_to_the_same_ids_with_true_offsets(name):
    _, processor = loaded(name)
    tokenizer = processor.tokenizer
    for text in [" ".join(every_sentence()), "yes", "no", "A", "top left"]:
        coded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        assert tokenizer.unk_token_id not in coded["input_ids"]
        assert tokenizer.decode(coded["input_ids"], skip_special_tokens=True) == text
        words = [text[start:end] for start, end in coded["offset_mapping"]]
        assert words == tokenizer.convert_ids_to_tokens(coded["input_ids"])


def test_training_prompt_and_pictures_equal_those_of_the_processor():
    from tasks.multimodal.lab.tokens import PROMPT
    from tasks.multimodal.lab.training import Pictures

    _, processor = loaded(VLMS[0])
    question = "where is the red object ?"
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
    template = processor.apply_chat_template([turn], add_generation_prompt=True)
    assert template == PROMPT.format(question=question)
    pictures = Pictures(3, seed=5)
    images = [world.draw(known, 5) for known in pictures.scenes]
    pixels = processor.image_processor(images, return_tensors="pt")["pixel_values"]
    np.testing.assert_allclose(pictures.pixels, pixels, atol=1e-5)


def test_shipped_clip_tells_a_true_sentence_from_a_changed_one():
    from tasks.multimodal.lab.examine import clip_figures

    assert clip_figures(*loaded("scenes-clip"))["sentence_auc"] > 0.85


def test_llava_carries_the_eyes_of_the_clip():
    clip, _ = loaded("scenes-clip")
    tower = loaded(VLMS[0])[0].model.vision_tower.state_dict()
    eyes = clip.vision_model.state_dict()
    assert all((tower[name.removeprefix("vision_model.")] == eyes[name]).all() for name in eyes)


def test_contrastive_loss_equals_the_softmax_over_one_true_pair_and_the_false_ones():
    import torch

    from tasks.multimodal.lab.models import contrastive_loss

    logits = torch.tensor([[2.0, 1.0, 0.5], [0.0, 3.0, -1.0]])
    true = torch.tensor([[True, True, False], [False, True, False]])

    def pair(own: float, *false: float) -> float:
        return -float(np.log(np.exp(own) / np.exp([own, *false]).sum()))

    by_image = [pair(2.0, 0.5), pair(1.0, 0.5), pair(3.0, 0.0, -1.0)]
    by_sentence = [pair(2.0, 0.0), 0.0, 0.0]
    expected = (np.mean(by_image) + np.mean(by_sentence)) / 2
    assert contrastive_loss(logits, true).item() == pytest.approx(expected, abs=1e-6)


def test_noise_of_step_zero_leaves_a_picture_and_step_1000_drowns_it():
    import torch

    from tasks.multimodal.lab.training import noised

    pixels = torch.full((2, 3, 32, 32), 1.5)
    found = noised(pixels, torch.tensor([0, 1000]), torch.Generator().manual_seed(0))
    assert torch.equal(found[0], pixels[0])
    # Mean 1.5 * sqrt(kept) and variance 1 - kept, with kept = prod(1 - beta) = 0.081.
    assert found[1].mean().item() == pytest.approx(0.43, abs=0.05)
    assert found[1].var().item() == pytest.approx(0.92, abs=0.05)
