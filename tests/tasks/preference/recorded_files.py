"""Files of FastChat's and AlpacaEval's formats, as tests write them."""

import json
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]


def lines(path: Path, rows: Rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def array(path: Path, rows: Rows) -> Path:
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def questions() -> Rows:
    return [
        {"question_id": 1, "text": "How?", "category": "generic"},
        {"question_id": 2, "text": "Why?", "category": "math"},
        {"question_id": 3, "text": "When?", "category": "math"},
    ]


def answers(model: str) -> Rows:
    """Of a model to the three questions: `own 1` with the id `own1`."""
    return [
        {"question_id": i, "answer_id": f"{model}{i}", "text": f"{model} {i}"} for i in (1, 2, 3)
    ]


def reviews(
    *scores: Any, first: str = "own", second: str = "base", reviewer: str = "gpt-4"
) -> Rows:
    """Of the first questions, a score pair each."""
    return [
        {
            "question_id": i,
            "answer1_id": f"{first}{i}",
            "answer2_id": f"{second}{i}",
            "text": f"{score[0]} {score[1]}\nSo." if isinstance(score, list) and score[1:] else "",
            "reviewer_id": reviewer,
            "score": score,
        }
        for i, score in enumerate(scores, start=1)
    ]


def annotation(number: int, value: Any, **fields: Any) -> dict[str, Any]:
    return {
        "instruction": f"do {number}",
        "output_1": f"base {number}",
        "output_2": f"own {number}",
        "generator_1": "gpt4",
        "generator_2": "own",
        "annotator": "judge",
        "preference": value,
    } | fields
