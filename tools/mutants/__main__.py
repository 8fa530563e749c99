"""``python -m tools.mutants [ALERT...]``: how many wrong rules the generated tests catch. Exit code 1 if one is not caught."""

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
    """Mutate and count; prints what is not caught."""
    caught = total = 0
    with ThreadPoolExecutor(2) as pool:
        for alert, what, seen in pool.map(lambda case: (case[0], case[1], judged(*case)), cases(chosen)):
            total, caught = total + 1, caught + seen
            if not seen:
                print(f"not caught\t{alert}\t{what}")
    print(f"wrong rules caught: {caught} / {total}")
    return 0 if caught == total else 1


def cases(chosen: list[str]) -> Iterator[tuple[str, str, list[Rule], Rule, dict[str, str]]]:
    """Alert, change, recording groups, changed rule and test files."""
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


def judged(_alert: str, _what: str, recording: list[Rule], group: Rule, tests: dict[str, str]) -> bool:
    """Whether promtool finds the tests to fail with the rule."""
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
