"""A page on the cache and the run of version 1, whose photos are copied into a folder."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

VERSION1 = Path(__file__).parents[2] / "data" / "version1"


@pytest.fixture
def photos(tmp_path):
    return Path(shutil.copytree(VERSION1 / "photos", tmp_path / "photos"))


@pytest.fixture
def query():
    return json.loads((VERSION1 / "run/eval.json").read_text())["queries"][0]["query"]


@pytest.fixture
def open_session(tmp_path, photos):
    """Open a session again and again on the same folders."""
    from adapter.serve.session import Session
    from adapter.stored import StoredRun
    from featcache.reading.cache import Cache

    opened = []

    def open_(root=photos, with_run=True):
        session = Session.open(
            Cache.open(VERSION1 / "cache"),
            root,
            {"ages": StoredRun.load(VERSION1 / "run")} if with_run else {},
            tmp_path / "state",
            tmp_path / "thumbnails",
            device="cpu",
        )
        opened.append(session)
        return session

    yield open_
    for session in opened:
        session.close()


@pytest.fixture
def session(open_session):
    return open_session()


class Page:
    """Asks as the page does."""

    def __init__(self, session, host="127.0.0.1", port=8000):
        from starlette.testclient import TestClient

        from adapter.serve.app import make_app
        from adapter.serve.security import Address

        self.address = Address.of(host, port)
        self.client = TestClient(
            make_app(session, self.address),
            base_url=f"http://{host}:{port}",
            headers={"origin": f"http://{host}:{port}"},
            raise_server_exceptions=True,
        )

    def get(self, path, **options):
        return self.client.get(path, **options)

    def post(self, path, body, status=200):
        answer = self.client.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def wish(self, text, source="ages"):
        return self.wait(self.post("/api/wishes", {"text": text, "source": source})["number"])

    def wait(self, number):
        for _ in range(600):
            [wish] = [w for w in self.get("/api/wishes").json() if w["number"] == number]
            if wish["status"] != "working":
                return wish
            time.sleep(0.05)
        raise TimeoutError(number)


@pytest.fixture
def page(session):
    return Page(session)


@pytest.fixture
def make_page():
    return Page
