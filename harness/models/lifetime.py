"""Models beside the one that a run works with, and how all are released before the next one."""

import gc
import sys
from collections.abc import Callable, Hashable
from typing import Any

_kept: dict[Hashable, Any] = {}


def kept(key: Hashable, load: Callable[[], Any]) -> Any:
    """Return a model that answers or judges beside another one: loaded once, until `release`."""
    if key not in _kept:
        _kept[key] = load()
    return _kept[key]


def release() -> None:
    """Free every model that nobody holds on to, and those that are `kept`.

    A trainer and its model refer to each other, so that only the garbage collector frees them; a
    GPU's memory then goes back to the device.
    """
    _kept.clear()
    gc.collect()
    torch = sys.modules.get("torch")  # a run that finds everything done imports none
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
