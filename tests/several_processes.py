"""The whole command as a user starts it, in one process or under torchrun."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HARNESS = str(Path(sys.executable).with_name("harness"))
TORCHRUN = (
    *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
    "--no-python",
)


def launch(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        arguments, cwd=folder, capture_output=True, text=True, env=environment, timeout=300
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
