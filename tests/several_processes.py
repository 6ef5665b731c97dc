"""The whole command as a user starts it, in one process or under torchrun."""

import os
import subprocess
import sys
from pathlib import Path

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
