"""Phone books from a real Samba AD to curl: what AD has, the phone gets, also with AD down."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import vobject
from lxml import etree
from program import Adwatch, wait_for

from system.programs import chromium
from system.samba import SambaDC, free_port

BASE = "OU=Partners,DC=example,DC=test"
FORMS = ("grandstream", "yealink", "cisco", "snom", "fanvil", "spa")
Make = Callable[..., Adwatch]


class Phone:
    """Asks an installation's HTTP server as a phone does, with curl."""

    def __init__(self, adwatch: Adwatch, port: int, token: str = "") -> None:
        self.adwatch = adwatch
        self.url = f"http://127.0.0.1:{port}"
        self.token = token
        self.tags: dict[str, str] = {}

    def get(self, path: str, *options: str) -> tuple[int, bytes]:
        """Status and body; says which version it has, as phones that poll do."""
        known = ["-H", f"If-None-Match: {self.tags[path]}"] if path in self.tags else []
        login = ["-H", f"Authorization: Bearer {self.token}"] if self.token else []
        command = ["curl", "-sS", "-i", "--max-time", "10", *known, *login, *options]
        done = subprocess.run([*command, self.url + path], capture_output=True, check=False)
        if done.returncode:
            return 0, b""
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        if tag := re.search(rb"(?im)^etag: (\S+)\r?$", head):
            self.tags[path] = tag[1].decode()
        return int(head.split(b" ")[1]), body

    def numbers(self, path: str) -> dict[str, set[str]]:
        """Everybody's numbers by name, the way of each form and through all pages."""
        self.tags.pop(path, None)
        status, body = self.get(path)
        assert status == 200
        found: dict[str, set[str]] = {}
        if path.endswith(".vcf"):
            for card in vobject.readComponents(body.decode()):
                found[card.fn.value] = {tel.value for tel in card.contents.get("tel", [])}
            return found
        tree = etree.fromstring(body)
        for entry in tree.iter("Contact", "DirectoryEntry", "item"):
            name = next(entry.iter("LastName", "Name", "name")).text.removesuffix(" (mobile)")
            numbers = entry.iter("phonenumber", "Telephone", "Mobile", "Other", "number")
            found.setdefault(name, set()).update(number.text for number in numbers)
        for key in tree.iter("SoftKeyItem"):
            if key.findtext("Name") == "Next":
                rest = self.numbers(key.findtext("URL").removeprefix(self.url))
                found |= {name: found.get(name, set()) | more for name, more in rest.items()}
        return found


@pytest.fixture
def install(make: Make) -> Callable[..., Phone]:
    """Installs adwatch with an HTTP server; `http` and `more` are lines of its configuration."""

    def run(user: str = "svc-adwatch", http: str = "", more: str = "", token: str = "") -> Phone:
        port = free_port()
        lines = f"http:\n  listen: 127.0.0.1:{port}\n  allow: [127.0.0.0/8]\n{http}\n{more}"
        return Phone(make(user, more=lines), port, token)

    return run


@pytest.fixture
def partners(dc: SambaDC) -> Iterator[str]:
    """An OU for contacts, removed with all in it."""
    dc.admin().add(BASE, ["organizationalUnit"])
    yield BASE
    for dn in dc.ldapsearch("(objectClass=contact)", "1.1", base=BASE):
        dc.delete(dn)
    dc.delete(BASE)


def contact(dc: SambaDC, name: str, **attributes: Any) -> str:
    dn = f"CN={name},{BASE}"
    dc.admin().add(dn, ["contact"], attributes)
    return dn


def online(adwatch: Adwatch) -> bool:
    return adwatch.status()["state"] == "online"


PATHS = [*(f"/phonebook/{form}.xml" for form in FORMS), "/phonebook.vcf"]


