"""Every fault of the schema, as a person sees it, and what right values become."""

import os
from pathlib import Path
from textwrap import indent

import pytest

from adwatch.config.load import load
from adwatch.config.source import default_path
from adwatch.errors import ConfigError

HEAD = """\
directory:
  servers: ldaps://dc1.example.test
  user: svc@example.test
  password_file: bind-password
"""


def directory(text, *, without=()):
    """A directory section with more keys, from line 5 on; some of HEAD's left out."""
    kept = [line for line in HEAD.splitlines() if line.strip().split(":")[0] not in without]
    return "\n".join([*kept, *(f"  {line}" for line in text.splitlines())]) + "\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("servrs: x", "6:1: servrs: unknown key"),
        ("sate: /a", "6:1: sate: unknown key; did you mean 'state'?"),
        ("directory2:\n  a: b", "6:1: directory2: unknown key; did you mean 'directory'?"),
        ("alerts:\n  lang: en", "7:3: alerts.lang: unknown key"),
        ("alerts:\n  langage: en", "7:3: alerts.langage: unknown key; did you mean 'language'?"),
        (
            "outputs:\n  - path: /a\n    Mode: '0600'",
            "8:5: outputs[0].Mode: unknown key; did you mean 'mode'?",
        ),
        (
            "asterisk:\n  ami: {usr: a, user: b, secret: c}",
            "7:9: asterisk.ami.usr: unknown key; did you mean 'user'?",
        ),
        ("peers:\n  mail: mail", "7:3: peers.mail: unknown key; did you mean 'email'?"),
        ("'': x", "6:1: unknown key"),
    ],
)
def test_unknown_keys(text, expected, lines):
    assert lines(HEAD + "# here\n" + text + "\n") == [f"config.yaml:{expected}"]


