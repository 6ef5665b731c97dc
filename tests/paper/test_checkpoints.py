"""What training leaves is a plain folder: transformers and peft read it without this project."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from paper_user import noise_picture

from harness.models import loading
from harness.models.prompts import VisionPrompt
from harness.schema import Entry

Run = Callable[..., list[Entry]]
Plain = Callable[[Path, str, Path, str], dict[str, Any]]

PLAIN = """
import json, sys
import torch
from peft import PeftModel
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

for line in sys.stdin:
    folder, base, picture, text = json.loads(line)
    model = AutoModelForImageTextToText.from_pretrained(base or folder, dtype=torch.float32)
    if base:
        model = PeftModel.from_pretrained(model, folder)
    processor = AutoProcessor.from_pretrained(folder)
    inputs = processor(text=text, images=Image.open(picture), return_tensors="pt")
    with torch.inference_mode():
        logits = model(**inputs).logits[0, -1]
        out = model.generate(**inputs, max_new_tokens=6, do_sample=False)
    out = out[0, inputs["input_ids"].shape[1]:]
    answer = processor.tokenizer.decode(out, skip_special_tokens=True)
    ours = [name for name in sys.modules if name.split(".")[0] in ("harness", "methods")]
    said = {"logits": logits.tolist(), "answer": answer.strip(), "ours": ours}
    print(json.dumps(said), flush=True)
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plain]:
    """What plain transformers and peft say, in a process that starts in another folder."""
    with subprocess.Popen(
        [sys.executable, "-c", PLAIN],
        cwd=tmp_path_factory.mktemp("away"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        asked, answers = process.stdin, process.stdout

        def ask(folder: Path, base: str, picture: Path, text: str) -> dict[str, Any]:
            print(json.dumps([str(folder.resolve()), base, str(picture), text]), file=asked)
            asked.flush()
            said = dict(json.loads(answers.readline()))
            assert said["ours"] == []
            return said

        yield ask


def same(plain: Plain, folder: Path, base: str, tmp_path: Path) -> None:
    """Plain libraries and the harness say the same with a checkpoint."""
    noise_picture(3).save(tmp_path / "picture.png")
    model = loading.load(folder, "vision-language")
    prompt = VisionPrompt(tmp_path / "picture.png", "describe the shape .")
    said = plain(folder, base, tmp_path / "picture.png", model.prompt_text(prompt.text))
    ids = torch.tensor([model.prompt_ids(prompt)])
    with torch.inference_mode():
        out = model.module(input_ids=ids, **model.picture_batch([prompt.image]))
    torch.testing.assert_close(
        torch.tensor(said["logits"]), out.logits[0, -1], rtol=1e-5, atol=1e-5
    )
    assert [said["answer"]] == model.generate([prompt], max_new_tokens=6)


def checkpoint() -> Path:
    (found,) = Path("runs").glob("dpo_pope-*/dpo-seed0/checkpoint")
    return found


def test_an_adapter_is_read_by_peft_and_is_a_base_again(
    paper: Run, plain: Plain, llava: Path, tmp_path: Path
) -> None:
    shutil.copytree(llava, "llava")
    _, first = paper(model="llava", set={"train.lr": 0.1})
    adapter = checkpoint()
    settings = json.loads((adapter / "adapter_config.json").read_text())
    assert not (adapter / "model.safetensors").exists()
    same(plain, adapter, settings["base_model_name_or_path"], tmp_path)

    base, again = paper(model=str(adapter), runs="second", set={"train.lr": 0.1})
    assert base.model.weights == first.model.weights
    assert base.metrics == first.metrics
    assert again.model.weights not in (first.model.weights, base.model.weights)
    (adapter,) = Path("second").glob("dpo_pope-*/dpo-seed0/checkpoint")
    settings = json.loads((adapter / "adapter_config.json").read_text())
    same(plain, adapter, settings["base_model_name_or_path"], tmp_path)


def test_an_adapter_merged_into_its_base_says_the_same(paper: Run, tmp_path: Path) -> None:
    paper(set={"train.lr": 0.1})
    loading.merge(checkpoint(), "vision-language", tmp_path / "merged")
    prompt = VisionPrompt(noise_picture(3), "describe the shape .")
    logits = []
    for folder in (checkpoint(), tmp_path / "merged"):
        model = loading.load(folder, "vision-language")
        with torch.inference_mode():
            inputs = {"input_ids": torch.tensor([model.prompt_ids(prompt)])}
            logits.append(model.module(**inputs, **model.picture_batch([prompt.image])).logits)
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-5)


def test_a_whole_model_is_read_by_transformers_and_is_a_base_again(
    paper: Run, plain: Plain, tmp_path: Path
) -> None:
    _, first = paper(set={"train.lora": None})
    whole = checkpoint()
    assert not (whole / "adapter_config.json").exists()
    assert first.cost.trainable_parameters == first.cost.total_parameters
    assert str(tmp_path) not in (whole / "config.json").read_text()
    same(plain, whole, "", tmp_path)
    base, again = paper(model=str(whole), runs="second", set={"train.lora": None})
    assert base.model.weights == first.model.weights
    assert base.metrics == first.metrics
    assert again.model.weights != first.model.weights


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_accumulation_and_gradient_checkpointing_change_no_loss(paper: Run, precision: str) -> None:
    curves = []
    for number, (micro, checkpointing) in enumerate([(8, False), (2, True)]):
        paper(
            runs=f"runs{number}",
            set={
                "train.precision": precision,
                "train.micro_batch": micro,
                "train.gradient_checkpointing": checkpointing,
            },
        )
        (curve,) = Path(f"runs{number}").glob("dpo_pope-*/dpo-seed0/curves.jsonl")
        curves.append([json.loads(line)["loss"] for line in curve.read_text().splitlines()])
    assert len(curves[0]) == 2
    assert curves[0][1] < curves[0][0]
    assert curves[0] == pytest.approx(curves[1], abs=1e-5 if precision == "fp32" else 2e-2)
