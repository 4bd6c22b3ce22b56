"""What the store knows becomes the outputs. Nothing here needs the directory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from adwatch import lastgood
from adwatch.core.document import Document, Print, Since
from adwatch.core.model import Debt, Peer, Plan, Served
from adwatch.core.render import RenderError
from adwatch.core.safe import UnsafeText
from adwatch.core.words import line
from adwatch.edges import asterisk
from adwatch.edges.store import Store
from adwatch.edges.watch import Stamp, stamp
from adwatch.errors import OutputError
from adwatch.output import Output
from adwatch.reloads import Reloads
from adwatch.turn import Turn

log = logging.getLogger(__name__)


class Publisher:
    """Writes the outputs that are owed, and the debt of Asterisk's reload before each."""

    def __init__(
        self,
        outputs: tuple[Output, ...],
        store: Store,
        reloads: Reloads,
        state: Path,
        clock: Callable[[], float],
        secrets: Callable[[], str],
    ) -> None:
        self.written: dict[str, float] = {}
        self.restored: dict[str, float] = {}
        """When an output that another hand had changed was found so, by the output's name."""
        self._store = store
        self._state = state
        self._clock = clock
        self._secrets = secrets
        self._stamps: dict[str, Stamp] = {}
        self._outputs, self._reloads = outputs, reloads
        self._documents: dict[str, Document] = {}
        self._whole: dict[str, tuple[Stamp, Stamp]] = {}
        """Of outputs whose two files were seen to hold the text: how both were left."""

    def change(self, outputs: tuple[Output, ...]) -> None:
        """Goes on with other outputs; what was written of them before is judged no more."""
        self._outputs = outputs
        self._stamps.clear()
        self.forget()

    def publish(self, turn: Turn) -> None:
        """Writes every output that is owed."""
        owed = self._store.owed("publish")
        owing = [output for output in self._outputs if output.name in owed]
        if owing and self._store.cursor() is None:
            return  # of a lost store only some peers may be known
        if any(output.name not in self._documents for output in owing):
            self._begin(self._store.each_served())
        for output in owing:
            with turn.part(f"output {output.name}"), turn.timed("write"):
                wrote, mark = self._publish(output)
                turn.wrote |= wrote
                self._store.published(output.name, mark)
        for output in self._outputs:
            output.renderer.forget()

    def _begin(self, served: Iterable[Served]) -> None:
        """Makes the documents anew, each peer in all outputs that can hold it."""
        documents = {output.name: Document(output.renderer) for output in self._outputs}
        for one in served:
            _put(documents, one)
        self._documents = documents  # only now: the store may have broken off before its end
        self._whole.clear()

    def changed(self, plan: Plan) -> None:
        """Follows what was committed, so that publishing it costs what changed."""
        if not self._documents:
            if self._store.count() != len(plan.serve):
                return  # they are made from the store when they are first needed
            self._begin(())
        for guid in plan.end:
            for document in self._documents.values():
                document.drop(guid)
        for served in plan.serve:
            _put(self._documents, served)

    def rotated(self, peer: Peer) -> None:
        """Follows a peer's secret, which is another."""
        for document in self._documents.values():
            if peer.guid in document:
                document.put(peer)

    def forget(self) -> None:
        """Takes nothing for known any more: the store, or the key, is another."""
        self._documents.clear()
        self._whole.clear()

    def gather(self) -> None:
        """Makes the documents anew, so that they lie close together in memory.

        After a first reading they stand between what it needed and needs no more, none of which
        can be given back for that.
        """
        if self._documents:
            self.forget()
            self._begin(self._store.each_served())
            for output in self._outputs:
                output.renderer.forget()

    def look(self, turn: Turn) -> None:
        """Owes every output again that is not as it was written."""
        for output in self._outputs:
            with turn.part(f"output {output.name}"):
                if self._is_changed(output):
                    log.warning(line("changed_by_another", output=output.name, path=output.path))
                    self.restored[output.name] = self._clock()
                    self._store.owe(Debt("publish", output.name, self._clock()))

    def _is_changed(self, output: Output) -> bool:
        seen = stamp(output.path)
        if output.name not in self._stamps or seen == self._stamps[output.name]:
            return False
        self._stamps[output.name] = seen
        good = asterisk.octets(lastgood.path_of(self._state, output.name))
        return asterisk.differs(output.path, [good]) or _is_others(output)

    def text(self, output: Output, served: list[Served]) -> str:
        """The whole text of an output.

        Raises OutputError where a peer that the safety stop keeps can't be written any more;
        the file then stays as it is, which keeps the peer.
        """
        with _told(output):
            return output.renderer.document(s.peer for s in served if output.name not in s.refused)

    def is_current(self, output: Output) -> bool:
        """Whether an output's file is what the store's peers make, as it was left.

        False also where that can't be told without making it.
        """
        mark = self._store.meta(f"published {output.name}")
        if not mark or output.name in self._store.owed("publish") or _is_others(output):
            return False
        return self._mark(output, self._left(output)) == mark

    def _mark(self, output: Output, left: tuple[Stamp, Stamp]) -> str:
        """Tells the files of an output, as they were left and as they are made, from all others."""
        return f"{output.made_with(self._secrets())} {[*left]}"

    def _left(self, output: Output) -> tuple[Stamp, Stamp]:
        """How the two files of an output are now."""
        return stamp(output.path), stamp(lastgood.path_of(self._state, output.name))

    def _publish(self, output: Output) -> tuple[bool, str]:
        """Brings one output up to date; gives whether it had to be written, and its mark.

        The mark is empty where another hand was at the files just then. A file that is as it was
        left, when it held the text that was published, is not read.
        """
        document, copy = self._documents[output.name], lastgood.path_of(self._state, output.name)
        with _told(output):
            parts = document.parts()
        had = self._whole.pop(output.name, None)
        since = document.since() if had and had == self._left(output) else None
        known = had if had and since else (None, None)
        if since is not None:
            other = other_copy = since.print != document.print()
        else:
            other = asterisk.differs(output.path, parts)
            other_copy = other or asterisk.differs(copy, parts)  # it holds the one before
        written: dict[Path, asterisk.Written] = {}
        changed = other or _is_others(output)
        if changed:
            since = since or _compared(output, document, parts, other=other)
            written[output.path] = self._write(output, parts, since, document.print())
        self._stamps[output.name] = stamp(output.path)
        if other_copy:
            written[copy] = asterisk.replace(
                copy, parts, output.mode, output.owner, like=output.path
            )
        left = self._left(output)
        for path, old, new in zip((output.path, copy), known, left, strict=True):
            mine = written.get(path)
            sure = mine.sure if mine is not None else new is not None and new == old
            stands = mine is None or mine.stands(path)
            if not stands or (not sure and asterisk.differs(path, parts)):
                self._stamps[output.name] = None  # which the next look takes for another's doing
                return changed, ""
        self._stamps[output.name] = left[0]
        self._whole[output.name] = left
        document.published()
        return changed, self._mark(output, left)

    def _write(
        self, output: Output, parts: Sequence[bytes], since: Since, now: Print
    ) -> asterisk.Written:
        """Puts a new text in place; telling Asterisk of it is owed from before that."""
        first = self._reloads.owe(output, since)
        try:
            written = asterisk.replace(output.path, parts, output.mode, output.owner)
        except OutputError:
            if first:
                self._reloads.forgive(output, parts)
            raise
        self._reloads.replaced(output, now)
        self.written[output.name] = self._clock()
        log.info(line("written", output=output.name, path=output.path))
        return written


def _put(documents: Mapping[str, Document], served: Served) -> None:
    for name, document in documents.items():
        if name in served.refused:
            document.drop(served.peer.guid)
        else:
            document.put(served.peer)


def _compared(output: Output, document: Document, parts: Sequence[bytes], *, other: bool) -> Since:
    """What becomes of a file of which nothing is known but whether it holds another text."""
    old = asterisk.octets(output.path)
    had = ("other", hash(old)) if other else document.print()
    return Since(had, old, b"".join(parts))


@contextmanager
def _told(output: Output) -> Iterator[None]:
    try:
        yield
    except (UnsafeText, RenderError) as error:
        raise OutputError(
            f"the output {output.path} stays as it was: {error}", "see adwatch status"
        ) from error


def _is_others(output: Output) -> bool:
    return asterisk.is_others(output.path, output.mode, output.owner)
