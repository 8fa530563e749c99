"""`make release-check`: build what would be released, install it in a fresh environment, and check it. Nothing is published.

The fresh environment is made by the build steps of `deploy/Containerfile`, so that they are run too. What is asked of the wheel and of the
environment are the tests of `tests/test_packaging.py`, with these in the place of those that the tests make for themselves.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import balance

TOP = Path(__file__).resolve().parents[2]
DIST = TOP / "dist"
BIN = Path(sys.executable).parent
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")} | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
PIP = [sys.executable, "-m", "pip"]


def main() -> None:
    """Run all checks in order; stop at the first failure."""
    changelog()
    wheel, sdist = built()
    with tempfile.TemporaryDirectory(prefix="balance-release-") as folder:
        environment = fresh(Path(folder))
        print(f"      it adds {sum(path.lstat().st_size for path in environment.rglob('*')) / 1e6:.0f} MB to the image that Python comes in")
        python = str(environment / "bin" / "python")
        run("the wheel in it", *PIP, "--python", python, "install", "--quiet", "--no-deps", "--no-index", "--force-reinstall", str(wheel))
        variables = {"BALANCE_RELEASE_WHEEL": str(wheel), "BALANCE_RELEASE_SDIST": str(sdist), "BALANCE_RELEASE_ENVIRONMENT": str(environment)}
        run(
            "contents, metadata, both command lines, generated/ reproduced",
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "tests/test_packaging.py",
            variables=variables,
        )
        run("the dependencies agree (pip check)", *PIP, "--python", python, "check")
        run("the image's configuration", str(environment / "bin" / "balance"), "check-config", "deploy/balance.yaml")
        bill(python, sdist.name.removesuffix(".tar.gz"))
    audit()
    for path in sorted(DIST.iterdir()):
        print(f"      {path.relative_to(TOP)}  {path.stat().st_size} bytes")


def run(claim: str, *command: str, folder: Path = TOP, variables: Mapping[str, str] | None = None) -> str:
    """Output of a command that must succeed."""
    done = subprocess.run(
        command, cwd=folder, env={**ENVIRONMENT, **(variables or {})}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        fail(f"{claim}: {shlex.join(command)}\n{done.stdout}")
    print(f"ok    {claim}", flush=True)
    return done.stdout


def fail(words: str) -> NoReturn:
    sys.exit(f"FAIL  {words}")


def changelog() -> None:
    """The newest section of the changelog is about this version."""
    newest = re.search(r"^## (\S+)(.*)$", (TOP / "CHANGELOG.md").read_text(), re.MULTILINE)
    if not newest or newest[1] != balance.__version__:
        fail(f"CHANGELOG.md begins with {newest and newest[1]}, the version is {balance.__version__}")
    print(f"ok    CHANGELOG.md begins with {balance.__version__}")
    if "unreleased" in newest[2]:
        print(f"note  it says{newest[2]}: replace that by the date before you tag")


def built() -> tuple[Path, Path]:
    """Build wheel and source distribution in `dist`."""
    shutil.rmtree(DIST, ignore_errors=True)
    run("wheel and source distribution are built", sys.executable, "-m", "hatchling", "build", "-d", str(DIST))
    (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    return wheel, sdist


def fresh(folder: Path) -> Path:
    """An environment built by the first stage of the Containerfile, in a temporary folder instead of the image's."""
    places = {"/opt/balance": str(folder / "environment"), "/var/lib/balance": str(folder / "state"), "/wheels": str(folder / "wheels")}
    source = folder / "source"
    source.mkdir()
    for line in (TOP / "deploy" / "Containerfile").read_text().split("\nFROM ")[1].splitlines():
        word, _, rest = line.partition(" ")
        if word == "COPY":
            *files, target = shlex.split(rest)
            for file in files:
                copy = shutil.copytree if (TOP / file).is_dir() else shutil.copy
                copy(TOP / file, source / (file if target == "./" else target))
        elif word == "RUN":
            for place, ours in places.items():
                rest = rest.replace(place, ours)
            if os.getuid() and rest.startswith("install "):
                rest = re.sub(r"-[og] \d+ ", "", rest)
            words = shlex.split(rest)
            run(f"Containerfile: {line}", *{"python": [sys.executable], "pip": PIP}.get(words[0], words[:1]), *words[1:], folder=source)
    return Path(places["/opt/balance"])


def bill(python: str, name: str) -> None:
    """Write a reproducible bill of materials (CycloneDX) of the environment."""
    file = DIST / f"{name}.cdx.json"
    cyclonedx = str(BIN / "cyclonedx-py")
    run(f"bill of materials {file.name}", cyclonedx, "environment", "--output-reproducible", "--pyproject", "pyproject.toml", "-o", str(file), python)
    text = file.read_text()
    document: dict[str, Any] = json.loads(text)
    listed = {component["name"].lower().replace("_", "-") for component in document["components"]}
    locked = set(re.findall(r"^([\w.-]+)==", (TOP / "requirements.lock").read_text(), re.MULTILINE))
    if different := (locked - listed - conditional()) | (listed - locked - {"balance-monitoring"}):
        fail(f"bill of materials: differs from requirements.lock in {', '.join(sorted(different))}")
    if str(TOP) in text or tempfile.gettempdir() in text:
        fail("bill of materials: names folders of this machine")
    for component in document["components"]:
        if not component.get("licenses"):
            print(f"note  {component['name']} declares no licence")


def conditional() -> set[str]:
    """The locked packages that only some Python versions need."""
    return set(re.findall(r"^([\w.-]+)==\S+ ;", (TOP / "requirements.lock").read_text(), re.MULTILINE))


def audit() -> None:
    """No locked package has a known vulnerability, as far as a registry can be asked."""
    command = [
        str(BIN / "pip-audit"),
        "--disable-pip",
        "--require-hashes",
        "-r",
        "requirements.lock",
        "--format",
        "json",
        "--progress-spinner",
        "off",
    ]
    done = subprocess.run(command, cwd=TOP, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        print(f"note  NOT audited: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'pip-audit printed nothing'}")
        return
    if found := [f"{package['name']}: {vulnerability['id']}" for package in packages for vulnerability in package.get("vulns", ())]:
        fail(f"known vulnerabilities: {', '.join(found)}")
    asked = sum("skip_reason" not in package for package in packages)
    if asked:
        print(f"ok    pip-audit knows no vulnerability of {asked} packages")
    if left := len(packages) - asked:
        print(f"note  NOT audited: {left} of {len(packages)} packages, which this registry has no data about; run it elsewhere")


if __name__ == "__main__":
    main()
