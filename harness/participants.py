"""Whose code took part in a result: plugins with their distributions, and packages."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness import registry
from harness.code_keys import PLAYERS, Computation, of_plugin, reached
from harness.computations import of_adapters, of_fit, of_task, of_verdicts
from harness.models import adapters, loading
from harness.module_files import version_of
from harness.schema import PluginRef

if TYPE_CHECKING:
    from pathlib import Path

    from harness.arms import Arm
    from harness.plan import Scored


@dataclass(frozen=True)
class Participants:
    """Plugins by kind and name, and versions of distributions."""

    plugins: Mapping[str, PluginRef] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)

    def __or__(self, other: "Participants") -> "Participants":
        """Return both together."""
        return Participants({**self.plugins, **other.plugins}, {**self.packages, **other.packages})


def of_arm(arm: "Arm", model: "Path") -> Participants:
    """Return who made a model: a method, its base models and its training sets."""
    method = arm.method
    base = loading.resolve(arm.model)
    fit = of_fit(method, arm.name, base)
    packages = _packages(fit if arm.trains else of_adapters(base))
    found = Participants(_ref("methods", arm.name, fit), packages)
    for name in (arm.model, *method.models()):
        found |= Participants(_ref("models", name) | _adapters(loading.resolve(name)))
    for name in filter(None, (arm.dataset, *method.datasets())):
        found |= Participants(_ref("datasets", name))
    return found | Participants(_adapters(model))


def of_scored(scored: "Scored", engines: Mapping[str, str]) -> Participants:
    """Return who asks and scores: a task, its data, a judge, engines."""
    task = of_task(scored.task)
    model = Computation(("harness.scoring", "harness.models.loading", PLAYERS[scored.task.role]))
    packages = _packages(task | model)
    found = Participants(_ref("tasks", scored.task.card.name, task), packages)
    found |= Participants(_ref("datasets", scored.ref.source))
    for name in scored.task.models():
        found |= Participants(_ref("models", name) | _adapters(loading.resolve(name)))
    if scored.judge is not None:
        judge = of_verdicts(scored.judge)
        found |= Participants(_ref("judges", scored.judge.name, judge), _packages(judge))
    for name in engines:
        found |= Participants(_ref("engines", name))
    return found


def _ref(kind: str, name: str, computation: Computation | None = None) -> dict[str, PluginRef]:
    """Return the plugin that is registered under a name, if there is one."""
    if not registry.registered(kind, name):
        return {}
    plugin = registry.find(kind, name)
    code = reached(computation or of_plugin(plugin.load(), plugin.module))
    own = code.within([plugin.module.partition(".")[0]])
    ref = PluginRef(distribution=plugin.distribution, version=plugin.version, code=own)
    return {f"{kind[:-1]}/{name}": ref}


def _adapters(folder: "Path") -> dict[str, PluginRef]:
    """Return the plugins whose kinds of adapter a model folder is made of."""
    found: dict[str, PluginRef] = {}
    while loading.is_adapter(folder):
        marker = adapters.file(folder) or ""
        found |= _ref("adapters", marker.removesuffix(".json"))
        folder = loading.base_of(folder)
    return found


def _packages(computation: Computation) -> dict[str, str]:
    """Return the distributions that a computation reaches; harness, which carries it out, too."""
    own = {registry.DISTRIBUTION: version_of(registry.DISTRIBUTION)}
    return {**reached(computation).packages, **own}
