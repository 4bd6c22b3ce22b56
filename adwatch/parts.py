"""What a configuration is made into for the service. Nothing in it is opened yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from adwatch.config.schema import Config
from adwatch.core.mapping import Mapper
from adwatch.core.model import Peer
from adwatch.edges.asterisk import Pbx
from adwatch.edges.directory import Directory
from adwatch.edges.keyfile import KeyFile
from adwatch.output import Output


@dataclass(frozen=True, slots=True)
class Parts:
    """Another configuration is another one of these, which may share what it did not change."""

    config: Config
    directory: Directory
    mapper: Mapper
    key: KeyFile
    outputs: tuple[Output, ...]
    pbx: Callable[[], Pbx]


def secret_of(config: Config, key: KeyFile, peer: Peer) -> str:
    """A peer's SIP secret: from AD where the configuration says so, else derived."""
    return peer.secret if config.secrets.attribute else key.secret(peer.guid)
