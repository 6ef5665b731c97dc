"""Train methods, score them on tasks, and keep leaderboards one can trust."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.schema import Entry

__all__ = ["run"]


def run(**settings: Any) -> "list[Entry]":
    """Train, score and record; the same settings as `harness run` and its config files.

    `harness.run(method="aspo", tasks=["mmbench", "pope"], seeds=3, set={"loss.beta": 0.2})`

    Returns:
        The run's entries, in the order in which they were recorded.

    Raises:
        harness.errors.HarnessError: for anything the caller can mend.
    """
    from harness.configs import run_config
    from harness.pipeline import run as run_pipeline

    return run_pipeline(run_config(settings))
