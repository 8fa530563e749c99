"""The colours of curves: 24, so that no panel of the load balancer uses one twice, each in a light and a dark variant.

The first seven are Grafana's. Each of the others is as far as possible (in OKLab, the lesser of the distances in light and dark) from all
before it. The contrast to the background is at least 3:1. A test measures both.
"""

from __future__ import annotations

COLORS = (
    ("#37872d", "#73bf69"), ("#b07d00", "#fade2a"), ("#1f60c4", "#5794f2"), ("#c15c00", "#ff9830"),
    ("#c4162a", "#f2495c"), ("#8f3bb8", "#b877d9"), ("#0a7f86", "#5ad8d8"), ("#4984bf", "#a3cffd"),
    ("#6c0256", "#ffd7f0"), ("#054744", "#14938d"), ("#6a2203", "#b7684c"), ("#6e6187", "#b7a9d2"),
    ("#b51c79", "#fe7fc0"), ("#44059b", "#8362ed"), ("#3e6102", "#9ee340"), ("#473455", "#8b769b"),
    ("#b5627d", "#cf7a95"), ("#748862", "#bed3aa"), ("#065f74", "#32a8c7"), ("#7c3a68", "#fbaee1"),
    ("#463d00", "#908126"), ("#7a5230", "#d3a37c"), ("#c841a5", "#e45cbe"), ("#9b2014", "#fdb6aa"),
)  # fmt: skip
"""Light and dark variant of each."""


def color(index: int) -> str:
    """The colour of a curve, as CSS. After the last they repeat; `dashed` tells those apart."""
    return f"var(--c{index % len(COLORS)})"


def dashed(index: int) -> bool:
    """True if the colour repeats an earlier one."""
    return index >= len(COLORS)


def css() -> str:
    """The colours as CSS custom properties."""
    return " ".join(f"--c{index}: light-dark({light}, {dark});" for index, (light, dark) in enumerate(COLORS))
