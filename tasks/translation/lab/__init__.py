"""The embedded world of the translation family: product titles in two invented languages."""
