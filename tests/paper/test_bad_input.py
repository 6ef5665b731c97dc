"""What users of the paper profile get wrong: one line with the place, exit status 2."""

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import launch
import pytest
from paper_user import write_lines
from PIL import Image

from harness.errors import HarnessError
from harness.schema import Entry

Run = Callable[..., list[Entry]]


def changed(files: Path, change: dict[str, Any], only: int | None = 2) -> str:
    """pairs.jsonl with one row changed, or all."""
    rows = [json.loads(line) for line in (files / "pairs.jsonl").read_text().splitlines()]
    for index, row in enumerate(rows):
        row["image"] = str(files / row["image"])
        if only in (None, index):
            row.update(change)
            for key in [key for key, value in row.items() if value is ...]:
                del row[key]
    return str(write_lines(Path("mine.jsonl"), rows))


def refused(run: Run, **changes: Any) -> str:
    with pytest.raises(HarnessError) as caught:
        run(**changes)
    message = str(caught.value)
    assert "\n" not in message
    return message


def half(picture: Path) -> bytes:
    content = picture.read_bytes()
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("change", "only", "message"),
    [
        ({"image": "nowhere.jpg"}, 2, "mine.jsonl line 3: there is no picture nowhere.jpg"),
        ({"chosen": ""}, 2, "mine.jsonl line 3: 'chosen' is empty"),
        ({"question": ...}, 2, "mine.jsonl line 3: no 'question'"),
        ({"rejected": ..., "reject": "a"}, 2, "line 3: no 'rejected'. Did you mean 'reject'?"),
        ({"question": "<image>\nwhat ?"}, 2, "line 3: 'question' holds '<image>'"),
        ({"chosen": "same", "rejected": "same"}, None, "mine.jsonl line 1 and the 19 rows after"),
    ],
)
def test_bad_pairs(
    paper: Run, files: Path, change: dict[str, Any], only: int | None, message: str
) -> None:
    assert message in refused(paper, dataset=changed(files, change, only))


def test_pictures_that_cannot_be_read(paper: Run, files: Path) -> None:
    cut = half(files / "images" / "1.jpg")
    Path("cut.jpg").write_bytes(cut)
    assert refused(paper, dataset=changed(files, {"image": "cut.jpg"})).startswith(
        "cut.jpg: cannot"
    )
    encoded = {"image": base64.b64encode(cut).decode()}
    assert refused(paper, dataset=changed(files, encoded)).startswith("mine.jsonl line 3: cannot")
    Image.new("1", (20_000, 20_000)).save("huge.png")
    assert "exceeds limit" in refused(paper, dataset=changed(files, {"image": "huge.png"}))
    question = {"question_id": 1, "text": "is it red ?", "label": "no", **encoded}
    source = {"pope": str(write_lines(Path("asked.jsonl"), [question]))}
    assert refused(paper, source=source).startswith("asked.jsonl line 1: cannot be read as a pic")


@pytest.mark.parametrize("kind", ["llama", "clip", "no processor", "no folder", "cut"])
def test_models_that_are_none(paper: Run, llava: Path, clip: Path, kind: str) -> None:
    if kind == "llama":
        from transformers import LlamaConfig, LlamaForCausalLM

        small = {"vocab_size": 99, "hidden_size": 8, "intermediate_size": 8}
        LlamaForCausalLM(
            LlamaConfig(**small, num_hidden_layers=1, num_attention_heads=1)
        ).save_pretrained(kind)
    elif kind == "clip":
        shutil.copytree(clip, kind)
    elif kind != "no folder":
        shutil.copytree(llava, kind)
        if kind == "cut":
            Path(kind, "model.safetensors").write_bytes(half(Path(kind, "model.safetensors")))
        else:
            Path(kind, "processor_config.json").unlink()
    message = refused(paper, model=kind)
    assert kind in message
    assert len(message) < 500


def test_a_wrong_format_and_wrong_columns(paper: Run, files: Path) -> None:
    source = {"mmbench": str(files / "pope")}
    assert "line 1: there is no 'index'" in refused(paper, tasks="mmbench", source=source)
    Path("bad.tsv").write_text("index\timg\tquestion\tA\tB\tanswer\n1\tx\tq\ta\tb\tA\n")
    message = refused(paper, tasks="mmbench", source={"mmbench": "bad.tsv"})
    assert message.startswith("bad.tsv line 2: there is no 'image'. Did you mean 'img'?")


def test_long_answers_are_cut_and_long_questions_named(paper: Run, files: Path) -> None:
    long = changed(files, {"chosen": "there is a red circle. " * 300}, None)
    _, dpo = paper(dataset=long, set={"pairs.max_length": 64})
    assert dpo.cost.train_tokens <= 2 * 16 * 64
    assert "leaves none to answer" in refused(paper, set={"pairs.max_length": 8})


def test_a_model_without_chat_template_is_asked_in_llavas_own_words(
    paper: Run, llava: Path
) -> None:
    shutil.copytree(llava, "plain", ignore=shutil.ignore_patterns("*chat_template*"))
    base, _ = paper(model="plain")
    assert base.model.name == "plain"


def test_the_command_says_it_on_one_line_and_exits_with_2(files: Path, llava: Path) -> None:
    done = launch.run(
        [
            *("run", "--profile", "paper", "--method", "dpo"),
            *("--tasks", "mmbench", "--model", llava, "--dataset", files / "pairs.jsonl"),
            *("--source", f"mmbench={files / 'pope'}"),
        ],
        files,
    )
    assert done.status == 2
    assert done.stdout == ""
    assert done.stderr.startswith("harness: coco_pope_adversarial.json line 1: there is no 'index'")
    assert len(done.stderr.splitlines()) == 1
