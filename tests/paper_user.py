"""What a user of the paper profile has, made small: models, pictures, files."""

import base64
import json
import random
import sys
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tiny_llava import WORDS, tiny_llava

from harness.models.prompts import VisionPrompt
from harness.models.vision_language import VisionLanguage

SMALL = {
    "train.lora.r": 4,
    "train.lora.alpha": 8,
    "train.lr": 1e-2,
    "train.batch_size": 8,
    "train.micro_batch": 8,
    "train.gradient_checkpointing": False,
    "train.precision": "fp32",
    "pairs.max_length": 200,
    "pairs.max_new_tokens": 8,
}
"""The paper's settings made small enough for a tiny model."""

ENDINGS = {
    "Answer the question using a single word or phrase.": ["yes", "no"],
    "Answer with the option's letter from the given choices directly.": ["A", "B", "C", "D"],
}
"""How the tasks end their questions, and what may be answered."""


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def guessing_llava(folder: Path, seed: int = 0) -> Path:
    """A tiny LLaVA taught to guess in the tasks' formats, so that its scores are at chance."""
    tiny_llava(folder, seed)
    model = VisionLanguage.load(folder)
    with torch.no_grad():
        for weight in model.module.parameters():
            # Larger than the usual start, or the picture would hardly move the answer.
            weight.mul_(8 if weight.ndim > 1 else 1)
    guess = random.Random(seed)
    pictures = [noise_picture(100 * seed + i) for i in range(8)]
    rows = []
    for i in range(64):
        ending, answers = list(ENDINGS.items())[i % 2]
        prompt = VisionPrompt(
            pictures[i % 8], f"is there a {guess.choice(WORDS.split())} ?\n{ending}"
        )
        rows.append((prompt, model.encode(prompt, answers[i // 2 % len(answers)])))
    optimizer = torch.optim.AdamW(model.module.parameters(), lr=1e-2)
    for step in range(40):
        some = rows[16 * (step % 4) :][:16]
        ids = torch.nn.utils.rnn.pad_sequence([e.input_ids for _, e in some], True, 0)
        labels = torch.full_like(ids, -100)
        for row, (_, encoded) in enumerate(some):
            answer = slice(encoded.prompt_length, len(encoded.input_ids))
            labels[row, answer] = ids[row, answer]
        out = model.module(
            input_ids=ids,
            attention_mask=(ids != 0).long(),
            labels=labels,
            **model.picture_batch([prompt.image for prompt, _ in some]),
        )
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
    model.save(folder)
    return folder


def noise_picture(seed: int) -> Image.Image:
    """A picture of coarse noise, 60 x 48."""
    pixels = torch.randint(256, (24, 30, 3), generator=torch.Generator().manual_seed(seed))
    return Image.fromarray(pixels.to(torch.uint8).numpy()).resize((60, 48))


def mmbench_tsv(folder: Path) -> str:
    """Six questions on three pictures as VLMEvalKit writes them, each with its rotations: later
    rows of a picture name the index of the row that holds it."""
    lines = ["index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage"]
    holder: dict[int, int] = {}
    for i in range(6):
        options = ["red", "blue", "green", "yellow"][: 2 + i % 3]
        for turn in range(len(options)):
            index = i + turn * 1_000_000
            shown = [*options[turn:], *options[:turn], *[""] * 4][:4]
            encoded = base64.b64encode((folder / "images" / f"{i // 2}.jpg").read_bytes()).decode()
            cell = str(holder[i // 2]) if i // 2 in holder else encoded
            holder.setdefault(i // 2, index)
            answer = "ABCD"[(1 - turn) % len(options)]
            texts = ["which color ?", "a hint" if i == 1 else "", *shown, answer, f"kind {i % 2}"]
            lines.append("\t".join([str(index), *texts, cell]))
    return "\n".join(lines) + "\n"


def results(folder: Path) -> dict[str, Any]:
    """Place -> metrics of every entry, and how much was trained."""
    found = {}
    for path in sorted(folder.glob("leaderboards/*.json")):
        for place, entry in json.loads(path.read_text())["entries"].items():
            metrics = {name: metric["value"] for name, metric in entry["metrics"].items()}
            found[place] = (metrics, entry["cost"], entry["items"])
    return found


if __name__ == "__main__":
    guessing_llava(Path(sys.argv[1]))
