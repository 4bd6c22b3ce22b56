"""The configuration edited while adwatch runs: taken in full or not at all, and at once."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from inboxes import inboxes
from program import Adwatch, wait_for
from proxy import Proxy

from system.programs import program
from system.samba import SambaDC, free_port

Make = Callable[..., Adwatch]
ROOMS = "peers:\n  context: '\"{}\"'\n"


@pytest.fixture
def site(make: Make, user: Callable[..., str]) -> Adwatch:
    """A service that serves one user, in the context `room0`."""
    user("edit", telephoneNumber="7400")
    one = make(more=ROOMS.format("room0"))
    one.start()
    wait_for("the peer", lambda: serves(one, "room0"))
    return one


def serves(site: Adwatch, room: str) -> bool:
    return f"context = {room}" in site.section("7400") and healthy(site)


def healthy(site: Adwatch) -> bool:
    return bool(site.status()["state"] == "online")


def room(site: Adwatch, name: str) -> str:
    """The configuration with another room."""
    return re.sub(r'"room.*"', f'"{name}"', site.config.read_text())


def edit(site: Adwatch, old: str, new: str) -> None:
    text = site.config.read_text()
    assert old in text
    site.config.write_text(text.replace(old, new))


def taken(site: Adwatch) -> list[str]:
    """The log's lines of configurations that came into force."""
    return re.findall(r"event=configured (.*)", site.log.read_text())


def taken_once_more(site: Adwatch, than: int) -> None:
    wait_for("the edit", lambda: len(taken(site)) > than)


def owed(site: Adwatch) -> bool:
    return any(output["reload_owed"] for output in site.status()["outputs"])


def fault(site: Adwatch) -> str:
    return str(site.status()["faults"].get("configuration", ""))


# Ten ways to save a file, each as its program does it.


def by_vim(site: Adwatch, text: str, *, copy: str) -> None:
    vim = program("vim-tiny", "vim", "vim.tiny")
    new = site.folder / "new"
    new.write_text(text)
    script = ["-c", f"set backup backupcopy={copy}", "-c", f"%!cat {new}", "-c", "wq"]
    done = subprocess.run([vim, "-u", "NONE", "-es", *script, site.config], check=False)
    assert done.returncode == 0


def by_vim_that_renames(site: Adwatch, text: str) -> None:
    by_vim(site, text, copy="no")


def by_vim_that_writes_in_place(site: Adwatch, text: str) -> None:
    by_vim(site, text, copy="yes")


def by_nano(site: Adwatch, text: str) -> None:
    """By keys, once nano has taken the terminal: replace all, write out, leave."""
    nano = program("nano")
    old, new = (re.search(r'"room\w+"', one) for one in (site.config.read_text(), text))
    assert old is not None
    assert new is not None
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "vt100"
        os.execl(nano, nano, "--ignorercfiles", str(site.config))
    with os.fdopen(terminal, "r+b", buffering=0) as screen:
        asked = (
            ("Exit", "\x1c"),
            ("Search", f"{old[0]}\r"),
            ("Replace with", f"{new[0]}\r"),
            ("All", "a"),
            ("Replaced", "\x0f"),
            ("File Name", "\r"),
            ("Wrote", "\x18"),
        )
        for shown, keys in asked:
            seen = b""
            while shown.encode() not in seen:
                assert select.select([screen], [], [], 10)[0], f"{shown} is not in {seen!r}"
                seen += os.read(terminal, 4096)
            os.write(terminal, keys.encode())
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def by_sed(site: Adwatch, text: str) -> None:
    new = re.search(r'"room\w+"', text)
    assert new is not None
    subprocess.run(["sed", "-i", f's/"room.*"/{new[0]}/', site.config], check=True)


def by_cp(site: Adwatch, text: str) -> None:
    new = site.folder / "new"
    new.write_text(text)
    subprocess.run(["cp", new, site.config], check=True)


def by_mv(site: Adwatch, text: str) -> None:
    new = site.folder / "new"
    new.write_text(text)
    subprocess.run(["mv", new, site.config], check=True)


def by_install(site: Adwatch, text: str) -> None:
    new = site.folder / "new"
    new.write_text(text)
    subprocess.run(["install", "-m", "640", new, site.config], check=True)


