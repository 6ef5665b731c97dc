"""Datasets by name, and what their rows are known by."""

from functools import cache

from harness import registry
from harness.dataset import Dataset
from harness.errors import DataError, suggestion


def open_data(name: str, revision: str | None = None) -> Dataset:
    """Open a dataset by registered name, file, folder or hub name."""
    if registry.registered("datasets", name):
        dataset: Dataset = registry.load("datasets", name)
        return dataset
    if name.startswith("lab/"):
        raise DataError(
            f"no dataset '{name}'. {suggestion(name, registry.names('datasets'))}"
            "`harness list datasets` shows all."
        )
    from harness.sources import open_dataset

    return open_dataset(name, revision)


def read_fingerprint(name: str) -> str:
    """Read a training set and return the hash of its rows."""
    from harness.items import check_pictures, fingerprint_rows

    dataset = open_data(name)
    check_pictures(dataset)
    return fingerprint_rows(dataset.rows())


@cache
def dataset_fingerprint(name: str) -> str:
    """Return the hash of a training set's rows, read once in a run: a new plan reads it again."""
    return read_fingerprint(name)