@pytest.mark.parametrize("account", ["svc-adwatch", "svc-adwatch-sync"])
def test_every_phone_gets_the_people_of_ad_and_what_changes_there(
    dc: SambaDC,
    install: Callable[..., Phone],
    user: Callable[..., str],
    partners: str,
    account: str,
) -> None:
    contact(dc, "plumber", displayName="Müller & Söhne", telephoneNumber="+49 (0)30 12-3")
    phone = install(account, more=f'contacts: {{base: ["{partners}"]}}')
    adwatch = phone.adwatch
    adwatch.start()
    wait_for("online", lambda: online(adwatch))
    wait_for("the book", lambda: phone.get("/phonebook.vcf")[0] == 200)
    wait_for("the contact", lambda: "Müller & Söhne" in phone.numbers("/phonebook.vcf"))
    everybody = phone.numbers("/phonebook.vcf")
    assert everybody["Ryabov"] == {"502"}
    assert everybody["Müller & Söhne"] == {"+4930123"}
    for path in PATHS:
        told = {name.replace("+", "&"): numbers for name, numbers in phone.numbers(path).items()}
        assert told == everybody
        assert phone.get(path) == (304, b"")
    dn = user("newcomer", telephoneNumber="7801", mobile="0170 / 1")
    wait_for("the newcomer", lambda: "Newcomer" in phone.numbers(PATHS[1]))
    for path in PATHS:
        assert phone.numbers(path)["Newcomer"] == {"7801", "01701"}
    other = contact(dc, "painter", telephoneNumber="78", otherTelephone=["79", "80"])
    wait_for("a new contact", lambda: phone.numbers(PATHS[0]).get("painter") == {"78", "79", "80"})
    dc.modify(other, telephoneNumber="77")
    wait_for("its change", lambda: phone.numbers(PATHS[0]).get("painter") == {"77", "79", "80"})
    phone.get(PATHS[0])
    assert phone.get(PATHS[0]) == (304, b"")
    dc.delete(other)
    dc.delete(dn)
    wait_for("no contact", lambda: "painter" not in phone.numbers(PATHS[0]))
    wait_for("no newcomer", lambda: phone.numbers(PATHS[0]).keys() == everybody.keys())
    assert not adwatch.section("77")
    assert adwatch.status()["peers"]["held"] == 0


def test_the_book_is_served_with_ad_down_and_after_a_start_without_it(
    dc: SambaDC, install: Callable[..., Phone], partners: str
) -> None:
    contact(dc, "plumber", telephoneNumber="12")
    phone, other = (install(more=f'contacts: {{base: ["{partners}"]}}') for _ in range(2))
    adwatch = phone.adwatch
    adwatch.start()
    wait_for("the contact", lambda: phone.get("/phonebook.vcf")[1].count(b"plumber"))
    phone.get("/phonebook.vcf")
    assert other.adwatch("sync").returncode == 0
    dc.kill()
    try:
        other.adwatch.start()
        wait_for("the synced book", lambda: other.get("/phonebook.vcf")[0] == 200)
        assert "plumber" in other.numbers("/phonebook.vcf")
        wait_for("degraded", lambda: adwatch.status()["state"] == "degraded")
        assert phone.get("/phonebook.vcf") == (304, b"")
        assert adwatch.stop() < 3
        assert phone.get("/phonebook.vcf") == (0, b"")
        adwatch.start()
        wait_for("the same book", lambda: phone.get("/phonebook.vcf") == (304, b""))
        assert "plumber" in phone.numbers("/phonebook/yealink.xml")
        assert "502" in phone.numbers("/phonebook/yealink.xml")["Ryabov"]
    finally:
        dc.start()
    wait_for("online again", lambda: online(adwatch), 60)
    assert phone.numbers("/phonebook.vcf").keys() >= {"plumber", "Ryabov"}


def test_a_start_with_a_frozen_ad_does_not_keep_the_phones_waiting(
    dc: SambaDC, install: Callable[..., Phone]
) -> None:
    phone = install()
    adwatch = phone.adwatch
    # So that its first try lasts longer than the test looks on.
    text = adwatch.config.read_text()
    adwatch.config.write_text(text.replace("timeout: 4s", "timeout: 1m"))
    assert adwatch("sync").returncode == 0
    dc.pause()
    try:
        adwatch.start()
        wait_for("the book", lambda: phone.get("/phonebook.vcf")[0] == 200)
        assert adwatch.status()["state"] == "starting"
        assert adwatch.stop() < 3
    finally:
        dc.unpause()


def test_a_book_of_contacts_that_becomes_unreadable_stays_and_is_told(
    dc: SambaDC, install: Callable[..., Phone], user: Callable[..., str], partners: str
) -> None:
    contact(dc, "plumber", telephoneNumber="12")
    phone = install(more=f'contacts: {{base: ["{partners}"]}}')
    adwatch = phone.adwatch
    adwatch.start()
    wait_for("the contact", lambda: "plumber" in phone.get("/phonebook.vcf")[1].decode())
    adwatch.stop()
    text = adwatch.config.read_text()
    adwatch.config.write_text(text.replace(partners, f"OU=Nowhere,{partners}"))
    adwatch.start()
    wait_for("a fault", lambda: "contacts" in adwatch.status()["faults"])
    assert "correct contacts.base" in adwatch.status()["faults"]["contacts"]
    assert "contacts fault: " in adwatch("status").stdout
    user("newcomer", telephoneNumber="7802")
    wait_for("a peer all the same", lambda: adwatch.section("7802"))
    assert "plumber" in phone.numbers("/phonebook.vcf")
    adwatch.stop()
    adwatch.config.write_text(text)
    adwatch.start()
    wait_for("online", lambda: online(adwatch))
    wait_for("no fault", lambda: not adwatch.status()["faults"])
    adwatch.stop()
    adwatch.config.write_text(text.partition("contacts:")[0])
    adwatch.start()
    phone.tags.clear()
    wait_for("the book", lambda: phone.get("/phonebook.vcf")[0] == 200)
    wait_for("no contact", lambda: "plumber" not in phone.numbers("/phonebook.vcf"))


