"""What one reading of the directory makes of each user, as it comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from adwatch.core.mapping import Mapper
from adwatch.core.model import Batch, Candidate, Entry

_NO_ATTRIBUTES: Mapping[str, tuple[str, ...]] = MappingProxyType({})


class Intake:
    """Maps the users of one reading. Of a reading of everybody nothing is kept of whom `same`
    says that the store has it so already: most of many are.
    """

    def __init__(
        self,
        mapper: Mapper,
        clock: Callable[[], float],
        same: Callable[[Candidate], bool] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self._mapper = mapper
        self._clock = clock
        self._is_same = same
        self._progress = progress
        self._ahead: dict[str, Candidate] = {}
        self._same: set[str] = set()
        self.narrowed = False
        """Whether anybody was the same, and left out of what was `mapped`."""

    def take(self, entry: Entry) -> Entry:
        """Takes a user of a reading of everybody; gives what is to be kept of its entry."""
        candidate = self._mapper.candidate(entry, self._clock())
        if self._is_same is not None and self._is_same(candidate):
            self._same.add(entry.guid)
            self._ahead.pop(entry.guid, None)
        else:
            self._ahead[entry.guid] = candidate
            self._same.discard(entry.guid)
        if self._progress is not None:
            self._progress(len(self._ahead) + len(self._same))
        return Entry(entry.guid, entry.dn, _NO_ATTRIBUTES)

    def mapped(self, batch: Batch) -> dict[str, Candidate]:
        """What became of the users of a batch, but for those that are the same; once."""
        ahead, self._ahead = self._ahead, {}
        same, self._same = self._same, set()
        self.narrowed = bool(same)
        return {
            entry.guid: ahead.get(entry.guid) or self._mapper.candidate(entry, batch.at)
            for entry in batch.entries
            if entry.guid not in same
        }
