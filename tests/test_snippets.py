"""Every snippet of the documentation is run, loaded or parsed; what nothing proves fails here."""

from __future__ import annotations

import argparse
import itertools
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import yaml
from core.test_render import parse
from system.programs import program

from adwatch import cli
from adwatch.config.load import load
from adwatch.config.schema import Config
from adwatch.core.model import Peer
from adwatch.core.safe import UnsafeText
from adwatch.edges.keyfile import KeyFile
from adwatch.errors import ConfigError
from adwatch.output import Output
from adwatch.wiring import make_mapper, make_outputs

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", *sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/*.md")))
FENCE = re.compile(r"^( *)```(\S*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Snippet:
    """A fenced block: where it stands, what it says it is, and its text."""

    page: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def snippets() -> Iterator[Snippet]:
    for page in PAGES:
        text = (ROOT / page).read_text()
        for found in FENCE.finditer(text):
            yield Snippet(page, text.count("\n", 0, found.start()) + 1, found[2], found[3])


ALL = tuple(snippets())


def of(kind: str) -> list[Snippet]:
    return [one for one in ALL if one.kind == kind]


def on(page: str, kind: str) -> Snippet:
    """The one snippet of its kind on a page."""
    (found,) = [one for one in of(kind) if one.page == page]
    return found


def test_every_fence_is_a_snippet_of_a_class_that_is_proven() -> None:
    fences = sum((ROOT / page).read_text().count("```") for page in PAGES)
    assert fences == 2 * len(ALL)
    assert {one.kind for one in ALL} == {"yaml", "jinja", "ini", "sh", "text", "powershell"}


# YAML: a part of a configuration, which loads with the least that is to be added.

LEAST = {
    "directory": {
        "servers": ["ldaps://dc1.example.test"],
        "user": "svc-adwatch@example.test",
        "password_file": "bind-password",
    }
}


def outputs(snippet: Snippet, folder: Path, templates: Mapping[str, str] | None = None) -> Config:
    """The configuration that a snippet is a part of; raises where it can't be used."""
    for name, text in (templates or {}).items():
        (folder / name).write_text(text)
    has = yaml.safe_load(snippet.text).keys()
    rest = {key: value for key, value in LEAST.items() if key not in has}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(rest) * bool(rest) + snippet.text)
    return load(path)


def made(config: Config, folder: Path) -> tuple[Output, ...]:
    key = KeyFile(folder / "secret.key")
    key.open(fresh=True)
    return make_outputs(config, key, make_mapper(config))


def own_template(snippet: Snippet) -> dict[str, str]:
    """The template that a snippet names, which is the one that its page has."""
    named = re.findall(r"template: (\S+\.j2)", snippet.text)
    return {name: on(snippet.page, "jinja").text for name in named}


@pytest.mark.parametrize("snippet", of("yaml"), ids=str)
def test_a_part_of_a_configuration_is_one(snippet: Snippet, tmp_path: Path) -> None:
    config = outputs(snippet, tmp_path, own_template(snippet))
    assert set(yaml.safe_load(snippet.text)) <= set(Config.model_fields)
    assert made(config, tmp_path)


# Templates: one for each page that has any, rendered as the page says.

GUID = "6f9619ff-8b86-d011-b42d-00c04fc964ff"


def peer(name: str) -> Peer:
    extra = (("department", "Sales; EMEA"),)
    return Peer(GUID, "502", name, "", "users", "5", "5", "", "CN=x", "anna", extra)


def test_the_template_gives_what_its_page_shows(tmp_path: Path) -> None:
    page = "docs/templates.md"
    wanted = on(page, "yaml")
    (output,) = made(outputs(wanted, tmp_path, own_template(wanted)), tmp_path)
    shown = on(page, "ini").text
    written = output.renderer.fragment(peer('O"Neil; Anna'))
    hashed = r"(?<=md5_cred = )[0-9a-f]{32}"  # of another key than the page's
    assert re.sub(hashed, "…", written) == re.sub(hashed, "…", shown)


