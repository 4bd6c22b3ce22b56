"""What the PBX should show, against what it shows: texts of Asterisk 16.28 and of outputs."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from program import has_ended, made_by_pytest, wait_for

from adwatch.core.document import Document
from adwatch.core.model import Peer
from adwatch.core.render import Format, Renderer
from adwatch.edges.asterisk import Changes, Shown, Wanted, command, look_kind
from adwatch.edges.asterisk import changes as changes_of
from adwatch.edges.asterisk.command import CommandLine, socket_hint
from adwatch.errors import AsteriskError

HEADER = "; Written by adwatch\n"


def text(*peers: tuple[str, str, str]) -> str:
    return HEADER + "".join(
        f"\n[{number}](lan)\nfullname = {name}\nsecret = s{number}\ncontext = {context}\n"
        for number, name, context in peers
    )


def pjsip(*peers: tuple[str, str, str]) -> str:
    return HEADER + "".join(
        f'\n[{n}]\ntype = endpoint\ncallerid = "{name}" <{n}>\ncontext = {context}\n'
        f"\n[{n}]\ntype = auth\npassword = x\n\n[{n}]\ntype = aor\n"
        for n, name, context in peers
    )


def changes(old: str, new: str) -> Changes:
    return changes_of(old.encode(), new.encode())


ONE, TWO, THREE = ("501", "Ann", "users"), ("502", "Bob", "users"), ("503", "Cid", "users")


@pytest.mark.parametrize("write", [text, pjsip])
def test_what_a_new_text_changes_is_told_by_name(write: type[str]) -> None:
    old, new = write(ONE, TWO), write(("501", "Ann", "sales"), THREE)  # type: ignore[call-arg]
    found = changes(old, new)
    assert (found.added, found.gone, found.changed) == ({"503"}, {"502"}, {"501"})
    assert changes(old, old) == Changes()
    hidden = changes(old, old.replace("s501", "other").replace("password = x", "password = y", 1))
    assert (hidden.touched, hidden.changed) == ({"501"}, set())


def test_changes_one_after_the_other_are_what_became_of_it() -> None:
    first, second, third = text(ONE), text(ONE, TWO), text(TWO, THREE)
    assert changes(first, second).then(changes(second, first)) == Changes(gone=frozenset({"502"}))
    both = changes(first, second).then(changes(second, third))
    assert (both.added, both.gone) == ({"502", "503"}, {"501"})
    again = changes(second, first).then(changes(first, second))
    assert (again.added, again.gone) == ({"502"}, set())


people = st.dictionaries(
    st.sampled_from([str(n) for n in range(495, 512)]),
    st.tuples(st.sampled_from(["Ann", "Bob", ""]), st.sampled_from(["users", "sales"])),
    max_size=9,
)


@given(people, people, st.sampled_from([text, pjsip]))
def test_what_changes_between_any_two_texts(
    first: dict[str, tuple[str, str]],
    second: dict[str, tuple[str, str]],
    write: Callable[..., str],
) -> None:
    """By the peers themselves, and not by the texts."""
    old, new = (write(*((n, *one[n]) for n in sorted(one))) for one in (first, second))
    found = changes(old, new)
    assert (found.added, found.gone) == (second.keys() - first.keys(), first.keys() - second.keys())
    both = first.keys() & second.keys()
    assert found.changed == {n for n in both if first[n] != second[n]}


@given(people, people, st.sampled_from(["users.conf", "sip.conf", "pjsip.conf"]))
def test_the_peers_that_differ_say_the_same_of_a_text_as_the_whole_of_it(
    first: dict[str, tuple[str, str]], second: dict[str, tuple[str, str]], form: str
) -> None:
    made = Document(Renderer(Format(form), lambda peer: f"secret-{peer.guid}"))

    def become(peers: dict[str, tuple[str, str]]) -> bytes:
        for number in first.keys() - peers.keys():
            made.drop(f"g{number}")
        for number, (name, context) in peers.items():
            fields = number, name, "", context, "", "", "", "", ""
            made.put(Peer(f"g{number}", *fields))
        return b"".join(made.parts())

    old = become(first)
    made.published()
    new, since = become(second), made.since()
    assert since is not None
    assert changes_of(since.before, since.after) == changes_of(old, new)


def shown(*names: str, cut: int = 0) -> Shown:
    return Shown(frozenset(names), cut=cut)


def test_a_look_tells_what_is_missing_and_what_should_be_gone() -> None:
    wanted = Wanted("sip", text(ONE, TWO), changes(text(ONE, THREE), text(ONE, TWO)))
    assert wanted.check(shown("501", "502", "other")).good
    behind = wanted.check(shown("501", "503"))
    assert (behind.missing, behind.lingering, behind.proof) == ({"502"}, {"503"}, False)
    half = wanted.check(shown("501", "502", "503"))
    assert (half.lingering, half.proof, half.settled) == ({"503"}, True, False)


def test_a_peer_that_another_output_has_may_stay() -> None:
    since = changes(text(ONE, TWO), text(ONE))
    wanted = Wanted("sip", text(ONE), since, others=frozenset({"502"}))
    assert wanted.check(shown("501", "502")).good


def test_nobody_waits_for_a_peer_that_asterisk_has_refused_for_long() -> None:
    look = Wanted("sip", text(ONE, TWO), known=frozenset({"502"})).check(shown("501"))
    assert (look.settled, look.good) == (True, False)


@pytest.mark.parametrize(
    ("said", "stale", "proof"),
    [
        (("sales", "Ann"), set(), True),
        (("users", "Ann"), {"501"}, False),
        (("", ""), {"501"}, False),
        (None, set(), False),
    ],
)
def test_a_peer_that_changed_is_compared_as_far_as_it_can_be_seen(
    said: tuple[str, str] | None, stale: set[str], proof: bool
) -> None:
    new = text(("501", "Ann", "sales"))
    wanted = Wanted("sip", new, changes(text(ONE), new))
    assert wanted.sample() == "501"
    look = wanted.check(shown("501"), {"501": said})
    assert (look.stale, look.proof) == (stale, proof)


def test_what_asterisk_cuts_or_writes_otherwise_is_not_held_against_it() -> None:
    long = "x" * 200
    new = text(("501", "Änn", long), ("5" * 30, "Q\\;", "users"))
    wanted = Wanted("sip", new, changes(text(ONE, ("5" * 30, "", "")), new))
    look = wanted.check(shown("501", "5" * 25, cut=25), {"501": (long[:79], "?nn")})
    assert look.good


def test_only_the_reload_of_a_channel_driver_is_looked_after() -> None:
    assert look_kind("users.conf", "sip reload") == "sip"
    assert look_kind("pjsip.conf", "module reload res_pjsip.so") == "pjsip"
    assert look_kind("users.conf", "iax2 reload") == ""
    assert look_kind("voicemail.conf", "voicemail reload") == ""


SIP_PEERS = """\
Name/username             Host                                    Dyn Forcerport Comedia    ACL Port     Status      Description
100000/100000             (Unspecified)                            D  Auto (No)  No             0        Unmonitored
1234567890123456789012345 192.0.2.7                                D  Auto (No)  No             5060     OK (12 ms)
sip                       (Unspecified)                            D  Auto (No)  No             0        UNKNOWN
3 sip peers [Monitored: 1 online, 0 offline Unmonitored: 0 online, 2 offline]
"""  # noqa: E501
ENDPOINTS = """\

 Endpoint:  <Endpoint/CID.....................................>  <State.....>  <Channels.>
