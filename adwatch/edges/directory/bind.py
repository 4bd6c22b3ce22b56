"""Who binds, and how: a password, NTLM, a Kerberos keytab, or the connection's own certificate.

Over TLS no SASL layer may be asked for, and a SASL bind is tied to the server's certificate
(tls-server-end-point, RFC 5929): Samba since 4.21 and a hardened Microsoft AD take no other.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final, NoReturn, TypeVar

from ldap3 import SASL
from ldap3.operation.bind import bind_operation
from ldap3.operation.extended import extended_operation

from adwatch.errors import CredentialsError, DirectoryError, PasswordError

T = TypeVar("T")

_IN_PROGRESS: Final = 14
_MOST_ROUNDS: Final = 10
_WHO_AM_I: Final = "1.3.6.1.4.1.4203.1.11.3"  # RFC 4532

# What krb5 says (krb5.h, as signed numbers), and what mends it.
_SERVER_UNKNOWN: Final = -1765328377
_CLIENT_UNKNOWN: Final = -1765328378
_WRONG_KEY: Final = -1765328360
_CLOCK_SKEW: Final = -1765328347
_NO_KEY: Final = (-1765328203, -1765328174)  # for this name; or no keytab at all
_REVOKED: Final = -1765328366
_EXPIRED: Final = -1765328383
_KEY_EXPIRED: Final = -1765328361
_HINTS: Final = {
    _REVOKED: "enable or unlock the account in AD, or move its date of expiry",
    _EXPIRED: "move the account's date of expiry in AD",
    _KEY_EXPIRED: "clear 'must change password' in AD, or set a password that does not expire",
    _SERVER_UNKNOWN: "name the server in directory.servers as AD does, such as dc1.example.test",
    _CLIENT_UNKNOWN: "correct directory.user",
    _WRONG_KEY: "export the keytab anew: it does not fit the account's password any more",
    _CLOCK_SKEW: "set this machine's clock: Kerberos allows five minutes",
}


# The sub-codes of AcceptSecurityContext (Win32 error numbers in hex).
_REASONS: Final = {
    "525": ("there is no such account", "correct directory.user"),
    "52e": ("the password is wrong", "correct the password that directory names"),
    "530": ("the account may not log on at this hour", "widen its logon hours"),
    "531": ("the account may not log on from here", "widen its workstations"),
    "532": ("the password has expired", "set a new one that does not expire"),
    "533": ("the account is disabled", "enable it in AD"),
    "701": ("the account has expired", "move its date of expiry"),
    "773": ("the account must change its password first", "clear 'must change password'"),
    "775": ("the account is locked", "unlock it in AD and look who locks it"),
}
_BAD_BINDINGS: Final = "35b"
# Of these AD counts no wrong password, so that trying again can lock nobody out.
_HARMLESS: Final = frozenset(_REASONS) - {"525", "52e"}


@dataclass(frozen=True, slots=True)
class Identity:
    """As whom to bind: `auth` is simple, ntlm, kerberos or external.

    `keytab` is a file's path, empty for the credentials that the environment has.
    """

    auth: str
    user: str
    keytab: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a bind: an LDAP result code, 0 for success, and the server's text."""

    code: int
    text: str


def bind(
    connection: Any, identity: Identity, host: str, password: str, timeout_s: float
) -> Outcome:
    """Binds an open ldap3 connection to `host`; Kerberos may take so many seconds.

    Raises PasswordError where this machine lacks what that needs, CredentialsError or
    DirectoryError where Kerberos refuses; ldap3's exceptions go through.
    """
    if identity.auth == "external":
        return _external(connection)
    if identity.auth in ("ntlm", "kerberos"):
        return _spnego(connection, identity, host, password, timeout_s)
    connection.bind(read_server_info=False)
    return _outcome(connection.result)


def _outcome(result: Any) -> Outcome:
    return Outcome(int(result["result"]), str(result.get("message") or "").rstrip("\0").strip())


def _ask(connection: Any, mechanism: str, token: bytes) -> Any:
    request = bind_operation(connection.version, SASL, None, None, mechanism, token)
    connection.post_send_single_response(connection.send("bindRequest", request, None))
    return connection.result


def _external(connection: Any) -> Outcome:
    """The certificate of the TLS connection says who it is.

    Microsoft's AD takes it as soon as an ldaps connection stands, and refuses a bind there; with
    StartTLS it wants the bind (MS-ADTS 5.1.1.1.2), as other servers always do.
    """
    if _is_somebody(connection):
        return Outcome(0, "")
    return _outcome(_ask(connection, "EXTERNAL", b""))


def _is_somebody(connection: Any) -> bool:
    request = extended_operation(_WHO_AM_I)
    connection.post_send_single_response(connection.send("extendedReq", request, None))
    who = connection.result.get("responseValue") or b""
    return bool(who) and b"ANONYMOUS" not in bytes(who).upper()


def _spnego(
    connection: Any, identity: Identity, host: str, password: str, timeout_s: float
) -> Outcome:
    """GSS-SPNEGO with NTLM's or Kerberos' own tokens (MS-ADTS 5.1.1.1.2, RFC 4178)."""
    try:
        held = connection.socket
        certificate = held.getpeercert(True) if isinstance(held, ssl.SSLSocket) else None
        step = _within(timeout_s, lambda: _client(identity, host, password, certificate))
        token = _within(timeout_s, lambda: step(b""))
        for _ in range(_MOST_ROUNDS):
            result = _ask(connection, "GSS-SPNEGO", token)
            if result["result"] != _IN_PROGRESS:
                return _outcome(result)
            token = step(result["saslCreds"] or b"")
        raise DirectoryError(f"{host} does not come to an end of binding by {identity.auth}")
    except ImportError as error:
        raise PasswordError(
            f"auth: {identity.auth} needs a Python package that is not here: {error.name}",
            f"pip install 'adwatch[{identity.auth}]'"
            + ", after apt-get install gcc python3-dev libkrb5-dev" * (identity.auth == "kerberos"),
        ) from error


