"""Certificate files: problems are reported before the start, and renewed files are reloaded while serving."""

from __future__ import annotations

import os
import shutil
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest
import yaml
from cryptography import x509

from balance.config.address import Address
from balance.lb.config import Config, json_schema, parse
from balance.lb.config.certificates import read_leaf
from balance.lb.config.model import BackendTls, ClientAuth
from balance.lb.data.keyring import Identity
from balance.lb.errors import ConfigError

if TYPE_CHECKING:
    from tests.conftest import Authority
    from tests.lb.conftest import Balancer, World

GET = b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n"
BACKENDS = "backends: [{name: a, address: 'a:1'}]\n"
PAIR = "{certificate: site.pem, key: site.key}"
TLS = f"tls: {{listen: ':8443', certificates: [{PAIR}]}}\n"
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Path:
    """A folder of good and bad certificate files; configurations are read as if they were in it."""
    folder = tmp_path_factory.mktemp("files")
    for pair in (authority.issue("site", "site.test"), authority.issue("other", "other.test"), authority.issue("locked", password=b"secret")):
        for path in pair.values():
            shutil.copy(path, folder)
    shutil.copy(authority.ca, folder / "ca.pem")
    (folder / "site.der").write_bytes(ssl.PEM_cert_to_DER_cert((folder / "site.pem").read_text()))
    (folder / "empty").touch()
    text = (folder / "site.pem").read_text()
    (folder / "broken.pem").write_text(text[:200] + "AAAA" + text[204:])
    (folder / "half.pem").write_text(text[: len(text) // 2])
    (folder / "chain.pem").write_text(f"# the certificate of caf\u00e9, then its issuer\n{text}{(folder / 'ca.pem').read_text()}")
    (folder / "prose.pem").write_bytes(b"\xff\xfe\n" + text.encode())
    return folder


def read(text: str, folder: Path, **environment: str) -> Config:
    return parse(text, str(folder / "balance.yaml"), environment)


def problems(text: str, folder: Path, **environment: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, folder, **environment)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def test_tls_defaults_and_relative_paths(folder: Path) -> None:
    config = read(TLS + BACKENDS, folder)
    assert config.listen == ()
    assert config.tls
    assert config.tls.listen == (Address("", 8443),)
    assert (config.tls.min_version, config.tls.client_auth) == ("1.2", ClientAuth("none", ""))
    assert str(config.tls.certificates[0]) == str(folder / "site.pem")
    assert read(f"listen: ':1'\n{BACKENDS}", folder).tls is None
    absolute = TLS.replace("site.pem", str(folder / "chain.pem")).replace("site.key", str(folder / "site.key"))
    assert read(absolute + BACKENDS, Path("/elsewhere")).tls


@pytest.mark.parametrize(("text", "expected"), [
    ("{}", BackendTls("", "", True, "", "")), ("on", BackendTls("", "", True, "", "")), ("off", None),
    ("{verify: false, server_name: x.test}", BackendTls("", "x.test", False, "", "")),
])  # fmt: skip
def test_backend_tls_values(folder: Path, text: str, expected: BackendTls | None) -> None:
    written = f"listen: ':1'\nbackends: [{{name: a, address: 'a:1', tls: {text}}}]\n"
    assert read(written, folder).backends[0].tls == expected
    jsonschema.validate(yaml.safe_load(written), json_schema())


GOOD = {"chain": PAIR.replace("site.pem", "chain.pem"), "prose around it": PAIR.replace("site.pem", "prose.pem")}


@pytest.mark.parametrize("case", GOOD)
def test_certificate_file_may_hold_more(folder: Path, case: str) -> None:
    text = TLS.replace(PAIR, GOOD[case]) + BACKENDS
    assert read(text, folder).tls
    jsonschema.validate(yaml.safe_load(text), json_schema())


AT = "balance.yaml:1: tls.certificates[0]"
WRONG = {
    "no certificate there": (TLS.replace("site.pem", "no.pem"), f"{AT}.certificate: no.pem cannot be read: no such file or directory (name a readable"),
    "a folder": (TLS.replace("site.pem", "."), f"{AT}.certificate: . cannot be read: is a directory"),
    "no key there": (TLS.replace("site.key", "no.key"), f"{AT}.key: no.key cannot be read: no such file or directory (name a readable file)"),
    "the key of another": (TLS.replace("site.key", "other.key"), f"{AT}.key: other.key does not belong to site.pem (use the key that"),
    "an encrypted key": (TLS.replace("site", "locked"), f"{AT}.key: locked.key is encrypted (remove the passphrase and protect the file: openssl pkey"),
    "DER": (TLS.replace("site.pem", "site.der"), f"{AT}.certificate: site.der contains no PEM certificate (convert it: openssl x509 -in site.der"),
    "a certificate as key": (TLS.replace("site.key", "ca.pem"), f"{AT}.key: ca.pem contains no PEM private key (convert it: openssl pkey"),
    "a key as certificate": (TLS.replace("site.pem", "site.key"), f"{AT}.certificate: site.key contains no PEM certificate"),
    "an empty file": (TLS.replace("site.pem", "empty"), f"{AT}.certificate: empty contains no PEM certificate"),
    "half a file": (TLS.replace("site.pem", "half.pem"), f"{AT}.certificate: half.pem contains no PEM certificate"),
    "a broken one": (TLS.replace("site.pem", "broken.pem"), f"{AT}.certificate: broken.pem with site.key cannot be used: "),
    "the same twice": (TLS.replace(PAIR, f"{PAIR}, {PAIR}"), "balance.yaml:1: tls.certificates[1]: 'site.pem' is given twice (first in line 1: remove one)"),
    "no certificates": ("tls: {listen: ':8443'}\n", "balance.yaml:1: tls.certificates: is missing (it is required: selected by SNI"),
    "nowhere to listen": (f"tls: {{certificates: [{PAIR}]}}\n", "balance.yaml:1: tls.listen: is missing (it is required: where clients connect with TLS)"),
    "an old version": (f"{TLS[:-2]}, min_version: '1.1'}}\n", "balance.yaml:1: tls.min_version: invalid value '1.1' (did you mean '1.2'?)"),
    "no such mode": (f"{TLS[:-2]}, client_auth: {{mode: maybe}}}}\n", "balance.yaml:1: tls.client_auth.mode: invalid value 'maybe' (choices: none, optional, required)"),
    "required, of whom": (
        f"{TLS[:-2]}, client_auth: {{mode: required}}}}\n",
        "balance.yaml:1: tls.client_auth.ca: is missing (mode required needs the PEM file of the authorities",
    ),
    "nobody is asked": (
        f"{TLS[:-2]}, client_auth: {{ca: ca.pem}}}}\n",
        "balance.yaml:1: tls.client_auth.ca: has no effect with mode none (set mode to optional or required, or remove ca)",
    ),
    "authorities without any": (
        f"{TLS[:-2]}, client_auth: {{mode: required, ca: empty}}}}\n", "balance.yaml:1: tls.client_auth.ca: empty contains no PEM certificate",
    ),
    "off": ("tls: off\n", "balance.yaml:1: tls: must be a mapping of keys"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_bad_certificate_files_are_reported(folder: Path, case: str) -> None:
    text, expected = WRONG[case]
    found = problems(text + BACKENDS, folder)
    assert len(found) == 1
    assert found[0].startswith(expected)


BAD_BACKEND_TLS = {
    "no authorities there": ("ca: no.pem", "ca: no.pem cannot be read: no such file or directory (name a readable file)"),
    "authorities not asked": ("ca: ca.pem, verify: false", "ca: has no effect with verify: false (remove verify: false, or ca)"),
    "no key": ("certificate: site.pem", "key: is missing, but certificate is set (set both or neither)"),
    "no certificate": ("key: site.key", "certificate: is missing, but key is set (set both or neither)"),
    "the key of another": ("certificate: site.pem, key: other.key", "key: other.key does not belong to site.pem"),
    "no host name": ("server_name: 'a b'", "server_name: invalid host 'a b' (a host name or an IP address)"),
    "an empty label": ("server_name: a..b", "server_name: invalid host 'a..b' (labels between dots must have 1 to 63 characters)"),
}


@pytest.mark.parametrize("case", BAD_BACKEND_TLS)
def test_bad_backend_tls_is_reported(folder: Path, case: str) -> None:
    text, expected = BAD_BACKEND_TLS[case]
    found = problems(f"listen: ':1'\nbackends: [{{name: a, address: 'a:1', tls: {{{text}}}}}]\n", folder)
    assert len(found) == 1
    assert found[0].startswith(f"balance.yaml:2: backends[0].tls.{expected}")


def test_unix_socket_needs_server_name(folder: Path) -> None:
    text = "listen: ':1'\nbackends: [{name: a, address: 'unix:/a', tls: on}]\n"
    assert problems(text, folder) == [
        "balance.yaml:2: backends[0].tls: needs server_name: a Unix socket has no host name to verify (add tls.server_name)"
    ]
    assert read(text.replace("on}", "{server_name: a}}"), folder).backends[0].tls


def test_listen_or_tls_is_required(folder: Path) -> None:
    assert problems(BACKENDS, folder)[0].startswith("balance.yaml:1: listen: is missing (give listen or tls)")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(BACKENDS), json_schema())


def test_variables_override_tls_settings(folder: Path) -> None:
    found = read(TLS + BACKENDS, folder, BALANCE_TLS_CLIENT_AUTH_MODE="required", BALANCE_TLS_CLIENT_AUTH_CA="ca.pem", BALANCE_TLS_LISTEN=":9")
    assert found.tls
    assert (found.tls.listen, found.tls.client_auth) == ((Address("", 9),), ClientAuth("required", str(folder / "ca.pem")))
    assert read(TLS + BACKENDS, folder, BALANCE_LISTEN=":7").listen == (Address("", 7),)


NAMES: list[tuple[str, ...]] = [(), ("a.test",), ("A.Test", "*.b.test", "127.0.0.1"), tuple(f"n{number}.test" for number in range(50))]


@pytest.mark.parametrize("names", NAMES, ids=len)
@pytest.mark.parametrize("year", [2030, 2049, 2050, 2120])
def test_leaf_names_and_validity(tmp_path: Path, authority: Authority, names: tuple[str, ...], year: int) -> None:
    end = datetime(year, 2, 3, 4, 5, 6, tzinfo=UTC)
    text = Path(authority.issue("read", *names, end=end)["certificate"]).read_text()
    leaf = read_leaf(ssl.PEM_cert_to_DER_cert(text))
    judge = x509.load_pem_x509_certificate(text.encode())
    assert leaf.names == tuple(name.lower() for name in names if name != "127.0.0.1")
    assert (leaf.not_before, leaf.not_after) == (judge.not_valid_before_utc.timestamp(), judge.not_valid_after_utc.timestamp()) == (
        leaf.not_before, end.timestamp(),
    )  # fmt: skip


# --- while serving ---


def serial(balancer: Balancer, authority: Authority) -> int:
    """Serial number of the certificate that a new connection gets."""
    stream = balancer.connect_tls(authority.client())
    assert isinstance(stream.sock, ssl.SSLSocket)
    der = stream.sock.getpeercert(binary_form=True)
    stream.close()
    assert der
    return x509.load_der_x509_certificate(der).serial_number


def install(pair: dict[str, str], target: dict[str, str], *what: str) -> int:
    """Replace the files of `target` by those of `pair`, as a renewal does, and return the new serial number."""
    for name in what or ("certificate", "key"):
        shutil.copy(pair[name], f"{target[name]}.new")
        os.rename(f"{target[name]}.new", target[name])
    return x509.load_pem_x509_certificate(Path(pair["certificate"]).read_bytes()).serial_number


def counted(balancer: Balancer, event: str) -> int:
    """Number of such events so far."""
    return sum(told["event"] == event for told in balancer.events)


def test_renewed_certificate_is_reloaded(world: World, authority: Authority) -> None:
    """A bad one is not, and the former stays in use."""
    site, other = authority.issue("live", "site.test"), authority.issue("bystander", "other.test")
    balancer = world.balancer(world.origin(), tls={"listen": "127.0.0.1:0", "certificates": [site, other]})
    old = balancer.connect_tls(authority.client())
    series = 'balance_tls_certificate_not_after_seconds{certificate="site.test"}'
    first = serial(balancer, authority)

    end = datetime.now(UTC).replace(microsecond=0) + 60 * DAY
    second = install(authority.issue("renewed", "site.test", end=end), site)
    assert second != first
    balancer.event("certificate_reloaded", files=[site["certificate"], site["key"]])
    assert serial(balancer, authority) == second
    assert balancer.metric(series) == end.timestamp()
    assert old.send(GET).message()[1] == b"ok"  # nobody is thrown out

    install(authority.issue("unfinished", "site.test"), site, "certificate")  # its key never comes
    told = balancer.event("certificate_not_reloaded")
    assert (told["level"], "does not belong to" in told["cause"]) == ("warning", True)
    assert serial(balancer, authority) == second
    Path(site["certificate"]).unlink()
    balancer.event("certificate_not_reloaded", cause=f"{site['certificate']} cannot be read: no such file or directory")
    assert serial(balancer, authority) == second
    assert balancer.metric(series) == end.timestamp()

    third = install(authority.issue("again", "site.test"), site)
    world.until(lambda: serial(balancer, authority) == third)
    world.until(lambda: counted(balancer, "certificate_reloaded") == 2)
    assert counted(balancer, "certificate_not_reloaded") == 2


def test_renewed_client_ca_is_reloaded(world: World, authority: Authority, stranger: Authority, tmp_path: Path) -> None:
    ca = tmp_path / "clients.pem"
    shutil.copy(authority.ca, ca)
    tls = {"listen": "127.0.0.1:0", "certificates": [authority.issue("site", "site.test")], "client_auth": {"mode": "required", "ca": str(ca)}}
    balancer = world.balancer(world.origin(), tls=tls)
    context = authority.client(stranger.issue("client"))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        balancer.connect_tls(context).send(GET).until(b"ok")
    shutil.copy(stranger.ca, ca)
    balancer.event("certificate_reloaded")
    assert balancer.connect_tls(context).send(GET).message()[1] == b"ok"


def test_renewed_backend_ca_is_reloaded(world: World, authority: Authority, stranger: Authority, tmp_path: Path) -> None:
    ca = tmp_path / "backends.pem"
    shutil.copy(authority.ca, ca)
    origin = world.origin(secure=authority.server(authority.issue("back", "127.0.0.1")))
    backends = [{"name": "a", "address": f"127.0.0.1:{origin.port}", "tls": {"ca": str(ca)}}]
    balancer = world.balancer(backends=backends, retry=False)
    assert balancer.get()[1] == b"ok"
    shutil.copy(stranger.ca, ca)
    balancer.event("certificate_reloaded", files=[str(ca)])
    assert balancer.get()[0].startswith(b"HTTP/1.1 502 ")  # not by the connection that was open, either
    assert len(origin.heads) == 1


def test_change_is_loaded_once_settled(tmp_path: Path) -> None:
    files = [tmp_path / "one", tmp_path / "two"]
    for file in files:
        file.write_text("old")
    built: list[str] = []

    def build() -> tuple[ssl.SSLContext, None]:
        built.append(" ".join(file.read_text() for file in files))
        return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), None

    identity = Identity(build, map(str, files))
    assert identity.reread(force=False) is None
    for file in files:
        file.write_text("newer")
        assert identity.reread(force=False) is None
    assert identity.reread(force=False)
    assert built == ["old old", "newer newer"]
    assert identity.reread(force=False) is None
    assert identity.reread(force=True)
    assert identity.reread(force=False) is None


@pytest.mark.parametrize("change", ["same size and time", "permissions"])
def test_change_of_same_size_and_time_is_noticed(tmp_path: Path, change: str) -> None:
    """As `cp -p` and `rsync --times --inplace` make it; also a key that was not readable at first."""
    file = tmp_path / "key"
    file.write_text("old")
    was = file.stat()
    identity = Identity(lambda: (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), None), [str(file)])
    if change == "permissions":
        file.chmod(0o600)
    else:
        file.write_text("new")
        os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert identity.reread(force=False) is None
    assert identity.reread(force=False)


DATED = {
    "expired": (-3 * DAY, -DAY, "it expired at "),
    "not yet": (DAY, 3 * DAY, "it is not valid before "),
}


@pytest.mark.parametrize("case", DATED)
def test_certificate_outside_validity_logs_warning(world: World, authority: Authority, case: str) -> None:
    begin, end, cause = DATED[case]
    now = datetime.now(UTC)
    pair = authority.issue("dated", "site.test", begin=now + begin, end=now + end)
    balancer = world.balancer(world.origin(), tls={"listen": "127.0.0.1:0", "certificates": [pair]})
    told = balancer.event("certificate_not_valid", files=[pair["certificate"], pair["key"]])
    assert (told["level"], told["cause"].startswith(cause)) == ("warning", True)
    assert balancer.get()[1] == b"ok"


def test_one_series_per_name_for_earliest_expiry(world: World, authority: Authority) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    pairs = [
        authority.issue(f"end{days}", *names, end=now + days * DAY)
        for days, names in ((9, ["a.test"]), (5, ["a.test", "b.test"]), (8, ["a.test"]), (7, []))
    ]
    mine = authority.issue("mine", end=now + 3 * DAY)
    origin = world.origin()
    backends = [{"name": "a", "address": f"127.0.0.1:{origin.port}", "tls": mine}]
    balancer = world.balancer(tls={"listen": "127.0.0.1:0", "certificates": pairs}, backends=backends)
    text = balancer.admin("/metrics")[1]
    series = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("balance_tls_certificate"))
    name = 'balance_tls_certificate_not_after_seconds{certificate="%s"}'
    expected = {name % "a.test": 5, name % "end7": 7, name % "mine": 3}
    assert {key: float(value) for key, value in series.items()} == {key: (now + days * DAY).timestamp() for key, days in expected.items()}


def test_no_tls_series_without_tls(world: World) -> None:
    lines = [line for line in world.balancer(world.origin()).admin("/metrics")[1].splitlines() if "balance_tls" in line]
    assert lines
    assert all(line.startswith("#") for line in lines)
