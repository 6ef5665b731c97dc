"""VLMEvalKit's own scorers, loaded without running its packages' `__init__`.

Its package turns gradients off and TLS checks too when it is imported, and wants 66 others; its
scorers need neither. What they write to files between two steps is kept in memory here.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas
import pytest
from PIL import Image

PARENTS = ("vlmeval", "vlmeval.dataset", "vlmeval.dataset.utils")


@cache
def scorers() -> tuple[ModuleType, ModuleType]:
    """VLMEvalKit's modules of the yes-no and the multiple-choice scorer; skips without them."""
    for package in ("vlmeval", "validators", "sty"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed (ms-vlmeval without its dependencies)")
    spec = importlib.util.find_spec("vlmeval")
    home = Path(str(spec and spec.origin)).parent.parent
    limit = Image.MAX_IMAGE_PIXELS
    for name in PARENTS:
        parent = ModuleType(name)
        parent.__path__ = [str(home.joinpath(*name.split(".")))]
        sys.modules[name] = parent
    yes_no = importlib.import_module("vlmeval.dataset.utils.yorn")
    choice = importlib.import_module("vlmeval.dataset.utils.multiple_choice")
    Image.MAX_IMAGE_PIXELS = limit  # vlmeval.smp.vlm raises it for everybody
    memory: dict[str, Any] = {}
    for module in (yes_no, choice):
        module.load = lambda name: memory[name].copy()
        module.dump = lambda data, name: memory.__setitem__(name, data)
    return yes_no, choice


def pope(
    answers: Sequence[str], labels: Sequence[str], categories: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Category (or `Overall`) -> VLMEvalKit's figures, as shares."""
    yes_no, _ = scorers()
    table = pandas.DataFrame({"prediction": answers, "answer": labels, "category": categories})
    table["extracted"] = [yes_no.YOrN_Extraction(answer) for answer in answers]
    table["score"] = table["answer"] == table["extracted"]
    yes_no.load = lambda _: table.copy()
    figures = yes_no.POPE_rating("in memory").set_index("split")
    figures = figures.rename(columns={"Overall": "f1", "acc": "accuracy"}) / 100
    return {str(split): dict(row) for split, row in figures.iterrows()}


def mmbench(rows: Iterable[dict[str, Any]]) -> dict[int, bool]:
    """Question -> whether VLMEvalKit counts it as right, from rows of all its rotations.

    Rows have index (+ k * 1,000,000 in rotation k), A, B, ..., answer, question, prediction.
    """
    _, choice = scorers()
    table = pandas.DataFrame(list(rows))
    scored = choice.mcq_circular_eval(
        None, table.drop(columns="answer"), table, 1, "no such file.pkl", "MMBench"
    )
    return {int(i): bool(hit) for i, hit in zip(scored["index"], scored["hit"], strict=True)}