@pytest.mark.parametrize(
    ("section", "key", "value", "expected"),
    [
        ("safety", "window", "10x", "'10x' is not a duration (write 500ms, 1s, 10m or 1h)"),
        ("safety", "window", "10", "'10' has no unit (write 500ms, 1s, 10m or 1h)"),
        ("safety", "window", "-1s", "'-1s' is not a duration (write 500ms, 1s, 10m or 1h)"),
        ("safety", "window", "0s", "'0s' is no time at all: it must be more than zero"),
        ("safety", "window", "400d", "'400d' is longer than a year"),
        ("safety", "window", "[1s]", "must be text, but is a list"),
        (
            "safety",
            "window",
            "",
            "is empty: give a value, or delete the line to have the default",
        ),
        ("safety", "max_removals", "many", "'many' is not a whole number"),
        ("safety", "max_removals", "-1", "'-1' is not between 0 and 1000000"),
        ("safety", "max_removals", "5.0", "'5.0' is not a whole number"),
        ("safety", "max_removals_percent", "101", "'101' is not between 0 and 100"),
        ("safety", "max_removals", "{a: b}", "must be text, but is a section"),
        ("alerts", "language", "de", "'de' is none of en, ru"),
        ("alerts", "targets", "x", "must be a list, but is text"),
        ("alerts", "targets", "{a: b}", "must be a list, but is a section"),
        ("alerts", "remind", "0s", "'0s' is no time at all: it must be more than zero"),
        ("asterisk", "verify", "maybe", "'maybe' is not true or false"),
        ("asterisk", "command", "[]", "must name a program, such as [asterisk, -rx]"),
        ("asterisk", "command", '"docker exec \'a"', "has a quote that is not closed"),
        ("asterisk", "at_most", "100ms", "100ms is shorter than settle, which is 200ms"),
        ("asterisk", "ami", "[]", "must be a section of keys, but is a list"),
        ("secrets", "attribute", "1a", "'1a' is not the name of an LDAP attribute"),
        ("secrets", "key_file", "~/key", "'~/key': '~' is not expanded; write the whole path"),
        ("peers", "number", "tele phone", "is not a Jinja2 expression: chunk after expression"),
        ("peers", "number", "''", "is empty; write"),
        ("peers", "number", "", "is empty: give a value"),
        ("peers", "number", "[]", "must be text, but is a list"),
        ("http", "listen", "8389", "'8389' is not host:port (such as 127.0.0.1:8389)"),
        ("http", "listen", "a:0", "'a:0' is not host:port (such as 127.0.0.1:8389)"),
        ("http", "listen", '"::1:80"', "'::1:80' is not host:port (such as 127.0.0.1:8389)"),
        ("contacts", "filter", "x", "is not an LDAP filter: "),
        ("contacts", "base", "Staff", "'Staff' is not a distinguished name"),
    ],
)
def test_bad_values(section, key, value, expected, lines):
    found = lines(f"{section}:\n  {key}: {value}\n{HEAD}")
    assert len(found) == 1
    column = 5 + len(key) - (not value)
    assert found[0].startswith(f"config.yaml:2:{column}: {section}.{key}: {expected}")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("dc1.example.test", "'dc1.example.test' is not an LDAP URL (write ldaps://dc1."),
        ("http://dc1", "'http://dc1' is not an LDAP URL (write ldaps://HOST)"),
        ("ldaps://", "'ldaps://' has no valid host name (write ldaps://HOST)"),
        ("ldaps://d c", "'ldaps://d c' has no valid host name (write ldaps://HOST)"),
        ("ldaps://dc1/DC=a", "'ldaps://dc1/DC=a' has more than a host and a port"),
        ("ldaps://dc1:0", "'ldaps://dc1:0' has a port that is not between 1 and 65535"),
        ("ldaps://dc1:x", "'ldaps://dc1:x' has a port that is not between 1 and 65535"),
        ("ldaps://u:pa55@dc1", "must not hold a user name or a password"),
        (
            "ldaps://dc1:3269",
            (
                "port 3269 is the Global Catalog, which lacks most attributes of a user;"
                " write ldaps://dc1"
            ),
        ),
        ("ldap://dc1:3268", "port 3268 is the Global Catalog, which lacks most"),
        ("ldap://dc1", "'ldap://dc1' contradicts tls.start: ldaps, which needs ldaps://"),
        ("", "is empty: give a value"),
    ],
)
@pytest.mark.parametrize("listed", [True, False])
def test_bad_servers(value, expected, listed, lines):
    if listed:
        value = f"[ldaps://dc2, {value or 'null'}]"
    found = lines(directory(f"servers: {value}", without=["servers"]))
    where = "4:26: directory.servers[1]" if listed else "4:12: directory.servers"
    if not value and not listed:
        where = "4:11: directory.servers"
    assert len(found) == 1
    assert found[0].startswith(f"config.yaml:{where}: {expected}")
    assert "pa55" not in found[0]


@pytest.mark.parametrize("start", ["starttls", "none"])
def test_ldaps_contradicts_other_tls(start, lines):
    text = directory(f"tls: {{start: {start}, allow_plaintext: yes}}")
    assert lines(text) == [
        (
            "config.yaml:2:12: directory.servers: 'ldaps://dc1.example.test' contradicts tls.start:"
            f" {start}, which needs ldap://"
        )
    ]


def test_no_encryption_needs_consent(lines, write):
    text = directory("servers: ldap://dc1\ntls:\n  start: none", without=["servers"])
    assert lines(text) == [
        (
            "config.yaml:6:12: directory.tls.start: none sends the password unencrypted; use ldaps"
            " or starttls, or set allow_plaintext: true"
        )
    ]
    assert load(write(text + "    allow_plaintext: on\n")).directory.tls.start == "none"


