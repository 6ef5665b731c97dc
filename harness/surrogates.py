"""Halves of characters, which JSON can hold and no file or tokenizer takes."""

import re

HALF = re.compile("[\ud800-\udfff]")
"""A surrogate: half of a character."""
