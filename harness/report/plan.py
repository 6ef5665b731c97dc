"""The plan of a run as text, for `--dry-run`."""

from harness.arms import Arm
from harness.fitting import fit_folder
from harness.opening import training_set
from harness.pipeline import run_folder
from harness.plan import Plan
from harness.seals import is_sealed
from harness.settings import trainings
from harness.shown import shown
from harness.store import Store


def plan_text(plan: Plan) -> str:
    """What a run would train and score, with sizes and what is there already."""
    config = plan.config
    store = Store(config.runs / "store")
    lines = [f"run {run_folder(config)} (profile {config.profile})"]
    for arm in plan.arms:
        if not arm.trains:
            lines.append(f"  {arm.name}: {arm.model} as it is")
            continue
        assert arm.dataset is not None
        changed = "".join(f", {key}={value}" for key, value in sorted(arm.overrides.items()))
        missing = False
        rows = training_set(arm.dataset).rows
        for seed in arm.seeds:
            assert seed is not None
            there = is_sealed(fit_folder(arm, seed, store)[0])
            missing |= not there
            lines.append(
                f"  {arm.name} seed {seed}: train {arm.model} on {arm.dataset} ({rows:,} rows"
                f"{changed})" + (", trained already" if there else "")
            )
        if missing:
            lines += [f"    {line}" for line in _memory(arm)]
    arms = sum(len(arm.seeds) for arm in plan.arms)
    for scored in plan.tasks:
        requests = sum(len(scored.task.requests(item)) for item in scored.items[:20])
        each = requests / min(20, len(scored.items))
        lines.append(
            f"  {scored.ref.name}: {len(scored.items):,} items of {scored.ref.source} "
            f"({scored.ref.split}), about {each:g} request(s) each, for {arms} model(s)"
        )
    lines.append(f"  leaderboards under {config.leaderboards}")
    return "\n".join(map(shown, lines))


def _memory(arm: Arm) -> list[str]:
    """Return what an arm's largest training takes on a card; nothing where no weights train."""
    sections = trainings(arm.method.config)
    if not sections:
        return []
    from harness import memory

    found = memory.of_arm(arm)
    name = max(found, key=lambda section: found[section].alone)
    return memory.describe(found[name], sections[name])
