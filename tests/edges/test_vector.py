"""The up-to-dateness vector's octets, written by hand after MS-DRSR's UPTODATE_VECTOR_V2_EXT."""

from __future__ import annotations

from uuid import UUID

import pytest

from adwatch.edges.directory.vector import read_vector

ONE, OTHER = UUID("33a01721-1bc2-4c93-ac7f-035158c4d8cb"), UUID(int=7)


def octets(version: int, count: int, *parts: bytes) -> bytes:
    return b"".join([*(n.to_bytes(4, "little") for n in (version, 0, count, 0)), *parts])


def cursor(invocation: UUID, usn: int) -> bytes:
    return invocation.bytes_le + usn.to_bytes(8, "little")


@pytest.mark.parametrize(("version", "behind"), [(1, b""), (2, bytes(range(8)))])
def test_both_versions_tell_the_usn_of_each_database(version: int, behind: bytes) -> None:
    data = octets(version, 2, cursor(ONE, 4114), behind, cursor(OTHER, 1 << 40), behind)
    assert read_vector(data) == {str(ONE): 4114, str(OTHER): 1 << 40}


def test_no_cursors_is_no_fault() -> None:
    assert read_vector(octets(2, 0)) == {}


@pytest.mark.parametrize("cut", [0, 15, 16, 40, 47])
def test_a_vector_that_is_cut_off_tells_nothing(cut: int) -> None:
    data = octets(2, 1, cursor(ONE, 4114), bytes(8))
    assert len(data) == 48
    with pytest.raises(ValueError, match="cut off"):
        read_vector(data[:cut])


def test_another_version_tells_nothing() -> None:
    with pytest.raises(ValueError, match="version 3"):
        read_vector(octets(3, 1, cursor(ONE, 1), bytes(8)))
