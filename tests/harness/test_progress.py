"""What progress shows of a training."""

from io import StringIO

from rich.console import Console
from rich.progress import Progress

from harness.report.progress import Bars


def test_the_line_of_a_training_says_how_large_its_saves_are() -> None:
    said = StringIO()
    bars = Bars(Progress(console=Console(file=said, width=200)))
    bars.step("train", 1, 2, {"loss": 0.5})
    bars.step("train", 1, 2, {"saved_mib": 1536.0})
    bars.step("train", 2, 2, {"loss": 0.25})
    assert "loss 0.2500, " in said.getvalue()
    assert "saved steps of 1,536.0 MiB" in said.getvalue()
