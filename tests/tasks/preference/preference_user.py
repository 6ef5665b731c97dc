"""What a user of the family has: rows, cards with other options, and the command."""

import sys
from pathlib import Path
from typing import Any

from harness import leaderboard, registry
from harness.cli import main
from harness.dataset import Dataset
from harness.items import read_items
from harness.plan import task_with
from harness.schema import Entry
from harness.sources import open_dataset
from harness.task import Item, Prediction, Task


def questions(count: int = 3) -> list[dict[str, Any]]:
    """Vicuna's rows: two categories by turns."""
    return [
        {"question_id": i, "text": f"Q{i}?", "category": ("odd", "even")[i % 2 == 0]}
        for i in range(1, count + 1)
    ]


def items_of(task: Task, file: Path, limit: int | None = None) -> list[Item]:
    data: Dataset = open_dataset(str(file))
    return read_items(task, data, None, limit)


def card(name: str, **options: Any) -> Task:
    """A registered task with options as the command line gives them."""
    return task_with(name, options)


def plain(name: str) -> Task:
    return registry.load("tasks", name)


def judged(*decisions: Any, outputs: tuple[str, ...] = ("own", "other"), **more: Any) -> Prediction:
    """A prediction with the verdicts of a judge."""
    verdicts = [{"decision": each, "reason": "", "text": "", "ordered": True} for each in decisions]
    return Prediction("1", outputs, {"verdicts": verdicts, **more})


class Command:
    """`harness ...` in this process and a folder of its own."""

    def __init__(self, folder: Path, monkeypatch: Any, capsys: Any) -> None:
        self.folder, self._monkeypatch, self._capsys = folder, monkeypatch, capsys
        monkeypatch.chdir(folder)
        monkeypatch.setenv("no_proxy", "*")

    def __call__(self, *words: object) -> tuple[int, str, str]:
        """Its status, standard output and standard error."""
        self._monkeypatch.setattr(sys, "argv", ["harness", *map(str, words)])
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        found = self._capsys.readouterr()
        return status, found.out, found.err

    def entries(self, task: str) -> list[Entry]:
        path = self.folder / "leaderboards" / f"{task}.json"
        return list(leaderboard.read(path).entries.values())

    def entry(self, task: str, *words: object) -> Entry:
        """The one entry that a command makes; it must succeed."""
        status, _, err = self(*words)
        assert status == 0, err
        (entry,) = self.entries(task)
        return entry

    def refused(self, *words: object) -> str:
        """The one line that a command ends with."""
        status, _, err = self(*words)
        assert status == 2
        assert err.startswith("harness: ") and err.count("\n") == 1
        return err.removeprefix("harness: ").strip()
