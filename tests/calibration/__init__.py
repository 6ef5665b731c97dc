"""Simulations of every interval and test: `python -m tests.calibration [--repetitions N]`."""
