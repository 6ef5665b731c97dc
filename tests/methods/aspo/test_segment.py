from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from methods.aspo.segment import sentence_ids, sentences

AWKWARD = [
    "There is a red circle . there are two objects .",
    "Dr. Smith paid 3.5 dollars, e.g. in the U.S. Army. He left",
    "Wait... what?! \"Stop!\" he said. 'No.' (See fig. 3.) **Bold.**\n\n1. One\n2. Two",
    "这是一只猫。那是一只狗！「好。」",
    " \n . . . \t",
    "",
]


def pieces(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A cat sits. A dog runs.", ["A cat sits. ", "A dog runs."]),
        ("the cat sits. the dog runs", ["the cat sits. ", "the dog runs"]),
        ("no stop at all", ["no stop at all"]),
        ("a red circle . a blue star .", ["a red circle . ", "a blue star ."]),
        ("It is 3.5 m high. Yes.", ["It is 3.5 m high. ", "Yes."]),
        ("Mr. Lee met Dr. Wu. They ate.", ["Mr. Lee met Dr. Wu. ", "They ate."]),
        ("Fruit, e.g. apples, vs. nuts. Good.", ["Fruit, e.g. apples, vs. nuts. ", "Good."]),
        ("Cats, dogs, etc. The rest, etc. too.", ["Cats, dogs, etc. ", "The rest, etc. too."]),
        ("The U.S. Army left the U.S. The end.", ["The U.S. Army left the U.S. ", "The end."]),
        ("J. K. Rowling wrote it. I read.", ["J. K. Rowling wrote it. ", "I read."]),
        ("The answer is no. See No. 5 there.", ["The answer is no. ", "See No. 5 there."]),
        ("Wait... what? Fine!", ["Wait... what? ", "Fine!"]),
        ("It ended... Then it rained.", ["It ended... ", "Then it rained."]),
        ("What?! No way.", ["What?! ", "No way."]),
        ('"Stop!" he said. "Go." She left.', ['"Stop!" he said. ', '"Go." ', "She left."]),
        ("(See above.) It is red.", ["(See above.) ", "It is red."]),
        ("1. A cat.\n2. A dog.", ["1. A cat.\n", "2. A dog."]),
        ("Seen:\n- a cat\n\n- a dog\n", ["Seen:\n", "- a cat\n\n", "- a dog\n"]),
        ("这是一只猫。那是狗！「好。」对", ["这是一只猫。", "那是狗！", "「好。」", "对"]),
        ("यह लाल है। वह नीला है।", ["यह लाल है। ", "वह नीला है।"]),
        ("  Space first. Then text.  ", ["  Space first. ", "Then text.  "]),
        ("", [""]),
        ("...", ["..."]),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text, expected):
    assert pieces(text) == expected


texts = st.one_of(
    st.text(max_size=80),
    st.lists(
        st.sampled_from([*"aZ1 .!?\"')\n\t。！」…", "Mr.", "e.g.", "U.S.", " . ", "3.5", "The "]),
        max_size=30,
    ).map("".join),
)


@given(texts)
@example(AWKWARD[0])
@example(AWKWARD[1])
@example(AWKWARD[2])
@example(AWKWARD[3])
@example(AWKWARD[4])
@example(AWKWARD[5])
def test_sentences_partition_any_text(text):
    spans = sentences(text)
    assert "".join(pieces(text)) == text
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text)
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    if any(character.isalnum() for character in text):
        assert all(any(c.isalnum() for c in piece) for piece in pieces(text))


@given(texts, st.data())
def test_every_token_belongs_to_one_sentence_in_order(text, data):
    spans = sentences(text)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    edges = [0, *cuts, len(text)]
    tokens = [*pairwise(edges), (len(text), len(text))]
    ids = sentence_ids(tokens, spans)
    assert len(ids) == len(tokens)
    assert ids == sorted(ids)
    assert set(ids) <= set(range(len(spans)))
    for (start, end), sentence in zip(tokens, ids, strict=True):
        last = max(start, end) - 1
        if last >= 0:
            assert spans[sentence][0] <= last < max(spans[sentence][1], 1)


def test_a_token_with_its_leading_space_opens_the_next_sentence():
    text = "Red one. Blue one."
    tokens = [(0, 3), (3, 7), (7, 8), (8, 13), (13, 17), (17, 18), (18, 18)]
    assert sentence_ids(tokens, sentences(text)) == [0, 0, 0, 1, 1, 1, 1]


def test_white_space_and_end_of_sequence_belong_to_what_precedes_them():
    text = "Red.\n\nBlue.\n"
    tokens = [(0, 4), (4, 5), (5, 6), (6, 11), (11, 12), (12, 12)]
    assert sentence_ids(tokens, sentences(text)) == [0, 0, 0, 1, 1, 1]


def test_long_runs_of_stops_take_no_time():
    assert pieces("." * 20_000 + "x") == ["." * 20_000 + "x"]
    assert len(sentences("Ab. " * 2_000)) == 2_000
