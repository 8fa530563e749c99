"""Follow a page of the documentation as its reader would: write its files, run its commands in order, in one shell and an empty directory.

- A block whose first line is `# NAME`, `// NAME` or `<!-- NAME -->` is the file of that name, as is the text below `$ cat NAME`. A `diff` block is
  applied.
- In a `console` block, a line `$ COMMAND` is run. The lines below it are its output, where `...` stands for anything; without such lines the
  output is not compared. The exit code must be 0 if the output is on standard output, 1 if it reports an error, 2 if it is on standard error.
- A command that runs until Ctrl-C continues in the background until the end of the page or the next such command.
- `part && part` are two commands, of which one may be in `SKIPPED`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.conftest import DEADLINE, free_port

_BLOCK = re.compile(r"^(?P<fence>````?)(?P<language>\w+)\n(?P<text>.*?)^(?P=fence)$", re.DOTALL | re.MULTILINE)
_NAME = re.compile(r"(?:(?:#|//) (?P<plain>[\w./-]+\.\w+|[\w./-]+/\S+|\.\S+)|<!-- (?P<markdown>\S+) -->)\n")
_STEP = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
_PORT = re.compile(r"(127\.0\.0\.1:|0\.0\.0\.0:|python -m \S+ |port )(\d{4,5})\b")

SYSTEM, CLONE, CLUSTER = "writes to system folders", "sets up a clone from the network", "changes a Kubernetes cluster"
CONTAINERS, SERVICES, PROGRAM = "fetches images and starts containers", "starts a system service", "its program is not packaged in Debian"
REASON_HOLDS: Mapping[str, Callable[[str], bool]] = {
    SYSTEM: lambda part: re.search(r"(?:^|\s)/(?:etc|opt|var)/", part) is not None,
    CLONE: lambda part: part.startswith("make "),
    CLUSTER: lambda part: part.startswith("kubectl apply "),
    CONTAINERS: lambda part: part.startswith("podman "),
    SERVICES: lambda part: part.startswith("systemctl "),
    PROGRAM: lambda part: shutil.which(part.split()[0]) is None,
}
"""By reason not to run a command: whether it is true of a command."""
SKIPPED = {
    "make demo": CLONE,
    "make test": CLONE,
    "install -d -m 0750 -o root -g alertmanager /etc/alertmanager/secrets": SYSTEM,
    "install -m 0640 -o root -g alertmanager /dev/stdin /etc/alertmanager/secrets/slack_api_url": SYSTEM,
    "cp -r provisioning/* /etc/grafana/provisioning/": SYSTEM,
    "cp generated/dashboards/* /var/lib/grafana/dashboards/": SYSTEM,
    "python3 -m venv /opt/balance": SYSTEM,
    "/opt/balance/bin/pip install balance_monitoring-0.1.0-py3-none-any.whl": SYSTEM,
    "install -D -m 644 balance.yaml /etc/balance/balance.yaml": SYSTEM,
    "install -m 644 deploy/balance.service /etc/systemd/system/": SYSTEM,
    "systemctl enable --now balance": SERVICES,
    "systemctl reload balance": SERVICES,
    "podman build -f deploy/Containerfile -t balance --format docker .": CONTAINERS,
    "podman run --read-only --cap-drop all -p 8080:8080 -v ./balance.yaml:/etc/balance/balance.yaml:ro balance": CONTAINERS,
    "podman build -f deploy/Containerfile -t balance .": CONTAINERS,
    "podman compose up": CONTAINERS,
    "kubectl apply --server-side -f kubernetes/": CLUSTER,
    "kubectl apply --server-side -n edge -f deploy/kubernetes -f kubernetes": CLUSTER,
    "mimirtool rules load rules.yaml": PROGRAM,
}
"""Commands that cannot be run in the tests, and why."""
RUN_ELSEWHERE = {
    "balance-gen test-alert BalanceDown --alertmanager http://127.0.0.1:9093": "tests/e2e/test_alertmanager.py::"
    "test_synthetic_alert_is_sent_and_resolved",
    "balance-gen doctor --balance http://10.0.0.5:9090 --prometheus http://prometheus:9090 --alertmanager http://alertmanager:9093 "
    "--grafana http://grafana:3000": "tests/e2e/test_doctor.py::test_healthy_chain_has_no_findings",
    "balance-gen apply --rules /etc/prometheus/rules --prometheus http://prometheus:9090 --grafana http://grafana:3000": "tests/e2e/test_apply.py::"
    "test_dry_run_then_apply_then_nothing_to_do",
    "balance-gen apply --alertmanager-files /etc/alertmanager --alertmanager http://alertmanager:9093": "tests/e2e/test_apply.py::"
    "test_dry_run_then_apply_then_nothing_to_do",
}
"""Commands that another test runs, with the systems that they need."""
SERVERS = {
    r"balance serve -c balance\.yaml": ("", "127.0.0.1:9090/ready"),
    r"balance demo": (" --port 8080 --admin-port 9090 --page-port 9091", "127.0.0.1:9091/"),
    r"balance-gen preview .*--serve": (" 127.0.0.1:8300", "127.0.0.1:8300/"),
    r"balance-gen preview .*--serve \S+.*": ("", "127.0.0.1:8300/"),
}
"""Commands that run until Ctrl-C: options to add for ports that are not given, and the address that responds once they run."""


@dataclass(frozen=True)
class Step:
    """A command line of a page and the output shown below it."""

    command: str
    shown: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        """The commands joined by &&, without comments."""
        return tuple(re.split(r" && ", re.sub(r"\s+# .*", "", self.command)))

    @property
    def runs(self) -> str:
        """The commands that are run here."""
        return " && ".join(part for part in self.parts if part not in SKIPPED and part not in RUN_ELSEWHERE)

    @property
    def stays(self) -> tuple[str, str]:
        """Options to add to a command that runs until Ctrl-C, and the address that responds; empty for other commands."""
        return next((how for pattern, how in SERVERS.items() if re.fullmatch(pattern, self.runs.strip())), ("", ""))


@dataclass(frozen=True)
class Session:
    """The contents of a page, in order: files by name, patches (with an empty name) and steps."""

    blocks: tuple[tuple[str, str] | Step, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(block for block in self.blocks if isinstance(block, Step))


def read(page: str) -> Session:
    """Parse the Markdown of a page."""
    return Session(tuple(_blocks(page)))


def _blocks(page: str) -> Iterator[tuple[str, str] | Step]:
    for block in _BLOCK.finditer(page):
        if block["language"] == "console":
            for command, shown in _STEP.findall(block["text"]):
                name = re.fullmatch(r"cat (\S+)", command)
                if name and shown:
                    yield name[1], shown
                yield Step(command, shown)
        elif block["language"] == "diff":
            yield "", block["text"]
        elif name := _NAME.match(block["text"]):
            yield name["plain"] or name["markdown"], block["text"][name.end() :]


def follow(session: Session, folder: Path, scratch: Path, environment: Mapping[str, str], addresses: Mapping[str, str]) -> None:
    """Follow the page in `folder`. Raises `AssertionError` for the first step that does not do what is shown.

    `addresses` maps addresses on the page to those to use instead. All other local ports are replaced by free ones.
    """
    ports: dict[str, str] = {}
    real = {port for there in addresses.values() for port in re.findall(r"\d{4,5}", there)}

    def here(text: str) -> str:
        for shown, there in addresses.items():
            text = text.replace(shown, there)
        return _PORT.sub(lambda found: found[1] + (found[2] if found[2] in real else ports.setdefault(found[2], str(free_port()))), text)

    scratch.mkdir()
    lines = ["trap 'kill $(jobs -p) 2>/dev/null' EXIT", "stays="]
    for number, block in enumerate(session.blocks):
        if isinstance(block, Step):
            ports_said, answers = block.stays
            lines += _script(here(block.runs + ports_said), here(answers), scratch / str(number))
        else:
            name, text = block
            (scratch / str(number)).write_text(here(text))
            lines.append(f"mkdir -p {Path(name).parent} && cp {scratch / str(number)} {name}" if name else f"git apply {scratch / str(number)}")
            lines.append(f"echo $? > {scratch / str(number)}.code")
    settled = {**environment, "BALANCE_ADMIN_LISTEN": here("127.0.0.1:9090")}
    subprocess.run(["bash", "-c", "\n".join(lines)], cwd=folder, env=settled, stdin=subprocess.DEVNULL, timeout=3 * DEADLINE, check=False)
    for number, block in enumerate(session.blocks):
        said = {end: _text(scratch / f"{number}.{end}") for end in ("code", "out", "err")}
        if isinstance(block, Step):
            _judge(block, here(block.shown), said)
        else:
            assert said["code"] == "0\n", f"{block[0] or 'a patch'} cannot be applied:\n{block[1]}"


def _script(command: str, answers: str, place: Path) -> list[str]:
    if not command:
        return []
    if not answers:
        begin, end = "{}" if "&" in command.split() or command.startswith("kill ") else "()"  # each begins where the page does
        return [f"{begin} {command}", f"{end} >{place}.out 2>{place}.err", f"echo $? >{place}.code"]
    return [
        '[ -z "$stays" ] || { kill $stays; wait $stays; }',
        f"{command} >{place}.out 2>{place}.err &",
        "stays=$!",
        f"curl --silent --fail --output {place}.answer --retry 60 --retry-delay 1 --retry-max-time 60 --retry-all-errors http://{answers}",
        f"echo $? >{place}.code",
    ]


def _judge(step: Step, shown: str, said: Mapping[str, str]) -> None:
    if not step.runs:
        return
    words = f"$ {step.runs}\nexit code {said['code'] or 'none'}shown:\n{shown}\nprinted:\n{said['out']}\nand on standard error:\n{said['err']}"
    pattern = "".join("(?:.*\n)*?" if line == "...\n" else re.escape(line).replace(r"\.\.\.", ".*") for line in shown.splitlines(keepends=True))
    if step.stays[1] or not shown or step.command.startswith("cat "):
        expected = {"0\n", "1\n"} if "--reviews" in step.command else {"0\n"}  # what depends on the day
    elif re.fullmatch(pattern, said["out"]):
        expected = {"1\n"} if ": error: " in shown else {"0\n"}
    else:
        assert re.fullmatch(pattern, said["err"]), words
        expected = {"2\n"}
    assert said["code"] in expected, words


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
