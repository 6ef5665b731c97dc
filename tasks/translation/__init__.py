"""Tasks of translation: product titles, paths of a product taxonomy, parallel test sets."""

from harness.cards import cards

__getattr__ = cards(__file__)
