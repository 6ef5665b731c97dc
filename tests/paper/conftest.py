"""A user of the paper profile: a LLaVA folder, a CLIP folder, files, and the command."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from paper_user import SMALL, guessing_llava, mmbench_tsv, noise_picture, write_lines
from tiny_clip import tiny_clip
from tiny_llava import WORDS

import harness
from harness.schema import Entry


@pytest.fixture(scope="session")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return guessing_llava(tmp_path_factory.mktemp("models") / "llava")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIP with the LLaVA's words, 16 tokens at most."""
    return tiny_clip(tmp_path_factory.mktemp("encoders") / "clip", WORDS)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pairs.jsonl, questions.jsonl, pope/ (two categories and images), mmbench.tsv."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "images").mkdir()
    (folder / "pope" / "images").mkdir(parents=True)
    for i in range(6):
        noise_picture(i).save(folder / "images" / f"{i}.jpg")
        noise_picture(i).save(folder / "pope" / "images" / f"COCO_val2014_{i:012d}.jpg")
    questions = [
        {"image": f"images/{i % 6}.jpg", "question": f"describe the {['shape', 'object'][i % 2]} ."}
        for i in range(20)
    ]
    write_lines(folder / "questions.jsonl", questions)
    colors = ["red", "blue", "green", "yellow"]
    write_lines(
        folder / "pairs.jsonl",
        [
            {
                **row,
                "chosen": f"there is a {colors[i % 4]} circle. it is at the top left.",
                "rejected": f"there is a {colors[i % 4]} circle. there are {i % 3} black stars.",
            }
            for i, row in enumerate(questions)
        ],
    )
    for category in ("random", "adversarial"):
        asked = [
            {
                "question_id": i + 1,
                "image": f"COCO_val2014_{i // 2:012d}.jpg",
                "text": f"Is there a {['circle', 'star'][i % 2]} in the image?",
                "label": ["yes", "no"][(i + i // 4) % 2],
            }
            for i in range(12)
        ]
        write_lines(folder / "pope" / f"coco_pope_{category}.json", asked)
    (folder / "mmbench.tsv").write_text(mmbench_tsv(folder), encoding="utf-8")
    return folder


@pytest.fixture
def paper(
    llava: Path, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[Entry]]:
    """Runs the paper profile in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(**changes: Any) -> list[Entry]:
        sets = {**SMALL, **changes.pop("set", {})}
        if sets.get("train.lora", 0) is None:
            sets = {key: value for key, value in sets.items() if "lora." not in key}
        given = {
            "profile": "paper",
            "method": "dpo",
            "tasks": "pope",
            "model": str(llava),
            "dataset": str(files / "pairs.jsonl"),
            "source": {"pope": str(files / "pope")},
        }
        return harness.run(**{**given, **changes, "set": sets})

    return run
