"""One value of the configuration: the text a person wrote → what it means, or why not.

Every refusal is a ValueError whose message follows the key, and none quotes a secret.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from pydantic import SecretStr, ValidationInfo

MASK: Final = "********"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST_S: Final = 366 * 86400.0
_FLAGS: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class Wrong(ValueError):  # noqa: N818 - it may carry several faults
    """Faults below a section: each its path there, what is wrong, and what it rests on.

    `rests_on` are paths from the section whose own faults make this one moot; `on_key` points
    at the key in place of the value.
    """

    def __init__(self, *faults: Wrongness) -> None:
        super().__init__("; ".join(fault.message for fault in faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Wrongness:
    """One fault below a section."""

    path: tuple[str | int, ...]
    message: str
    rests_on: tuple[tuple[str | int, ...], ...] = ()
    on_key: bool = False


def quoted(value: str) -> str:
    """`value` for a message: in quotes, on one line, not too long."""
    text = value if len(value) <= 60 else value[:57] + "..."
    return repr(text) if text.isprintable() else ascii(text)


def kind(value: object) -> str:
    """What a value is, for a message that its shape is wrong."""
    if value is None:
        return "is empty: give a value, or delete the line to have the default"
    if isinstance(value, dict):
        return "a section"
    return "text" if isinstance(value, str) else "a list"


def text(value: object) -> str:
    """One scalar as it was written. Raises ValueError for anything else."""
    if not isinstance(value, str):
        what = kind(value)
        raise ValueError(what if value is None else f"must be text, but is {what}")  # noqa: TRY004
    return value


def line(value: object) -> str:
    """One line of text that is not empty."""
    found = text(value)
    if not found.strip():
        raise ValueError("must not be empty")
    if _CONTROL.search(found):
        raise ValueError("must be one line without control characters")
    return found


def flag(value: object) -> bool:
    """A yes or no, in any of YAML's spellings."""
    if isinstance(value, bool):
        return value
    found = _FLAGS.get(text(value).lower())
    if found is None:
        raise ValueError(f"{quoted(text(value))} is not true or false")
    return found


def count(least: int, most: int) -> Callable[[object], int]:
    """A whole number from `least` to `most`."""

    def read(value: object) -> int:
        written = str(value) if isinstance(value, int) else text(value)
        if not re.fullmatch(r"[+-]?[0-9]+", written, re.ASCII):
            raise ValueError(f"{quoted(written)} is not a whole number")
        if len(written) > 18 or not least <= int(written) <= most:
            raise ValueError(f"{quoted(written)} is not between {least} and {most}")
        return int(written)

    return read


