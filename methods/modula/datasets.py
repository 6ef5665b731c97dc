"""The training sets of the paper, as mixtures of the hub's."""

from pathlib import Path

from harness.mixtures import Mixture

FOLDER = Path(__file__).parent / "mixtures"

universal = Mixture(
    FOLDER / "universal.yaml", summary="Instructions of many kinds (airoboros-3.2, hub)"
)
math = Mixture(FOLDER / "math.yaml", summary="Sums in words (orca-math, 200,000, hub)")
code = Mixture(FOLDER / "code.yaml", summary="Requests for programs (CodeAlpaca-20k, hub)")
medicine = Mixture(
    FOLDER / "medicine.yaml", summary="Questions on abstracts (PubMedQA's artificial part, hub)"
)
