"""The socket below a connection: TLS by the standard library's rules, and a peer that is gone."""

from __future__ import annotations

import socket
import ssl
from typing import Any, Final

import ldap3

_KEEPALIVE_S: Final = 15


class Tls(ldap3.Tls):  # type: ignore[misc] # ldap3 has no types
    """TLS by the standard library's rules, host name and server name indication included."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self._context = context
        self.failure: Exception | None = None

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:  # noqa: D102, FBT001, FBT002
        del do_handshake
        try:
            connection.socket = self._context.wrap_socket(
                connection.socket, server_hostname=connection.server.host
            )
        except OSError as error:
            self.failure = error
            raise


def keep_alive(connected: socket.socket, timeout_s: float) -> None:
    """Lets the kernel notice a peer that is gone, also while nothing is being sent."""
    tcp = socket.IPPROTO_TCP
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connected.setsockopt(tcp, socket.TCP_KEEPIDLE, _KEEPALIVE_S)
    connected.setsockopt(tcp, socket.TCP_KEEPINTVL, max(1, _KEEPALIVE_S // 3))
    connected.setsockopt(tcp, socket.TCP_KEEPCNT, 3)
    connected.setsockopt(tcp, socket.TCP_USER_TIMEOUT, int(timeout_s * 1000))