def one_of(*known: str) -> Callable[[object], str]:
    """One of a few words."""

    def read(value: object) -> str:
        written = text(value)
        if written not in known:
            import difflib  # for who has a fault

            near = difflib.get_close_matches(written.lower(), known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{quoted(written)} is none of {', '.join(known)}{hint}")
        return written

    return read


class Duration(float):
    """A length of time in seconds that remembers how it was written."""

    text: str

    def __new__(cls, written: str) -> Self:
        """Reads `500ms`, `1s`, `10m`, `1h` or `1d`. Raises ValueError for anything else."""
        match = re.fullmatch(r"([0-9]{1,12})(ms|s|m|h|d)", written, re.ASCII)
        if match is None:
            unit = " has no unit" if written.isdecimal() else " is not a duration"
            raise ValueError(f"{quoted(written)}{unit} (write 500ms, 1s, 10m or 1h)")
        seconds = int(match[1]) * _UNITS[match[2]]
        if seconds > _LONGEST_S:
            raise ValueError(f"{quoted(written)} is longer than a year")
        self = super().__new__(cls, seconds)
        self.text = written
        return self

    def __getnewargs__(self) -> tuple[str]:  # type: ignore[override]  # copies go through the text
        return (self.text,)

    def __str__(self) -> str:
        return self.text


def duration(value: object) -> Duration:
    """A length of time; zero is one too."""
    return value if isinstance(value, Duration) else Duration(text(value))


def positive_duration(value: object) -> Duration:
    """A length of time that is more than none."""
    found = duration(value)
    if not found:
        raise ValueError(f"{quoted(found.text)} is no time at all: it must be more than zero")
    return found


class Mode(int):
    """The permissions of a file; printed in octal as they are written."""

    def __str__(self) -> str:
        return f"{int(self):04o}"


def words(value: object) -> object:
    """A command written on one line becomes the list of its words, as a shell would cut it."""
    if not isinstance(value, str):
        return value
    import shlex

    try:
        return shlex.split(line(value))
    except ValueError as error:
        if "quotation" in str(error):
            raise ValueError("has a quote that is not closed") from None
        raise


def mode(value: object) -> Mode:
    """Permissions written in octal, such as `"0640"`."""
    if isinstance(value, Mode):
        return value
    if not re.fullmatch(r"0?[0-7]{3}", text(value), re.ASCII):
        raise ValueError(f'{quoted(text(value))} is not a file mode (write "0640")')
    return Mode(text(value), 8)


def owner(value: object) -> str:
    """`user:group`, `user` or `:group`; names or numbers. Whether they exist is asked later."""
    written = line(value)
    name = r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]*\$?"
    if not re.fullmatch(rf"({name}(:{name})?|:{name})", written, re.ASCII):
        raise ValueError(f"{quoted(written)} is not user:group, user or :group")
    return written


def given_path(value: object) -> Path:
    """A path as it was written; `Config.resolve` finds the file."""
    if isinstance(value, Path):
        return value
    written = line(value)
    if written.startswith("~"):
        raise ValueError(f"{quoted(written)}: '~' is not expanded; write the whole path")
    return Path(written)


def placed_path(value: object, info: ValidationInfo) -> Path:
    """A path; a relative one is put beside the configuration (`beside` in the context)."""
    path = given_path(value)
    return info.context["beside"] / path if info.context else path


@dataclass(frozen=True, slots=True)
class Address:
    """A host or IP address (IPv6 without brackets) and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address(value: object) -> Address:
    """`host:port`, or `[IPv6]:port`."""
    if isinstance(value, Address):
        return value
    written = line(value)
    host, _, port = written.rpartition(":")
    if not _is_port(port) or not _is_host(host):
        raise ValueError(f"{quoted(written)} is not host:port (such as 127.0.0.1:8389)")
    return Address(host.strip("[]"), int(port))


def _is_port(port: str) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,5}", port, re.ASCII)) and 1 <= int(port) <= 65535


def _is_host(host: str) -> bool:
    if len(host) > 253:
        return False
    if not host.startswith("["):
        return bool(re.fullmatch(r"(?!-)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?", host, re.ASCII))
    try:
        return host.endswith("]") and bool(ipaddress.IPv6Address(host[1:-1]))
    except ValueError:
        return False


def host(value: object) -> str:
    """A host name or an IP address without a port."""
    written = line(value)
    if not _is_host(written) and not _is_host(f"[{written}]"):
        raise ValueError(f"{quoted(written)} is not a host name or an IP address")
    return written


def domain(value: object) -> str:
    """The DNS name of a domain."""
    written = line(value)
    if not _is_host(written) or not re.search("[A-Za-z]", written):
        raise ValueError(f"{quoted(written)} is not a DNS name (such as example.test)")
    return written.rstrip(".")


def server(value: object) -> str:
    """`ldaps://host` or `ldap://host`, a port perhaps, and nothing else."""
    written = line(value)
    match = re.fullmatch(
        r"(ldaps?)://(\[[^\]]*\]|[^:/?#@\[\]]*)(?::([^/?#@]*))?/?", written, re.IGNORECASE
    )
    if match is None:
        raise ValueError(_why_no_server(written))
    scheme, name, port = match[1].lower(), match[2], match[3]
    if not _is_host(name):
        raise ValueError(f"{quoted(written)} has no valid host name (write {scheme}://HOST)")
    if port is not None and not _is_port(port):
        raise ValueError(f"{quoted(written)} has a port that is not between 1 and 65535")
    if port is not None and int(port) in {3268, 3269}:
        raise ValueError(
            f"port {int(port)} is the Global Catalog, which lacks most attributes of a user;"
            f" write {scheme}://{name}"
        )
    return f"{scheme}://{name}" + (f":{int(port)}" if port is not None else "")


def _why_no_server(written: str) -> str:
    if "@" in written:
        return "must not hold a user name or a password (write ldaps://HOST; see user)"
    if re.match(r"ldaps?://", written, re.IGNORECASE):
        return f"{quoted(written)} has more than a host and a port (write ldaps://HOST; see base)"
    if _is_host(written):
        return f"{quoted(written)} is not an LDAP URL (write ldaps://{written})"
    return f"{quoted(written)} is not an LDAP URL (write ldaps://HOST)"


def name_of_dn(value: object) -> str:
    """A distinguished name: not parsed, but it must look like one."""
    written = line(value).strip()
    if not re.match(r"[A-Za-z][A-Za-z0-9.-]*\s*=\s*\S", written, re.ASCII):
        raise ValueError(
            f"{quoted(written)} is not a distinguished name (such as OU=Staff,DC=example,DC=test)"
        )
    return written


def attribute(value: object) -> str:
    """The name of an LDAP attribute."""
    written = text(value)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", written, re.ASCII):
        raise ValueError(f"{quoted(written)} is not the name of an LDAP attribute")
    return written


def section_name(value: object) -> str:
    """The name of a section of Asterisk's configuration."""
    written = text(value)
    if not re.fullmatch(r"[A-Za-z0-9_-]+", written, re.ASCII):
        raise ValueError(f"{quoted(written)} is not the name of a template (A-Z a-z 0-9 _ -)")
    return written


