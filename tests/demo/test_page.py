"""In a real browser, each button breaks something that can be seen: its alert fires, panels turn red, and when it is over all is well again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from balance.demo.faults import FAULTS

from .browser import Browser, browsing
from .running import eventually, running

STATES = "Object.fromEntries([...document.querySelectorAll('#switches button')].map((one) => [one.id, one.dataset.state]))"
UNWELL = "document.querySelectorAll('#alarms [data-state=firing], #alarms [data-state=pending]').length"
FIRING = """
[...document.querySelectorAll("article")].filter((one) => getComputedStyle(one.querySelector("h3"), "::after").content.includes("firing")).map((one) => one.ariaLabel)
"""
SEEN = {
    "backend": "Backend Health",
    "backends": "BalanceAllBackendsDown",
    "errors": "Error Rate",
    "slowness": "Response Time",
    "flood": "BalanceHighConnections",
    "memory": "Resource Usage",
    "retries": "BalanceHighRetryRate",
    "breaker": "Circuit Breakers",
}
"""A panel that is marked while the alert of a button fires."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], str]) -> Iterator[Browser]:
    """The page of a running demo."""
    folder = tmp_path_factory.mktemp("demo")
    with running(folder, "--embedded") as (process, places):
        with browsing(program("chromium-headless-shell"), tmp_path_factory.mktemp("browser")) as browser:
            browser.call("Page.enable")
            browser.open(places["page"])
            eventually(
                "the page is there and has data", lambda: browser.run("!!document.querySelector('#switches') && !!document.querySelector('.stat')")
            )
            yield browser
            assert browser.run("document.querySelectorAll('article').length") > 20
        process.terminate()
        assert process.wait(30) == 0


def press(browser: Browser, name: str) -> None:
    """With the keyboard: what it does is what a mouse does."""
    browser.run(f"document.getElementById('{name}').focus()")
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r" if kind == "keyDown" else "")


@pytest.mark.parametrize("name", FAULTS)
def test_button_starts_and_ends_its_fault(browser: Browser, name: str) -> None:
    eventually("all is well", lambda: not browser.run(UNWELL))
    begun = time.monotonic()
    press(browser, name)
    eventually("the alert fires", lambda: browser.run(STATES)[name] == "firing")
    fired = time.monotonic()
    eventually("its panel is red", lambda: any(SEEN[name] in title for title in browser.run(FIRING)))
    assert browser.run(f"document.getElementById('{name}').ariaPressed") == "true"
    assert browser.run("document.activeElement.id") == name
    press(browser, name)
    ended = time.monotonic()
    eventually("the alert is over", lambda: browser.run(STATES)[name] in ("resolved", "inactive"))
    print(f"{FAULTS[name].alert}: fires after {fired - begun:.1f} s, resolved after {time.monotonic() - ended:.1f} s")
    eventually("no panel is marked", lambda: not browser.run(FIRING))


@pytest.mark.parametrize("width", [1280, 1920])
def test_page_fits_the_window(browser: Browser, width: int) -> None:
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=1000, deviceScaleFactor=1, mobile=False)
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    clipped = "[...document.querySelectorAll('#switches button')].filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.id)"
    assert browser.run(clipped) == []


def test_pause_and_resume(browser: Browser) -> None:
    browser.run("document.getElementById('pause').click()")
    before = browser.run("document.querySelector('header p').textContent")
    assert browser.run("new Promise((done) => setTimeout(() => done(document.querySelector('header p').textContent), 2500))") == before
    browser.run("document.getElementById('pause').click()")
    eventually("it goes on", lambda: browser.run("document.querySelector('header p').textContent") != before)


def test_controls_have_accessible_names(browser: Browser) -> None:
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "region", "log"}
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if node["role"]["value"] in roles and not node["ignored"]
    ]
    assert [role for role, name in named if not name] == []
    assert {name for role, name in named if role == "button"} >= {"Pause", "Light or dark"}


def test_light_and_dark_differ(browser: Browser, tmp_path: Path) -> None:
    pictures = []
    for scheme in ("light", "dark"):
        browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        pictures.append(browser.run("getComputedStyle(document.querySelector('#switches')).backgroundColor"))
    assert len(set(pictures)) == 2, json.dumps(pictures)
