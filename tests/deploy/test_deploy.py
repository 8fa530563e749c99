"""The files in `deploy/` agree with each other: names, ports, files and secrets. No container engine is needed: `make release-check` runs the
steps that build the image.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from balance.commands import cli as gen
from balance.lb import cli as lb
from balance.lb.config import Config, parse
from balance.monitoring.bundle import Bundle
from balance.monitoring.workload import Workload

CONTAINER_USER = 65532


@pytest.fixture(scope="module")
def deploy(repository: Path) -> Path:
    return repository / "deploy"


@pytest.fixture(scope="module")
def workload(bundle: Bundle) -> Workload:
    assert bundle.workload
    return bundle.workload


@pytest.fixture(scope="module")
def steps(deploy: Path) -> list[tuple[str, str]]:
    """The instructions of the Containerfile with their arguments."""
    lines = (deploy / "Containerfile").read_text().splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines if line and not line.startswith("#"))]


@pytest.fixture(scope="module")
def final(steps: list[tuple[str, str]]) -> dict[str, str]:
    """The instructions of the last stage, the last of each kind."""
    last = max(index for index, (word, _) in enumerate(steps) if word == "FROM")
    return dict(steps[last:])


@pytest.fixture(scope="module")
def compose(deploy: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((deploy / "compose.yaml").read_text())
    return document


@pytest.fixture(scope="module")
def generated(deploy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the container `generate` writes."""
    out = tmp_path_factory.mktemp("volume") / "generated"
    assert gen.main(["write", "--quiet", "--settings", str(deploy / "settings.yaml"), "--out", str(out)]) == 0
    return out


def ports(config: Config) -> dict[str, int]:
    (listen,) = config.listen
    return {"http": listen.port, "metrics": config.admin.listen.port}


def test_image_has_two_stages_and_no_root(steps: list[tuple[str, str]], final: dict[str, str]) -> None:
    assert [word for word, _ in steps].count("FROM") == 2
    assert re.fullmatch(r"BASE=\S+:3\.13\.\S+@sha256:[0-9a-f]{64}", dict(steps)["ARG"])
    assert final["FROM"] == "$BASE"
    assert final["USER"] == f"{CONTAINER_USER}:{CONTAINER_USER}"
    assert "RUN" not in final, "nothing but copies: no compiler, no cache"
    known = "ARG FROM WORKDIR RUN COPY ENV USER EXPOSE STOPSIGNAL HEALTHCHECK ENTRYPOINT CMD"
    assert {word for word, _ in steps} <= set(known.split())


def test_copied_files_exist_and_are_not_ignored(steps: list[tuple[str, str]], repository: Path) -> None:
    sent = {line[1:] for line in (repository / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [shlex.split(rest) for word, rest in steps if word == "COPY" and "--from=" not in rest]
    sources = {source for words in copied for source in words[:-1]}
    assert sources == sent
    assert all((repository / source).exists() for source in sources)


def test_image_agrees_with_workload_and_configuration(final: dict[str, str], workload: Workload, deploy: Path, steps: list[tuple[str, str]]) -> None:
    """Command, ports and paths of the image are those of the Kubernetes objects and of `deploy/balance.yaml`."""
    entry, arguments = json.loads(final["ENTRYPOINT"]), json.loads(final["CMD"])
    assert (entry, tuple(arguments)) == (["balance"], workload.arguments)
    options = lb.command_line().parse_args(arguments)
    assert ("COPY", f"deploy/balance.yaml {options.config}") in steps
    assert str(Path(options.config).parent) == workload.configuration
    config = parse((deploy / "balance.yaml").read_text(), "balance.yaml", {})
    assert ports(config) == dict(workload.ports)
    assert {int(port) for port in final["EXPOSE"].split()} == set(workload.ports.values())


@pytest.mark.process
def test_image_health_check_against_real_balancer(final: dict[str, str], workload: Workload, tmp_path: Path) -> None:
    options, _, command = final["HEALTHCHECK"].partition("CMD ")
    assert "--interval=" in options
    words = json.loads(command)
    (tmp_path / "balance.yaml").write_text("listen: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0}\nbackends: [{name: a, address: '127.0.0.1:1'}]\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "balance.lb.cli", "serve", "-c", str(tmp_path / "balance.yaml")], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr
    try:
        said: list[str] = []
        while not said or '"event":"started"' not in said[-1]:
            said.append(process.stderr.readline())
            assert said[-1], f"the balancer did not start:\n{''.join(said)}"
        admin = json.loads(said[-1])["admin"]
        program = words[-1].replace(f"127.0.0.1:{workload.ports['metrics']}{workload.alive}", f"{admin}{workload.alive}")
        assert program != words[-1]
        assert subprocess.run([sys.executable, *words[1:-1], program], check=False).returncode == 0
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert subprocess.run([sys.executable, *words[1:-1], program], check=False, stderr=subprocess.DEVNULL).returncode == 1


def validate_compose(document: dict[str, Any]) -> None:
    """Raise `ValueError` if it is not a valid compose file."""
    from compose_spec import PyCompose  # slow to import

    PyCompose.from_yaml(yaml.safe_dump(document)).validate()


def test_compose_file_is_valid(compose: dict[str, Any]) -> None:
    validate_compose(compose)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"portz": ["80:80"]}, 'does not start with "x-"'),
        ({"depends_on": {"generate": {"condition": "done"}}}, "unknown variant"),
        ({"secrets": ["nope"]}, "secret `nope`"),
    ],
)
def test_invalid_compose_files_are_refused(compose: dict[str, Any], change: dict[str, Any], fault: str) -> None:
    services = {**compose["services"], "grafana": {**compose["services"]["grafana"], **change}}
    with pytest.raises(ValueError, match=fault):
        validate_compose({**compose, "services": services})