@pytest.mark.parametrize(
    ("without", "more", "expected"),
    [
        (["servers"], "", ["1:1: directory.servers: is required, unless domain is given"]),
        (
            ["servers"],
            "servers: []",
            ["4:12: directory.servers: is required, unless domain is given"],
        ),
        (["user"], "", ["1:1: directory.user: is required for auth: simple"]),
        (
            ["password_file"],
            "",
            ["1:1: directory.password_file: is required, unless password is given"],
        ),
        (
            [],
            "password: pa55",
            ["5:13: directory.password: and password_file are both given; keep one"],
        ),
        (["password_file"], "password: ''", ["4:13: directory.password: must not be empty"]),
        ([], "keytab: /k", ["5:11: directory.keytab: is for auth: kerberos, not simple"]),
        (
            [],
            "tls: {cert_file: c}",
            ["5:20: directory.tls.cert_file: is for auth: external, not simple"],
        ),
        (
            [],
            "auth: simpel",
            [
                (
                    "5:9: directory.auth: 'simpel' is none of simple, ntlm, kerberos, external;"
                    " did you mean 'simple'?"
                )
            ],
        ),
        (
            [],
            "filter: (a=b",
            ["5:11: directory.filter: is not an LDAP filter: "],
        ),
        ([], "domain: 10.0.0.1", ["5:11: directory.domain: '10.0.0.1' is not a DNS name"]),
        ([], "base: [Staff]", ["5:10: directory.base[0]: 'Staff' is not a distinguished name"]),
        ([], "tls: [a]", ["5:8: directory.tls: must be a section of keys, but is a list"]),
        ([], "poll: 0ms", ["5:9: directory.poll: '0ms' is no time at all"]),
    ],
)
def test_directory(without, more, expected, lines):
    found = lines(directory(more, without=without))
    assert len(found) == len(expected)
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(f"config.yaml:{start}")


@pytest.mark.parametrize("text", ["", "state: /a\n", "directory:\n", "directory: {}\n"])
def test_without_directory(text, lines):
    assert [line.split(": ", 1)[1] for line in lines(text)] == [
        "directory.password_file: is required, unless password is given",
        "directory.servers: is required, unless domain is given",
        "directory.user: is required for auth: simple",
    ]


def test_external_needs_a_certificate(lines, write):
    text = directory("auth: external", without=["user", "password_file"])
    assert lines(text) == [
        "config.yaml:1:1: directory.tls.cert_file: is required for auth: external",
        "config.yaml:1:1: directory.tls.key_file: is required for auth: external",
    ]
    with_them = text + "  tls: {cert_file: c.pem, key_file: k.pem}\n"
    assert load(write(with_them)).directory.tls.cert_file == write(text).parent / "c.pem"
    assert lines(with_them + "  password: pa55\n") == [
        "config.yaml:5:13: directory.password: is for auth: simple or ntlm, not external"
    ]


def test_ntlm_takes_a_password(write):
    assert load(write(directory("auth: ntlm"))).directory.auth == "ntlm"


def test_kerberos_needs_a_user(lines):
    text = directory("auth: kerberos", without=["user", "password_file"])
    assert lines(text) == ["config.yaml:1:1: directory.user: is required for auth: kerberos"]


def test_kerberos_takes_a_keytab(write):
    text = directory("auth: kerberos\nkeytab: my.keytab", without=["password_file"])
    assert load(write(text)).directory.keytab == Path("my.keytab")


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ("- name: a", ["2:5: outputs[0].path: is required"]),
        ("- nonsense", ["2:5: outputs[0]: must be a section of keys, but is text"]),
        ("- {path: /a, name: .x}", ["2:22: outputs[0].name: '.x' cannot be an output's name"]),
        ("- {path: /a, name: x/y}", ["2:22: outputs[0].name: 'x/y' cannot be an output's name"]),
        ("- {path: '/é'}", ["2:5: outputs[0].name: 'é' cannot be an output's name"]),
        ("- {path: /a, mode: 640x}", ["2:22: outputs[0].mode: '640x' is not a file mode"]),
        ("- {path: /a, mode: '0999'}", ["2:22: outputs[0].mode: '0999' is not a file mode"]),
        ("- {path: /a, owner: 'a:'}", ["2:23: outputs[0].owner: 'a:' is not user:group"]),
        (
            '- {path: /a, reload: "a\\nb"}',
            ["2:24: outputs[0].reload: must be one line without control characters"],
        ),
        ("- {path: /a, reload: ''}", ["2:24: outputs[0].reload: must not be empty"]),
        ("- {path: /a, format: iax.conf}", ["2:24: outputs[0].format: 'iax.conf' is none of"]),
        (
            "- {path: /a, format: sip.conf, template: t.j2}",
            ["2:44: outputs[0].template: and format are both given; keep one"],
        ),
        (
            "- {path: /a, options: {endpoint: lan, auth: a}}",
            [
                (
                    "2:26: outputs[0].options.endpoint: unknown option; users.conf knows template,"
                    " hash"
                ),
                "2:41: outputs[0].options.auth: unknown option; users.conf knows template, hash",
            ],
        ),
        (
            "- {path: /a, format: pjsip.conf, options: {template: lan}}",
            [
                (
                    "2:46: outputs[0].options.template: unknown option; pjsip.conf knows endpoint,"
                    " auth, aor, hash"
                )
            ],
        ),
        (
            "- {path: /a, template: t.j2, options: {template: lan}}",
            ["2:42: outputs[0].options.template: unknown option; a template knows hash"],
        ),
        (
            "- {path: /a, options: {template: 'a]'}}",
            ["2:36: outputs[0].options.template: 'a]' is not the name of a template"],
        ),
        (
            "- {path: /a, options: {hash: 1}}",
            ["2:32: outputs[0].options.hash: '1' is not true or false"],
        ),
        (
            "- {path: /a, options: lan}",
            ["2:25: outputs[0].options: must be a section, such as {template: lan}"],
        ),
        (
            "- {path: /a/x}\n- {path: /b/x}",
            ["3:5: outputs[1].name: 'x' is the name of outputs[0] too"],
        ),
        (
            "- {path: /a/x, name: a}\n- {path: /a/b/../x, name: b}",
            ["3:12: outputs[1].path: '/a/x' is the path of outputs[0] too"],
        ),
        ("{path: /a}", ["2:3: outputs: must be a list, but is a section"]),
    ],
)
def test_outputs(outputs, expected, lines):
    found = lines("outputs:\n" + indent(outputs, "  ") + "\n" + HEAD)
    assert len(found) == len(expected)
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(f"config.yaml:{start}")