def output_name(value: object) -> str:
    """What an output is called on the command line."""
    written = text(value)
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", written, re.ASCII):
        raise ValueError(f"{quoted(written)} cannot be an output's name (A-Z a-z 0-9 . _ -)")
    return written


def ldap_filter(value: object) -> str:
    """An LDAP filter, spaces around it left out."""
    from adwatch.core.ldapfilter import filter_fault

    written = text(value).strip()
    if fault := filter_fault(written):
        raise ValueError(fault)
    return written


def secret(value: object) -> SecretStr:
    """A secret: one line, never empty (an LDAP bind without password succeeds as nobody)."""
    if isinstance(value, SecretStr):
        return value
    written = text(value)
    if not written:
        raise ValueError("must not be empty")
    if _CONTROL.search(written):
        raise ValueError("must be one line without control characters")
    return SecretStr(written)


class AlertUrl(SecretStr):
    """An Apprise URL, of which only the scheme may be seen."""

    def _display(self) -> str:
        return self.get_secret_value().split("://", 1)[0] + "://" + MASK


def alert_url(value: object) -> AlertUrl:
    """An Apprise URL. What Apprise thinks of it is asked by `adwatch check`."""
    if isinstance(value, AlertUrl):
        return value
    written = line(value)
    if not re.match(r"[A-Za-z][A-Za-z0-9]*://\S", written, re.ASCII):
        raise ValueError("is not an Apprise URL (such as mailtos://USER:PASSWORD@example.test)")
    return AlertUrl(written)


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def network(value: object) -> Network:
    """An IP network such as 10.0.0.0/8, or one address."""
    if isinstance(value, Network):
        return value
    written = line(value)
    try:
        found = ipaddress.ip_network(written, strict=False)
    except ValueError:
        raise ValueError(f"{quoted(written)} is not a network (such as 10.0.0.0/8)") from None
    if "/" in written and str(ipaddress.ip_address(written.split("/")[0])) != str(
        found.network_address
    ):
        raise ValueError(f"{quoted(written)} has bits beyond its mask (write {found})")
    return found
