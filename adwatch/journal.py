"""Log lines: key=value, one event each, fit for the journal and for a terminal."""

from __future__ import annotations

import logging
import os
import sys
from typing import Final

_LEVELS: Final = {logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}


class Lines(logging.Formatter):
    """Key=value lines; under systemd with the journal's level in front."""

    def __init__(self) -> None:
        super().__init__()
        self._journal = "JOURNAL_STREAM" in os.environ

    def format(self, record: logging.LogRecord) -> str:
        """`level=… event=… key=value …`."""
        text = f"level={record.levelname.lower()} {record.getMessage()}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return f"<{_LEVELS.get(record.levelno, 6)}>{text}" if self._journal else text


def begin(level: int) -> None:
    """Sends everything from `level` up to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    logging.basicConfig(level=level, handlers=[handler])
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it tells of every sign
