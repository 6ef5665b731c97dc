"""A model's answers to a task's items, kept in the store."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from harness.code_keys import reached
from harness.computations import of_predictions
from harness.models import loading
from harness.store import Store
from harness.task import Prediction

if TYPE_CHECKING:
    from harness.entries import Reporter
    from harness.fitting import Fitted
    from harness.plan import Scored


class FittedModel(Protocol):
    """A fitted model that may not be in memory yet."""

    fitted: "Fitted"
    asked: int | None
    """Batch size that the user asked for."""

    def role(self, role: str) -> Any:
        """Return the model in a role, loaded."""


def predict(
    scored: "Scored",
    changed: Mapping[str, Any],
    model: FittedModel,
    store: Store,
    label: str,
    reporter: "Reporter",
) -> list[Prediction]:
    """Return a model's answers to a task's items, from the store where they were given before.

    Args:
        changed: generation settings that go before the card's.
    """
    task, items = scored.task, scored.items
    generation = {**task.card.generation, **changed}
    inputs = {
        "weights": model.fitted.weights,
        "base": model.fitted.base,
        "models": [loading.identity(loading.resolve(name)) for name in task.models()],
        "task": scored.ref.card,
        "generation": generation,
        "items": scored.ref.fingerprint,
        **reached(of_predictions(task, model.fitted.path)).key(),
        "device": loading.device_kind(),
        "precision": model.fitted.scored_precision,
        # Sampled answers depend on it.
        **({"batch_size": model.asked} if model.asked else {}),
    }
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        reporter.step(f"{label} {scored.ref.name}", done, len(items), {})

    def answer(part: Sequence[Any], _: int) -> list[dict[str, Any]]:
        found = task.predict(model.role(task.role), part, **generation)
        return [
            {
                "id": each.id,
                "outputs": list(each.outputs),
                **({"details": dict(each.details)} if each.details else {}),
            }
            for each in found
        ]

    rows = store.mapped(
        "predictions", inputs, items, answer, chunk=task.chunk or len(items), advance=advance
    )
    return [Prediction(row["id"], tuple(row["outputs"]), row.get("details", {})) for row in rows]