def test_the_reason_of_a_rejection_is_as_its_page_shows(tmp_path: Path) -> None:
    wanted = on("docs/templates.md", "yaml")
    (output,) = made(outputs(wanted, tmp_path, own_template(wanted)), tmp_path)
    with pytest.raises(UnsafeText) as refused:
        peer("Anna\nB")
    said = refused.value.told({"name": "displayName"})
    assert said == text_of("name holds the character").rstrip("\n")
    assert output.renderer.refusal(peer("Anna")) == ""


def test_a_template_that_is_none_is_told_as_its_page_shows(tmp_path: Path) -> None:
    wanted = on("docs/templates.md", "yaml")
    with pytest.raises(ConfigError) as refused:
        made(outputs(wanted, tmp_path, {"desk.j2": "[{{ number }}]\n\n{{ name }\n"}), tmp_path)
    said = str(refused.value)
    found = re.search(r"config\.yaml:\d+:(\d+: .*)", said)
    shown = re.search(r"config\.yaml:\d+:(\d+: .*)", text_of("config.yaml:12:15"))
    assert found is not None
    assert shown is not None
    assert found[1].replace(str(tmp_path / "desk.j2"), "desk.j2") == shown[1]


# Files of Asterisk: read by its grammar.

DIRECTIVE = re.compile(r"^#(include|tryinclude|exec) (.*)\n", re.MULTILINE)


@pytest.mark.parametrize("snippet", of("ini"), ids=str)
def test_a_file_of_asterisk_is_one(snippet: Snippet) -> None:
    sections = parse(DIRECTIVE.sub("", snippet.text))
    for kind, what in DIRECTIVE.findall(snippet.text):
        if kind == "exec":
            run_by_adwatch(shlex.split(what))
        else:
            assert what.startswith("/etc/asterisk/adwatch/")
            assert what.rpartition("/")[2] in ("users.conf", "sip.conf", "pjsip.conf")
    assert sections or "#exec" in snippet.text
    for name, _, options in sections:
        assert name
        assert options or "(!)" in snippet.text


# Shells: the words of adwatch are parsed by its own parser, and what others are there is known.


def run_by_adwatch(words: list[str]) -> None:
    """A command line of adwatch that its parser takes."""
    assert words[0].endswith("adwatch")
    try:
        cli.parser().parse_args(words[1:])
    except SystemExit as refused:  # argparse has told why, on stderr
        pytest.fail(f"{shlex.join(words)}: exits {refused.code}")


def commands_of(script: str) -> Iterator[list[str]]:
    """Each simple command's words; here-documents, comments and assignments are left out."""
    script = re.sub(r"<<'?(\w+)'?\n.*?\n\1\n", "\n", script, flags=re.DOTALL)
    for line in script.replace("\\\n", " ").splitlines():
        one: list[str] = []
        for word in [*shlex.split(line, comments=True), ";"]:
            if word in ("|", "||", "&&", ";"):
                if one:
                    yield one
                one = []
            elif one or not re.match(r"\w+=", word):
                one.append(word)


KNOWN = {name for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction)
         for name in action.choices}  # fmt: skip


def make(words: list[str]) -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(words[1:]) <= set(targets)


def ensure(words: list[str]) -> None:
    assert all((ROOT / "docker" / name / "Dockerfile").exists() for name in words[1:])


def compose(words: list[str]) -> None:
    files = [word for before, word in itertools.pairwise(words) if before == "-f"]
    texts = [yaml.safe_load((ROOT / "docker" / "try" / name).read_text()) for name in files]
    texts = texts or [yaml.safe_load((ROOT / "docker" / "try" / "compose.yaml").read_text())]
    services = {name for text in texts for name in text["services"]}
    verb = next(word for word in words[1:] if word not in ("-f", *files))
    assert verb in ("up", "exec", "stop", "start", "down")
    if verb in ("exec", "stop", "start"):
        assert words[words.index(verb) + 1] in services


def systemctl(words: list[str]) -> None:
    assert words[1] in ("enable", "status", "reload", "restart")
    assert words[-1] == "adwatch"


