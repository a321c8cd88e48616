"""The page is asked for what its own description allows, and for what it does not allow."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

schemathesis = pytest.importorskip("schemathesis")

ROWS = 14  # photos of the page
NAMES = {"row", "left", "right", "first", "second"}


def with_photos(value):
    """Return a body whose numbers of photos are of photos that are there, or just behind them."""
    if isinstance(value, dict):
        return {
            name: part % (ROWS + 2)
            if name in NAMES and type(part) is int
            else [row % (ROWS + 2) for row in part]
            if name == "rows" and isinstance(part, list) and all(type(r) is int for r in part)
            else with_photos(part)
            for name, part in value.items()
        }
    return value


def ask(operation, positive, examples, headers):
    """Send requests of one kind; returns the statuses."""
    seen = set()
    kinds = schemathesis.GenerationMode
    kind = kinds.POSITIVE if positive else kinds.NEGATIVE

    @settings(max_examples=examples, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=kind), near=st.booleans())
    def send(case, near):
        if near and positive:
            case.body = with_photos(case.body)
            case.path_parameters = with_photos(case.path_parameters)
        answer = case.call(base_url="http://127.0.0.1:8000", headers=headers)
        seen.add(answer.status_code)
        if positive:
            case.validate_response(answer, headers=headers)
        assert answer.status_code < 500, answer.text

    send()
    return seen


def fuzz(page, session, photos, examples):
    """Ask every route; returns its statuses by its name. The photos stay as they are."""
    before = {path: path.stat().st_mtime_ns for path in photos.rglob("*")}
    headers = {"origin": page.client.headers["origin"], "host": "127.0.0.1:8000"}
    schema = schemathesis.openapi.from_asgi("/openapi.json", page.client.app, headers=headers)
    seen = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        seen[operation.label] = ask(operation, True, examples, headers)
        if operation.body or operation.path_parameters:
            ask(operation, False, examples, headers)
    assert {path: path.stat().st_mtime_ns for path in photos.rglob("*")} == before
    return seen


def test_a_few_requests_of_every_kind(page, session, photos):
    seen = fuzz(page, session, photos, 4)
    assert len(seen) > 15


@pytest.mark.slow
def test_hundreds_of_requests_of_every_kind(page, session, photos):
    """Also ``make fuzz``."""
    seen = fuzz(page, session, photos, 300)
    done = {label for label, statuses in seen.items() if 200 in statuses}
    assert {
        "POST /api/marks",
        "POST /api/order",
        "POST /api/teach/answer",
        "GET /thumb/{row}",
    } < done
