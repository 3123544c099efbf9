from pathlib import Path

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from resizer.driver.failure import CallError
from resizer.driver.size import BLOCK_BYTES, DEFAULT_BYTES, Pool, SizeRange, parse_range
from resizer.driver.volumes import VolumeBook
from resizer.rpc.pb import csi_v1_pb2 as pb

SIZES = st.integers(min_value=0, max_value=2**63 - 1)


@given(required=SIZES, limit=SIZES, minimum=st.integers(min_value=1, max_value=2**30))
def test_size_for(required: int, limit: int, minimum: int) -> None:
    """Whatever is asked: whole blocks, not below what is required, not above the limit, or OUT_OF_RANGE."""
    try:
        size = parse_range(pb.CapacityRange(required_bytes=required, limit_bytes=limit)).size_for(minimum)
    except CallError as error:
        assert error.code == StatusCode.OUT_OF_RANGE
        rounded = -(-max(required, minimum) // BLOCK_BYTES) * BLOCK_BYTES
        assert rounded > 2**63 - BLOCK_BYTES or (limit and limit < rounded)
    else:
        assert size % BLOCK_BYTES == 0
        assert size >= max(required, minimum)
        assert not limit or size <= limit


def test_nothing_said_is_the_default() -> None:
    """No range at all gives the default size; a limit below it gives the limit."""
    assert SizeRange(0, 0).size_for(1) == DEFAULT_BYTES
    assert SizeRange(0, 8 * BLOCK_BYTES + 1).size_for(1) == 8 * BLOCK_BYTES


def test_negative_sizes_are_refused() -> None:
    """A negative size is the caller's mistake."""
    with pytest.raises(CallError) as refused:
        parse_range(pb.CapacityRange(required_bytes=-1))
    assert refused.value.code == StatusCode.INVALID_ARGUMENT


def test_pool_counts_what_is_reserved(tmp_path: Path) -> None:
    """Two reservations at once do not exceed the limit, and a reservation that ends is given back."""
    book = VolumeBook(tmp_path / "b.db")
    pool = Pool(book=book, folder=tmp_path, limit_bytes=100)
    with pool.reserve(60, purpose="one"):
        with pytest.raises(CallError, match="two needs 60"), pool.reserve(60, purpose="two"):
            pytest.fail("more than there is")
        assert pool.available_bytes() == 40
    assert pool.available_bytes() == 100
    assert Pool(book=book, folder=tmp_path, limit_bytes=None).available_bytes() > 0
    book.close()