@pytest.mark.parametrize(
    "name", ["number", "guid", "dn", "login", "secret", "ha1", "realm", "peer", "options", "entry"]
)
def test_extra_fields_take_no_name_that_is_taken(name, lines):
    assert lines(f"{HEAD}peers:\n  extra: {{{name}: mail}}\n") == [
        f"config.yaml:6:11: peers.extra.{name}: this name is taken; choose another"
    ]


@pytest.mark.parametrize("name", ["a-b", "1a", "_a", "if", "none", "é"])
def test_extra_fields_have_names(name, lines):
    assert lines(f"{HEAD}peers:\n  extra: {{{name}: mail}}\n") == [
        f"config.yaml:6:11: peers.extra.{name}: cannot be a field's name (a-z 0-9 _)"
    ]


def test_extra_fields_are_expressions(lines):
    (line,) = lines(f"{HEAD}peers:\n  extra: {{a: mail, b: 'x y'}}\n")
    assert line.startswith("config.yaml:6:23: peers.extra.b: is not a Jinja2 expression: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", "6:3: asterisk.ami.user: is required"),
        ("{user: u}", "6:3: asterisk.ami.secret_file: is required, unless secret is given"),
        ("{secret: pa55}", "6:3: asterisk.ami.user: is required"),
        (
            "{user: u, secret: pa55, secret_file: f}",
            "6:26: asterisk.ami.secret: and secret_file are both given; keep one",
        ),
        ("{user: u, secret: pa55, port: 99999}", "6:38: asterisk.ami.port: '99999' is not betw"),
        ("{user: u, secret: [pa55]}", "6:26: asterisk.ami.secret: must be text, but is a list"),
        ('{user: u, secret: "pa55\\n"}', "6:26: asterisk.ami.secret: must be one line"),
        ("{user: u, secret: s, host: 'a b'}", "6:35: asterisk.ami.host: 'a b' is not a host"),
    ],
)
def test_ami(text, expected, lines):
    (line,) = lines(f"{HEAD}asterisk:\n  ami: {text}\n")
    assert line.startswith(f"config.yaml:{expected}")
    assert "pa55" not in line


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("pa55", "7:7: alerts.targets[0].url: is not an Apprise URL (such as mailtos://USER:"),
        ("{url: pa55}", "7:13: alerts.targets[0].url: is not an Apprise URL"),
        ("{}", "7:7: alerts.targets[0].url_file: is required, unless url is given"),
        (
            "{url: 'a://pa55', url_file: f}",
            "7:13: alerts.targets[0].url: and url_file are both given; keep one",
        ),
        ("{url: 'a://pa55', min_level: fatal}", "7:36: alerts.targets[0].min_level: 'fatal' is"),
        ("[pa55]", "7:7: alerts.targets[0]: must be a section of keys, but is a list"),
    ],
)
def test_alert_targets(target, expected, lines):
    (line,) = lines(f"{HEAD}alerts:\n  targets:\n    - {target}\n")
    assert line.startswith(f"config.yaml:{expected}")
    assert "pa55" not in line


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("10.0.0.1/8", "'10.0.0.1/8' has bits beyond its mask (write 10.0.0.0/8)"),
        ("fd00::1/8", "'fd00::1/8' has bits beyond its mask (write fd00::/8)"),
        ("lan", "'lan' is not a network (such as 10.0.0.0/8)"),
    ],
)
def test_networks(network, expected, lines):
    assert lines(f"{HEAD}http:\n  allow: ['{network}']\n") == [
        f"config.yaml:6:11: http.allow[0]: {expected}"
    ]


