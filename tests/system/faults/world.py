"""Where faults are injected: one installation between a real domain and real inboxes."""

from __future__ import annotations

from collections.abc import Callable, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from certificates import Authority
from inboxes import Hook, Mailbox
from program import Adwatch, wait_for
from proxy import Proxy

from adwatch.edges.control import ask
from system.samba import SambaDC, run

ACCOUNT, PASSWORD = "svc-faults", "Faults-1234"


@dataclass
class Site:
    """An installation between a real domain controller, a proxy, a mail server and a webhook.

    `user` adds a user to AD and `temporary` another object, gone after the test; `out` and `state`
    are file systems of their own; `base` are the numbers that are served where nothing is wrong,
    and `also` those that a fault adds and that must not go, either.
    """

    dc: SambaDC
    between: Proxy
    adwatch: Adwatch
    mailbox: Mailbox
    hook: Hook
    certificates: Path
    authority: Authority
    user: Callable[..., str] = field(default=lambda *_, **__: "")
    temporary: Callable[..., str] = field(default=lambda *_, **__: "")
    base: frozenset[str] = frozenset()
    also: set[str] = field(default_factory=set)

    @property
    def out(self) -> Path:
        return self.adwatch.folder / "out"

    @property
    def state(self) -> Path:
        return self.adwatch.folder / "state"

    @property
    def store(self) -> Path:
        return self.state / "adwatch.db"

    def in_its_network(self, *command: str) -> None:
        """Runs a command of this machine in the domain controller's network namespace."""
        pid = run("docker", "inspect", "-f", "{{.State.Pid}}", self.dc.container).strip()
        run("nsenter", "-t", pid, "-n", *command)

    def numbers(self) -> set[str]:
        """The numbers in the output."""
        sections = self.adwatch.text().split("\n\n")[1:]
        return {section.partition("]")[0].removeprefix("[") for section in sections}

    def serve(self, numbers: Set[str]) -> None:
        """Waits until exactly these are served, and all is well."""
        wait_for(f"{numbers} and no other", lambda: self.numbers() == numbers and self.well(), 60)

    def status(self) -> dict[str, Any]:
        """What the running service says, asked without a process in between."""
        answer = ask(self.state, {"command": "status"})
        return self.adwatch.status() if answer is None else dict(answer["status"])

    def well(self) -> bool:
        """Whether nothing is wrong, and no reload owed."""
        said = self.status()
        owed = any(output["reload_owed"] for output in said["outputs"])
        return bool(said["state"] == "online" and not owed)

    def open(self) -> list[str]:
        """The kinds of the incidents that people were told of and that are not over."""
        return sorted(one["kind"] for one in self.status()["alerts"]["open"])


Injection = Callable[[Site], AbstractContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """`incidents`: what people are told of, `says`: what the messages have of its cause.

    `state`: what `status` says; `reaches`: whether changes in AD arrive meanwhile, `ad_up`: whether
    there can be any; `deaf`: whether the webhook is what is broken; `grows`: whether it
    takes longer than `after` until it is whole, so that more may be told meanwhile.
    """

    name: str
    injected: str
    inject: Injection
    incidents: tuple[str, ...] = ()
    says: str = ""
    state: str = "degraded"
    reaches: bool = False
    ad_up: bool = True
    deaf: bool = False
    grows: bool = False