==========================================================================================

 Endpoint:  100000/100000                                        Unavailable   0 of inf
 Endpoint:  lobby                                                Unavailable   0 of inf

Objects found: 2

"""
WARNING = "Unable to open specified master config file '/etc/asterisk/asterisk.conf', using\n"


def saying(folder: Path, said: str, status: int = 0) -> CommandLine:
    (folder / "said").write_text(said)
    return CommandLine(["sh", "-c", f"cat {folder}/said; exit {status}"])


@pytest.mark.parametrize(
    ("kind", "said", "names"),
    [
        ("sip", SIP_PEERS, {"100000", "1234567890123456789012345", "sip"}),
        ("sip", WARNING + SIP_PEERS, {"100000", "1234567890123456789012345", "sip"}),
        ("sip", "0 sip peers [Monitored: 0 online, 0 offline Unmonitored: 0 online, 0]\n", set()),
        ("pjsip", ENDPOINTS, {"100000", "lobby"}),
        ("pjsip", "No objects found.\n\n", set()),
        ("sip", SIP_PEERS.replace("3 sip", "4 sip"), None),
        ("pjsip", ENDPOINTS[:-20], None),
        ("sip", "No such command 'sip show peers'\n", None),
        ("sip", "", None),
    ],
)
def test_a_list_for_people_is_read_whole_or_not_at_all(
    tmp_path: Path, kind: str, said: str, names: set[str] | None
) -> None:
    found = saying(tmp_path, said).peers(kind)
    assert found.names == names
    assert bool(found.why) == (names is None)


def test_a_command_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(AsteriskError, match="can't be run: No such file"):
        CommandLine([str(tmp_path / "none")]).reload("sip reload")


def test_a_command_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_RELOAD_S", 2.0)
    script = f"trap '' TERM; sleep 300 & echo $! > {tmp_path}/child; wait"
    with pytest.raises(AsteriskError, match=r"'sip reload' did not end within 2 s") as error:
        CommandLine(["sh", "-c", script]).reload("sip reload")
    assert error.value.hint == "does Asterisk hang?"
    child = (tmp_path / "child").read_text()
    wait_for("its end", lambda: has_ended(int(child)))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not")
@pytest.mark.parametrize(
    ("mode", "hint"),
    [
        (0o755, "astctlpermissions = 0660 and astctlgroup = asterisk below [files]"),
        (0o770, "usermod -aG daemon adwatch"),
        (0o777, "is Asterisk up?"),
    ],
)
def test_a_control_socket_that_is_for_others_says_which_group_to_join(
    tmp_path: Path, mode: int, hint: str
) -> None:
    for folder in (tmp_path, *made_by_pytest(tmp_path)):
        folder.chmod(0o755)
    path = tmp_path / "asterisk.ctl"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(mode)
        os.chown(path, 1, 1)  # daemon, on Debian
        said = f"Unable to connect to remote asterisk (does {path} exist?)"
        os.setegid(65534)
        groups = os.getgroups()
        os.setgroups([])
        os.seteuid(65534)
        try:
            assert hint in socket_hint(path)
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(groups)
        with pytest.raises(AsteriskError, match="Unable to connect") as error:
            saying(tmp_path, said, 1).reload("sip reload")
    assert error.value.hint
    path.unlink()
    with pytest.raises(AsteriskError) as error:
        saying(tmp_path, said, 1).reload("sip reload")
    assert error.value.hint == "is Asterisk up?"
