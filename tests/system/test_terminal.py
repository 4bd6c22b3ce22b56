"""adwatch on a terminal: tables that fit, a status that renews itself, words that complete."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable

import pytest
from program import ADWATCH, Adwatch, wait_for
from rich.cells import cell_len

from system.screen import ESCAPES, screen

Make = Callable[..., Adwatch]


@pytest.fixture
def site(make: Make, user: Callable[..., str]) -> Adwatch:
    """One that was synchronized, with names that are long, or wide."""
    user("term1", telephoneNumber="7501", displayName="王小明" * 12)
    user("term2", telephoneNumber="7502", displayName="A very long name " * 5)
    one = make(more="peers:\n  name: displayName\n")
    assert one("sync").returncode == 0
    return one


def test_a_table_fits_the_terminal(site: Adwatch) -> None:
    with screen(site, "peers") as shown:
        lines = ESCAPES.sub("", shown.until("")).split("\r\n")
    assert max(map(cell_len, lines)) <= 60
    assert any(line.startswith("7501") and "王小明" in line and "…" in line for line in lines)
    assert lines[0].split()[:2] == ["number", "name"]
    with screen(site, "peers", columns=300) as shown:
        assert "王小明" * 12 in shown.until("")


def test_beside_a_terminal_the_text_is_whole_and_plain(site: Adwatch) -> None:
    text = site("peers").stdout
    assert "王小明" * 12 in text
    assert "\x1b" not in text
    assert "\x1b" not in site("status").stdout


def test_colour_is_for_terminals_that_want_it_and_never_alone(site: Adwatch) -> None:
    with screen(site, "status") as shown:
        text = shown.until("")
        assert shown.process.wait(20) == 3
    assert "\x1b[1;31mstopped" in text
    with screen(site, "status", env={"NO_COLOR": "1"}) as shown:
        plain = shown.until("")
    assert "\x1b[1;31m" not in plain
    assert "\x1b[31m" not in plain
    assert "stopped" in plain


def test_a_watched_status_renews_itself_in_place(site: Adwatch) -> None:
    with screen(site, "status", "--watch") as shown:
        shown.until("stopped")
        site.start()
        shown.until("online")
        assert shown.seen.count("\x1b[H\x1b[J") >= 2
        shown.process.send_signal(signal.SIGINT)
        assert shown.process.wait(20) == 0, "as status exits while all is well"


def test_a_watched_status_in_a_pipe_is_a_line_for_each_change(site: Adwatch) -> None:
    with (site.folder / "watched").open("wb") as file:
        process = subprocess.Popen(
            [ADWATCH, "status", "--watch", "--json", "--config", site.config], stdout=file
        )
    try:

        def states() -> list[str]:
            return re.findall(
                r'^\{"state": "(\w+)"', (site.folder / "watched").read_text(), re.MULTILINE
            )

        wait_for("the first", lambda: states() == ["stopped"])
        site.start()
        wait_for("the next", lambda: "online" in states())
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["adwatch", "sta"], {"status"}),
        (["adwatch", "status", "--"], {"--config", "--help", "--json", "--verbose", "--watch"}),
        (["adwatch", "completion", ""], {"bash", "zsh", "tcsh"}),
        (["adwatch", "alert", "t"], {"test"}),
    ],
)
def test_bash_completes_words(words: list[str], wanted: set[str]) -> None:
    script = (
        f'source <("{ADWATCH}" completion bash); '
        'eval "complete=($(complete -p adwatch))"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        '${complete[-2]}; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    command = ["bash", "--norc", "-c", script, "bash", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert set(done.stdout.split()) == wanted


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_are_given_every_command(shell: str) -> None:
    command = [ADWATCH, "completion", shell]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert all(word in text for word in ("explain", "rotate", "offline", "dry-run"))
