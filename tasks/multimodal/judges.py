"""Judges of a description: how many of its sentences are wrong, by what is known of the picture."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.multimodal import coco, score


@dataclass(frozen=True)
class Judgement:
    """A description, counted.

    sentences: in the answer.
    wrong: sentences that are not true.
    unparsed: sentences of which the judge can say nothing.
    recalled: objects of the picture that the answer names rightly.
    present: objects of the picture.
    """

    sentences: int
    wrong: int
    unparsed: int
    recalled: int
    present: int


def by_grammar(facts: Sequence[dict[str, str]], answer: str) -> Judgement:
    """Judge an answer on an embedded scene: exact, sentence by sentence.

    A sentence outside the grammar claims nothing that could be true: it is wrong, and counted as
    unparsed too.
    """
    from tasks.multimodal.lab.world import Scene, mentioned, sentence_truth, sentences_of

    scene = Scene.from_facts(facts)
    found = sentences_of(answer)
    truths = [sentence_truth(scene, sentence) for sentence in found]
    return Judgement(
        sentences=len(found),
        wrong=sum(truth is not True for truth in truths),
        unparsed=sum(truth is None for truth in truths),
        recalled=len(mentioned(scene, found)),
        present=len(scene.things),
    )


def by_name(objects: Sequence[str], answer: str) -> Judgement:
    """Judge an answer by the COCO categories in its picture, as CHAIR does (arXiv 1809.02156).

    A sentence is wrong if it names a category that is not there. One that names none is unparsed
    and counts as right: colours, places and deeds are not judged.

    Args:
        objects: the categories present.
        answer: the description.
    """
    present = set(objects)
    named = [coco.named(sentence) for sentence in score.sentences(answer)]
    return Judgement(
        sentences=len(named),
        wrong=sum(bool(categories - present) for categories in named),
        unparsed=sum(not categories for categories in named),
        recalled=len(present & set().union(*named)),
        present=len(present),
    )
