"""Runs in the engine's own environment: rows of src, mt, ref in, the score of each out.

The settings: `checkpoint`, a file or a name that unbabel-comet knows, and `batch_size`.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn


def main() -> None:
    """Score the rows of standard input by one checkpoint, loaded once."""
    settings = json.loads(sys.argv[1])
    rows = [json.loads(line) for line in sys.stdin]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print goes to the log
    # No code of a checkpoint runs, whatever the libraries ask torch for.
    os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    import torch

    model = load(settings["checkpoint"])
    predicted = model.predict(
        rows,
        batch_size=settings["batch_size"],
        gpus=int(torch.cuda.is_available()),
        progress_bar=False,
    )
    for score in predicted.scores:
        answers.write(json.dumps({"score": score}) + "\n")
    answers.close()


def load(checkpoint: str) -> Any:
    """The model of a checkpoint file or of a name; ends with one line where that fails."""
    from comet import download_model, load_from_checkpoint

    path = checkpoint
    if not Path(checkpoint).is_file():
        try:
            path = download_model(checkpoint)
        except KeyError as error:
            # unbabel-comet asks the hub, then its older store, and passes on what neither said
            older = error.__context__
            cause = older.__context__ if older else None
            fail(f"no COMET checkpoint '{checkpoint}', here or on the hub", cause)
    try:
        return load_from_checkpoint(path)
    except Exception as error:
        fail(f"'{checkpoint}' with its hparams.yaml cannot be loaded as a COMET model", error)


def fail(message: str, cause: BaseException | None) -> NoReturn:
    """End with one line; of the cause the first sentence, for libraries go on with advice."""
    sentence = str(cause or "").strip().partition("\n")[0].partition(". ")[0]
    sys.exit(f"{message} ({type(cause).__name__}: {sentence})" if cause else message)


if __name__ == "__main__":
    main()
