"""How results of the paper profile are named and where they lie."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from paper_user import guessing_llava

from harness.files import recorded_name
from harness.schema import Entry

Run = Callable[..., list[Entry]]


@pytest.mark.parametrize(
    ("typed", "recorded"),
    [
        ("llava-hf/llava-1.5-7b-hf", "llava-hf/llava-1.5-7b-hf"),
        ("lab/scenes-vlm", "lab/scenes-vlm"),
        ("models/llava", "models/llava"),
        ("/data/models/llava", "llava@0123abcd"),
        ("/data/models/llava/", "llava@0123abcd"),
        ("../llava", "llava@0123abcd"),
        ("~/llava", "llava@0123abcd"),
        ("~nobody-here/llava", "llava@0123abcd"),
    ],
)
def test_a_path_of_this_machine_is_recorded_by_name_and_content(typed: str, recorded: str) -> None:
    assert recorded_name(typed, "0123abcdef") == recorded


def test_leaderboards_hold_no_path_of_this_machine(
    paper: Run, files: Path, clip: Path, llava: Path
) -> None:
    _, aspo = paper(method="aspo", set={"loss.encoder": str(clip)})
    text = Path("leaderboards/pope.json").read_text()
    for place in (files, clip, llava):
        assert str(place.parent) not in text
    assert aspo.model.name == f"llava@{aspo.model.base[:8]}"
    assert aspo.dataset == f"pairs.jsonl@{str(aspo.dataset_fingerprint)[:8]}"
    assert aspo.overrides["loss.encoder"] == aspo.config["loss"]["encoder"]
    assert aspo.config["loss"]["encoder"].startswith("clip@")


def test_two_models_of_one_name_share_no_answer_and_no_place(paper: Run, tmp_path: Path) -> None:
    guessing_llava(tmp_path / "other" / "llava", seed=1)
    paper()
    paper(model=str(tmp_path / "other" / "llava"))
    entries = json.loads(Path("leaderboards/pope.json").read_text())["entries"]
    assert len(entries) == 4
    assert len({entry["model"]["weights"] for entry in entries.values()}) == 4
    assert len(list(Path("runs/store/predictions").iterdir())) == 4


def test_another_encoder_under_the_same_name_trains_anew(paper: Run, clip: Path) -> None:
    shutil.copytree(clip, "clip")
    _, first = paper(method="aspo", set={"loss.encoder": "clip"})
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained("clip")
    model.text_projection.weight.data.neg_()
    model.save_pretrained("clip")
    _, second = paper(method="aspo", set={"loss.encoder": "clip"})
    assert first.overrides["loss.encoder"] == second.overrides["loss.encoder"] == "clip"
    assert first.model.weights != second.model.weights


def test_the_items_decide_whether_a_result_is_lab(paper: Run) -> None:
    entries = paper(model="lab/scenes-vlm", limit=4, set={"pairs.limit": 8})
    assert not any(entry.lab for entry in entries)
    assert entries[0].model.name == "lab/scenes-vlm"
    assert not Path("leaderboards/lab").exists()
    entries = paper(source={"pope": "lab/scenes"}, limit=4)
    assert all(entry.lab and entry.profile == "paper" for entry in entries)
    assert Path("leaderboards/lab/pope.json").exists()
    named = json.loads(Path("leaderboards/pope.json").read_text())["entries"]
    assert all("lab/scenes-vlm" in place for place in named)
