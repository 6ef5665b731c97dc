"""A small real run of each of the five methods, by the command line, in its lab."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType


def _settings(**settings: object) -> tuple[str, ...]:
    return tuple(
        word
        for name, value in settings.items()
        for word in ("--set", f"{name.replace('__', '.')}={value}")
    )


def _train(section: str, batch: int) -> dict[str, object]:
    """Few steps, each of which is saved."""
    values = {"epochs": 1, "batch_size": batch, "micro_batch": batch, "save_steps": 1}
    return {f"{section}__{name}": value for name, value in values.items()}


def _command(method: str, task: str, **settings: object) -> tuple[str, ...]:
    words = ("run", "--quiet", "--method", method, "--tasks", task, "--limit", "20")
    return (*words, *_settings(**settings))


COMMANDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "aspo": _command("aspo", "pope", pairs__limit=48, **_train("train", 8)),
        "ctsd": _command("ctsd", "ecommerce_titles", data__limit=64, **_train("train", 16)),
        "modula": _command(
            "modula",
            "errands_sums",
            data__limit=32,
            **_train("universal", 16),
            **_train("experts", 16),
            **_train("router", 16),
        ),
        "poir": _command(
            "poir",
            "errands_prompts",
            collect__limit=48,
            collect__recirculations=1,
            collect__candidates=4,
            **_train("train", 8),
        ),
        "fashionklip": _command(
            "fashionklip", "garments", data__limit=128, graph__least=2, **_train("train", 32)
        ),
    }
)
"""Method -> the words after `harness`; each trains a few steps and scores 20 items."""


def leaderboards(folder: Path) -> dict[str, bytes]:
    """The bytes of every leaderboard of a run in a folder, by its path there."""
    root = folder / "leaderboards"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.json")}
