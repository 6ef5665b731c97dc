import contextlib
import json
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.packing import pack, unpack
from harness.schema import Packed

WHOLE = st.integers(0, 2**32 - 1) | st.integers(0, 3)
REAL = st.floats(-1e30, 1e30, allow_nan=False, allow_subnormal=False)


def first_seen(names: list[str]) -> list[int]:
    order: list[str] = []
    for name in names:
        if name not in order:
            order.append(name)
    return [order.index(name) for name in names]


@given(st.lists(st.tuples(WHOLE, WHOLE)))
def test_integers_come_back_exactly(scores: list[tuple[int, int]]) -> None:
    columns = unpack(pack(scores))
    assert list(zip(columns.numerator, columns.denominator, strict=True)) == scores
    assert columns.clusters.tolist() == list(range(len(scores)))


@given(st.lists(st.tuples(REAL, st.just(1.0)), min_size=1))
def test_reals_come_back_to_six_digits_and_pack_alike_again(
    scores: list[tuple[float, float]],
) -> None:
    packed = pack(scores)
    columns = unpack(packed)
    np.testing.assert_allclose(columns.numerator, [num for num, _ in scores], 6e-6, atol=1e-37)
    assert pack(list(zip(columns.numerator, columns.denominator, strict=True))) == packed


@given(st.lists(st.text("abc", min_size=1, max_size=2)), st.integers(1, 5))
def test_clusters_come_back_numbered_by_appearance(names: list[str], repeat: int) -> None:
    names = [name for name in names for _ in range(repeat)]
    assert unpack(pack([(1, 1)] * len(names), names)).clusters.tolist() == first_seen(names)


def test_items_without_cluster_are_alone() -> None:
    assert pack([(1, 1)] * 3).clusters is None
    assert unpack(pack([(1, 1)] * 5, ["", "a", "", "a", ""])).clusters.tolist() == [0, 1, 2, 1, 3]


def test_texts_by_hand() -> None:
    packed = pack([(1, 1), (0, 1), (1, 1)])
    assert packed == Packed(n=3, numerator="u1:oA==")  # 101 and five zero bits: 0xa0
    packed = pack([(2, 2), (0, 1), (0, 0)], ["a", "a", "b"])
    assert packed == Packed(n=3, numerator="u2:gA==", denominator="u2:kA==", clusters="u1:IA==")
    assert pack([(3, 4)] * 40, [f"{i // 4}" for i in range(40)]) == Packed(
        n=40, numerator="const:3", denominator="const:4", clusters="runs:const:4"
    )
    assert pack([(1, 1)] * 39, [f"{i // 4}" for i in range(39)]).clusters == "runs:const:4"
    short = unpack(Packed(n=5, numerator="const:1", clusters="runs:const:2"))
    assert short.clusters.tolist() == [0, 0, 1, 1, 2]
    assert pack([(0.5, 1), (0.25, 1)]).numerator == "f32:AAAAPwAAgD4="
    assert pack([]) == Packed(n=0, numerator="const:0")


def test_noise_of_the_last_bits_changes_nothing() -> None:
    assert pack([(1 / 3, 1), (0.1 + 0.2, 1)]) == pack([(1 / 3 + 1e-15, 1), (0.3, 1)])


def test_thousand_binary_items_fit_in_180_characters() -> None:
    scores = [(int(bit), 1) for bit in np.random.default_rng(0).integers(0, 2, 1000)]
    packed = pack(scores, [str(i // 4) for i in range(1000)])
    assert len(packed.numerator) <= 180
    assert len(packed.clusters or "") <= 20


def test_clusters_that_come_back_stay_short() -> None:
    names = [f"{kind}{i // 6 % 500}"[1:] for kind in "rpa" for i in range(3000)]
    packed = pack([(1, 1)] * 9000, names)
    assert len(packed.clusters or "") < 2400
    assert unpack(packed).clusters.tolist() == [i // 6 % 500 for i in range(9000)]


def test_ten_thousand_items_pack_quickly() -> None:
    bits = np.random.default_rng(0).integers(0, 2, (10_000, 2)).tolist()
    scores = [(num, den) for num, den in bits]
    names = [f"picture-{i // 6}" for i in range(10_000)]
    times = []
    for _ in range(5):
        start = time.perf_counter()
        pack(scores, names)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.020


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "const:",
        "const:nan",
        "const:inf",
        "bits:oA==",
        "u0:oA==",
        "u33:oA==",
        "u01:oA==",
        "u1:oA",
        "u1:o A==",
        "u1:oAA=",
        "u1:/w==",
        "u1:é",
        "u2:oA==A",
        "f32:oA==",
        "f32:AADAfwAAwH8AAMB/",
    ],
)
def test_damaged_scores_are_user_errors(text: str) -> None:
    with pytest.raises(HarnessError, match="damaged"):
        unpack(Packed(n=3, numerator=text))


@pytest.mark.parametrize(
    "text",
    [
        "runs:const:1.5",
        "runs:const:0",
        "runs:const:0.5",
        "runs:",
        "runs:f32:AAAAPwAAgD4=",
        "runs:u2:kA==/",
        "runs:u2:oA==",
        "runs:u2:kA==/const:1",
        "const:1",
        "f32:AAAAAAAAAD8AAAA/",
        "u2:oA==",
    ],
)
def test_damaged_clusters_are_user_errors(text: str) -> None:
    with pytest.raises(HarnessError, match="damaged"):
        unpack(Packed(n=3, numerator="const:1", clusters=text))


@given(
    st.text(max_size=30)
    | st.from_regex(r"(runs:)?(u[0-9]+|f32|const):[A-Za-z0-9+/=]*", fullmatch=True)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    for packed in (
        Packed(n=5, numerator=text),
        Packed(n=5, numerator="const:1", clusters=text),
    ):
        with contextlib.suppress(HarnessError):
            assert len(unpack(packed).clusters) == 5


def test_damaged_count_and_scores_that_are_no_numbers() -> None:
    for n in (-1, 10**15):
        with pytest.raises(HarnessError, match="damaged"):
            unpack(Packed(n=n, numerator="const:1"))
    with pytest.raises(HarnessError, match=r"item 1 has the score \(nan, 1\.0\)"):
        pack([(0, 1), (float("nan"), 1)])
    with pytest.raises(HarnessError, match="scale"):
        pack([(0, 1), (1e300, 1)])


def test_packed_scores_are_plain_ascii_json() -> None:
    packed = pack([(0.5, 2), (1, 3)], ["é", "ü"])
    assert json.dumps(packed.model_dump(), ensure_ascii=True).isascii()
