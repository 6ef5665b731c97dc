"""The mixtures of the paper's training sets, over rows with the columns that the hub's have."""

import json
from pathlib import Path

import pytest
import yaml

from harness.mixtures import Mixture
from harness.recipes import read_recipe
from methods.modula.datasets import FOLDER
from methods.modula.plugin import PAPER, Lora, Modula

ROWS = {
    "universal": [
        {
            "id": "1",
            "conversations": [
                {"from": "system", "value": "Be brief."},
                {"from": "human", "value": "Name {a} colour."},
                {"from": "gpt", "value": "Red."},
                {"from": "human", "value": "Another."},
                {"from": "gpt", "value": "Blue."},
            ],
        },
        {"conversations": [{"from": "human", "value": "Hi."}, {"from": "gpt", "value": "Hello."}]},
    ],
    "math": [{"question": "One and one?", "answer": "That is 2."}],
    "code": [
        {"instruction": "Print a list.", "input": "[1]", "output": "print([1])"},
        {"instruction": "Print one.", "input": "", "output": "print(1)"},
    ],
    "medicine": [
        {
            "pubid": 1,
            "question": "Does it help?",
            "context": {"contexts": ["We tried.", "It did."], "labels": ["A", "B"], "meshes": []},
            "long_answer": "It helps.",
            "final_decision": "yes",
        }
    ],
}
ASKED = {
    "universal": {("Be brief.\n\nName {a} colour.\n", "Red."), ("Hi.\n", "Hello.")},
    "math": {("Question: One and one?\nAnswer:", "That is 2.")},
    "code": {("Print a list.\n[1]\n", "print([1])"), ("Print one.\n", "print(1)")},
    "medicine": {("Abstract: We tried.\nIt did.\nQuestion: Does it help?\nAnswer:", "yes")},
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_the_hub_become_prompts_and_answers(name: str, tmp_path: Path) -> None:
    said = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    (part,) = said["parts"]
    part["source"] = "rows.jsonl"
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[name]))
    (tmp_path / "mixture.yaml").write_text(yaml.safe_dump(said))
    rows = Mixture(tmp_path / "mixture.yaml").rows()
    assert {(row["prompt"], row["answer"]) for row in rows} == ASKED[name]


def test_the_paper_preset_asks_for_mixtures_that_are_there() -> None:
    asked = {"modula/universal", *PAPER["data"]["domains"].values()}
    assert (
        asked
        == {f"modula/{path.stem}" for path in FOLDER.glob("*.yaml")}
        == {f"modula/{name}" for name in ROWS}
    )
    for path in FOLDER.glob("*.yaml"):
        assert read_recipe(path).parts
    for method in (Modula, Lora):
        preset = method.presets["paper"]
        assert preset.dataset in asked
        config = method.Config.model_validate(preset.config)
        assert config.data.sets == PAPER["data"]["domains"]
        trained = [getattr(config, n) for n in ("train", "experts", "router") if hasattr(config, n)]
        assert {(each.lr, each.epochs, each.batch_size) for each in trained} == {(2e-4, 1, 128)}
