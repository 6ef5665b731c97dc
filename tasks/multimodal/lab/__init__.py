"""Scenes: an embedded world of small pictures whose every sentence is known to be true or false."""
