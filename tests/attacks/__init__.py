"""Attacks on the product: hostile inputs by the thousand, and what became of each."""
