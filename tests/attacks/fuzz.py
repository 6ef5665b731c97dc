"""Hostile inputs over all readers of what users give: each is used, or refused in one line.

Every case is made from the seed and its number alone. Cases run in a forked process, which is
replaced where one kills it or does not end.
"""

import io
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.attacks import fuzz_commands, fuzz_files, fuzz_models, fuzz_results
from tests.attacks.world import World, made_world

Kind = Callable[[random.Random, World, Path], Callable[[], Any]]
"""Writes a case's files into a folder, and returns what reads them."""

KINDS: Mapping[str, Kind] = {
    **fuzz_commands.KINDS,
    **fuzz_files.KINDS,
    **fuzz_results.KINDS,
    **fuzz_models.KINDS,
}

FAILED = ("traceback", "hang", "crash", "broken line")
"""Outcomes that are none of the product's: an error without words, no end, a dead process, and a
message of several lines, with control characters, or endless."""
SECONDS = 5.0
"""Processor time after which a case hangs."""
PATIENCE = 60.0
"""Seconds after which it is not waited for."""
MEMORY = 3 * 2**30
"""Bytes that a case may take beside what is loaded."""
LONGEST = 700
"""Characters of a message."""


class Outcome(NamedTuple):
    """What became of a case, and what was said."""

    kind: str
    outcome: str
    said: str = ""


def run(count: int, seed: int, folder: Path, kinds: Mapping[str, Kind] = KINDS) -> dict[str, int]:
    """Run `count` cases; return how many came out how, and how many were of each kind.

    What failed is printed and written to `failures.txt` in the folder, with its number.
    """
    world = made_world(folder / "world")
    totals = Counter(dict.fromkeys(("inputs", "used", "refused", *FAILED), 0))
    with open(folder / "failures.txt", "w", encoding="utf-8", errors="backslashreplace") as log:
        for number, found in _outcomes(count, seed, folder, world, kinds):
            totals.update(("inputs", found.outcome, f"of {found.kind}"))
            if found.outcome in FAILED:
                said = "\n".join(line[:300] for line in found.said.splitlines()[-40:])
                log.write(f"#{number} {found.kind}: {found.outcome}\n{said}\n\n")
                log.flush()
                print(f"#{number} {found.kind}: {found.outcome}: {said}", flush=True)
    return dict(totals)


def case(number: int, seed: int, folder: Path, world: World, kinds: Mapping[str, Kind]) -> Outcome:
    """Make and run one case in this process."""
    name = list(kinds)[number % len(kinds)]
    rng = random.Random(f"{seed} {number}")
    place = folder / "case"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    os.chdir(place)
    read = kinds[name](rng, world, place)
    started = time.process_time()
    outcome, said = _ended(read)
    if time.process_time() - started > SECONDS:
        outcome = "hang"
    return Outcome(name, outcome, said)


def _ended(read: Callable[[], Any]) -> tuple[str, str]:
    """Run a reader as the command line runs a command; return how it ended and what it said."""
    from harness import cli

    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    err = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace", write_through=True)
    before, status = (sys.stdout, sys.stderr, cli.app), None
    sys.stdout, sys.stderr, cli.app = out, err, lambda **_: read()  # type: ignore
    try:
        with warnings.catch_warnings(action="ignore"):
            cli.main()
    except SystemExit as error:
        status = error.code
    except BaseException:
        return "traceback", traceback.format_exc()
    finally:
        sys.stdout, sys.stderr, cli.app = before
    said = err.buffer.getvalue().decode()  # type: ignore[attr-defined]
    if status == 0 or (status == 2 and "Usage: " in said):  # a command without arguments
        return "used", said
    line = said.removesuffix("\n").rpartition("\n")[2]  # after what libraries say
    plain = line.isprintable() and line.startswith("harness: ") and len(line) <= LONGEST
    return ("refused" if status == 2 and plain else "broken line"), said


def _outcomes(
    count: int, seed: int, folder: Path, world: World, kinds: Mapping[str, Kind]
) -> Iterator[tuple[int, Outcome]]:
    """Each case's outcome, in order."""
    context, number = multiprocessing.get_context("fork"), 0
    names = list(kinds)
    while number < count:
        ours, theirs = context.Pipe(duplex=False)
        arguments = (theirs, range(number, count), seed, folder, world, kinds)
        process = context.Process(target=_work, args=arguments)
        process.start()
        theirs.close()
        try:
            while number < count:
                found = (
                    ours.recv() if ours.poll(PATIENCE) else Outcome(_kind(names, number), "hang")
                )
                yield number, found
                number += 1
                if found.outcome == "hang":
                    break
        except EOFError:
            process.join()
            said = f"exit status {process.exitcode}"
            yield number, Outcome(_kind(names, number), "crash", said)
            number += 1
        finally:
            process.kill()
            process.join()


def _kind(names: list[str], number: int) -> str:
    return names[number % len(names)]


def _work(
    answers: Any, numbers: range, seed: int, folder: Path, world: World, kinds: Mapping[str, Kind]
) -> None:
    """Run cases one after the other and send their outcomes."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    silence = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in numbers:
        answers.send(case(number, seed, folder, world, kinds))
