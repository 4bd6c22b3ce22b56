"""The child process: reads a URL and a message from stdin, has Apprise deliver it, and answers.

Its answer is one JSON object on stdout: `good`, and `said`, where nothing of the URL's secrets
is left. It ends without waiting for threads that Apprise left behind.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

_MASK: Final = "********"
# A target that takes less than this at a time, or speaks Markdown, is a chat: the short form.
_WHOLE: Final = 32_000


class _Heard(logging.Handler):
    """What Apprise says of its failures."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def masked(text: str, url: str) -> str:
    """A text without the URL, and without any part of it that may be a secret."""
    parts = urlsplit(url)
    words = [parts.username, parts.password, *parts.path.split("/"), parts.query, parts.fragment]
    words += [value for pair in parse_qsl(parts.query) for value in pair]
    host = parts.netloc.rpartition("@")[2].partition(":")[0]
    if "." not in host:  # a token rather than a name, as in slack://TOKEN/…
        words.append(host)
    found = {url, *(form for word in words if word for form in (word, unquote(word)))}
    for secret in sorted((one for one in found if len(one) > 2), key=len, reverse=True):
        text = re.sub(re.escape(secret), _MASK, text, flags=re.IGNORECASE)
    return text


def _deliver(url: str, message: dict[str, Any] | None) -> tuple[bool, str]:
    import apprise

    heard = _Heard()
    log = logging.getLogger("apprise")
    log.handlers, log.propagate = [heard], False
    asset = apprise.AppriseAsset(app_id="adwatch", app_desc="adwatch", secure_logging=True)
    plugin = apprise.Apprise.instantiate(url, asset=asset)
    if plugin is None:
        return False, "Apprise does not understand this URL"
    if message is None:
        return True, str(plugin.service_name)
    target = apprise.Apprise(asset=asset)
    target.add(plugin)
    formats = plugin.notify_format  # Apprise 2 names several, the best first
    best = formats[0] if isinstance(formats, tuple) else formats
    body, kind = message["text"], apprise.NotifyFormat.TEXT
    if plugin.body_maxlen < _WHOLE or best == apprise.NotifyFormat.MARKDOWN:
        body = message["short"]
    elif best == apprise.NotifyFormat.HTML:
        body, kind = message["html"], apprise.NotifyFormat.HTML
    level = "success" if message["occasion"] == "closed" else message["level"]
    kinds = {"error": apprise.NotifyType.FAILURE, "warning": apprise.NotifyType.WARNING,
             "success": apprise.NotifyType.SUCCESS}  # fmt: skip
    sent = target.notify(
        body=body,
        title=message["subject"],
        notify_type=kinds.get(level, apprise.NotifyType.INFO),
        body_format=kind,
    )
    causes = [line for line in dict.fromkeys(heard.lines) if line]
    return bool(sent), "" if sent else "; ".join(causes) or "not taken"


def main() -> None:
    """Does what stdin says."""
    asked = json.load(sys.stdin)
    signal.alarm(asked["within_s"])  # nobody else ends it where the service was killed
    try:
        good, said = _deliver(asked["url"], asked["message"])
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything
        good, said = False, f"{type(error).__name__}: {error}"
    answer = {"good": good, "said": " ".join(masked(said, asked["url"]).split())[:500]}
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
