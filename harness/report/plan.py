"""The plan of a run as text, for `--dry-run`."""

from harness.fitting import fit_folder
from harness.pipeline import run_folder
from harness.plan import Plan, open_data
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
        rows = len(open_data(arm.dataset).rows())
        for seed in arm.seeds:
            assert seed is not None
            there = (fit_folder(arm, seed, store)[0] / "fit.json").exists()
            lines.append(
                f"  {arm.name} seed {seed}: train {arm.model} on {arm.dataset} ({rows:,} rows"
                f"{changed})" + (", trained already" if there else "")
            )
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