def _within(timeout_s: float, do: Callable[[], T]) -> T:
    """What `do` gives. libkrb5 has no deadline: a key distribution center may be silent."""
    done: SimpleQueue[Callable[[], T]] = SimpleQueue()

    def work() -> None:
        try:
            found = do()
        except BaseException as error:  # noqa: BLE001 - raised by the one who waits
            failure = error
            done.put(lambda: _raise(failure))
        else:
            done.put(lambda: found)

    Thread(target=work, name="kerberos", daemon=True).start()
    try:
        return done.get(timeout=timeout_s)()
    except Empty as error:
        raise DirectoryError(
            f"Kerberos: no answer within {timeout_s:g} s",
            "is the domain's KDC reachable (port 88)?",
        ) from error


def _raise(error: BaseException) -> NoReturn:
    raise error


def _client(
    identity: Identity, host: str, password: str, certificate: bytes | None
) -> Callable[[bytes], bytes]:
    """What makes the next token of the last answer.

    pyspnego does NTLM without OpenSSL's MD4, which OpenSSL 3 has no more.
    """
    import spnego
    from spnego.channel_bindings import GssChannelBindings
    from spnego.exceptions import SpnegoError

    bindings = None
    if certificate is not None:
        bindings = GssChannelBindings(application_data=end_point(certificate))
    kerberos = identity.auth == "kerberos"
    try:
        client = spnego.client(
            _keytab(identity) if kerberos else identity.user,
            None if kerberos else password,
            hostname=host,
            service="ldap",
            channel_bindings=bindings,
            context_req=spnego.ContextReq.no_integrity,
            protocol=identity.auth,
        )
    except (SpnegoError, ValueError) as error:
        raise _refused(identity, error) from error
    except Exception as error:
        if type(error).__name__ != "Krb5Error":  # of a package that is not always there
            raise
        raise _refused(identity, error) from error
    if not kerberos:
        _offer_no_key(client)

    def step(token: bytes) -> bytes:
        try:
            return client.step(token or None) or b""
        except Exception as error:  # a server's token may lead pyspnego to any
            raise _refused(identity, error) from error

    return step


def _offer_no_key(client: Any) -> None:
    """Without signing there is no key to exchange.

    Samba 4.22 answers 0x57 to one who offers it and then sends none (measured), which is what
    MS-NLMP 3.1.5.1.2 allows and pyspnego does.
    """
    from spnego._ntlm_raw.messages import NegotiateFlags

    client._context_req &= ~NegotiateFlags.key_exch  # noqa: SLF001


def _keytab(identity: Identity) -> Any:
    """The credentials of a keytab; AD's realm is the domain's name in capitals."""
    import gssapi  # noqa: F401 - says at once that it is missing
    import krb5  # noqa: F401
    from spnego import KerberosKeytab

    if not identity.keytab:
        return None
    name, at, realm = identity.user.partition("@")
    return KerberosKeytab(keytab=identity.keytab, principal=f"{name}{at}{realm.upper()}")


def _refused(identity: Identity, error: Exception) -> DirectoryError:
    """What Kerberos says, in words; only a key that is wrong counts as a wrong password."""
    if identity.auth == "ntlm":
        return DirectoryError(f"NTLM for {identity.user}: {_first_line(error)}")
    code = _kerberos_code(error)
    said = f"Kerberos for {identity.user}: {_first_line(error).removesuffix(f' {code}')}"
    hint = _HINTS.get(code, "look at /etc/krb5.conf, the keytab and the domain's DNS")
    if code in _NO_KEY:
        return PasswordError(said, f"klist -k {identity.keytab} says whose keys are in it")
    if code in (_CLIENT_UNKNOWN, _WRONG_KEY):
        return CredentialsError(said, hint)
    if code in (_REVOKED, _EXPIRED, _KEY_EXPIRED):
        return CredentialsError(said, hint, counts=False)
    return DirectoryError(said, hint)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def refusal(url: str, who: str, text: str) -> DirectoryError:
    """What invalidCredentials means: AD says why in a sub-code behind `data`."""
    sub_code = text.partition("data ")[2].partition(",")[0].strip().lower()
    if sub_code == _BAD_BINDINGS:
        return DirectoryError(
            f"{url} refuses {who}: TLS does not end at the domain controller (channel binding)",
            "connect straight to it, or use auth: simple",
        )
    unknown = f"name or password is wrong ({text})", "correct directory.user or password"
    reason, hint = _REASONS.get(sub_code, unknown)
    harmless = sub_code in _HARMLESS
    return CredentialsError(f"{url} refuses {who}: {reason}", hint, counts=not harmless)


def _kerberos_code(error: Exception) -> int:
    base = getattr(error, "base_error", None) or error
    number = int(getattr(base, "err_code", 0) or getattr(base, "min_code", 0) or 0)
    return number - 2**32 if number >= 2**31 else number


def end_point(certificate: bytes) -> bytes:
    """The channel binding of a TLS server's certificate in DER (RFC 5929, 4.1).

    Its hash is the certificate's own, but SHA-256 in place of MD5 and SHA-1.
    """
    from cryptography.x509 import load_der_x509_certificate

    own = load_der_x509_certificate(certificate).signature_hash_algorithm
    name = own.name if own is not None and own.name not in ("md5", "sha1") else "sha256"
    return b"tls-server-end-point:" + hashlib.new(name, certificate).digest()