def test_nobody_decides_on_the_status_page_without_a_token(lines, config):
    assert lines(f"{HEAD}http:\n  approve: true\n") == [
        "config.yaml:6:12: http.approve: lets visitors decide without a token; set token_file, too"
    ]
    assert config("http: {approve: yes, token_file: token}\n").http.approve is True
    assert config("http: {}\n").http.approve is False


def test_several_faults_at_once_in_the_order_of_the_file(lines):
    text = """\
state: [/a]
state: /b
directory:
  servers: [ldap://dc1, dc2]
  user: &u svc
  filter: nonsense
  feed: dirsink
  tls:
    start: none
  polling: 1s
peers:
  number: tele phone
  extra: {secret: mail}
outputs:
  - path: /a/x
    mode: rw
  - path: /b/x
    options: {tmpl: lan}
safety:
  window: 10
asterisk:
  settle: 5s
"""
    assert [line.split(": ", 2)[:2] for line in lines(text)] == [
        ["config.yaml:1:8", "state"],
        ["config.yaml:2:1", "state"],
        ["config.yaml:3:1", "directory.password_file"],
        ["config.yaml:4:25", "directory.servers[1]"],
        ["config.yaml:5:9", "directory.user"],
        ["config.yaml:6:11", "directory.filter"],
        ["config.yaml:7:9", "directory.feed"],
        ["config.yaml:9:12", "directory.tls.start"],
        ["config.yaml:10:3", "directory.polling"],
        ["config.yaml:12:11", "peers.number"],
        ["config.yaml:13:11", "peers.extra.secret"],
        ["config.yaml:16:11", "outputs[0].mode"],
        ["config.yaml:17:5", "outputs[1].name"],
        ["config.yaml:18:15", "outputs[1].options.tmpl"],
        ["config.yaml:20:11", "safety.window"],
        ["config.yaml:21:1", "asterisk.at_most"],
    ]


def test_minimal(config):
    loaded = config()
    assert loaded.directory.servers == ("ldaps://dc1.example.test",)
    assert loaded.directory.base == ()
    assert loaded.directory.timeout == 10.0
    assert loaded.safety.window == 600.0
    assert loaded.asterisk.settle == 0.2
    assert loaded.asterisk.command == ("asterisk", "-rx")
    (output,) = loaded.outputs
    assert (output.name, output.path) == ("users", Path("/etc/asterisk/adwatch/users.conf"))
    assert (output.format, output.template, output.options) == ("users.conf", None, {})
    assert (output.reload, output.mode, output.owner) == ("sip reload", 0o640, None)
    assert loaded.state == Path("/var/lib/adwatch")


def test_the_domain_alone_is_enough(write):
    text = directory("domain: example.test.\ntls: {start: starttls}", without=["servers"])
    assert load(write(text)).directory.domain == "example.test"


def test_one_where_a_list_is_meant(config, write):
    text = directory("base: OU=Staff,DC=example,DC=test")
    assert load(write(text)).directory.base == ("OU=Staff,DC=example,DC=test",)
    assert config("asterisk: {command: docker exec 'a b' asterisk -rx}\n").asterisk.command == (
        *("docker", "exec", "a b"),
        *("asterisk", "-rx"),
    )


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("LDAPS://DC1.example.test/", "ldaps://DC1.example.test"),
        ("ldaps://[fd00::1]:1636", "ldaps://[fd00::1]:1636"),
        ("ldaps://10.0.0.1:0636", "ldaps://10.0.0.1:636"),
    ],
)
def test_servers(written, expected, write):
    text = directory(f"servers: ['{written}']", without=["servers"])
    assert load(write(text)).directory.servers == (expected,)


