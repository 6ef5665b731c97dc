"""Tasks of retrieval: pictures and titles of products, each looked for by the other."""

from harness.cards import cards

__getattr__ = cards(__file__)
