"""AlpacaEval's own length-controlled win rate, loaded without running its package's `__init__`.

Its package wants clients of a dozen services when it is imported; its regression needs pandas and
patsy. The file that it downloads from the hub is one on disk here.
"""

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas
import pytest


@cache
def regression() -> ModuleType:
    """AlpacaEval's module of the regression; skips without it."""
    for package in ("alpaca_eval", "patsy"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed (alpaca-eval without its dependencies)")
    spec = importlib.util.find_spec("alpaca_eval")
    home = Path(str(spec and spec.origin)).parent
    needed: dict[str, dict[str, Any]] = {
        "alpaca_eval": {"__path__": [str(home)]},
        "alpaca_eval.metrics": {"__path__": [str(home / "metrics")]},
        "alpaca_eval.utils": {
            "convert_to_dataframe": pandas.DataFrame,
            "validate_alpacaeval_preference": lambda value, is_allow_nan=True: 1 <= value <= 2,
        },
        "alpaca_eval.constants": dict.fromkeys(
            ("DATASETS_TOKEN", "DATASETS_FORCE_DOWNLOAD", "DEFAULT_CACHE_DIR")
        ),
        "alpaca_eval.types": {"AnyLoadableDF": object},
    }
    for name, content in needed.items():
        module = ModuleType(name)
        module.__dict__.update(content)
        sys.modules[name] = module
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, module)
    return importlib.import_module("alpaca_eval.metrics.glm_winrate")


def length_controlled(annotations: Sequence[Mapping[str, Any]], gamed: Path) -> float:
    """AlpacaEval's `length_controlled_winrate` of annotations, in percent.

    Args:
        annotations: rows of its `annotations.json`, in the order of its instructions.
        gamed: its `df_gamed.csv`.
    """
    import sklearn

    module = regression()
    module.hf_hub_download = lambda **_: str(gamed)
    rows = pandas.DataFrame(annotations)
    rows["index"] = range(len(rows))
    routing = sklearn.get_config()["enable_metadata_routing"]
    try:
        with warnings.catch_warnings(action="ignore"):
            found = module.get_length_controlled_winrate(rows, save_weights_dir=None)
    finally:
        sklearn.set_config(enable_metadata_routing=routing)  # it turns that on for everybody
    return float(found["length_controlled_winrate"])