def by_a_shell_in_two_steps(site: Adwatch, text: str) -> None:
    """The first half ends in the middle of a key."""
    script = 'head -c 40 new > "$0"; sleep 0.2; tail -c +41 new >> "$0"'
    (site.folder / "new").write_text(text)
    subprocess.run(["sh", "-c", script, site.config], cwd=site.folder, check=True)


def by_a_link_to_another_place(site: Adwatch, text: str) -> None:
    """From here on the file is one elsewhere, which the name only leads to."""
    place = site.folder / "elsewhere"
    place.mkdir(exist_ok=True)
    (place / "config.yaml").write_text(text)
    link = site.folder / "link"
    link.symlink_to(place / "config.yaml")
    link.rename(site.config)


def at_the_end_of_the_link(site: Adwatch, text: str) -> None:
    new = site.folder / "elsewhere" / "new"
    new.write_text(text)
    new.rename(site.folder / "elsewhere" / "config.yaml")


def by_kubernetes(site: Adwatch, text: str) -> None:
    """As the kubelet does: the name leads through `..data`, and only that is swapped."""
    for stage in ("one", "two"):
        folder = site.folder / f"..{stage}"
        folder.mkdir()
        before = stage == "one"
        (folder / "config.yaml").write_text(site.config.read_text() if before else text)
        (site.folder / "..tmp").symlink_to(folder.name)
        (site.folder / "..tmp").rename(site.folder / "..data")
        if before:
            (site.folder / "link").symlink_to("..data/config.yaml")
            (site.folder / "link").rename(site.config)


WAYS = (
    by_vim_that_renames,
    by_vim_that_writes_in_place,
    by_nano,
    by_sed,
    by_cp,
    by_mv,
    by_install,
    by_a_shell_in_two_steps,
    by_a_link_to_another_place,
    at_the_end_of_the_link,
    by_kubernetes,
)


def test_every_way_to_save_is_picked_up_exactly_once(site: Adwatch) -> None:
    for times, save in enumerate(WAYS, 1):
        before = len(taken(site))
        save(site, room(site, f"room{times}"))
        wait_for(f"{save.__name__} is taken", lambda t=times: serves(site, f"room{t}"))  # type: ignore[misc]
        assert len(taken(site)) == before + 1, save.__name__
    assert len(taken(site)) == len(WAYS)
    assert "event=incident_opened" not in site.log.read_text()


def test_a_touch_or_another_mode_is_no_edit(site: Adwatch) -> None:
    site.config.touch()
    site.config.chmod(0o600)
    by_mv(site, site.config.read_text())
    by_mv(site, room(site, "room1"))
    wait_for("the edit", lambda: serves(site, "room1"))
    assert len(taken(site)) == 1


def test_a_bad_edit_is_told_with_its_line_and_changes_nothing(
    site: Adwatch, user: Callable[..., str]
) -> None:
    good = site.config.read_text()
    line = good.count("\n") + 1
    site.config.write_text(good + "saftey: {window: 10m}\nalerts: {after: soon}\n")
    wait_for("the fault", lambda: fault(site))
    said = f"{site.config}:{line}:1: saftey: unknown key; did you mean 'safety'?"
    assert said in fault(site)
    assert f"{site.config}:{line + 1}:17: alerts.after:" in fault(site)
    assert said in site.log.read_text()
    assert said in site("status").stdout
    assert site.status()["state"] == "degraded"
    assert f"{site.config}:{line}:1:" in site("check", "--offline").stderr
    user("later", telephoneNumber="7401")
    wait_for("a new user is served all the same", lambda: site.section("7401"))
    site.config.write_text(good)
    wait_for("all is well again", lambda: healthy(site))
    assert "event=recovered part=configuration" in site.log.read_text()


def test_a_bad_edit_is_an_alert(make: Make, user: Callable[..., str]) -> None:
    user("edit", telephoneNumber="7400")
    with inboxes() as (_, hook):
        site = make(more=f"alerts: {{targets: ['{hook.url}'], after: 1s}}\n")
        site.start()
        wait_for("the peer", lambda: site.section("7400"))
        edit(site, "state: state", "state: state\nnothing: 1")
        wait_for("the alert", lambda: hook.said)
        site.stop()
    assert "the new configuration is refused" in str(hook.said)
    assert re.search(r"config\.yaml:\d+:1: nothing: unknown key", str(hook.said))


