"""Groups of the family's tasks under one name."""

from harness.task import TaskGroup

bpo_sets = TaskGroup(
    summary="Win rates on BPO's four test sets (paper)",
    members={"paper": ("vicuna_eval", "dolly_eval", "self_instruct_eval", "bpo_test")},
)
