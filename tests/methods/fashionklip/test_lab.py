"""FashionKLIP over the garments: a short run of the command's own parts."""

import json
from pathlib import Path

import harness


def test_a_short_run_says_how_right_its_images_are_and_splits_by_combination(
    tmp_path: Path,
) -> None:
    base, trained = harness.run(
        method="fashionklip",
        tasks="garments",
        split="dev",
        set={"train.epochs": 2, "data.limit": 256},
        runs=tmp_path / "runs",
        leaderboards=tmp_path / "boards",
    )
    assert base.lab and trained.lab
    assert set(base.categories) == {"seen", "held out"}
    value = base.metrics["i2t_r1"].value
    assert value is not None and 0.05 < value < 0.4, "head-room on either side"
    (folder,) = tmp_path.glob("runs/fashionklip_*/fashionklip-seed0")
    lines = ((folder / "checkpoint").resolve().parent / "concepts.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["epoch"] for row in rows] == [0, 1]
    assert all(0 < row["right"] < 1 for row in rows)
    assert (folder / "checkpoint/graph.jsonl").exists()