def test_what_an_edit_did_not_touch_goes_on(
    make: Make, user: Callable[..., str], between: Proxy
) -> None:
    """One connection to AD all the while, and the listener answers between any two edits."""
    user("edit", telephoneNumber="7400")
    port, other = free_port(), free_port()
    more = f"http: {{listen: '127.0.0.1:{port}'}}\n"
    site = make(server=between.url, directory="push: false", more=more)
    site.start()
    wait_for("the peer", lambda: site.section("7400") and healthy(site))
    since = site.status()["directory"]["connected_since"]
    links = {request.link for request in between.requests}

    def answers(at: int) -> bool:
        with socket.socket() as guest:
            return guest.connect_ex(("127.0.0.1", at)) == 0

    for number, (old, new) in enumerate(
        (
            ("push: false", "push: false\n  poll: 300ms"),
            ("template: lan", "template: wan"),
            ("verify: false", "verify: false\n  settle: 10ms"),
            ("state: state", "state: state\nalerts: {after: 1s}"),
            ("state: state", "state: state\nsafety: {max_removals: 7}"),
        )
    ):
        edit(site, old, new)
        taken_once_more(site, number)
        assert answers(port)
    wait_for("the template", lambda: "(wan)" in site.text())
    edit(site, str(port), str(other))
    wait_for("the other port", lambda: answers(other))
    assert not answers(port)
    assert site.status()["directory"]["connected_since"] == since
    assert {request.link for request in between.requests} == links
    said = [re.search(r"changed=(\S+)", line) for line in taken(site)]
    assert [found[1] for found in said if found] == [
        "directory", "outputs", "asterisk", "alerts", "safety", "http",
    ]  # fmt: skip


def test_a_filter_takes_effect_in_full(site: Adwatch, user: Callable[..., str]) -> None:
    user("fax", telephoneNumber="7402", department="fax")
    wait_for("the peer", lambda: site.section("7402"))
    edit(
        site, "  timeout: 4s", "  timeout: 4s\n  filter: (&(telephoneNumber=*)(!(department=fax)))"
    )
    wait_for("it is left out", lambda: not site.section("7402"))
    assert serves(site, "room0")


def test_a_directory_that_does_not_answer_is_no_reason_to_leave_one_that_does(
    site: Adwatch, dc: SambaDC, user: Callable[..., str]
) -> None:
    nowhere = f"ldaps://localhost:{free_port()}"
    edit(site, dc.ldaps_url, nowhere)
    wait_for("the fault", lambda: fault(site))
    assert f"{site.config}:2:12: directory.servers:" in fault(site)
    user("later", telephoneNumber="7403")
    wait_for("a new user is served all the same", lambda: site.section("7403"))
    edit(site, nowhere, dc.ldaps_url)
    wait_for("all is well", lambda: healthy(site))


@pytest.fixture
def counting(dc: SambaDC) -> Iterator[None]:
    """A domain that counts wrong passwords; it does so only where it would lock somebody."""
    policy = ("domain", "passwordsettings", "set")
    dc.tool(*policy, "--account-lockout-threshold=20")
    yield
    dc.tool(*policy, "--account-lockout-threshold=0")


@pytest.mark.usefixtures("counting")
def test_another_password_is_tried_once_before_the_connection_is_given_up(
    site: Adwatch, dc: SambaDC, user: Callable[..., str]
) -> None:
    # Whose bind, if it came later, would set the count back.
    wait_for("push", lambda: site.status()["directory"]["push"])
    good = site.password_file.read_text()
    wrong = dc.bad_passwords("svc-adwatch")
    site.password_file.write_text("Wr0ng-Passw0rd\n")
    wait_for("the fault", lambda: fault(site))
    assert f"{site.config}:4:18: directory.password_file:" in fault(site)
    user("later", telephoneNumber="7404")
    wait_for("a new user is served all the same", lambda: site.section("7404"))
    site.running.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
    wait_for("a person asks", lambda: "times=2" in site.log.read_text())
    assert dc.bad_passwords("svc-adwatch") == wrong + 2, "once by itself, once as a person asked"
    site.password_file.write_text(good)
    wait_for("all is well", lambda: healthy(site))


