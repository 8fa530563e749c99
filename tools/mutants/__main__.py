"""``python -m tools.mutants [ALERT...]``: count the wrong rules that the generated tests catch. Exit code 1 if one is not caught."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import run

import yaml

from balance.generate import build, collect
from balance.monitoring.settings import Settings
from balance.render.rules import evaluate
from tools.mutants.mutate import Rule, mutants


def main(chosen: list[str]) -> int:
    """Mutate the rules of the chosen alerts, or of all; print the wrong rules that are not caught, and how many are."""
    caught = total = 0
    with ThreadPoolExecutor(2) as pool:
        for alert, what, seen in pool.map(lambda case: (case[0], case[1], is_caught(*case)), cases(chosen)):
            total, caught = total + 1, caught + seen
            if not seen:
                print(f"not caught\t{alert}\t{what}")
    print(f"wrong rules caught: {caught} / {total}")
    return 0 if caught == total else 1


def cases(chosen: list[str]) -> Iterator[tuple[str, str, list[Rule], Rule, dict[str, str]]]:
    """Each wrong rule: its alert, the change, the recording groups, the rule in a group, and the test files by name."""
    bundle, settings = collect.collect(Settings())
    evaluated = evaluate(bundle, settings)
    tests = {Path(artifact.path).name: artifact.text for artifact in build.ruletests(bundle, settings)}
    for group in evaluated["alerts"]["groups"]:
        recording = [other for other in evaluated["rules"]["groups"] if other["name"] == f"{group['name']}.rules"]
        for rule in group["rules"]:
            mine = {name: text for name, text in tests.items() if name.removesuffix(".yaml").partition("-")[0] == rule["alert"]}
            if not chosen or rule["alert"] in chosen:
                for what, changed in mutants(rule):
                    yield rule["alert"], what, recording, {"name": group["name"], "rules": [changed]}, mine


def is_caught(_alert: str, _what: str, recording: list[Rule], group: Rule, tests: dict[str, str]) -> bool:
    """True if the alert's tests fail in promtool with the wrong rule."""
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        (top / "rules").mkdir()
        (top / "tests").mkdir()
        loaded = yaml.safe_dump({"groups": [*recording, group]})
        for name in ("alerts.yaml", "recording.yaml", "availability.yaml", "latency.yaml"):
            (top / "rules" / name).write_text(loaded if name != "recording.yaml" else "groups: []\n")
        for name, text in tests.items():
            (top / "tests" / name).write_text(text)
        promtool = ["promtool", "test", "rules", *(str(top / "tests" / name) for name in tests)]
        return run(promtool, capture_output=True, check=False).returncode != 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