def test_who_is_let_in_and_what_check_says_of_it(install: Callable[..., Phone]) -> None:
    phone = install(http="  token_file: token", token="s3cret")
    adwatch = phone.adwatch
    checked = adwatch("check", "--offline")
    assert "the token file" in checked.stdout
    assert "can't be read: No such file or directory" in checked.stdout
    token = adwatch.folder / "token"
    token.write_text("s3cret\n")
    assert (
        "can be listened on; let in: 127.0.0.0/8 with the token"
        in adwatch("check", "--offline").stdout
    )
    token.rename(adwatch.folder / "elsewhere")
    adwatch.start("--verbose")
    wait_for("online but for http", lambda: "http" in adwatch.status()["faults"])
    assert phone.get("/phonebook.vcf") == (0, b"")
    (adwatch.folder / "elsewhere").rename(token)
    wait_for("the book", lambda: phone.get("/phonebook.vcf")[0] == 200)
    wait_for("online", lambda: online(adwatch))
    assert (
        "served by the running adwatch; let in: 127.0.0.0/8" in adwatch("check", "--offline").stdout
    )
    phone.token = "other"
    assert phone.get("/phonebook.vcf")[0] == 401
    assert phone.get("/phonebook.vcf?token=s3cret")[0] == 200
    assert phone.get("/phonebook/cisco.xml?token=s3cret")[0] == 200
    log = adwatch.log.read_text()
    assert "path=/phonebook.vcf" in log
    assert "s3cret" not in log


def test_an_edit_of_who_is_let_in_refuses_nobody_a_connection(
    install: Callable[..., Phone],
) -> None:
    phone = install(http="  token_file: token", token="first")
    adwatch = phone.adwatch
    token = adwatch.folder / "token"
    token.write_text("first")
    adwatch.start()
    wait_for("the book", lambda: phone.get("/phonebook.vcf")[0] == 200)
    port, refused, over = int(phone.url.rpartition(":")[2]), [], Event()

    def call() -> None:
        while not over.is_set():
            try:
                with socket.create_connection(("127.0.0.1", port), 10) as connection:
                    connection.sendall(b"GET /phonebook.vcf HTTP/1.0\r\n\r\n")
                    while connection.recv(4096):
                        pass
            except OSError as error:
                refused.append(error)

    with ThreadPoolExecutor() as pool:
        caller = pool.submit(call)
        try:
            token.write_text("second")
            phone.token = "second"
            wait_for("the new token", lambda: phone.get("/phonebook.vcf")[0] == 304)
            wait_for("the edit", lambda: edits(adwatch) == 1)
            text = adwatch.config.read_text()
            adwatch.config.write_text(text.replace("127.0.0.0/8", "192.0.2.0/24"))
            wait_for("kept out", lambda: phone.get("/phonebook.vcf")[0] == 403)
            adwatch.config.write_text(text)
            wait_for("let in", lambda: phone.get("/phonebook.vcf")[0] == 304)
        finally:
            over.set()
        caller.result()
    assert not refused
    assert "http" in adwatch.status()["listens"]


def edits(adwatch: Adwatch) -> int:
    """How many it has taken."""
    return adwatch.log.read_text().count("event=configured")


def test_a_port_that_somebody_holds_is_taken_when_it_comes_free(
    install: Callable[..., Phone],
) -> None:
    phone = install()
    adwatch = phone.adwatch
    with socket.create_server(("127.0.0.1", int(phone.url.rpartition(":")[2]))):
        adwatch.start()
        wait_for("the peers all the same", lambda: adwatch.section("502"))
        wait_for("a fault", lambda: "http" in adwatch.status()["faults"])
        assert adwatch("status").returncode == 1
        checked = adwatch("check", "--offline")
        assert "Address already in use" in checked.stdout
        assert checked.returncode == 1
    wait_for("the book", lambda: phone.get("/phonebook.vcf")[0] == 200)
    wait_for("online", lambda: online(adwatch))
    assert adwatch.log.read_text().count("event=recovered part=http") == 1
    with socket.create_connection(("127.0.0.1", int(phone.url.rpartition(":")[2]))):
        assert adwatch.stop() < 3


def test_a_browser_gets_the_book(install: Callable[..., Phone], tmp_path: Path) -> None:
    phone = install(http="  token_file: token")
    (phone.adwatch.folder / "token").write_text("s3cret")
    phone.adwatch.start()
    wait_for("the book", lambda: phone.get("/phonebook.vcf?token=s3cret")[0] == 200)
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    url = f"{phone.url}/phonebook/yealink.xml?token=s3cret"
    done = subprocess.run([chromium(), *quiet, "--dump-dom", url], capture_output=True, check=True)
    assert b"Ryabov" in done.stdout
