"""The up-to-dateness vector: of each other controller, up to where one has all it wrote.

Sources: MS-DRSR 5.166 (what it says), and UPTODATE_VECTOR_V1_EXT and _V2_EXT there (its octets).
"""

from __future__ import annotations

from struct import Struct
from typing import Final
from uuid import UUID

# Version, reserved, number of cursors, reserved; then the cursors, each an invocationId and a
# USN, to which the second version adds the time of the last success.
_HEAD: Final = Struct("<IIII")
_CURSOR: Final = Struct("<16sQ")
_SIZES: Final = {1: 24, 2: 32}


def read_vector(octets: bytes) -> dict[str, int]:
    """USN by invocationId. Raises ValueError for octets that are no vector of a known version."""
    if len(octets) < _HEAD.size:
        raise ValueError("it is cut off")
    version, _, count, _ = _HEAD.unpack_from(octets)
    size = _SIZES.get(version)
    if size is None:
        raise ValueError(f"version {version} is not known")
    end = _HEAD.size + count * size
    if len(octets) < end:
        raise ValueError("it is cut off")
    found = (_CURSOR.unpack_from(octets, at) for at in range(_HEAD.size, end, size))
    return {str(UUID(bytes_le=invocation)): usn for invocation, usn in found}
