"""The page in a real Chromium: every flow, by keyboard; skipped where there is none."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
SHOTS = os.environ.get("FEATCACHE_SCREENSHOTS")  # a folder for pictures of the page


@pytest.fixture
def served(session):
    """The address of a page that is served."""
    import uvicorn

    from adapter.serve.app import make_app
    from adapter.serve.security import Address

    settings = uvicorn.Config(None, host="127.0.0.1", port=0, log_level="error")  # type: ignore[arg-type]
    listening = settings.bind_socket()
    address = Address.of("127.0.0.1", listening.getsockname()[1])
    settings.app = make_app(session, address)
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield address.url
    server.should_exit = True
    thread.join()
    listening.close()


@pytest.fixture(scope="module")
def chromium():
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium, served):
    """The page, open; nothing may be logged as an error, or asked of another server."""
    tab = chromium.new_page(viewport={"width": 1200, "height": 800})
    errors, foreign = [], []
    tab.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    tab.on("pageerror", lambda e: errors.append(str(e)))
    tab.on("request", lambda r: foreign.append(r.url) if not r.url.startswith(served) else None)
    tab.goto(served)
    tab.wait_for_selector("body[data-ready]")
    yield tab
    tab.close()
    assert (errors, foreign) == ([], [])


def until(tab, expression):
    """Wait until an expression is true; waiting within the page would need ``eval``."""
    for _ in range(300):
        if tab.evaluate(expression):
            return
        time.sleep(0.05)
    raise TimeoutError(expression)


def shot(tab, name):
    if SHOTS:
        tab.screenshot(path=Path(SHOTS) / f"{name}.png")


def order(tab):
    return tab.eval_on_selector_all(".cell img", "imgs => imgs.map(i => i.src.split('/').pop())")


def test_rank_cull_and_why_by_keyboard(tab, session, query):
    tab.fill("#wish-text", query)
    tab.keyboard.press("Enter")
    slider = tab.wait_for_selector("#wish-list input[type=range]", timeout=60_000)
    until(tab, "document.querySelectorAll('.cell')[0].innerText.includes('1. ')")
    found = tab.evaluate("document.querySelectorAll('.cell')[0].innerText")
    assert "100.0 %" in found
    first = order(tab)
    slider.focus()
    slider.press("Home")  # the weight is -1: the other way round
    until(tab, f"!document.querySelector('.cell img').src.endsWith('/{first[0]}')")
    until(tab, "document.querySelector('.cell').innerText.includes('1. ')")
    shot(tab, "rank")

    tab.click("nav [data-view=cull]")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("4")
    tab.keyboard.press("p")
    chosen = tab.get_attribute("#grid", "aria-activedescendant").removeprefix("photo-")
    until(tab, "document.querySelector('[aria-selected=true]').innerText.includes('picked')")
    mark = session.marks.of(session.library.samples[int(chosen)])
    assert (mark.stars, mark.flag) == (4, "pick")
    shot(tab, "cull")
    tab.keyboard.press("Backspace")
    until(tab, "!document.querySelector('[aria-selected=true]').innerText.includes('picked')")
    tab.keyboard.press("Space")
    tab.wait_for_selector("dialog[open] img")
    tab.keyboard.press("Escape")
    tab.keyboard.press("w")
    tab.wait_for_selector("dialog canvas[data-drawn]")
    shot(tab, "why")
    tab.keyboard.press("Escape")
    tab.keyboard.press("c")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("c")
    tab.wait_for_selector("dialog[open] figure:nth-child(2)")
    assert tab.get_attribute("dialog figure:first-child", "aria-current") == "true"


def test_teach_by_keyboard(tab, session):
    tab.click("nav [data-view=teach]")
    tab.fill("#question", "a question")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#pair:not([hidden])")
    for number, key in enumerate(["ArrowLeft", "ArrowRight", "ArrowDown", "ArrowUp"], start=1):
        tab.keyboard.press(key)
        until(tab, f"document.getElementById('answered').textContent === '{number}'")
    answers = [a.answer for a in session.teacher.book.answers]
    assert answers == ["left", "right", "equal", "skip"]
    shot(tab, "teach")
    tab.keyboard.press("Backspace")
    until(tab, "document.getElementById('answered').textContent === '3'")


def test_take_away_shows_first(tab, photos):
    tab.click("nav [data-view=take]")
    tab.fill("#top", "2")
    tab.click("#take-form button:has-text('Show')")
    tab.wait_for_selector("#confirm:not([hidden])")
    assert list(photos.rglob("*.xmp")) == []
    tab.click("#confirm")
    until(tab, "document.getElementById('plan').innerText.includes('adapter undo')")
    assert len(list(photos.rglob("*.xmp"))) == 2


def test_a_name_that_is_code_stays_a_name(tab, session):
    name = '<img src=x onerror="document.title=1">&amp;"\'.jpg'
    session.library.paths[0] = name
    tab.evaluate("location.reload()")
    tab.wait_for_selector("body[data-ready]")
    until(tab, "document.querySelector('.cell').innerText.includes('onerror')")
    assert name in tab.evaluate("document.querySelector('.cell').textContent")
    assert tab.title() != "1"


def test_only_what_is_seen_is_in_the_page(tab):
    """100,000 rows of the order are shown by a few dozen cells, wherever one scrolls."""
    tab.route(
        "**/api/order",
        lambda route: route.fulfill(json={"rows": [n % 14 for n in range(100_000)], "sizes": []}),
    )
    tab.select_option("#flag", "none")
    until(tab, "document.getElementById('count').textContent === '100,000 photos'")
    for part in (0, 0.5, 1):
        tab.evaluate(
            "part => { const g = document.getElementById('grid');"
            " g.scrollTop = part * g.scrollHeight; }",
            part,
        )
        time.sleep(0.1)
        assert 5 < tab.locator(".cell").count() < 60


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it(chromium, served, scheme):
    tab = chromium.new_page(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    tab.goto(served)
    tab.wait_for_selector("body[data-ready]")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    assert tab.locator(".cell").count() > 0
    # Text against its ground, by the formula of WCAG 2: at least 4.5 to 1.
    contrast = tab.evaluate(
        """() => {
          const rgb = (c) => c.match(/[\\d.]+/g).map(Number);
          const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
            .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
          const style = getComputedStyle(document.body);
          const pair = [style.color, style.backgroundColor].map((c) => light(rgb(c)));
          return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
        }"""
    )
    assert contrast > 4.5
    tab.close()
