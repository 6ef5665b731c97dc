"""Attacks on the whole product: kills, writers, full disks, damaged stores, hostile input.

Each module has `run(count, seed, folder)`: it makes that many attempts by a seed, prints each
finding, and returns how often each outcome was seen. Outcomes in `FAULTS` must not be seen at all.
`python -m tests.attacks` runs and records them; the suite runs small versions.
"""

FAULTS = ("silent", "traceback", "hang", "crash", "differs", "lost", "unfinished", "broken line")
"""Outcomes that no attempt may have."""
