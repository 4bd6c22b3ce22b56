"""`adwatch check`: each thing that must be in place, one at a time, with the way to mend it."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adwatch.config.schema import Config, Peers, Secrets
from adwatch.core.ldapfilter import filter_attributes
from adwatch.core.mapping import ALWAYS_ASKED
from adwatch.core.model import Entry, Reach
from adwatch.edges import asterisk
from adwatch.edges.alerts import Errand, Target
from adwatch.edges.asterisk import Pbx, Wanted
from adwatch.edges.control import ask
from adwatch.edges.directory.active import ActiveDirectory
from adwatch.edges.directory.security import mend_certificate
from adwatch.edges.directory.session import host_and_port
from adwatch.errors import AdwatchError, DirectoryError, OutputError, PasswordError, RunningError
from adwatch.listeners import Listener
from adwatch.output import Output
from adwatch.service import Service
from adwatch.wiring import (
    build,
    make_agi,
    make_directory,
    make_mapper,
    make_pbx,
    make_targets,
    make_web,
    proof_reader,
)

_DAY_S: Final = 86400
_WARN_DAYS: Final = 14
_ANSWER_S: Final = 5.0
_PROOFS: Final = {
    "simple": "bind password",
    "ntlm": "bind password",
    "kerberos": "keytab",
    "external": "client certificate",
}


@dataclass(frozen=True, slots=True)
class Result:
    """One line: what was looked at, how it is, and what mends it."""

    good: bool
    what: str
    said: str
    hint: str = ""

    def text(self) -> str:
        """`✓ what: said`, or `✗ what: said (hint)`."""
        hint = f" ({self.hint})" if self.hint and not self.good else ""
        return f"{'✓' if self.good else '✗'} {self.what}: {self.said}{hint}"


def run_checks(config: Config, *, offline: bool) -> Iterator[Result]:
    """Every check in the order in which one needs the other; nothing is changed.

    Raises ConfigError where a template can't be used.
    """
    directory = make_directory(config, make_mapper(config))
    service = build(config, dry=True, directory=directory)
    yield Result(True, "configuration", str(config.origin))
    yield _try(_PROOFS[config.directory.auth], lambda: _proof(config))
    yield from _files(config)
    if config.http is not None:
        yield _try(f"http {config.http.listen}", lambda: _http(config))
    if config.agi is not None:
        yield _try(f"agi {config.agi}", lambda: _agi(config))
    for target in make_targets(config):
        yield _try(f"alerts {target.shown}", lambda: _alert(target))  # noqa: B023 - called at once
    if offline:
        return
    try:
        servers = _servers(directory)
        for url in servers:
            yield from _network(config, url)
        yield from _directory(directory, service)
        if len(servers) > 1:
            yield _try("replication", lambda: _replication(directory))
    finally:
        service.close()
    if any(output.reload for output in config.outputs):
        yield from _asterisk(config, service.outputs)


def _alert(target: Target) -> str:
    """Has Apprise look at a target's URL; only `adwatch alert test` sends anything."""
    answer = Errand(target.url(), None).wait()
    if not answer.good:
        raise AdwatchError(answer.said, "see docs/alerts.md, and try it with adwatch alert test")
    return f"{answer.said}, from {target.min_level} on"


def _http(config: Config) -> str:
    web = make_web(config)
    assert web is not None
    assert config.http is not None
    anybody = "everybody" if web.gate.token else "this machine alone"
    who = ", ".join(map(str, config.http.allow)) or anybody
    who += " with the token" if web.gate.token else ""
    who += ", who may approve and reject on the status page" if config.http.approve else ""
    return f"{_listens(config, 'http', web)}; let in: {who}"


def _agi(config: Config) -> str:
    agi = make_agi(config)
    assert agi is not None
    return _listens(config, "agi", agi)


def _listens(config: Config, name: str, listener: Listener) -> str:
    """Whether its address can be had, or is served by the adwatch that runs."""
    try:
        listener.open()
    except PasswordError:
        raise
    except AdwatchError:
        with suppress(RunningError):
            running = ask(config.state, {"command": "status"}, _ANSWER_S)
            if running is not None and name in running["status"].get("listens", ()):
                return "served by the running adwatch"
        raise
    listener.close()
    return "can be listened on"


def _contacts(service: Service) -> str:
    found = {entry.guid for entry in service.directory.contacts(None)}
    if not found:
        raise DirectoryError(
            "no contact matches", "look at contacts.base, contacts.filter and the account's rights"
        )
    return f"{len(found)} match the filter"


