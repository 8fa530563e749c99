"""Fixtures that all tests share: the bundle of the installed sources, and real programs."""

from __future__ import annotations

import ipaddress
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, settings

from balance.generate import collect
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings

REPOSITORY = Path(__file__).resolve().parent.parent
os.environ["PATH"] = os.pathsep.join((str(REPOSITORY / ".tools" / "bin"), str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"))

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
REPOSITORY = Path(__file__).resolve().parent.parent
os.environ["NO_BALANCE_CACHE"] = "1"  # what was kept by other runs proves nothing; the tests of the cache switch it on
SCHEMAS = {
    "PrometheusRule": "prometheus_operator.v1",
    "ServiceMonitor": "prometheus_operator.v1",
    "ConfigMap": "kubernetes.core.v1",
    "Service": "kubernetes.core.v1",
    "Deployment": "kubernetes.apps.v1",
    "HorizontalPodAutoscaler": "kubernetes.autoscaling.v2",
    "PodDisruptionBudget": "kubernetes.policy.v1",
}
"""Where the schema of each kind of object is, in `cloudcoil.models`."""

# The tests start Python a thousand times: what is compiled is kept, whatever the machine's environment says.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# No test trusts what the machine trusts; reading those certificates takes a seventh of the time in which a balancer starts.
os.environ["SSL_CERT_FILE"] = os.devnull
# How long an example takes depends on what else the machine does.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

STARTS = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system", "socket.bind", "socket.connect"})
"""Audit events (docs.python.org/3/library/audit_events.html) of what a test does only with the mark `process`."""
_unmarked: list[str] = []


def pytest_xdist_auto_num_workers() -> int:
    """Two a core: about half of the time a test waits."""
    return 2 * (os.cpu_count() or 1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the fixture `processes`, directly or through others."""
    for item in items:
        if "processes" in getattr(item, "fixturenames", ()):
            item.add_marker("process")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """While a test without the mark runs, nothing may start."""
    if not item.get_closest_marker("process"):
        _unmarked.append(item.nodeid)
    try:
        return (yield)
    finally:
        _unmarked.clear()


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if _unmarked and event in STARTS:
        pytest.fail(f"{event} {arguments[:1]}: `make quick` runs this test; mark it with @pytest.mark.process, or do without")


sys.addaudithook(_refuse)


@pytest.fixture(scope="session")
def processes() -> None:
    """Asked for by fixtures that start a program or open a socket: marks the tests that use them."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> None:
    """A program that fails shows what it said."""
    if call.excinfo and isinstance(failure := call.excinfo.value, subprocess.CalledProcessError) and failure.stderr:
        failure.add_note(failure.stderr if isinstance(failure.stderr, str) else failure.stderr.decode(errors="replace"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top of the work tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """What the installed sources declare."""
    return collect.collect(Settings())[0]


@pytest.fixture(scope="session")
def program(processes: None) -> Callable[[str], str]:
    """The path of a program that the tests need; a missing one is a failure, never a skip."""

    def find(name: str) -> str:
        found = shutil.which(name)
        if found is None:
            pytest.fail(f"{name} is not installed: run `make test`, which fetches it, or put it on the PATH")
        return found

    return find


@pytest.fixture(scope="session")
def schema() -> Callable[[str], Any]:
    """The schema of a kind of object, from Kubernetes or Prometheus' operator, as a pydantic model. Imported when asked for: that takes seconds."""
    return lambda kind: getattr(import_module(f"cloudcoil.models.{SCHEMAS[kind]}"), kind)


@pytest.fixture(scope="session")
def modules(processes: None) -> Callable[..., Path]:
    """The folder of the npm packages that the tests need; a missing one is a failure, never a skip."""
    folder = REPOSITORY / ".tools" / "npm" / "node_modules"

    def find(*names: str) -> Path:
        if missing := [name for name in names if not (folder / name).is_dir()]:
            pytest.fail(f"{', '.join(missing)} is not installed: run `make test`, which fetches it")
        return folder

    return find


class Authority:
    """A certificate authority in a folder: `ca` is its own certificate, `issue` writes a pair of files."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder = folder
        self._name = _named(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.ca = folder / f"{name}.ca.pem"
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        own = self._builder(self._name, self._key, NOW - DAY, NOW + 90 * DAY).add_extension(usage, critical=True)
        signed = own.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(self._key, hashes.SHA256())
        self.ca.write_bytes(signed.public_bytes(Encoding.PEM))

    def _builder(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, begin: datetime, end: datetime) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(self._name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(begin).not_valid_after(end)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)  # both: RFC 5280, 4.2.1
        return builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)

    def issue(self, file: str, *names: str, begin: datetime = NOW - DAY, end: datetime = NOW + 30 * DAY, password: bytes = b"") -> dict[str, str]:
        """The paths of a certificate for these names (DNS or IP addresses) and of its key, as the configuration wants them."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_named(file), key, begin, end)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        paths = {"certificate": self.folder / f"{file}.pem", "key": self.folder / f"{file}.key"}
        paths["certificate"].write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))
        encryption = BestAvailableEncryption(password) if password else NoEncryption()
        paths["key"].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        return {name: str(path) for name, path in paths.items()}

    def client(self, pair: dict[str, str] | None = None) -> ssl.SSLContext:
        """A client that trusts this authority, and shows the certificate."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if pair:
            context.load_cert_chain(pair["certificate"], pair["key"])
        return context

    def server(self, pair: dict[str, str], *, client_ca: Path | None = None) -> ssl.SSLContext:
        """A server that shows the certificate, and asks for one of that authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair["certificate"], pair["key"])
        if client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(client_ca)
        return context


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that all tests of a process share."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another, which nobody trusts."""
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")
