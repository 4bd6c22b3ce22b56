"""What the pure parts cost for 20,000 users, each beside another way of doing the same.

Prints medians of several rounds in one run, and the ratio. `PEERS=` and `ROUNDS=` are others;
`FIGURES` names a document to put the table into, between `<!-- bench -->` and `<!-- /bench -->`.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from jinja2.sandbox import ImmutableSandboxedEnvironment
from ldap3.operation.search import search_result_entry_response_to_dict_fast
from ldap3.utils.asn1 import decode_message_fast

from adwatch.core.mapping import Expressions, Mapper
from adwatch.core.model import Entry, Peer
from adwatch.core.render import Format, Renderer
from adwatch.core.secrets import derive
from adwatch.edges.directory.entries import read_entry, read_message

USERS = int(os.environ.get("PEERS", "20000"))
ROUNDS = int(os.environ.get("ROUNDS", "5"))
FIELDS = (
    ("number", "telephoneNumber"),
    ("name", "sAMAccountName[:1] | upper ~ sAMAccountName[1:]"),
    ("email", "userPrincipalName"),
    ("context", 'facsimileTelephoneNumber or "users"'),
    ("call_group", "number[:1]"),
    ("pickup_group", "number[:1]"),
    ("mobile", "mobile"),
)


def users() -> list[Entry]:
    """Entries as a domain would give them."""
    return [
        Entry(
            str(uuid.UUID(int=n)),
            f"CN=User {n},OU=Staff,DC=example,DC=test",
            {
                "telephonenumber": (str(10_000 + n),),
                "samaccountname": (f"user{n}",),
                "userprincipalname": (f"user{n}@example.test",),
            },
        )
        for n in range(USERS)
    ]


def median(do: Callable[[], object]) -> float:
    """Seconds that `do` takes, the median of some rounds."""
    took = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        do()
        took.append(time.perf_counter() - begun)
    return statistics.median(took)


def field_by_field(entries: list[Entry]) -> Callable[[], object]:
    """The obvious way: an expression compiled and called for every field."""
    environment = ImmutableSandboxedEnvironment()
    compiled = [(field, environment.compile_expression(e)) for field, e in FIELDS]

    def run() -> None:
        for entry in entries:
            names = {
                name: entry.first(name.lower())
                for name in (
                    "telephoneNumber",
                    "sAMAccountName",
                    "userPrincipalName",
                    "facsimileTelephoneNumber",
                    "mobile",
                )
            }
            for field, evaluate in compiled:
                names[field] = evaluate(**names)

    return run


def element(tag: int, content: bytes) -> bytes:
    """BER with a length of two octets, as servers write it."""
    return bytes((tag, 0x82)) + len(content).to_bytes(2, "big") + content


def message(entry: Entry) -> bytes:
    """The search entry that a server sends for a user."""
    attributes = b"".join(
        element(
            0x30,
            element(4, name.encode())
            + element(0x31, b"".join(element(4, v.encode()) for v in values)),
        )
        for name, values in entry.attributes.items()
    )
    body = element(4, entry.dn.encode()) + element(0x30, attributes)
    return element(0x30, element(2, b"\x07") + element(0x64, body))


def row(what: str, ours: float, other: str, theirs: float) -> str:
    """One line of the table."""
    return f"| {what} | {ours:.3f} s | {other} | {theirs:.3f} s | {ours / theirs:.2f} |"


def main() -> None:
    """Prints the table, and publishes it."""
    where = f"Python {platform.python_version()}, {os.cpu_count()} cores"
    lines = [f"{USERS} users, {where}, medians of {ROUNDS} rounds:", ""]
    lines += [
        "| adwatch | takes | another way | takes | ratio |",
        "| --- | ---: | --- | ---: | ---: |",
    ]
    lines += rows()
    print("\n".join(lines))
    if document := os.environ.get("FIGURES"):
        begin, end = "<!-- bench -->\n", "<!-- /bench -->"
        before, _, rest = Path(document).read_text().partition(begin)
        after = rest.partition(end)[2]
        text = "\n".join(lines)
        Path(document).write_text(f"{before}{begin}\n{text}\n\n{end}{after}")


def rows() -> list[str]:
    """What was measured, a line each."""
    entries = users()
    mapper = Mapper(Expressions(FIELDS))
    judged = (mapper.candidate(entry, 0.0) for entry in entries)
    peers = [one.peer for one in judged if one.peer]
    mapped = median(lambda: [mapper.fields(entry) for entry in entries])
    one_by_one = median(field_by_field(entries))

    messages = [message(entry) for entry in entries]
    decoded = median(lambda: [read_entry(read_message(data).body) for data in messages])

    def by_ldap3() -> None:
        for data in messages:
            payload = decode_message_fast(data)["payload"]
            search_result_entry_response_to_dict_fast(payload, None, None, check_names=False)

    theirs = median(by_ldap3)

    def secret(peer: Peer) -> str:
        return derive(bytes(32), peer.guid)

    form = Format("users.conf", (("template", "lan"),))

    def written(*, plainly: bool) -> None:
        renderer = Renderer(form, secret)
        renderer.check()
        if not plainly:
            renderer._shortcut = None  # noqa: SLF001 - as if no template were simple
        renderer.document(peers)

    by_jinja = median(lambda: written(plainly=False))
    plainly = median(lambda: written(plainly=True))
    return [
        row("mapping, as plain Python", mapped, "field by field by Jinja2", one_by_one),
        row("decoding search entries", decoded, "ldap3", theirs),
        row("writing every peer, as plain Python", plainly, "by Jinja2", by_jinja),
    ]


if __name__ == "__main__":
    main()
