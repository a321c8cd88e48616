"""Hostile requests, and file names that would be code somewhere else."""

from __future__ import annotations

import re

import pytest

from adapter.serve.app import _FOLDER, ASSETS
from adapter.serve.security import HEADERS, Address, is_loopback


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),  # DNS rebinding
        ({"host": "127.0.0.1:9999"}, 421),
        ({"host": ""}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-length": "99999999"}, 413),
        ({"content-length": "x"}, 400),
    ],
)
def test_requests_of_others_change_nothing(page, session, headers, status):
    sent = {"content-type": "application/json"} | headers
    answer = page.client.post("/api/marks", content=b'{"row": 0, "stars": 5}', headers=sent)
    assert answer.status_code == status
    assert session.marks.of(session.library.samples[0]).stars == 0
    assert answer.headers["content-security-policy"] == HEADERS["content-security-policy"]


def test_a_request_without_an_origin_changes_nothing(page):
    del page.client.headers["origin"]
    assert page.client.post("/api/marks", json={"row": 0, "stars": 5}).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/thumb/../../../etc/passwd",
        "/thumb/..%2f..%2fetc%2fpasswd",
        "/thumb/-1",
        "/thumb/%00",
        "/thumb/1e9",
        "/photo/99999999999999999999999",
        "/assets/../app.py",
        "/assets/..%2fapp.py",
        "/assets/page.html",
        "/assets/%2fetc%2fpasswd",
        "/docs",
    ],
)
def test_no_path_leads_to_a_file(page, path):
    answer = page.get(path)
    assert answer.status_code in (404, 422)
    assert "root:" not in answer.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/order", {"weights": [{"wish": 1, "weight": 5}]}),
        ("/api/order", {"weights": [{"wish": 1, "weight": 1}] * 21}),
        ("/api/order", {"fold": 0}),
        ("/api/order", {"more": 1}),
        ("/api/details", {"rows": list(range(501))}),
        ("/api/details", {"rows": [-1]}),
        ("/api/details", {"rows": [2**40]}),
        ("/api/wishes", {"text": "x" * 301, "source": "similarity"}),
        ("/api/wishes", {"text": "", "source": "similarity"}),
        ("/api/marks", {"row": 0, "stars": 6}),
        ("/api/marks", {"row": "0; rm", "stars": 1}),
        ("/api/teach/answer", {"question": "q", "left": 0, "right": 1, "answer": "both"}),
        ("/api/take", {"kind": "delete"}),
        ("/api/take", {"kind": "link", "keywords": ["x"] * 21}),
        ("/api/take", {"kind": "link", "top": 0}),
    ],
)
def test_sizes_and_counts_are_bounded(page, path, body):
    assert page.client.post(path, json=body).status_code == 422


def test_another_address_needs_the_token(session, make_page):
    page = make_page(session, host="192.0.2.1")
    assert page.get("/").status_code == 401
    assert page.get("/?token=wrong").status_code == 401
    assert page.get("/api/state", headers={"cookie": "featcache_token=x"}).status_code == 401
    opened = page.get(f"/?token={page.address.token}")
    assert opened.status_code == 200
    assert "HttpOnly; SameSite=Strict" in opened.headers["set-cookie"]
    assert page.get("/api/state").status_code == 200  # the client keeps the cookie
    assert page.address.token in page.address.url
    assert page.address.token not in repr(page.address)


def test_addresses():
    assert all(map(is_loopback, ["127.0.0.1", "127.3.2.1", "::1", "localhost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "192.168.1.2", "example.org"]))
    assert Address.of("::1", 80).url == "http://[::1]:80/"
    assert "localhost" in Address.of("127.0.0.1", 80).hosts


def test_the_page_takes_nothing_from_outside_and_holds_no_inline_code(page):
    answer = page.get("/")
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    for name in ["page.html", *ASSETS]:
        text = (_FOLDER / name).read_text("utf-8")
        outside = re.findall(r"https?://\S+", text)
        assert all(found.startswith("http://www.w3.org/2000/svg") for found in outside), name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
    html = answer.text
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=", html)
    for name, kind in ASSETS.items():
        served = page.get(f"/assets/{name}")
        assert served.status_code == 200
        assert served.headers["content-type"].startswith(kind)


def test_every_route_answers_its_own_description(page):
    """Each route refuses what its own description does not allow, and never fails."""
    described = page.get("/openapi.json").json()["paths"]
    assert len(described) > 15
    for path, methods in described.items():
        if "post" in methods:
            for body in (b"null", b"[]", b'"x"', b'{"": 0}', b'{"rows": {}}', b"7", b"{", b"\xff"):
                sent = {"content-type": "application/json"}
                answer = page.client.post(path, content=body, headers=sent)
                assert answer.status_code in (400, 409, 422), (path, body, answer.text)
