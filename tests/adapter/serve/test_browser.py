"""The page in a real Chromium: every flow, by keyboard; skipped where there is none."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from featcache.errors import FeatcacheError

sync_api = pytest.importorskip("playwright.sync_api")
AXE = files(pytest.importorskip("axe_playwright_python")) / "axe.min.js"
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
SHOTS = os.environ.get("FEATCACHE_SCREENSHOTS")  # a folder for pictures of the page


@pytest.fixture
def serve():
    """Serve a session; returns its address."""
    stops = []

    def serve_(session):
        address, stop = running(session)
        stops.append(stop)
        return address

    yield serve_
    for stop in stops:
        stop()


@pytest.fixture
def served(serve, session):
    """The address of a page that is served."""
    return serve(session)


def running(session):
    """Serve in a thread; returns the address, and what ends it."""
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

    def stop():
        server.should_exit = True
        thread.join()
        listening.close()

    return address.url, stop


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
    with tab.expect_download() as saved:
        tab.click("#table")
    assert saved.value.suggested_filename == "order.csv"
    assert len(Path(saved.value.path()).read_text("utf-8").splitlines()) == 3
    tab.click("#take-form button:has-text('Show')")
    tab.wait_for_selector("#confirm:not([hidden])")
    assert list(photos.rglob("*.xmp")) == []
    tab.click("#confirm")
    until(tab, "document.getElementById('plan').innerText.includes('adapter undo')")
    assert len(list(photos.rglob("*.xmp"))) == 2


def violations(tab, view):
    """What axe-core finds: rule, and where."""
    tab.evaluate(AXE.read_text("utf-8"))
    found = tab.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        (view, rule["id"], node["target"], node["failureSummary"])
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(chromium, served, session, query, scheme):
    width = {"light": 1200, "dark": 360}[scheme]
    tab = chromium.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    tab.goto(served)
    tab.wait_for_selector("body[data-ready]")
    tab.fill("#wish-text", query)
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#wish-list input[type=range]", timeout=60_000)
    until(tab, "document.querySelector('.cell')?.innerText.includes('1. ')")
    found = violations(tab, "rank")
    tab.click("nav [data-view=teach]")
    tab.fill("#question", "a question")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#pair:not([hidden])")
    found += violations(tab, "teach")
    tab.click("nav [data-view=take]")
    tab.click("#take-form button:has-text('Show')")
    tab.wait_for_selector("#confirm:not([hidden])")
    found += violations(tab, "take")
    tab.click("nav [data-view=cull]")
    tab.keyboard.press("5")
    found += violations(tab, "cull")
    tab.keyboard.press("Space")
    tab.wait_for_selector("dialog[open] img")
    found += violations(tab, "large")
    tab.keyboard.press("Escape")
    tab.keyboard.press("w")
    tab.wait_for_selector("dialog canvas[data-drawn]")
    found += violations(tab, "why")
    tab.close()
    assert found == []


def tab_to(tab, selector):
    """Press Tab until an element has the focus, which can be seen; no pointer is used."""
    for _ in range(80):
        if tab.evaluate("s => document.activeElement.matches(s)", selector):
            style = tab.evaluate(
                "(() => { const s = getComputedStyle(document.activeElement);"
                " return [s.outlineStyle, parseFloat(s.outlineWidth)]; })()"
            )
            assert style[0] != "none", selector
            assert style[1] >= 2, selector
            return
        tab.keyboard.press("Tab")
    raise AssertionError(f"no Tab leads to {selector}")


def test_the_keyboard_alone_is_enough(tab, session, photos):
    tab_to(tab, "#wish-text")
    tab.keyboard.type("Good photo.")
    tab_to(tab, "#wish-opposite")
    tab.keyboard.type("Bad photo.")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#wish-list input[type=range]", timeout=60_000)
    before = order(tab)
    tab_to(tab, "#wish-list input")
    tab.keyboard.press("Home")
    until(tab, f"!document.querySelector('.cell img').src.endsWith('/{before[0]}')")
    tab_to(tab, "#grid")
    tab.keyboard.press("End")
    tab.keyboard.press("3")
    until(tab, "document.querySelector('[aria-selected=true]').innerText.includes('★★★')")
    assert [session.marks.of(s).stars for s in session.library.samples].count(3) == 1
    tab.keyboard.press("Shift+Tab")
    tab.evaluate("document.activeElement.blur()")
    tab_to(tab, "nav [data-view=teach]")
    tab.keyboard.press("Enter")
    tab_to(tab, "#question")
    tab.keyboard.type("Which is better?")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#pair:not([hidden])")
    tab.keyboard.press("ArrowRight")
    until(tab, "document.getElementById('answered').textContent === '1'")
    tab.evaluate("document.activeElement.blur()")
    tab_to(tab, "nav [data-view=take]")
    tab.keyboard.press("Enter")
    tab_to(tab, "#top")
    tab.keyboard.press("Control+a")
    tab.keyboard.type("2")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#confirm:not([hidden])")
    tab_to(tab, "#confirm")
    tab.keyboard.press("Enter")
    until(tab, "document.getElementById('plan').innerText.includes('adapter undo')")
    assert len(list(photos.rglob("*.xmp"))) == 2


@pytest.fixture
def session_of_5000(tmp_path):
    """5,000 photos of 50 contents in ten folders, and random embeddings."""
    from adapter.serve.session import Session

    folder, contents = tmp_path / "many", []
    for number in range(50):
        picture = Image.new("RGB", (96, 64), (5 * number, 250 - 5 * number, 120))
        picture.save(tmp_path / f"{number}.jpg")
        contents.append((tmp_path / f"{number}.jpg").read_bytes())
    names = [f"{number // 500}/IMG_{number:04d}.jpg" for number in range(5000)]
    for number in range(10):
        (folder / str(number)).mkdir(parents=True)
    for number, name in enumerate(names):
        os.link(tmp_path / f"{number % 50}.jpg", folder / name)
    found = Session.open(
        MadeCache(names, [hashlib.sha256(content).hexdigest() for content in contents]),
        folder,
        {},
        tmp_path / "state",
        tmp_path / "thumbnails",
    )
    yield found
    found.close()


class MadeCache:
    """What the page reads of a cache, without one."""

    def __init__(self, names, digests):
        import pyarrow as pa

        count = len(names)
        self.sample_ids = pa.array(names)
        shas = [digests[n % len(digests)] for n in range(count)]
        self._samples = pa.table({"path": names, "status": ["ok"] * count, "sha256": shas})
        self._pooled = np.random.default_rng(0).normal(size=(count, 64)).astype(np.float32)
        self.shapes, self.name, self.views = SimpleNamespace(num_tokens=0), "many", ("original",)

    def __len__(self):
        return len(self._pooled)

    def read_samples(self, *columns):
        return self._samples.select(list(columns))

    def pooled(self, rows, view=None):
        return self._pooled[rows]

    def rows(self, names):
        places = {name: row for row, name in enumerate(self.sample_ids.to_pylist())}
        return np.array([places.get(name, -1) for name in names])

    def prompt(self, text):
        raise FeatcacheError("this cache has no text tower")


def test_five_thousand_photos(chromium, serve, session_of_5000):
    session = session_of_5000
    scores = np.random.default_rng(1).normal(size=5000)
    session.engine.put("a wish", "made", scores, "")
    session.engine.put("another", "made", np.arange(5000.0), "")
    tab = chromium.new_page(viewport={"width": 1200, "height": 800})
    tab.goto(serve(session))
    tab.wait_for_selector("#wish-list li:nth-child(2) input")
    until(tab, "document.getElementById('count').textContent === '5,000 photos'")
    slider = tab.locator("#wish-list li:nth-child(2) input")
    slider.focus()
    for _ in range(20):  # 1 to 0: the first wish alone is left
        tab.keyboard.press("ArrowLeft")
    until(tab, "document.body.dataset.asked === document.body.dataset.shown")
    until(tab, f"document.querySelector('.cell img').src.endsWith('/{scores.argmax()}')")
    assert int(tab.get_attribute("body", "data-milliseconds")) < 2000
    tab.focus("#grid")
    tab.keyboard.press("End")
    last = int(tab.get_attribute("#grid", "aria-activedescendant").removeprefix("photo-"))
    assert last == scores.argmin()
    until(tab, f"document.querySelector('#photo-{last} img').naturalWidth > 0")
    until(tab, f"document.getElementById('photo-{last}').innerText.includes('5000. ')")
    assert tab.locator(".cell").count() < 60
    tab.keyboard.press("4")
    until(tab, "document.querySelector('[aria-selected=true]').innerText.includes('★★★★')")
    assert session.marks.of(session.library.samples[last]).stars == 4
    tab.fill("#fold", "0.8")
    tab.select_option("#folder", "3")
    until(tab, "document.getElementById('count').textContent === '500 photos'")
    tab.select_option("#folder", "")
    tab.click("nav [data-view=teach]")
    tab.fill("#question", "Which is better?")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#pair:not([hidden])")
    for number in range(1, 11):
        tab.keyboard.press("ArrowLeft" if number % 3 else "ArrowRight")
        until(tab, f"document.getElementById('answered').textContent === '{number}'")
    tab.click("#train")
    until(tab, "document.getElementById('learned').innerText.includes('Learned from 10')")
    tab.click("nav [data-view=take]")
    tab.select_option("#kind", "copy")
    tab.fill("#top", "100")
    tab.click("#take-form button:has-text('Show')")
    until(tab, "document.getElementById('plan').innerText.includes('100 files would')")
    tab.close()


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
