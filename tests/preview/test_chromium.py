"""In a real browser no panel overlaps another, no text is clipped, the keyboard gets everywhere, and axe-core finds nothing serious."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from balance.generate import collect
from balance.generate.pages import pages, synthetic_pages
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings
from tests.preview.chromium import Browser

NAMES = ("balance", "backend", "slo", "workers")
TAB, ENTER, ESCAPE = ("Tab", 9), ("Enter", 13), ("Escape", 27)
FOCUSABLE = 'a[href], button, summary, [tabindex="0"]'
MEASURE = """(() => {
const boxes = [...document.querySelectorAll("article")].map((one) => [one, one.getBoundingClientRect()]);
const faults = [];
const apart = (a, b) => a.left >= b.right - 1 || b.left >= a.right - 1 || a.top >= b.bottom - 1 || b.top >= a.bottom - 1;
const within = (a, b) => a.left >= b.left - 1 && a.right <= b.right + 1 && a.top >= b.top - 1 && a.bottom <= b.bottom + 1;
const words = (part) => { const range = document.createRange(); range.selectNodeContents(part); return range.getBoundingClientRect(); };
boxes.forEach(([one, a], index) => boxes.slice(index + 1).forEach(([other, b]) => {
  if (!apart(a, b)) faults.push(`overlap: ${one.ariaLabel}, ${other.ariaLabel}`);
}));
for (const [one, box] of boxes) {
  for (const part of one.querySelectorAll("h3, .head a, .head small, .y span, .names span, .x span, .stat p, .none"))
    if (part.textContent && !within(words(part), box)) faults.push(`clipped: ${one.ariaLabel}: ${part.textContent}`);
  for (const kind of [".x span", ".y span", ".names span", ".stat p"]) {
    const places = [...one.querySelectorAll(kind)].map(words).filter((place) => place.width);
    places.forEach((a, index) => places.slice(index + 1).forEach((b) => {
      if (!apart(a, b)) faults.push(`texts overlap: ${one.ariaLabel}: ${kind}`);
    }));
  }
  const head = one.querySelector(".head").getBoundingClientRect();
  for (const part of one.querySelectorAll(".stat p"))
    if (!apart(head, words(part))) faults.push(`a figure covers the title: ${one.ariaLabel}`);
  for (const part of one.querySelectorAll(".cells td span"))
    if (part.scrollWidth > part.clientWidth) faults.push(`clipped: ${one.ariaLabel}: ${part.textContent}`);
  for (const part of one.querySelectorAll(".legend, .cells, .text"))
    if (part.scrollWidth > part.clientWidth) faults.push(`too wide: ${one.ariaLabel}`);
  for (const part of one.querySelectorAll(".text, .none"))
    if (part.scrollHeight > part.clientHeight + 1) faults.push(`text is hidden: ${one.ariaLabel}`);
  for (const plot of one.querySelectorAll("svg")) {
    const size = plot.getBoundingClientRect();
    if (size.width < 40 || size.height < 18) faults.push(`tiny: ${one.ariaLabel}: ${size.width} x ${size.height}`);
  }
}
if (document.documentElement.scrollWidth > innerWidth) faults.push("the page is wider than the window");
return {panels: boxes.length, width: innerWidth, faults};
})()"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages in a directory."""
    directory = tmp_path_factory.mktemp("pages")
    for page in pages(synthetic_pages(*collect.collect(Settings()))):
        (directory / page.path).write_text(page.text, encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def browser(program: Callable[[str], str]) -> Iterator[Browser]:
    with Browser(program("chromium-headless-shell")) as opened:
        yield opened


def test_every_dashboard_is_tested(bundle: Bundle) -> None:
    assert {dashboard.name for dashboard in bundle.dashboards} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1920, "light"), (1280, "dark"), (1920, "dark")])
def test_panels_do_not_overflow(bundle: Bundle, browser: Browser, written: Path, name: str, width: int, scheme: str) -> None:
    browser.open((written / f"{name}.html").as_uri(), width, scheme=scheme)
    panels = next(len(dashboard.panels) for dashboard in bundle.dashboards if dashboard.name == name)
    assert browser.run(MEASURE) == {"panels": panels, "width": width, "faults": []}


def test_overflow_is_found(browser: Browser, written: Path) -> None:
    browser.open((written / "balance.html").as_uri())
    browser.run('document.querySelector(".stat p").textContent = "1234567890 requests per second"')
    browser.run('document.querySelectorAll("article")[9].style.marginTop = "-60px"')
    assert {fault.partition(":")[0] for fault in browser.run(MEASURE)["faults"]} >= {"clipped", "overlap"}


def serious(browser: Browser, axe: Path) -> list[list[str]]:
    """The serious and critical findings of axe-core about the page that is open."""
    browser.run(axe.read_text(encoding="utf-8"))
    told = browser.run(
        "axe.run().then(({violations, passes}) => ({passes: passes.length, found: violations.map((one) => "
        "[one.impact, one.id, one.nodes[0].html.slice(0, 200), one.nodes[0].failureSummary])}))"
    )
    assert told["passes"] > 20, "rules were tried"
    return [finding for finding in told["found"] if finding[0] in ("serious", "critical")]


@pytest.fixture
def axe(modules: Callable[..., Path]) -> Path:
    return modules("axe-core") / "axe-core" / "axe.min.js"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_axe_finds_nothing_serious(browser: Browser, written: Path, axe: Path, name: str, scheme: str) -> None:
    browser.open((written / f"{name}.html").as_uri(), scheme=scheme)
    assert serious(browser, axe) == []


def test_axe_finds_broken_page(browser: Browser, written: Path, axe: Path) -> None:
    browser.open((written / "slo.html").as_uri())
    browser.run('document.querySelector("h1").style.color = "#eee"; document.querySelector("nav a").textContent = ""')
    assert {finding[1] for finding in serious(browser, axe)} == {"color-contrast", "link-name"}


def test_tab_order_follows_page(browser: Browser, written: Path) -> None:
    browser.open((written / "slo.html").as_uri())
    places = browser.run(f"(window.places = [...document.querySelectorAll({FOCUSABLE!r})]).length")
    assert places > 30
    reached = []
    for _ in range(places):
        browser.press(*TAB)
        reached.append(browser.run("[places.indexOf(document.activeElement), getComputedStyle(document.activeElement).outlineStyle]"))
    assert reached == [[place, "solid"] for place in range(places)], "in order, and seen to be there"


def test_description_opens_and_closes_with_keys(browser: Browser, written: Path) -> None:
    browser.open((written / "slo.html").as_uri())
    opened = 'document.querySelector("details.about p").checkVisibility()'
    browser.run('document.querySelector("details.about summary").focus()')
    assert browser.run(opened) is False
    browser.press(*ENTER)
    assert browser.run(opened) is True
    browser.press(*ESCAPE)
    assert browser.run(opened) is False


@pytest.mark.parametrize(("scheme", "other"), [("light", "dark"), ("dark", "light")])
def test_theme_switch_turns_and_returns(browser: Browser, written: Path, scheme: str, other: str) -> None:
    shade = "getComputedStyle(document.body).backgroundColor"
    browser.open((written / "workers.html").as_uri(), scheme=scheme)
    first = browser.run(shade)
    browser.run('document.getElementById("theme").click()')
    second = browser.run(shade)
    browser.open((written / "workers.html").as_uri(), scheme=other)
    assert first != second == browser.run(shade)
