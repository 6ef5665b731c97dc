"""POIR: prompt optimization with implicit reasoning, and its baselines."""