def _try(what: str, look: Callable[[], str]) -> Result:
    try:
        return Result(True, what, look())
    except AdwatchError as error:
        return Result(False, what, error.message, error.hint)


def _proof(config: Config) -> str:
    return "readable" if proof_reader(config)() else "as the environment has it"


def _asterisk(config: Config, outputs: Sequence[Output]) -> Iterator[Result]:
    """Whether Asterisk can be talked to, and shows the peers that are in the files."""
    pbx, ami = make_pbx(config), config.asterisk.ami
    way = f"AMI of {ami.host}:{ami.port}" if ami else " ".join(config.asterisk.command)
    try:
        pbx.open()
        yield Result(True, "asterisk", f"{pbx.version()}, by {way}")
        for output in outputs:
            if config.asterisk.verify and output.reload and output.shown_by:
                yield _shown(pbx, output)
    except AdwatchError as error:
        yield Result(False, "asterisk", error.message, error.hint)
    finally:
        pbx.close()


def _shown(pbx: Pbx, output: Output) -> Result:
    what, text = f"asterisk {output.name}", asterisk.read(output.path)
    look = Wanted(output.shown_by, text).check(pbx.peers(output.shown_by))
    if not look.known:
        return Result(True, what, f"can't be looked at, a reload counts as done: {look.why}")
    said = f"has {look.count} of the {look.count + len(look.missing)} peers in {output.path}"
    hint = f"include the file, run {output.reload!r}, and look at Asterisk's log"
    return Result(not look.missing, what, said, hint)


def _files(config: Config) -> Iterator[Result]:
    state = config.state
    if state.is_dir():
        yield _try("state", lambda: _writable(state / "check"))
    else:
        good = _nearest(state).is_dir()
        yield Result(good, "state", f"{state} will be made at the first start", "make it")
    for output in config.outputs:
        yield _try(f"output {output.name}", lambda path=output.path: _writable(path))  # type: ignore[misc]


def _nearest(path: Path) -> Path:
    return next(parent for parent in path.parents if parent.exists())


def _writable(path: Path) -> str:
    if not path.parent.is_dir():
        raise OutputError(
            f"the directory {path.parent} is not there",
            f"install -d -o adwatch -g asterisk -m 2750 {path.parent}",
        )
    asterisk.writable(path)
    return f"{path.parent} can be written"


def _servers(directory: ActiveDirectory) -> Sequence[str]:
    try:
        return directory.urls()
    except DirectoryError:
        return ()  # the check of the directory itself says it again, with the hint


def _network(config: Config, url: str) -> Iterator[Result]:
    """DNS, TCP and, with ldaps, TLS: each needs the one before."""
    host, port = host_and_port(url)
    try:
        addresses = sorted({str(a[4][0]) for a in socket.getaddrinfo(host, port)})
    except OSError as error:
        yield Result(False, f"DNS {host}", str(error.strerror or error), "correct the name")
        return
    yield Result(True, f"DNS {host}", ", ".join(addresses))
    begun = time.monotonic()
    try:
        with socket.create_connection((host, port), config.directory.timeout / 2) as connection:
            took = (time.monotonic() - begun) * 1000
            yield Result(True, f"TCP {host}:{port}", f"connected in {took:.0f} ms")
            if url.startswith("ldaps:"):
                yield _tls(config, host, connection)
    except OSError as error:
        cause = str(error.strerror or error)
        yield Result(False, f"TCP {host}:{port}", cause, "is it up, and no firewall between?")


def _tls(config: Config, host: str, connection: socket.socket) -> Result:
    what, ca = f"TLS {host}", config.directory.tls.ca_file
    if not config.directory.tls.verify:
        return Result(False, what, "certificates are not verified", "set directory.tls.verify")
    try:
        context = ssl.create_default_context(cafile=str(ca) if ca else None)
        with context.wrap_socket(connection, server_hostname=host) as secured:
            ends = str((secured.getpeercert() or {}).get("notAfter", ""))
    except (ssl.SSLError, OSError) as error:
        cause = getattr(error, "verify_message", "") or str(error.strerror or error)
        return Result(False, what, cause, mend_certificate(error))
    return _days(what, ends)


