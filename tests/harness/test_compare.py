import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from builders import entry

from harness import leaderboard, proportions, stats
from harness.compare import compare, compare_boards
from harness.contrast import contrast, difference, mean_difference
from harness.differences import paired_difference
from harness.errors import HarnessError
from harness.packing import pack
from harness.report.terminal import render, run_table
from harness.schema import Entry
from harness.summary import summarize

RNG = np.random.default_rng(0)
BASE = [int(bit) for bit in RNG.random(200) < 0.5]
GOOD = [max(bit, int(gain)) for bit, gain in zip(BASE, RNG.random(200) < 0.3, strict=True)]


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits: BASE, then GOOD; the working tree has no leaderboards any more."""
    root = tmp_path / "räpo with space"
    root.mkdir()
    git(root, "init", "-b", "trunk")
    for scores in (BASE, GOOD):
        leaderboard.record(root / "leaderboards", entry(scores))
        leaderboard.record(root / "leaderboards", entry(scores, lab=False, task="mmbench"))
        leaderboard.record(root / "leaderboards", entry(BASE, method="base", seed=None))
        (root / "other.json").write_text("{}")
        git(root, "add", ".")
        git(root, "commit", "-m", "x")
    git(root, "tag", "v2")
    shutil.rmtree(root / "leaderboards")
    return root


def boards(*entries: Entry) -> dict[tuple[bool, str], dict[str, Entry]]:
    found: dict[tuple[bool, str], dict[str, Entry]] = {}
    for each in entries:
        found.setdefault((each.lab, each.task.name), {})[each.place] = each
    return found


def test_revisions_are_compared_from_git_objects(repository: Path) -> None:
    result = compare("HEAD~1", "v2", repository / "leaderboards")
    assert [(row.task, row.lab, row.method, row.verdict) for row in result.rows] == [
        ("mmbench", False, "aspo", "better"),
        ("pope", True, "aspo", "better"),
        ("pope", True, "base", "unchanged"),
    ]
    assert (result.a, result.b, result.refused) == ("HEAD~1", "v2", [])
    back = compare("trunk", "HEAD~1:leaderboards", repository / "leaderboards")
    assert [row.verdict for row in back.rows] == ["worse", "worse", "unchanged"]
    assert back.failures() == {"worse"}
    assert result.failures() == set()
    one = compare("HEAD~1:leaderboards/lab/pope.json", "HEAD", repository / "leaderboards")
    assert {single.task for single in one.new} == {"mmbench"}


def test_revision_against_folder_and_file(repository: Path, tmp_path: Path) -> None:
    leaderboard.record(tmp_path / "new", entry(BASE))
    result = compare("HEAD", tmp_path / "new", repository / "leaderboards")
    assert [row.verdict for row in result.rows] == ["worse"]
    result = compare(tmp_path / "new", tmp_path / "new" / "lab" / "pope.json")
    assert [row.verdict for row in result.rows] == ["unchanged"]


def test_revisions_that_cannot_be_read(repository: Path, tmp_path: Path) -> None:
    inside = repository / "leaderboards"
    with pytest.raises(HarnessError, match="'HEAD~9' is neither a file nor a git revision"):
        compare("HEAD~9", "HEAD", inside)
    with pytest.raises(HarnessError, match="neither a file nor a git revision"):
        compare("--help", "HEAD", inside)
    with pytest.raises(HarnessError, match="has no leaderboards in 'nowhere'"):
        compare("HEAD:nowhere", "HEAD", inside)
    with pytest.raises(HarnessError, match="in no git repository"):
        compare("HEAD~1", "HEAD", tmp_path / "leaderboards")
    with pytest.raises(HarnessError, match="no such file or folder"):
        compare(tmp_path / "nothing", "HEAD", inside)
    with pytest.raises(HarnessError, match=r"^HEAD:other\.json: not a leaderboard"):
        compare("HEAD:other.json", "HEAD", inside)
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--depth", "1", repository.as_uri(), str(clone))
    with pytest.raises(HarnessError, match="This clone is shallow: `git fetch --unshallow`"):
        compare("HEAD~1", "HEAD", clone / "leaderboards")


def test_name_of_both_a_path_and_a_revision(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    leaderboard.record(Path("trunk"), entry(BASE))
    with pytest.raises(HarnessError, match="both a path and a git revision"):
        compare("trunk", "HEAD")
    assert [row.verdict for row in compare("./trunk", "refs/heads/trunk").rows] == ["better"]
    with pytest.raises(HarnessError, match="no leaderboards"):
        compare(str(repository / ".git"), "HEAD")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"card": "c1"}, "task card differs: c0 / c1"),
        ({"fingerprint": "f1"}, "fingerprint of the items differs: f0 / f1"),
        ({"version": 2}, "task version differs: 1 / 2"),
        ({"primary": "f1"}, "primary metric differs: accuracy / f1"),
        ({"scores": BASE[:50]}, "number or clusters of items differ: 200 / 50"),
        ({"split": "dev"}, "only in old; task split differs: test / dev"),
        ({"limit": 100}, "only in old; limit differs: all items / first 100"),
    ],
)
def test_entries_that_do_not_pair_are_refused(change: dict[str, object], reason: str) -> None:
    new = entry(**{"scores": GOOD, **change})  # type: ignore[arg-type]
    result = compare_boards(boards(entry(BASE)), boards(new), "old", "new")
    assert result.rows == []
    assert result.failures() == {"worse", "refused"}
    assert reason in [refusal.reason for refusal in result.refused]


def test_ties_and_direction() -> None:
    tasks = ["a", "b", "c"]
    dearer = entry(BASE, task="a")
    dearer = dearer.model_copy(update={"cost": dearer.cost.model_copy(update={"train_tokens": 9})})
    swapped = [1 - BASE[0], *BASE[1:]]
    old = boards(*(entry(BASE, task=name) for name in tasks))
    new = boards(dearer, entry(swapped, task="b"), entry(GOOD, task="c"))
    rows = compare_boards(old, new).rows
    assert [row.verdict for row in rows] == ["unchanged", "no evidence", "better"]
    assert (rows[0].contrast, rows[0].changed) == (None, {"cost": 1})
    lower = boards(entry(BASE, higher_is_better=False))
    worse = compare_boards(lower, boards(entry(GOOD, higher_is_better=False))).rows
    assert [row.verdict for row in worse] == ["worse"]


def mcnemar(a: list[int], b: list[int]) -> float:
    pairs = list(zip(a, b, strict=True))
    return proportions.mcnemar(sum(x > y for x, y in pairs), sum(x < y for x, y in pairs))


def test_tests_are_those_of_stats_and_holm_runs_over_all_rows() -> None:
    names = ["a", "b", "c"]
    fits = [GOOD, [*BASE[:199], 1 - BASE[199]], [*(1 - bit for bit in BASE[:9]), *BASE[9:]]]
    old = boards(*(entry(BASE, task=name) for name in names), entry(BASE, task="same"))
    new = boards(
        *(entry(scores, task=name) for name, scores in zip(names, fits, strict=True)),
        entry(BASE, task="same"),
    )
    tested = [row.contrast for row in compare_boards(old, new).rows if row.contrast]
    p_values = [mcnemar(BASE, scores) for scores in fits]
    assert [each.p for each in tested] == p_values
    assert [each.p_holm for each in tested] == stats.holm(p_values)
    assert {each.test for each in tested} == {"mcnemar"}
    assert tested[0].difference == pytest.approx(np.mean(GOOD) - np.mean(BASE))
    # One has a verdict: two are left, and 5 % over two of them; the one had all three beside it.
    discordant = [sum(a != b for a, b in zip(BASE, each, strict=True)) for each in fits]
    levels = [0.05 / 3, 0.05 / 2, 0.05 / 2]
    expected = [
        proportions.detectable(count, 200, level)
        for count, level in zip(discordant, levels, strict=True)
    ]
    assert [each.detectable for each in tested] == expected


def test_clusters_and_ratios_have_a_t_test_over_clusters() -> None:
    clusters = [str(i // 20) for i in range(200)]
    old, new = entry(BASE, clusters=clusters), entry(GOOD, clusters=clusters)
    found = contrast([old], [new])
    assert (found.test, found.clusters, found.n) == ("t", 10, 200)
    ones = np.ones(200)
    expected = paired_difference(BASE, ones, GOOD, ones, np.arange(200) // 20)
    assert expected is not None
    assert (found.p, found.low) == (expected.p, expected.low)
    pairs = [(2.0 * bit, 1.0 + bit) for bit in BASE], [(2.0 * bit, 1.0 + bit) for bit in GOOD]
    assert contrast([entry(pairs[0])], [entry(pairs[1])]).test == "t"


def test_three_clusters_can_find_nothing() -> None:
    clusters = [str(i // 67) for i in range(200)]
    apart = [1] * 67 + [0] * 67 + BASE[134:]  # much better, much worse, the same
    old, new = entry(BASE, clusters=clusters), entry(apart, clusters=clusters)
    assert contrast([old], [new]).detectable is None
    (task,) = summarize([old.model_copy(update={"method": "base", "seed": None}), new]).tasks
    text = render(run_table([old.model_copy(update={"method": "base", "seed": None}), new]))
    assert task.clusters == 3
    assert "nothing detectable" in text.replace("\u00a0", " ")


def test_a_second_metric_is_paired_where_the_card_keeps_it() -> None:
    kept, other = {"paired": {"f1": pack([(b, 1) for b in BASE])}}, pack([(b, 1) for b in GOOD])
    old, new = entry(GOOD, **kept), entry(GOOD, paired={"f1": other})
    changed = sum(a < b for a, b in zip(BASE, GOOD, strict=True))
    expected = difference([old], [new], "f1")
    assert expected is not None
    assert (expected.low, expected.high) == proportions.tango(0, changed, 200)
    same = difference([old], [new], "accuracy")
    assert same is not None
    assert same.value == contrast([old], [new]).difference == 0
    runs = [[entry(GOOD, seed=s, paired=each.paired) for s in range(2)] for each in (old, new)]
    found = difference(*runs, "f1")
    assert found is not None
    assert found.value == pytest.approx(np.mean(GOOD) - np.mean(BASE))
    base = entry(BASE, method="base", seed=None, paired=old.paired)
    (task,) = summarize([base, new]).tasks
    (value, low, high) = task.groups[1].paired["f1"]
    assert (value, low, high) == (expected.value, expected.low, expected.high)
    text = render(run_table([base, new]))
    assert f"f1: difference +{value:.3f} [+{low:.3f}, +{high:.3f}]" in text.replace("\u00a0", " ")
    with pytest.raises(HarnessError, match="keeps no 'f1' per item, only accuracy: name it under"):
        difference([old], [entry(GOOD)], "f1")


def test_the_mean_of_tasks_counts_each_alike_and_has_the_tasks_own_errors() -> None:
    rng = np.random.default_rng(2)
    sides = []
    for name, size, gain in (("pope", 300, 0.3), ("mmbench", 40, 0.1)):
        before = rng.random((2, size)) < 0.4
        after = before | (rng.random((2, size)) < gain)
        runs = [
            [entry([float(bit) for bit in row], task=name, seed=s) for s, row in enumerate(side)]
            for side in (before, after)
        ]
        sides.append((runs[0], runs[1][::-1]))
    apart = [difference(a, b, "accuracy") for a, b in sides]
    found = mean_difference(*zip(*sides, strict=True))
    assert found is not None
    assert found.value == pytest.approx(np.mean([each.value for each in apart if each]))
    single = [([a[0]], [next(each for each in b if each.seed == 0)]) for a, b in sides]
    alone = mean_difference(*zip(*single, strict=True))
    errors = [each.error for pair in single if (each := difference(*pair, "accuracy"))]
    assert alone is not None
    assert alone.error == pytest.approx(np.hypot(*errors) / 2, rel=1e-6)
    nothing = [[entry([(0.0, 0.0)] * 3)]]
    assert mean_difference(nothing, nothing) is None


def test_comparison_is_json_and_says_the_values() -> None:
    old = entry([(0.0, 0.0)] * 3, metrics={"recall": 0.5})
    new = entry([(1.0, 1.0)] * 3, metrics={"precision": 0.25})
    result = compare_boards(boards(old), boards(new))
    assert type(result).model_validate_json(result.model_dump_json()) == result
    row = result.rows[0]
    assert row.metrics == {"accuracy": (None, 1), "recall": (0.5, None), "precision": (None, 0.25)}
    assert row.verdict == "no evidence"


def test_contrast_averages_seeds_and_pairs_equal_ones() -> None:
    rng = np.random.default_rng(1)
    items, level = rng.random(100), [0.0, 0.3, 0.6]
    dpo = [entry(list(items + shift), method="dpo", seed=s) for s, shift in enumerate(level)]
    aspo = [entry(list(items + shift + 0.1), seed=s) for s, shift in enumerate(level)]
    paired = contrast(dpo, aspo[::-1])
    assert paired.difference == pytest.approx(0.1, abs=1e-5)
    assert (paired.seeds, paired.test, paired.verdict) == ((3, 3), "seeds", "better")
    other = [
        each.model_copy(update={"seed": each.seed + 7}) for each in aspo if each.seed is not None
    ]
    apart = contrast(dpo, other)
    assert apart.difference == pytest.approx(0.1, abs=1e-5)
    assert apart.verdict == "no evidence"
    with pytest.raises(HarnessError, match="cannot be compared: fingerprint of the items differs"):
        contrast(dpo, [entry(list(items), fingerprint="f1")])


def test_summary_groups_by_task_model_and_settings() -> None:
    entries = [
        *(entry(GOOD, seed=s, model=m) for s in range(2) for m in ("m1", "m2")),
        entry(BASE, method="base", seed=None, model="m1"),
        entry(BASE, method="base", seed=None, model="m2"),
        entry(GOOD, overrides={"loss.beta": 0.5}, model="m1"),
        entry(GOOD, model="m3"),
        entry(GOOD, model="m1", task="mmbench", fingerprint="f1"),
        entry(BASE, model="m1", task="mmbench", method="base", seed=None),
    ]
    summary = summarize(entries)
    groups = {
        (task.task, g.method, g.model, len(g.overrides)): g
        for task in summary.tasks
        for g in task.groups
    }
    assert [g.method for g in summary.tasks[0].groups][:2] == ["base", "base"]
    first = groups["pope", "aspo", "m1", 0]
    assert first.seeds == [0, 1]
    assert first.contrast is not None
    assert first.contrast.verdict == "better"
    alone = groups["pope", "aspo", "m1", 1]
    assert alone.contrast is not None
    assert alone.contrast.p == mcnemar(BASE, GOOD)
    tested = [g.contrast for g in groups.values() if g.contrast]
    p_values = [each.p for each in tested if each.p is not None]
    assert [each.p_holm for each in tested] == pytest.approx(stats.holm(p_values))
    assert groups["pope", "aspo", "m3", 0].note == "no result of base to compare with"
    assert "fingerprint of the items differs" in (groups["mmbench", "aspo", "m1", 0].note or "")
    assert groups["pope", "base", "m1", 0].contrast is None
    assert type(summary).model_validate_json(summary.model_dump_json()) == summary
