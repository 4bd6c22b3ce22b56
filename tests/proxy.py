"""Stands between adwatch and a real domain controller, speaks its TLS, and does the faults.

Everything else is the DC's own: what passes is passed on message by message. `on_request` and
`on_answer` may put other messages in the place of one, and `spoil` changes octets of a request; the
rules at the end are ready-made ones.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from system.samba import SambaDC, free_port, run

from adwatch.edges.directory.entries import Message as Decoded
from adwatch.edges.directory.entries import read_message, read_sequence, sequence

TLS = "/var/lib/samba/private/tls"
SEARCH, ENTRY, DONE, EXTENDED = 0x63, 0x64, 0x65, 0x78
PAGED, DIRSYNC = "1.2.840.113556.1.4.319", "1.2.840.113556.1.4.841"
NOTIFICATION = "1.2.840.113556.1.4.528"
NOTICE_OF_DISCONNECTION = b"1.3.6.1.4.1.1466.20036"  # RFC 4511, 4.4.1


@dataclass(frozen=True, slots=True)
class Message:
    """One LDAP message: as it came (`raw`), what it is, and by which connection it came."""

    raw: bytes
    link: int
    id: int
    tag: int
    body: bytes
    controls: dict[str, bytes]


Rule = Callable[[Message], list[bytes] | None]


def ber(tag: int, *parts: bytes) -> bytes:
    """One BER element."""
    content = b"".join(parts)
    size = len(content)
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    length = bytes([size]) if size < 0x80 else bytes([0x80 | len(octets)]) + octets
    return bytes([tag]) + length + content


def message(number: int, tag: int, body: bytes, controls: dict[str, bytes] | None = None) -> bytes:
    """An LDAPMessage; controls go out as critical ones."""
    items = [
        ber(0x30, ber(4, name.encode()), ber(1, b"\xff"), ber(4, value))
        for name, value in (controls or {}).items()
    ]
    head = ber(2, number.to_bytes(4, "big"))
    return ber(0x30, head, ber(tag, body), ber(0xA0, *items) if items else b"")


def result(
    number: int, code: int, *, tag: int = DONE, controls: dict[str, bytes] | None = None
) -> bytes:
    """An answer's end with a result code (RFC 4511, appendix A.1)."""
    body = ber(10, bytes([code])) + ber(4) + ber(4, b"said by the test's proxy")
    return message(number, tag, body, controls)


def notice_of_disconnection() -> bytes:
    """What a server says unasked before it hangs up: unavailable."""
    body = (
        ber(10, bytes([52])) + ber(4) + ber(4, b"going down") + ber(0x8A, NOTICE_OF_DISCONNECTION)
    )
    return message(0, EXTENDED, body)


async def _read(reader: asyncio.StreamReader, link: int) -> Message:
    raw = await reader.readexactly(2)
    size = raw[1]
    if size & 0x80:
        octets = await reader.readexactly(size & 0x7F)
        raw, size = raw + octets, int.from_bytes(octets, "big")
    raw += await reader.readexactly(size)
    found: Decoded = read_message(raw)
    return Message(raw, link, found.id, found.tag, found.body, found.controls)


