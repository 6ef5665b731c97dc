"""Runs the real command line in real processes, which tests can kill.

Children are forked from a server that has the heavy libraries imported and nothing computed: a run
then starts in milliseconds, with an environment, a folder and streams of its own.
"""

import gc
import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from harness.processes import quiet_libraries

PRELOAD = [
    "harness.cli",
    "harness.pipeline",
    "harness.sources",
    "harness.training",
    "harness.models.vision_language",
    "harness.report.terminal",
    "methods.aspo.plugin",
    "methods.aspo.prepare",
    "methods.aspo.step",
    "tasks.multimodal.format",
    "transformers.models.llava.modeling_llava",
    "transformers.models.clip.modeling_clip",
    "transformers.models.llama.modeling_llama",
    "transformers.models.auto.processing_auto",
    "transformers.generation.utils",
    "peft",
    "rich.console",
    "rich.table",
    "scipy.stats",
    "typer.core",
    "typer.main",
]

quiet_libraries()  # which they read when the server imports them
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(PRELOAD)


@dataclass
class Run:
    """A started command."""

    process: multiprocessing.process.BaseProcess
    out: Path
    err: Path

    def end(self, timeout: float = 120) -> "Run":
        """Wait for the command's own end."""
        self.process.join(timeout)
        assert self.process.exitcode is not None, f"still running: {self.stderr[-2000:]}"
        return self

    def kill(self, number: int = signal.SIGKILL) -> "Run":
        """Send a signal and wait."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)
        return self.end()

    def wait_for(self, appeared: Callable[[], object], timeout: float = 120) -> None:
        """Return as soon as something is there; the command must still run."""
        deadline = time.monotonic() + timeout
        while not appeared():
            assert self.process.is_alive(), f"ended too early: {self.stderr[-2000:]}"
            assert time.monotonic() < deadline, "did not appear"
            time.sleep(0.001)

    @property
    def status(self) -> int:
        assert self.process.exitcode is not None
        return self.process.exitcode

    @property
    def stdout(self) -> str:
        return self.out.read_text()

    @property
    def stderr(self) -> str:
        return self.err.read_text()


def start(
    arguments: Sequence[object],
    cwd: Path,
    *,
    path: Sequence[Path] = (),
    environment: Mapping[str, str] | None = None,
    before: Callable[[], object] | None = None,
) -> Run:
    """Start `harness ARGUMENTS` in a folder.

    Args:
        path: folders of foreign packages, put before all others.
        environment: laid over this process's.
        before: called in the child first; must be importable.
    """
    cwd.mkdir(parents=True, exist_ok=True)
    number = len(list(cwd.glob(".*.out")))
    out, err = cwd / f".{number}.out", cwd / f".{number}.err"
    out.touch()
    err.touch()
    words = [str(word) for word in arguments]
    process = context.Process(
        target=_child,
        args=(words, str(cwd), str(out), str(err), [str(p) for p in path], environment, before),
    )
    process.start()
    return Run(process, out, err)


def run(arguments: Sequence[object], cwd: Path, **keywords: object) -> Run:
    """`start`, and wait for the end."""
    return start(arguments, cwd, **keywords).end()  # type: ignore[arg-type]


def run_together(arguments: Sequence[object], cwd: Path, count: int = 2) -> list[Run]:
    """Run `harness ARGUMENTS` in processes that know of each other, as torchrun makes them."""
    runs = [start(arguments, cwd, environment=each) for each in one_of(count)]
    try:
        return [run.end() for run in runs]
    finally:
        for run in runs:  # one waits for ever where another failed
            run.process.kill()


def one_of(count: int) -> list[dict[str, str]]:
    """What torchrun tells each of its processes in their environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    common |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    return [{**common, "RANK": str(i), "LOCAL_RANK": str(i)} for i in range(count)]


def _child(
    words: list[str],
    cwd: str,
    out: str,
    err: str,
    path: list[str],
    environment: Mapping[str, str] | None,
    before: Callable[[], object] | None,
) -> None:
    os.chdir(cwd)
    os.environ.update(environment or {})
    gc.freeze()  # what the server imported need not be gone through, page by page, in each child
    # Whoever starts the tests in the background has it ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for file, descriptor in ((out, 1), (err, 2)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), descriptor)
    sys.path[:0] = path
    sys.argv = ["harness", *words]
    if before is not None:
        before()
    from harness.cli import main

    main()


def kill_at(event: str, ending: str, count: int = 1) -> None:
    """Have this process killed right before its `count`-th event on a path with that ending.

    Events are those of `sys.audit`: `os.rename` (to the path), `os.remove`, `os.mkdir`, `open`.
    An empty ending stands for any path below the current folder.
    """
    here = os.getcwd()
    left = count

    def hook(name: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if name != event:
            return
        path = str(arguments[1 if event in ("os.rename", "os.symlink") else 0])
        path = os.path.join(here, path)
        if path.startswith(here) and fnmatch(path, f"*{ending}"):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def little_world(folder: Path, rows: int = 24, questions: int = 24) -> Path:
    """A training set (`pairs.jsonl`) and POPE questions (`pope.jsonl`) with their pictures."""
    from PIL import Image

    (folder / "images").mkdir(parents=True)
    for index in range(rows):
        colour = (index * 37 % 256, index * 91 % 256, index * 53 % 256)
        Image.new("RGB", (32, 32), colour).save(folder / "images" / f"{index}.png")
    pairs = [
        {"image": f"{i}.png", "question": f"what is in this picture {i % 5} ?"} for i in range(rows)
    ]
    asked = [
        {
            "question_id": i,
            "image": f"{i % rows}.png",
            "text": f"Is there a {('circle', 'square', 'star')[i // rows % 3]} in the image?",
            "label": ("yes", "no")[i % 2],
        }
        for i in range(questions)
    ]
    for name, lines in (("pairs", pairs), ("pope", asked)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text)
    return folder
