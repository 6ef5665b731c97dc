"""Programs that a model wrote: each in a process of its own that may only compute.

What `sandboxed` takes from the process, the kernel denies it whatever the program does. Whether the
program came to its end is said from inside it, and a program that was written to deceive can pass:
one whose values claim to equal all others, or one that searches its process's memory. What Python
itself offers to reach the caller is denied (`sandboxed_program`).
"""

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import comb
from typing import Any

from harness.errors import HarnessError
from tasks.flan import sandboxed, sandboxed_program

SECONDS = 10
"""What a program may take, its interpreter's start included."""


ANSWER = 2**16
"""Bytes of an answer that are looked at: more than one that counts has, and what a pipe holds."""


def passed(programs: Sequence[str], seconds: int = SECONDS) -> list[bool]:
    """Whether each program came to its end without an error, several run side by side.

    A program that exits, is killed, takes longer or more memory than it may, or does what it may
    not and does not mind the error, has not passed.

    Raises `HarnessError` where this machine cannot keep programs apart.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda program: _passed(program, seconds), programs))


def _passed(program: str, seconds: int) -> bool:
    token = secrets.token_bytes(16).hex().encode()
    read, write = os.pipe()  # not a file, whose beginning a program could write anew
    with (
        tempfile.TemporaryDirectory(prefix="program-") as folder,
        tempfile.TemporaryFile() as given,
        os.fdopen(read, "rb", buffering=0) as said,
    ):
        given.write(token + b"\n" + program.encode(errors="surrogatepass"))
        given.seek(0)
        try:
            done = subprocess.run(
                _command(seconds),
                stdin=given,
                stdout=write,
                stderr=subprocess.PIPE,
                cwd=folder,
                env=_environment(folder),
                timeout=seconds,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            return False
        finally:
            os.close(write)
        answer = said.read(ANSWER)
        if not answer.startswith(sandboxed_program.READY):
            reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise HarnessError(
                f"this machine cannot keep a model's programs apart ({reason or 'no reason'}): "
                "they are run on Linux alone, 5.13 or newer, on x86-64 or ARM64."
            )
        return answer == sandboxed_program.READY + token + b"\n"


def _command(seconds: int) -> list[str]:
    """An interpreter that confines itself and becomes the one that runs a program."""
    words = [sandboxed.__file__, sandboxed_program.__file__, str(seconds)]
    return [sys.executable, "-I", "-S", "-B", *words, sys.prefix, sys.base_prefix]


def _environment(folder: str) -> dict[str, str]:
    """No variable of ours; numeric libraries make no threads."""
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {"HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8", "PYTHONUTF8": "1", **single}


class CodeEval:
    """The metric `code_eval` of lm-eval's task files, its programs run here."""

    def compute(
        self, references: Sequence[str], predictions: Sequence[Sequence[str]], k: Sequence[int]
    ) -> tuple[dict[str, float], dict[str, Any]]:
        """pass@k, the mean over tasks of the chance that one of k samples passes.

        Args:
            references: each task's tests.
            predictions: each task's samples.

        Returns:
            `pass@k` of each k that no task has fewer samples than, and nothing else.
        """
        programs = [
            f"{sample}\n{test}"
            for test, samples in zip(references, predictions, strict=True)
            for sample in samples
        ]
        verdicts = iter(passed(programs))
        right = [sum(next(verdicts) for _ in samples) for samples in predictions]
        totals = [len(samples) for samples in predictions]
        found = {
            f"pass@{size}": sum(
                pass_at_k(total, count, size) for total, count in zip(totals, right, strict=True)
            )
            / len(totals)
            for size in k
            if min(totals) >= size
        }
        return found, {}


def pass_at_k(total: int, right: int, size: int) -> float:
    """Chance that one of `size` samples drawn from `total` is among the `right` ones.

    Unbiased: 1 - C(total - right, size) / C(total, size) (arXiv 2107.03374, section 2.1).
    """
    return 1.0 - comb(total - right, size) / comb(total, size)
