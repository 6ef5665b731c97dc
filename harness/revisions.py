"""Files of a git revision, read from git's objects: no checkout, nothing on disk changes."""

import os
import subprocess
from pathlib import Path

from harness.errors import HarnessError


def is_revision(name: str, folder: Path) -> bool:
    """Whether `name` names a commit in the repository around `folder`."""
    try:
        return _resolve(_root(folder), name) is not None
    except HarnessError:
        return False


def read_revision(spec: str, folder: Path) -> dict[str, str]:
    """The JSON files under `folder` as they were in a revision: path in the repository -> text.

    `spec` is what git takes for a commit (`HEAD~1`, `main`, `v1.0`), or `COMMIT:PATH` with a file
    or folder counted from the repository's root, which then stands for `folder`. `folder` need not
    exist now. Raises `HarnessError` outside a repository, for an unknown revision, and where the
    revision has no such files.
    """
    revision, separator, inner = spec.partition(":")
    root = _root(folder)
    commit = _resolve(root, revision)
    if commit is None:
        shallow = _git(root, "rev-parse", "--is-shallow-repository").stdout.strip() == b"true"
        fix = (
            "This clone is shallow: `git fetch --unshallow` brings the older commits."
            if shallow
            else "`git log --oneline` shows what there is."
        )
        raise HarnessError(f"'{revision}' is neither a file nor a git revision in {root}. {fix}")
    inside = inner.strip("/") if separator else _inside(root, folder)
    blobs = _list(root, commit, inside)
    if not blobs:
        raise HarnessError(
            f"git revision '{revision}' has no leaderboards in '{inside or '.'}'. "
            f"Name another place: {revision}:FOLDER."
        )
    return _contents(root, blobs)


def _git(folder: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments],
            input=stdin,
            capture_output=True,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise HarnessError("git is not installed, so revisions cannot be read.") from None


def _root(folder: Path) -> Path:
    """Top of the repository around `folder` or its nearest parent that exists."""
    near = folder.resolve()
    while not near.is_dir():
        near = near.parent
    found = _git(near, "rev-parse", "--show-toplevel")
    if found.returncode != 0:
        unsafe = b"dubious ownership" in found.stderr
        raise HarnessError(
            f"{near}: git refuses this repository, since another user owns it. "
            f"`git config --global --add safe.directory {near}` trusts it."
            if unsafe
            else f"{near} is in no git repository, so revisions cannot be compared. Name two files "
            "or folders."
        )
    return Path(found.stdout.decode().removesuffix("\n")).resolve()


def _inside(root: Path, folder: Path) -> str:
    inside = folder.resolve().relative_to(root).as_posix()
    return "" if inside == "." else inside


def _resolve(root: Path, revision: str) -> str | None:
    if not revision or revision.startswith("-"):
        return None
    found = _git(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    return found.stdout.decode().strip() if found.returncode == 0 else None


def _list(root: Path, commit: str, inside: str) -> dict[str, str]:
    """Leaderboard files as path -> object: those of a folder and its `lab`, or one file."""
    listed = _git(root, "ls-tree", "-r", "-z", "--full-tree", commit, *filter(None, [inside]))
    if listed.returncode != 0:
        raise HarnessError(f"git cannot list {commit[:10]}: {_last_line(listed.stderr)}")
    blobs = {}
    for row in filter(None, listed.stdout.split(b"\0")):
        attributes, _, path = row.decode(errors="surrogateescape").partition("\t")
        _, kind, name = attributes.split()
        below = path.removeprefix(f"{inside}/" if inside else "")
        board = path == inside or below.removeprefix("lab/").count("/") == 0
        if kind == "blob" and path.endswith(".json") and board:
            blobs[path] = name
    return blobs


def _contents(root: Path, blobs: dict[str, str]) -> dict[str, str]:
    batch = _git(
        root, "cat-file", "--batch", stdin="".join(f"{b}\n" for b in blobs.values()).encode()
    )
    rest, texts = batch.stdout, {}
    for path in blobs:
        head, _, rest = rest.partition(b"\n")
        parts = head.split()
        if len(parts) != 3:
            raise HarnessError(
                f"git has no content of {path} ({_last_line(batch.stderr) or 'missing object'}). "
                "`git fetch` may bring it."
            )
        size = int(parts[2])
        try:
            texts[path] = rest[:size].decode()
        except UnicodeDecodeError:
            raise HarnessError(f"{path} in git is not UTF-8.") from None
        rest = rest[size + 1 :]
    return texts


def _last_line(stderr: bytes) -> str:
    return (stderr.decode(errors="replace").strip().splitlines() or [""])[-1]
