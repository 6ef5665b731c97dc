"""The whole command as a user starts it, in two processes under torchrun."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HARNESS = str(Path(sys.executable).with_name("harness"))


def torchrun(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """`harness WORDS` in two processes."""
    folder.mkdir()
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python"]
    return subprocess.run(
        [*launcher, "--nproc-per-node=2", HARNESS, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )


def arguments(settings: dict[str, Any]) -> list[str]:
    """Settings of `harness.run` as the words after `harness run`."""
    words: list[str] = []
    for name, value in settings.items():
        if isinstance(value, dict):
            for key, each in value.items():
                text = each if isinstance(each, str) else json.dumps(each)
                words += [f"--{name}", f"{key}={text}"]
        else:
            words += [f"--{name}", ",".join(value) if isinstance(value, list) else value]
    return words