def test_mounts_and_dependencies_exist(compose: dict[str, Any], deploy: Path) -> None:
    for name, service in compose["services"].items():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (deploy / source).exists() if source.startswith(".") else source in compose["volumes"], f"{name} mounts {volume}"
        for other in service.get("depends_on", ()):
            assert other in compose["services"]
    for secret in compose["secrets"].values():
        assert secret["file"].startswith("secrets/")
    assert [path.name for path in (deploy / "secrets").iterdir() if path.name == ".gitignore"], "no secret is ever committed"
    assert (deploy / "secrets" / ".gitignore").read_text() == "*\n!.gitignore\n"


def test_containers_have_least_privileges(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        if name != "generate":  # ends at once
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        for port in service.get("ports", ()):
            assert name == "balance" or port.startswith("127.0.0.1:"), f"{name} is published beyond this machine"


def test_generate_writes_files_of_other_containers(compose: dict[str, Any], deploy: Path, generated: Path) -> None:
    services = compose["services"]
    program, *words = services["generate"]["entrypoint"]
    options = gen.command_line().parse_args(words)
    assert (program, options.command) == ("balance-gen", "write")
    mounted = dict(volume.split(":")[:2] for volume in services["generate"]["volumes"])
    assert mounted["./settings.yaml"] == options.settings
    assert str(options.out).removeprefix(mounted["monitoring"]) == "/generated"
    for name in ("prometheus", "alertmanager", "grafana"):
        (place,) = (volume.split(":")[1] for volume in services[name]["volumes"] if volume.startswith("monitoring:"))
        told = json.dumps(services[name])
        paths = re.findall(rf"{place}/generated/[\w./-]+", told)
        assert paths
        for path in paths:
            assert (generated / path.removeprefix(f"{place}/generated/")).exists(), path


def test_generated_configurations_are_valid(generated: Path, program: Callable[[str], str]) -> None:
    for command in (
        [program("promtool"), "check", "config", str(generated / "prometheus" / "prometheus.yml")],
        [program("amtool"), "check-config", str(generated / "alertmanager" / "alertmanager.yml")],
    ):
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr


def test_generated_addresses_are_listening_containers(compose: dict[str, Any], generated: Path, deploy: Path) -> None:
    """Every address in the generated files is a container of the compose file that listens on that port."""
    balancer = parse((deploy / "balance.yaml").read_text(), "balance.yaml", {})
    listens = {"prometheus": 9090, "alertmanager": 9093, "balance": balancer.admin.listen.port}
    prometheus = yaml.safe_load((generated / "prometheus" / "prometheus.yml").read_text())
    (sources,) = yaml.safe_load((generated / "provisioning" / "datasources" / "prometheus.yaml").read_text())["datasources"]
    told = [
        *prometheus["scrape_configs"][0]["static_configs"][0]["targets"],
        *prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"],
        urlsplit(sources["url"]).netloc,
    ]
    assert len(told) == 3
    for address in told:
        host, _, port = address.partition(":")
        assert host in compose["services"]
        assert int(port) == listens[host]
    for backend in balancer.backends:
        service = compose["services"][backend.address.host]
        assert str(backend.address.port) in service["entrypoint"]


def secret_files(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        for key, value in document.items():
            yield from ([value] if isinstance(value, str) and key.endswith("_file") else secret_files(value))
    elif isinstance(document, list):
        for value in document:
            yield from secret_files(value)


def test_containers_get_the_secrets_they_read(compose: dict[str, Any], generated: Path) -> None:
    wanted = set(secret_files(yaml.safe_load((generated / "alertmanager" / "alertmanager.yml").read_text())))
    assert wanted == {f"/run/secrets/{name}" for name in compose["services"]["alertmanager"]["secrets"]}
    (password,) = compose["services"]["grafana"]["secrets"]
    assert compose["services"]["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD__FILE"] == f"/run/secrets/{password}"
    assert set(compose["secrets"]) == {*compose["services"]["alertmanager"]["secrets"], password}


def test_grafana_reads_dashboards_from_the_volume(compose: dict[str, Any], generated: Path) -> None:
    (provider,) = yaml.safe_load((generated / "provisioning" / "dashboards" / "balance.yaml").read_text())["providers"]
    place = next(volume.split(":")[1] for volume in compose["services"]["grafana"]["volumes"] if volume.startswith("monitoring:"))
    assert provider["options"]["path"] == f"{place}/generated/dashboards"
    assert list((generated / "dashboards").glob("*.json"))


def test_unit_file_is_valid(deploy: Path, tmp_path: Path, program: Callable[[str], str]) -> None:
    text = (deploy / "balance.service").read_text()
    here = Path(sys.executable).with_name("balance")
    unit = tmp_path / "balance.service"
    unit.write_text(text.replace("/opt/balance/bin/balance", str(here)))
    run = subprocess.run([program("systemd-analyze"), "verify", "--recursive-errors=no", unit], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    unit.write_text(unit.read_text() + "Alias=x\n[Service]\nProtectEverything=yes\n")
    run = subprocess.run([program("systemd-analyze"), "verify", "--recursive-errors=no", unit], capture_output=True, text=True, check=False)
    assert "ProtectEverything" in run.stderr, "systemd-analyze finds a wrong line"


def test_unit_security_score(deploy: Path, program: Callable[[str], str]) -> None:
    command = [program("systemd-analyze"), "security", "--offline=yes", "--no-pager", "--threshold=20", str(deploy / "balance.service")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def test_unit_commands_and_stop_timeout(deploy: Path, workload: Workload) -> None:
    """The unit runs commands that exist and waits longer than the balancer takes to stop."""
    lines = (deploy / "balance.service").read_text().splitlines()
    keys = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    for key, name in (("ExecStartPre", "check-config"), ("ExecStart", "serve")):
        path, *words = shlex.split(keys[key])
        assert path == "/opt/balance/bin/balance"
        assert lb.command_line().parse_args(words).command == name
    assert int(keys["TimeoutStopSec"]) > workload.stopping
    assert keys["RestartPreventExitStatus"] == "2", "a wrong configuration is not tried again and again"


def test_kubernetes_configuration_agrees_with_pods(deploy: Path, repository: Path, workload: Workload, schema: Callable[[str], Any]) -> None:
    """The ConfigMap is the one that the pods mount, and its ports are those of their Services."""
    document = yaml.safe_load((deploy / "kubernetes" / "configuration.yaml").read_text())
    assert schema("ConfigMap").model_validate(document).model_dump(mode="json", by_alias=True, exclude_unset=True) == document
    pod = yaml.safe_load((repository / "generated" / "kubernetes" / "deployment.yaml").read_text())["spec"]["template"]["spec"]
    (volume,) = pod["volumes"]
    assert volume["configMap"]["name"] == document["metadata"]["name"]
    (file,) = document["data"]
    assert f"{workload.configuration}/{file}" in pod["containers"][0]["args"]
    config = parse(document["data"][file], file, {})
    assert ports(config) == dict(workload.ports)
    assert config.watch_config, "a changed ConfigMap needs no new pods"


def test_commands_on_deployment_page_are_valid(repository: Path) -> None:
    page = (repository / "docs" / "deployment.md").read_text()
    told = re.findall(r"^\$ (?:.*&& )?(balance(?:-gen)?) (.*?)(?: [>&|].*)?$", page, re.MULTILINE)
    assert len(told) >= 4
    for program, words in told:
        (lb if program == "balance" else gen).command_line().parse_args(shlex.split(words, comments=True))
    for path in re.findall(r"`((?:deploy|generated)/[\w./-]+)`", page):
        assert (repository / path).exists(), path
