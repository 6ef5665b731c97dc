"""COMET, a learned score of translations (Rei et al. 2020), by unbabel-comet as an engine."""

import os
from collections.abc import Sequence
from pathlib import Path

from harness.engines import Engine, call
from harness.errors import HarnessError
from harness.files import hash_files

comet = Engine(
    name="comet",
    summary="COMET scores of translations by unbabel-comet (1.4 GB, about two minutes)",
    version="unbabel-comet 2.2.7",
    requirements=("torch==2.13.0", "setuptools<81", "unbabel-comet==2.2.7"),
    script=Path(__file__).parent / "scorer.py",
)


def comet_scores(
    sources: Sequence[str],
    hypotheses: Sequence[str],
    references: Sequence[str],
    checkpoint: str,
    batch_size: int = 16,
) -> list[float]:
    """COMET's score of each hypothesis, the higher the better.

    Args:
        checkpoint: a `.ckpt` file with `hparams.yaml` in the folder above its own, a folder with
            `hparams.yaml` and `checkpoints/*.ckpt`, or a name on the hub (Unbabel/wmt22-comet-da).

    Raises `harness.engines.NotInstalledError` with the command that installs the engine, and
    `HarnessError` where the checkpoint cannot be had.
    """
    file = checkpoint_file(checkpoint)
    rows = [
        {"src": source, "mt": hypothesis, "ref": reference}
        for source, hypothesis, reference in zip(sources, hypotheses, references, strict=True)
    ]
    answers = call(comet, rows, checkpoint=str(file or checkpoint), batch_size=batch_size)
    return [float(answer["score"]) for answer in answers]


def checkpoint_identity(checkpoint: str) -> str:
    """What a checkpoint's scores depend on: the hash of its files, or its name on the hub."""
    file = checkpoint_file(checkpoint)
    return checkpoint if file is None else hash_files([file, _settings(file)])


def checkpoint_file(checkpoint: str) -> Path | None:
    """The file of a local checkpoint, absolute; None for a name on the hub."""
    path = Path(os.path.expanduser(checkpoint))
    if os.path.isdir(path):  # unlike Path.is_dir, False for overlong names
        found = sorted(path.glob("checkpoints/*.ckpt"))
        if len(found) != 1:
            listed = ", ".join(file.name for file in found) or "none"
            raise HarnessError(
                f"{checkpoint}: a COMET folder has one file checkpoints/*.ckpt, here are: {listed}."
            )
        path = found[0]
    elif not os.path.isfile(path):
        if path.suffix == ".ckpt" or path.is_absolute() or checkpoint.startswith((".", "~")):
            raise HarnessError(f"{checkpoint}: no such COMET checkpoint.")
        return None
    path = path.absolute()  # not resolved: the hub's cache is made of links
    if not _settings(path).is_file():
        raise HarnessError(
            f"{checkpoint}: '{_settings(path)}' is missing, which says what kind of model it is."
        )
    return path


def _settings(file: Path) -> Path:
    return file.parent.parent / "hparams.yaml"
