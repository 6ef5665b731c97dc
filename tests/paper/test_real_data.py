"""The command on real questions and photographs, answered by a model that guesses."""

from pathlib import Path

import launch
import pytest
from paper_user import results

DATA = Path(__file__).parents[3] / "shared" / "data" / "multimodal"

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the real data sets (../shared/data) are not on this machine"
)


def test_guesses_on_real_questions_score_at_chance(
    llava: Path, files: Path, tmp_path: Path
) -> None:
    done = launch.run(
        [
            *("run", "--profile", "paper"),
            *("--model", llava, "--method", "base", "--tasks", "mmbench,pope"),
            *("--source", f"mmbench={DATA / 'mmbench_samples'}"),
            *("--source", f"pope={DATA / 'coco_tiny_free' / 'pope_style.jsonl'}"),
        ],
        tmp_path,
    )
    assert done.status == 0, done.stderr
    assert done.stderr == ""
    assert "mmbench: accuracy" in done.stdout and "54 items in 34 clusters" in done.stdout
    assert "312 items" in done.stdout and "(lab)" not in done.stdout
    (choice, _, _), (yes_no, _, _) = results(tmp_path).values()
    assert choice["accuracy"] <= 0.1
    assert 0.1 <= choice["vanilla"] <= 0.45
    assert 0.35 <= yes_no["accuracy"] <= 0.65
    # A third of the choices are asked in Chinese, which this model has not learned to answer.
    assert choice["unparsed"] <= 0.4 and yes_no["unparsed"] <= 0.05
