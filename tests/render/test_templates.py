"""Our templates against those of Prometheus."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from balance.errors import RenderError
from balance.render.templates import FUNCTIONS, expand

VALUES = [
    0, 1, -1, 0.5, 0.05, 0.0001234, 1e-9, 1e-30, 1e18, 12345, 999.95, 999.99999, 1000, 1023, 1024, 1048576, 536870912, 59.9999, 60, 61, 3599, 3600,
    86399, 86400, 1209600, -172800, -0.25, 1e5, 123456.789, 1 / 3, 2 / 3, float("inf"), float("-inf"), float("nan"),
]  # fmt: skip


def test_functions_match_prometheus(tmp_path: Path, program: Callable[[str], str]) -> None:
    chance = random.Random(5)
    values = [*VALUES, *(chance.choice([-1, 1]) * chance.random() * 10 ** chance.randint(-12, 15) for _ in range(200))]
    template = (
        "; ".join(f"{{{{ $value | {name} }}}}" for name in FUNCTIONS)
        + " {{ with $labels.none }}a{{ . }}{{ else }}b{{ end }}{{ with $labels.x }}<{{ . }}>{{ end }}"
    )
    rules = [{"alert": "A", "expr": "x or x != x", "annotations": {"text": template}}]
    text = {"groups": [{"name": "g", "rules": rules}]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(text))
    expected = [
        {"exp_labels": {"x": str(number)}, "exp_annotations": {"text": expand(template, {"x": str(number)}, float(value))}}
        for number, value in enumerate(values)
    ]
    series = [
        {"series": f'x{{x="{number}"}}', "values": f"{float(value)!r}".replace("inf", "Inf").replace("nan", "NaN")}
        for number, value in enumerate(values)
    ]
    case = {"interval": "1m", "input_series": series, "alert_rule_test": [{"eval_time": "0s", "alertname": "A", "exp_alerts": expected}]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [case]}))
    run = subprocess.run([program("promtool"), "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ $value | shout }}", "unknown template function 'shout'"),
        ("{{ $value }}", "unsupported template action {{ $value }}"),
        ("{{ range query }}", "unsupported template action {{ range query }}"),
        ("{{ with $labels.x }}", "{{ with $labels.x }} is not closed"),
        ("{{ end }}", "unexpected {{ end }}"),
    ],
)
def test_unsupported_templates_are_refused(template: str, message: str) -> None:
    with pytest.raises(RenderError) as refusal:
        expand(template, {"x": "y"}, 1)
    assert message in str(refusal.value)