def test_the_ca_file_is_followed(site: Adwatch, dc: SambaDC) -> None:
    ca = site.folder / "ca.pem"
    shutil.copy(dc.ca_file, ca)
    edit(site, str(dc.ca_file), str(ca))
    taken_once_more(site, 0)
    assert site("sync").returncode == 0  # which comes after all that the edit made it do
    since = site.status()["directory"]["connected_since"]
    ca.write_text("no certificate\n")
    wait_for("the fault", lambda: fault(site))
    assert f"{site.config}:5:" in fault(site)
    assert "tls.ca_file" in fault(site)
    assert site.status()["directory"]["connected_since"] == since
    ca.write_bytes(Path(dc.ca_file).read_bytes() * 2)
    taken_once_more(site, 1)
    wait_for("all is well", lambda: healthy(site))


def test_a_template_of_ones_own_is_followed(site: Adwatch) -> None:
    template = site.folder / "own.j2"
    template.write_text("{{ number }}\n")
    edit(site, "    options: {template: lan}", "    template: own.j2")
    wait_for("the template", lambda: "7400" in site.text().splitlines())
    template.write_text("{{ number \n")
    wait_for("the fault", lambda: fault(site))
    assert "outputs[0].template" in fault(site)
    template.write_text("{{ desk }}\n")
    wait_for("the fault", lambda: "'desk' is undefined" in fault(site))
    assert re.search(r"config.yaml:\d+:\d+: outputs\[0\].template: ", fault(site))
    assert "7400" in site.text().splitlines()
    assert "event=held" not in site.log.read_text()
    template.write_text("{{ number }}!\n")
    wait_for("the mended one", lambda: "7400!" in site.text().splitlines() and healthy(site))


def test_a_template_and_the_field_that_it_needs_come_in_one_edit(site: Adwatch) -> None:
    (site.folder / "own.j2").write_text("{{ number }} {{ desk }}\n")
    config = site.config.read_text().replace("    options: {template: lan}", "    template: own.j2")
    by_mv(site, config + "  extra: {desk: '\"d\" + telephoneNumber'}\n")
    wait_for("both", lambda: "7400 d7400" in site.text().splitlines() and healthy(site))
    assert "event=held" not in site.log.read_text()


def test_a_template_that_was_missing_is_taken_as_soon_as_it_is_there(site: Adwatch) -> None:
    edit(site, "    options: {template: lan}", "    template: own.j2")
    wait_for("the fault", lambda: "own.j2" in fault(site))
    template = site.folder / "own.j2"
    template.write_text("{{ number }}\n")
    wait_for("the template", lambda: "7400" in site.text().splitlines())


def test_outputs_come_go_and_change_their_mode(site: Adwatch) -> None:
    wait_for("the reload of the first file", lambda: site.reloads() and not owed(site))
    before = len(site.reloads())
    other = "  - {name: mail, path: voicemail.conf, format: voicemail.conf}\n"
    edit(site, "asterisk:", other + "asterisk:")
    wait_for("the other file", lambda: "7400 =>" in text(site.folder / "voicemail.conf"))
    edit(site, "path: users.conf", "path: users.conf\n    mode: 0600")
    wait_for("the mode", lambda: site.output.stat().st_mode & 0o777 == 0o600)
    edit(site, other, "")
    wait_for("one output", lambda: len(site.status()["outputs"]) == 1)
    assert site.reloads()[before:].count("sip reload") == 0, "nothing of its peers has changed"
    assert healthy(site)


def text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_another_key_gives_other_secrets_and_a_lost_one_changes_nothing(site: Adwatch) -> None:
    def secret() -> str:
        return site("secret", "7400").stdout.strip()

    first = secret()
    key = site.folder / "state" / "secret.key"
    kept = key.read_text()
    key.unlink()
    wait_for("the fault", lambda: fault(site))
    assert first in site.text()
    key.write_text(kept)
    wait_for("all is well", lambda: healthy(site))
    assert first in site.text()
    key.write_text("ab" * 32 + "\n")
    wait_for("other secrets", lambda: first not in site.text() and site.section("7400"))
    assert secret() in site.text()


