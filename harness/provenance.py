"""Where a result comes from: commit, plugins, package versions, command."""

import shlex
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from harness.configs import read_value
from harness.files import hash_file, recorded_name
from harness.participants import Participants
from harness.run_config import RunConfig
from harness.schema import Provenance, canonical_json, digest


def provenance(config: RunConfig, asked: str, who: Participants) -> Provenance:
    """Return the provenance of an entry of this run; `asked` is its command, `who` took part."""
    commit, dirty = _git(config.leaderboards, config.runs)
    return Provenance(
        commit=commit,
        dirty=dirty,
        code=_engine(),
        packages=dict(who.packages),
        plugins=dict(who.plugins),
        command=asked,
    )


def joined(provenance: Provenance, who: Participants) -> Provenance:
    """Return a provenance that names further participants."""
    both = Participants(provenance.plugins, provenance.packages) | who
    return provenance.model_copy(
        update={"plugins": dict(both.plugins), "packages": dict(both.packages)}
    )


@cache
def _engine() -> str:
    """The hash of the engine's sources, byte by byte."""
    home = Path(__file__).parent
    files = sorted(home.rglob("*.py"))
    return digest([[path.relative_to(home).as_posix(), hash_file(path)] for path in files])


def command(config: RunConfig) -> str:
    """The command line that asks for this run, without the folders of this machine."""
    return shlex.join(["harness", "run", *options(config)])


def options(config: RunConfig) -> list[str]:
    """A config as the command line's options; what is as ever is left out."""
    defaults = RunConfig(method=["x"], tasks=["x"])
    parts: list[str] = []
    for name in RunConfig.model_fields:
        value = getattr(config, name)
        if name in ("runs", "leaderboards") or value == getattr(defaults, name):
            continue
        if isinstance(value, dict):
            for key, item in value.items():
                name = name.replace("_", "-")
                word = str(item) if name == "option" else _word(item)
                parts += [f"--{name}", f"{key}={word}"]
        elif isinstance(value, list):
            counting = name == "seeds" and value == list(range(len(value)))
            parts += [f"--{name}", str(len(value)) if counting else ",".join(map(str, value))]
        else:
            parts += [f"--{name.replace('_', '-')}", recorded_name(str(value))]
    return parts


def _word(value: Any) -> str:
    """A setting's value as the command line reads it back."""
    if isinstance(value, str) and read_value(value) == value:
        return recorded_name(value)
    return canonical_json(value)


@cache
def _git(leaderboards: Path, runs: Path) -> tuple[str | None, bool]:
    """Commit of the repository that holds the leaderboards, and whether its tree has changes
    beside what runs write."""
    here = leaderboards.absolute().parent
    try:
        top = _ask(here, "rev-parse", "--show-toplevel")
        commit = _ask(here, "rev-parse", "HEAD")
        written = [
            f":(exclude,top){path.absolute().relative_to(Path(top).resolve())}"
            for path in (leaderboards, runs)
            if path.absolute().is_relative_to(Path(top).resolve())
        ]
        return commit, bool(_ask(Path(top), "status", "--porcelain", "--", ".", *written))
    except (OSError, subprocess.CalledProcessError):
        return None, False


def _ask(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()
