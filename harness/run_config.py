"""What a run is asked: its methods, tasks, data and settings."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from harness.schema import Names, Seeds, Strict, digest


class RunConfig(Strict):
    """One run: the same names in a YAML file, on the command line and in Python."""

    method: Names = Field(min_length=1)
    """Methods to train, by name."""
    tasks: Names = Field(min_length=1)
    """Tasks to score, by name."""
    profile: str = "lab"
    """Which presets and task sources: `lab` (embedded, offline) or `paper`."""
    model: str | None = None
    """Base model instead of the preset's: embedded name, Hugging Face folder or hub name."""
    dataset: str | None = None
    """Training set instead of the preset's: embedded name, file or hub name."""
    source: dict[str, str] = {}
    """Task -> file or folder with its items instead of the card's source."""
    split: Literal["test", "dev"] = "test"
    """Which split of the tasks: `test`, or `dev` for every choice one makes."""
    seeds: Seeds = [0]
    """Seeds of the training; an integer n means 0 .. n-1."""
    baseline: str = "base"
    """The method that all others are compared with; it is always scored too."""
    set: dict[str, Any] = {}
    """Changed config fields of the methods, by dotted name: `loss.beta`."""
    option: dict[str, Any] = {}
    """Changed options of the tasks' cards, by dotted name: `taxonomy_paths.target`."""
    engine: dict[str, str] = {}
    """Engines that score the outputs too -> what each is to use: `comet` -> a checkpoint."""
    judge: str | None = Field(None, exclude_if=lambda value: value is None)
    """Who judges the answers of tasks that are judged, instead of the card's judge."""
    judge_option: dict[str, Any] = Field({}, exclude_if=lambda value: not value)
    """Settings of the judge by name: `model`."""
    limit: int | None = Field(None, ge=1, lt=2**63)
    """Score only the first items of each task."""
    batch_size: int | None = Field(None, ge=1, exclude_if=lambda value: value is None)
    """Texts or pictures that a model answers or encodes at once when it is scored; halved where
    memory does not suffice. Greedy answers do not depend on it but for rounding."""
    runs: Path = Path("runs")
    """Where runs' folders and the cache live."""
    leaderboards: Path = Path("leaderboards")
    """Where leaderboards live."""

    def identity(self) -> str:
        """Hash of what is asked, wherever it is written to."""
        apart = {"runs", "leaderboards", "batch_size"}
        return digest(self.model_dump(mode="json", exclude=apart))
