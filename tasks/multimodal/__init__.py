"""Tasks on pictures: yes-no questions, multiple choice and detailed descriptions."""

from harness.cards import cards

__getattr__ = cards(__file__)