class Proxy:
    """Listens on a port of its own with the DC's certificate. `with proxy(dc) as it:`.

    `requests` are all that came from adwatch. `searches(control)` are those with a control.
    """

    def __init__(self, dc: SambaDC, folder: Path) -> None:
        self.requests: list[Message] = []
        self.on_request: Rule = lambda _: None
        self.on_answer: Rule = lambda _: None
        self.spoil: Callable[[bytes], bytes] = lambda raw: raw
        self._to = dc.ldaps_port
        self._inward = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        for name in ("cert.pem", "key.pem"):
            run("docker", "cp", f"{dc.container}:{TLS}/{name}", str(folder / name))
        self._own = folder / "cert.pem", folder / "key.pem"
        self.show()
        self._outward = ssl.create_default_context(cafile=str(dc.ca_file))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._links: dict[int, tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = {}
        self._taken: set[asyncio.Task[Any]] = set()
        self._count = 0
        self._server: asyncio.Server | None = None
        self._refusing = True
        self.port = 0

    @property
    def url(self) -> str:
        """What adwatch is told to use as a domain controller."""
        return f"ldaps://localhost:{self.port}"

    def searches(self, control: str = "") -> list[Message]:
        """The searches that have come, with a control where one is named."""
        found = [m for m in self.requests if m.tag == SEARCH]
        return [m for m in found if control in m.controls] if control else found

    def links(self) -> set[int]:
        """The connections that are open."""
        return set(self._links)

    # Faults, each on one connection or on all.

    def cut(self, link: int | None = None) -> None:
        """Ends connections in good order: FIN."""
        self._each(link, lambda writer: writer.close())

    def reset(self, link: int | None = None) -> None:
        """Breaks connections: RST."""

        def abort(writer: asyncio.StreamWriter) -> None:
            linger = struct.pack("ii", 1, 0)
            held = writer.get_extra_info("socket")
            held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()

        self._each(link, abort)

    def say(self, raw: bytes, link: int | None = None) -> None:
        """Says something to adwatch that it did not ask for."""
        self._each(link, lambda writer: writer.write(raw))

    def freeze(self) -> None:
        """Passes nothing on any more, and keeps every connection: half open."""
        self._flowing.clear()  # from a rule, too, and from the very next message on

    def thaw(self) -> None:
        """Goes on, with all that has come meanwhile."""
        self._call(self._flowing.set)

    def refuse(self) -> None:
        """Takes no new connections: nobody listens there."""
        self._await(self._close_server())

    def accept(self) -> None:
        """Takes new connections again, on the same port."""
        self._await(self._listen())

    def honest(self) -> None:
        """No more lies."""
        self.on_request = self.on_answer = lambda _: None
        self.spoil = lambda raw: raw

    def show(self, certificate: Path | None = None, key: Path | None = None) -> None:
        """Shows new connections another certificate; without one, the domain controller's own."""
        self._inward.load_cert_chain(certificate or self._own[0], key or self._own[1])

    # The inside: one thread with an event loop.

    def open(self) -> None:
        """Begins to listen."""
        self._thread.start()
        self.port = free_port()  # which nobody takes while connections are refused
        self.accept()

    def close(self) -> None:
        """Ends everything."""
        self._await(self._end())
        self._call(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _call(self, do: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(do)

    def _await(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    def _each(self, link: int | None, do: Callable[[asyncio.StreamWriter], object]) -> None:
        def them() -> None:
            for number, (client, _) in list(self._links.items()):
                if link in (None, number):
                    do(client)

        self._call(them)

    async def _listen(self) -> None:
        self._refusing = False
        self._server = await asyncio.start_server(
            self._greet, "localhost", self.port, ssl=self._inward, family=socket.AF_INET
        )

    async def _close_server(self) -> None:
        self._refusing = True
        if self._server is not None:
            self._server.close()

    async def _end(self) -> None:
        await self._close_server()
        while left := asyncio.all_tasks() - {asyncio.current_task()}:  # handshakes among them
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=0.1)
        for _ in range(3):
            await asyncio.sleep(0)  # transports tell their protocols in the next round

    def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Whoever was still shaking hands when connections began to be refused is refused, too."""
        if self._refusing:
            writer.transport.abort()
            return
        task = self._loop.create_task(self._take(reader, writer))
        self._taken.add(task)
        task.add_done_callback(self._taken.discard)
        task.add_done_callback(lambda _: writer.transport.abort())

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._count += 1
        link = self._count
        try:
            away, out = await asyncio.open_connection("localhost", self._to, ssl=self._outward)
        except OSError:  # the domain controller is away
            return
        if self._refusing:
            out.transport.abort()
            return
        self._links[link] = writer, out
        pumps = [
            asyncio.create_task(self._pump(link, reader, out, writer, self._asked)),
            asyncio.create_task(self._pump(link, away, writer, out, self._answered)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._links[link]
            for task in pumps:
                task.cancel()
            out.transport.abort()
            writer.close()
            await asyncio.gather(*pumps, return_exceptions=True)
            with suppress(OSError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), 1)

    async def _pump(
        self,
        link: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
        rule: Callable[[Message], tuple[list[bytes], list[bytes]]],
    ) -> None:
        """Passes messages on until one side ends."""
        try:
            while True:
                found = await _read(reader, link)
                await self._flowing.wait()
                on, returned = rule(found)
                writer.writelines(on)
                back.writelines(returned)
                await writer.drain()
        except (OSError, EOFError):
            return

    def _asked(self, found: Message) -> tuple[list[bytes], list[bytes]]:
        self.requests.append(found)
        instead = self.on_request(found)
        return ([self.spoil(found.raw)], []) if instead is None else ([], instead)

    def _answered(self, found: Message) -> tuple[list[bytes], list[bytes]]:
        instead = self.on_answer(found)
        return [found.raw] if instead is None else instead, []


@contextmanager
def proxy(dc: SambaDC, folder: Path) -> Iterator[Proxy]:
    """A proxy before `dc`, gone afterwards; `folder` takes the DC's certificate and key."""
    between = Proxy(dc, folder)
    between.open()
    try:
        yield between
    finally:
        between.close()


class SizeLimit:
    """Microsoft's MaxPageSize, which Samba does not know: an `on_answer` rule for `proxy`.

    An answer to a search without pages (DirSync aside) ends after `most` rows with code 4.
    """

    def __init__(self, proxy: Proxy, most: int) -> None:
        self._proxy = proxy
        self._most = most
        self._rows: dict[tuple[int, int], int] = {}

    def __call__(self, found: Message) -> list[bytes] | None:
        asked = found.link, found.id
        if found.tag == ENTRY and not self._exempt(*asked):
            self._rows[asked] = self._rows.get(asked, 0) + 1
            return [] if self._rows[asked] > self._most else None
        if found.tag == DONE and self._rows.pop(asked, 0) > self._most:
            return [result(found.id, 4)]
        return None

    def _exempt(self, link: int, number: int) -> bool:
        asked = next(m for m in self._proxy.requests if (m.link, m.id) == (link, number))
        return bool({PAGED, DIRSYNC} & asked.controls.keys())


def failing(control: str, code: int, *, after: int = 0) -> Rule:
    """An `on_request` rule: searches with `control` fail with `code`, the first `after` don't."""
    seen = 0

    def rule(found: Message) -> list[bytes] | None:
        nonlocal seen
        if found.tag != SEARCH or control not in found.controls:
            return None
        seen += 1
        return [result(found.id, code)] if seen > after else None

    return rule


def with_more(found: Message) -> bytes:
    """A DirSync answer's end with the flag that says: more is to be had with this cookie."""
    _, _, cookie = read_sequence(found.controls[DIRSYNC])
    return message(found.id, DONE, found.body, {DIRSYNC: sequence(1, 0, cookie)})
