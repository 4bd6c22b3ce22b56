"""`make soak`: a domain that is away for ten minutes, and one for twenty seconds, in real time.

`AWAY_S` (600) with `after: 30s` and `remind: 4m`: one opening, the reminders due, one end, by mail
and webhook; 20 s: nothing. Then what a webhook that drips costs the service's turns, which must be
no more than they differ among themselves, and its end, which must come within 3 s.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from inboxes import Hook, Mailbox, inboxes
from program import Adwatch, configured, wait_for

from system.crash.soak import publish
from system.samba import SambaDC, domain, free_port, run

AWAY_S = float(os.environ.get("AWAY_S", "600"))
SHORT_S = 20.0
AFTER_S, REMIND_S = 30.0, 240.0
TURNS = 120
LONGEST_END_S = 3.0


def pause(seconds: float) -> None:
    """Lets an outage last: its length is what is measured here."""
    time.sleep(seconds)


def away(dc: SambaDC, seconds: float) -> None:
    dc.pause()
    try:
        pause(seconds)
    finally:
        dc.unpause()


def said(titles: list[str]) -> str:
    kinds = [("still", ": still: "), ("over", ": over: ")]
    words = [next((name for name, mark in kinds if mark in title), "opened") for title in titles]
    return ", ".join(words) or "nothing"


def turns(adwatch: Adwatch, port: int) -> list[float]:
    """How long the next turns take, in milliseconds, by the service's own count: some means."""
    url = f"http://127.0.0.1:{port}/metrics"

    def read() -> tuple[float, float]:
        text = run("curl", "-sS", url)
        pattern = r'adwatch_turn_seconds_{}{{how="poll"}} (\S+)'
        total, count = (re.search(pattern.format(x), text) for x in ("sum", "count"))
        assert total is not None
        assert count is not None
        return float(total[1]), float(count[1])

    found = []
    for _ in range(6):
        total, count = read()
        wait_for("turns", lambda: read()[1] >= count + TURNS / 6, 120)  # noqa: B023
        later, more = read()
        found.append((later - total) / (more - count) * 1000)
    assert adwatch.running is not None
    return found


def shown(means: list[float]) -> str:
    return f"{median(means):.1f} ms ({min(means):.1f} to {max(means):.1f})"


def play(
    dc: SambaDC, folder: Path, mailbox: Mailbox, hook: Hook
) -> tuple[list[tuple[str, str]], bool]:
    """The table, and whether a webhook that drips cost nothing that can be measured."""
    port = free_port()
    more = (
        f"alerts:\n  targets: ['{mailbox.url}', '{hook.url}']\n  after: {AFTER_S:g}s\n"
        f"  remind: {REMIND_S:g}s\nhttp: {{listen: '127.0.0.1:{port}'}}"
    )
    adwatch = Adwatch(
        folder, configured(dc.ldaps_url, Path(dc.ca_file), more=more), dc.service_password
    )
    adwatch.start()
    try:
        wait_for("online", lambda: adwatch.status()["state"] == "online")
        away(dc, SHORT_S)
        wait_for("online", lambda: adwatch.status()["state"] == "online")
        pause(AFTER_S + 5)
        rows = [(f"away for {SHORT_S:g} s", f"{said(mailbox.subjects())}; {said(hook.titles())}")]
        away(dc, AWAY_S)
        wait_for("the end", lambda: ": over: " in (mailbox.subjects() + hook.titles())[-1], 120)
        pause(5)
        rows.append((f"away for {AWAY_S:g} s, by mail", said(mailbox.subjects())))
        rows.append((f"away for {AWAY_S:g} s, by webhook", said(hook.titles())))
        before = turns(adwatch, port)
        rows.append((f"a turn, means of {TURNS // 6}", shown(before)))
        hook.mode = "drip"
        dc.add_user("drip-1", telephoneNumber="7601")
        dc.add_user("drip-2", telephoneNumber="7601")
        asked = hook.asked
        wait_for("the webhook", lambda: hook.asked > asked, 120)
        during = turns(adwatch, port)
        rows.append(("the same while a webhook drips", shown(during)))
        ended = adwatch.stop()
        rows.append(("SIGTERM while a webhook drips", f"ends within {ended:.1f} s"))
    finally:
        adwatch.kill()
    return rows, min(during) <= max(before) and ended < LONGEST_END_S


def main() -> int:
    with domain() as dc, inboxes() as both, tempfile.TemporaryDirectory() as made:
        rows, free = play(dc, Path(made) / "adwatch", *both)
    head = f"| `after: {AFTER_S:g}s`, `remind: {REMIND_S / 60:g}m`, `poll: 1s` | |\n| --- | --- |\n"
    publish("outage", head + "".join(f"| {what} | {seen} |\n" for what, seen in rows))
    due = int((AWAY_S - AFTER_S) // REMIND_S)
    whole = ", ".join(["opened", *["still"] * due, "over"])
    told = [seen for _, seen in rows[:3]] == ["nothing; nothing", whole, whole]
    return int(not (told and free))


if __name__ == "__main__":
    sys.exit(main())