def analyze(words: list[str]) -> None:
    there = program("systemd", "systemd-analyze")
    subprocess.run([there, *words[1:]], cwd=ROOT, check=True, capture_output=True)


def journal(words: list[str]) -> None:
    assert words[1:3] == ["-u", "adwatch"]


def go_to(words: list[str]) -> None:
    assert (ROOT / words[1]).is_dir()


def fetch(words: list[str]) -> None:
    path = words[1].partition("8389")[2]
    assert path in (ROOT / "adwatch" / "pages.py").read_text() or path == "/phonebook/yealink.xml"


# Programs of others. Those that change a domain or a machine are run by a system test, which is
# named; the rest is looked at here.
PROGRAMS: Final[Mapping[str, Callable[[list[str]], None] | str]] = {
    "make": make,
    "docker/ensure": ensure,
    "docker-compose": compose,
    "systemctl": systemctl,
    "systemd-analyze": analyze,
    "journalctl": journal,
    "cd": go_to,
    "curl": fetch,
    "apt-get": "tests/system/test_deb.py",
    "runuser": "tests/system/test_deb.py",
    "ldapsearch": "tests/system/samba.py",
}
# Pages whose shell commands a test runs as they stand, or that have one like them.
RUN_ELSEWHERE: Final = {
    "docs/rights.md": "tests/system/test_rights.py",
    "docs/directory.md": "tests/edges/test_auth.py",
}


@pytest.mark.parametrize("snippet", of("sh"), ids=str)
def test_a_shell_command_is_one(snippet: Snippet) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run(
        [bash, "-n"], input=snippet.text, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if proof := RUN_ELSEWHERE.get(snippet.page):
        assert "samba-tool" in snippet.text
        proven = (ROOT / proof).read_text()
        assert Path(snippet.page).name in proven or "exportkeytab" in proven
        return
    seen = 0
    for words in commands_of(snippet.text):
        seen += 1
        for at, word in enumerate(words[:-1]):
            if word.endswith("adwatch") and words[at + 1] in KNOWN:
                run_by_adwatch(words[at:])
        if words[0].endswith("adwatch"):
            run_by_adwatch(words)
            continue
        known = PROGRAMS.get(words[0])
        assert known is not None, f"nothing proves what {words[0]} does here"
        if isinstance(known, str):
            assert words[0] in (ROOT / known).read_text()
        else:
            known(words)
    assert seen


def test_every_command_that_a_sentence_names_is_there() -> None:
    for page in PAGES:
        named = re.findall(r"`adwatch ([a-z][^`]*)`", (ROOT / page).read_text())
        assert {words.split()[0] for words in named} <= KNOWN, page


# What programs print. The tests named print it, and look at what it says.

PRINTED: Final = {
    "README.md:Starting a Samba Active Directory": "make demo, with the delays of a run",
    "docs/start.md:Domain controllers, by DNS": "tests/system/test_deb.py, test_init.py",
    "docs/attributes.md:✗ attributes": "tests/system/test_attributes.py compares it line by line",
    "docs/templates.md:name holds the character": "here",
    "docs/templates.md:config.yaml:12:15": "here",
}


def text_of(begins: str) -> str:
    (found,) = [one.text for one in of("text") if one.text.startswith(begins)]
    return found


@pytest.mark.parametrize("snippet", of("text"), ids=str)
def test_what_is_printed_is_printed_by_something(snippet: Snippet) -> None:
    assert [key for key in PRINTED if f"{snippet.page}:{snippet.text}".startswith(key)]


def test_nothing_is_excused_that_is_gone() -> None:
    starts = [f"{one.page}:{one.text}" for one in of("text")]
    assert [key for key in PRINTED if not any(one.startswith(key) for one in starts)] == []
    assert set(RUN_ELSEWHERE) <= {one.page for one in of("sh")}


def test_what_was_not_run_says_so() -> None:
    """PowerShell: no Windows is at hand, and the page must say it."""
    for snippet in of("powershell"):
        assert "These were not run here" in (ROOT / snippet.page).read_text()
