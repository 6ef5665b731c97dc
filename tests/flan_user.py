"""What a user of MoDULA in the paper profile has, made small: a model, training sets, a task."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tiny_translators import WORDS, tiny_llama

TRAIN = {
    "lr": 2e-2,
    "batch_size": 4,
    "micro_batch": 2,
    "epochs": 1,
    "precision": "fp32",
    "gradient_checkpointing": False,
}
STAGES = ("universal", "experts", "router")
SETS = ("general", "math", "code", "news")


def settings(folder: Path) -> dict[str, Any]:
    """Files in a folder, and a run over them as `harness.run` takes it: two domains, one task.

    One domain's set is a mixture; `news.jsonl` is there to be added.
    """
    for number, name in enumerate(SETS):
        rows = [
            {"prompt": f"{name} {word} =", "answer": WORDS[(index + number) % 5]}
            for index, word in enumerate(WORDS[:16])
        ]
        _write(folder / f"{name}.jsonl", rows)
    mixture = folder / "both.yaml"
    mixture.write_text("parts: [{source: code.jsonl, weight: 3}, {source: math.jsonl, weight: 1}]")
    letters = ["A", "B", "C"]
    asked = [
        {
            "id": str(index),
            "question": f"Which is {word}?",
            "choices": {"text": WORDS[index : index + 3], "label": letters},
            "answerKey": letters[index % 3],
        }
        for index, word in enumerate(WORDS[:6])
    ]
    return {
        "profile": "paper",
        "model": str(tiny_llama(folder / "model")),
        "dataset": str(folder / "general.jsonl"),
        "method": ["modula"],
        "tasks": ["arc_easy"],
        "source": {"arc_easy": str(_write(folder / "test.jsonl", asked))},
        "set": {
            "ranks.universal": 4,
            "ranks.expert": 2,
            "targets": "all-linear",
            "data.max_length": 64,
            "data.domains.math": str(folder / "math.jsonl"),
            "data.domains.code": str(mixture),
            "data.domains.medicine": None,  # of the preset
            **{f"{stage}.{name}": value for stage in STAGES for name, value in TRAIN.items()},
        },
    }


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