def test_the_state_stays_where_it_is(site: Adwatch) -> None:
    edit(site, "state: state", "state: elsewhere")
    wait_for("the fault", lambda: "part=configuration" in site.log.read_text())
    assert re.search(r"config.yaml:\d+:8: state: .*stop it", site.log.read_text())
    assert not (site.folder / "elsewhere").exists()


class Notified:
    """What a service tells systemd."""

    def __init__(self, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.path = folder / "notify"
        self._socket.bind(str(self.path))
        self._socket.settimeout(20)

    def until(self, word: str) -> list[str]:
        said: list[str] = []
        while not said or word not in said[-1]:
            said.append(self._socket.recv(4096).decode())
        return said

    def close(self) -> None:
        self._socket.close()


def test_a_hangup_reads_the_configuration_and_tells_systemd(
    make: Make, user: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user("edit", telephoneNumber="7400")
    site = make(more=ROOMS.format("room0"))
    with closing(Notified(tmp_path)) as notified:
        monkeypatch.setenv("NOTIFY_SOCKET", str(notified.path))
        site.start()
        notified.until("READY=1")
        wait_for("the peer", lambda: site.section("7400"))
        assert site.running is not None
        site.running.send_signal(signal.SIGHUP)
        said = notified.until("RELOADING=1")
        assert "MONOTONIC_USEC=" in said[-1]
        notified.until("READY=1")
        site.config.write_text(room(site, "room1"))
        site.running.send_signal(signal.SIGHUP)
        notified.until("RELOADING=1")
        notified.until("READY=1")
        wait_for("the edit", lambda: serves(site, "room1"))
        site.config.write_text("nothing\n")
        site.running.send_signal(signal.SIGHUP)
        notified.until("READY=1")
        wait_for("the fault", lambda: "part=configuration" in site.log.read_text())


def test_an_output_changed_by_another_hand_is_told_and_written_again(site: Adwatch) -> None:
    good = site.text()
    reloads = len(site.reloads())
    with site.output.open("a") as file:
        file.write("[999]\nsecret=mine\n")
    wait_for("it is written again", lambda: site.text() == good)
    assert "event=changed_by_another output=users" in site.log.read_text()
    wait_for("it is told", lambda: site.status()["outputs"][0]["restored"])
    wait_for(
        "Asterisk, which may have read the other one, is told",
        lambda: len(site.reloads()) > reloads,
    )
    site.output.unlink()
    wait_for("it is written again", lambda: site.text() == good)
    site.output.chmod(0o666)
    wait_for("its mode is put right", lambda: site.output.stat().st_mode & 0o777 == 0o640)
    assert site.text() == good


def test_what_another_hand_did_is_an_incident(make: Make, user: Callable[..., str]) -> None:
    user("edit", telephoneNumber="7400")
    site = make(more="alerts: {after: 0s}\n")
    site.start()
    wait_for("the peer", lambda: site.section("7400"))
    site.output.write_text("nothing\n")

    def told() -> list[Any]:
        return [one for one in site.status()["alerts"]["open"] if one["kind"] == "edited"]

    wait_for("the incident", told)
    assert told()[0]["subject"] == "users"


def test_a_connection_that_is_lost_unnoticed_is_no_reason_to_keep_the_old_directory(
    make: Make, user: Callable[..., str], between: Proxy
) -> None:
    """The new one does not answer either; what is told then is that, and not the edit."""
    user("edit", telephoneNumber="7400")
    site = make(server=between.url, directory="push: false\npoll: 1h")
    site.start()
    wait_for("the peer", lambda: site.section("7400") and healthy(site))
    between.refuse()
    between.cut()
    text = site.config.read_text().replace("timeout: 4s", "timeout: 3s")
    by_mv(site, text.replace("poll: 1h", "poll: 1s"))
    wait_for("the fault", lambda: site.status()["directory"]["fault"])
    assert fault(site) == ""
    assert len(taken(site)) == 1
    between.accept()
    wait_for("all is well", lambda: healthy(site))