def _days(what: str, ends: str) -> Result:
    left = int((ssl.cert_time_to_seconds(ends) - time.time()) // _DAY_S)
    hint = "renew the domain controller's certificate"
    return Result(left >= _WARN_DAYS, what, f"the certificate is good for {left} days", hint)


def _directory(directory: ActiveDirectory, service: Service) -> Iterator[Result]:
    try:
        directory.open()
        reach = directory.reach()
        who = service.config.directory.user or "the client certificate"
        yield Result(True, "bind", f"{who} at {reach.server} by {service.config.directory.auth}")
        yield Result(True, "feed", f"{reach.feed}: {reach.why}")
        yield _deletions(reach)
        yield from _unseen(service)
        if service.config.directory.tls.start == "starttls" and reach.certificate_ends:
            yield _days("TLS after StartTLS", reach.certificate_ends)
        batch = directory.read(None, dict)
        yield from _rights(directory, service, batch.entries)
        if service.config.contacts is not None:
            yield _try("contacts", lambda: _contacts(service))
    except AdwatchError as error:
        yield Result(False, "directory", error.message, error.hint)


def _replication(directory: ActiveDirectory) -> str:
    """Whether adwatch can tell that one controller has what another told."""
    partners = directory.partners()
    if not partners:
        raise DirectoryError(
            "how far the domain controllers have replicated can't be seen (replUpToDateVector);"
            " after a failover adwatch stays where it is until that one fails, too",
            "let the account read all properties of the domain's own object, as is the default",
        )
    return f"the server in use tells how far it is behind {partners} other domain controller(s)"


def _deletions(reach: Reach) -> Result:
    if reach.sees_deletions:
        return Result(True, "deletions", "are visible to the account")
    said = "are not visible to the account; adwatch finds them by comparing, within seconds"
    return Result(True, "deletions", said)


def _unseen(service: Service) -> Iterator[Result]:
    """What changes with no write to the user, and how it is noticed all the same."""
    wanted = service.config.directory
    named = "the feed names it, and everybody is read again, within seconds"
    yield Result(True, "an OU moved, renamed or with another ACL", named)
    tested = {*map(str.lower, (*filter_attributes(wanted.filter), *service.mapper.attributes))}
    if "memberof" in tested:
        yield Result(True, "a group's members changed", named)
    if wanted.disabled == "drop":
        said = "adwatch looks again when accountExpires says so"
        yield Result(True, "an account expires", said)
    said = f"noticed when everything is read again, every {wanted.reconcile}"
    yield Result(True, "the account itself loses a right", said)


def _rights(
    directory: ActiveDirectory, service: Service, entries: tuple[Entry, ...]
) -> Iterator[Result]:
    """How many users match, and which attributes nobody returned: rights, or a misspelt name."""
    tested = filter_attributes(service.config.directory.filter)
    missing = () if entries else directory.unseen(tested)
    said = f"{len(entries)} match the filter"
    said += f"; no user below directory.base shows {', '.join(missing)}" if missing else ""
    hint = "look at directory.base and directory.filter, and at what the account may read"
    yield Result(bool(entries), "users", said, hint)
    unknown = directory.unknown(dict.fromkeys((*service.mapper.attributes, *tested)))
    for name, near in unknown.items():
        better = (
            f"did you mean {near}?" if near else "correct the name in peers or directory.filter"
        )
        yield Result(False, "attributes", f"AD has no attribute called {name}", better)
    if entries:
        yield from _returned(service, entries, unknown.keys())


def _returned(
    service: Service, entries: tuple[Entry, ...], unknown: Collection[str]
) -> Iterator[Result]:
    """What nobody has is told, and is a fault where the configuration asks for it by name."""
    returned = {name for entry in entries for name in entry.attributes} | {"objectguid"}
    silent = [
        name
        for name in dict.fromkeys((*service.mapper.attributes, *ALWAYS_ASKED))
        if name.lower() not in returned and name not in unknown
    ]
    theirs = make_mapper(
        service.config.model_copy(update={"peers": Peers(), "secrets": Secrets()})
    ).attributes
    wanted = [name for name in silent if name not in theirs]
    beside = [name for name in silent if name in theirs]
    why = "empty everywhere, or not readable by the account"
    if wanted:
        hint = f"{why}: see docs/attributes.md"
        yield Result(False, "attributes", f"no user returned {', '.join(wanted)}", hint)
    if beside:
        said = f"no user returned {', '.join(beside)}, of which only defaults make use: {why}"
        yield Result(True, "attributes", said)
    if not silent and not unknown:
        yield Result(True, "attributes", "all that is asked for came back")