@pytest.mark.parametrize(
    ("written", "seconds"), [("500ms", 0.5), ("1s", 1), ("10m", 600), ("1h", 3600), ("1d", 86400)]
)
def test_durations_are_seconds(written, seconds, config):
    assert config(f"safety: {{window: {written}}}\n").safety.window == seconds


@pytest.mark.parametrize("written", ["true", "yes", "on", "True", "YES"])
def test_yes(written, config):
    assert config(f"asterisk: {{verify: {written}}}\n").asterisk.verify is True


@pytest.mark.parametrize("written", ["false", "no", "off", "No"])
def test_no(written, config):
    assert config(f"asterisk: {{verify: {written}}}\n").asterisk.verify is False


@pytest.mark.parametrize(
    ("form", "reload"),
    [
        ("format: users.conf", "sip reload"),
        ("format: sip.conf", "sip reload"),
        ("format: pjsip.conf", "module reload res_pjsip.so"),
        ("template: t.j2", None),
        ("reload: null", None),
        ("reload: dialplan reload", "dialplan reload"),
    ],
)
def test_reload_follows_the_format(form, reload, config):
    (output,) = config(f"outputs:\n- path: /a/0123\n  {form}\n").outputs
    assert output.reload == reload
    assert output.name == "0123"


def test_options_hold_what_is_set(config):
    (output,) = config(
        "outputs:\n- {path: /a, format: pjsip.conf, options: {auth: a, aor: null, hash: no}}\n"
    ).outputs
    assert output.options == {"auth": "a", "hash": False}


@pytest.mark.parametrize("owner", ["root", "root:asterisk", ":asterisk", "0:0", "DOM\\svc$:g"])
def test_owners(owner, config):
    (output,) = config(f"outputs:\n- {{path: /a, owner: '{owner}'}}\n").outputs
    assert output.owner == owner


@pytest.mark.parametrize("mode", ["0640", "'0640'", "640"])
def test_modes_are_octal(mode, config):
    (output,) = config(f"outputs:\n- {{path: /a, mode: {mode}}}\n").outputs
    assert output.mode == 0o640


def test_telephone_numbers_stay_text(config):
    loaded = config("peers: {name: +4912, mobile: 1e3}\noutputs:\n- {path: /a, name: 0123}\n")
    assert (loaded.peers.name, loaded.peers.mobile) == ("+4912", "1e3")
    assert loaded.outputs[0].name == "0123"


def test_fields_in_order_extras_last(config):
    peers = config("peers:\n  extra: {department: department, b: mail}\n  number: pager\n").peers
    assert peers.fields() == (
        ("number", "pager"),
        ("name", "sAMAccountName[:1] | upper ~ sAMAccountName[1:]"),
        ("email", "userPrincipalName"),
        ("context", 'facsimileTelephoneNumber or "users"'),
        ("call_group", "number[:1]"),
        ("pickup_group", "number[:1]"),
        ("mobile", "mobile"),
        ("department", "department"),
        ("b", "mail"),
    )


@pytest.mark.parametrize("section", ["peers", "secrets", "asterisk", "safety", "alerts"])
def test_an_empty_section_is_one_of_defaults(section, config):
    assert getattr(config(f"{section}:\n"), section) == getattr(config(), section)


def test_relative_paths_stand_beside_the_configuration(config, monkeypatch):
    loaded = config(
        "state: st\noutputs:\n- {path: a/users.conf, template: null}\n"
        "- {path: b.conf, template: t.j2}\nsecrets: {key_file: key}\n"
    )
    beside = loaded.origin.parent
    assert loaded.state == beside / "st"
    assert loaded.outputs[0].path == beside / "a/users.conf"
    assert loaded.outputs[1].template == beside / "t.j2"
    assert loaded.secrets.key_file == beside / "key"
    assert loaded.directory.password_file == Path("bind-password")
    monkeypatch.chdir("/")
    assert loaded.resolve(Path("bind-password")) == beside / "bind-password"
    assert loaded.resolve(Path("/x/y")) == Path("/x/y")


