"""Tasks of preference: answers compared in pairs by a judge."""

from harness.cards import cards

__getattr__ = cards(__file__)
