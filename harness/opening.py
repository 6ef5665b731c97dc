"""Datasets by name, and what their rows are known by."""

from functools import cache
from typing import NamedTuple

from harness import registry
from harness.dataset import Dataset


def open_data(name: str, revision: str | None = None) -> Dataset:
    """Open a dataset by registered name, file, folder or hub name."""
    if registry.registered("datasets", name):
        dataset: Dataset = registry.load("datasets", name)
        return dataset
    from harness.sources import open_dataset

    return open_dataset(name, revision)


class TrainingSet(NamedTuple):
    """The hash of a training set's rows, and how many they are."""

    fingerprint: str
    rows: int


def read_training_set(name: str) -> TrainingSet:
    """Read a training set; raises `DataError` where a picture is missing."""
    from harness.items import check_pictures, fingerprint_rows

    dataset = open_data(name)
    check_pictures(dataset)
    rows = dataset.rows()
    return TrainingSet(fingerprint_rows(rows), len(rows))


@cache
def training_set(name: str) -> TrainingSet:
    """Read a training set once in a run: a new plan reads it again."""
    return read_training_set(name)