def test_relative_configuration_is_found_from_anywhere(write, monkeypatch):
    path = write(HEAD + "state: st\n")
    monkeypatch.chdir(path.parent)
    loaded = load(Path("config.yaml"))
    monkeypatch.chdir("/")
    assert loaded.origin == Path("config.yaml")
    assert loaded.state == path.parent / "st"
    assert loaded.resolve(Path("bind-password")) == path.parent / "bind-password"


def test_credentials_of_systemd_come_first(config, monkeypatch, tmp_path):
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    loaded = config()
    assert loaded.resolve(Path("bind-password")) == tmp_path / "bind-password"
    (credentials / "bind-password").write_text("x")
    assert loaded.resolve(Path("bind-password")) == credentials / "bind-password"


def test_positions_for_later_faults(config):
    loaded = config("outputs:\n- path: /a\n  template: t.j2\n- path: /b\n")
    assert loaded.position("outputs", 0, "template") == (7, 13)
    assert loaded.position("outputs", 1, "template") == (8, 3)


def test_default_path(monkeypatch):
    monkeypatch.delenv("ADWATCH_CONFIG", raising=False)
    assert default_path() == Path("/etc/adwatch/config.yaml")
    monkeypatch.setenv("ADWATCH_CONFIG", "x.yaml")
    assert default_path() == Path("x.yaml")


def test_a_configuration_does_not_change(config):
    with pytest.raises(ValueError, match="frozen"):
        config().state = Path("/tmp")


@pytest.mark.parametrize(
    "password",
    ["*pa55", "&pa55", "!pa55", "!pa55!x", "@pa55", "%pa55", "[pa55", "{pa55", "pa55: x", "'pa55",
     '"\\pa55"', "|pa55", ">pa55", "`pa55", "[pa55]", "? pa55", "pa55\x01"],
)  # fmt: skip
def test_passwords_reach_no_message(password, write):
    text = directory(f"password: {password}", without=["password_file"])
    for more in ("", "unknown: x\n", "\tx\n"):
        try:
            load(write(text + more))
        except ConfigError as error:
            assert "pa55" not in str(error) + repr(error)  # noqa: PT017
            cause = error.__cause__
            assert cause is None or "pa55" not in str(cause)


def test_umlauts_in_the_path_of_the_file(tmp_path):
    path = tmp_path / "kö nfig.yaml"
    path.write_text(HEAD, encoding="utf-8")
    assert load(path).origin == path
    assert os.fspath(load(path).state) == "/var/lib/adwatch"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            "outputs: [{path: config.yaml}]\n",
            "config.yaml:5:18: outputs[0].path: is the configuration itself",
        ),
        (
            "outputs: [{path: bind-password}]\n",
            "config.yaml:5:18: outputs[0].path: is the password file itself",
        ),
        (
            "state: s\noutputs: [{path: s/secret.key}]\n",
            "config.yaml:6:18: outputs[0].path: is the secret key itself",
        ),
        (
            "outputs: [{path: a.conf, mode: '0644'}]\n",
            (
                "config.yaml:5:32: outputs[0].mode: 0644 lets everybody read the SIP secrets;"
                " end it with 0"
            ),
        ),
        (
            "  base: [OU=Staff,DC=example,DC=test]\n",
            (
                "config.yaml:5:9: directory.base: are the parts of one name; put it in quotes,"
                " for a comma ends an item"
            ),
        ),
    ],
)
def test_what_would_do_harm_is_refused(more, expected, lines):
    assert lines(HEAD + more) == [expected]


def test_hints_hold_no_secret_and_may_be_read_by_everybody(write):
    path = write(HEAD + "outputs: [{path: a.conf, format: hints.conf, mode: '0644'}]\n")
    assert load(path).outputs[0].mode == 0o644


def test_a_template_of_your_own_may_be_for_everybody(config):
    text = "outputs: [{path: a.conf, mode: '0644', template: own.j2}]"
    assert config(text).outputs[0].mode == 0o644
