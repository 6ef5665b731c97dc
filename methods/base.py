"""The untrained model."""

from typing import TYPE_CHECKING, ClassVar

from harness.method import Method

if TYPE_CHECKING:
    from harness.training import Fit


class Base(Method):
    """The base model as it is: what every trained method is compared with."""

    trains: ClassVar[bool] = False

    def fit(self, fit: "Fit") -> None:
        """Nothing to train."""
