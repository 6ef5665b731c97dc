"""What the harness costs beside its peers, as ratios measured in one run."""
