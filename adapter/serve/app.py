"""The application: routes of the page. Each is short; what it does lies in the other modules.

app = make_app(Session.open(...), Address.of("127.0.0.1", 8000))
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, HTTPException
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.concurrency import run_in_threadpool

from adapter.errors import AdapterError, ConfigError
from adapter.explain.maps import explain
from adapter.serve import requests as ask
from adapter.serve.security import Address, Guard
from adapter.serve.takeout import take_out
from adapter.takeaway.stars import StarRule
from adapter.takeaway.xmp import Marks
from featcache.errors import FeatcacheError, ImageError

if TYPE_CHECKING:
    from fastapi import Request

    from adapter.serve.session import Session

ASSETS = {
    "icon.svg": "image/svg+xml",
    "style.css": "text/css",
    "api.js": "text/javascript",
    "main.js": "text/javascript",
    "grid.js": "text/javascript",
    "rank.js": "text/javascript",
    "teach.js": "text/javascript",
    "cull.js": "text/javascript",
    "why.js": "text/javascript",
    "take.js": "text/javascript",
}
# What a route may answer beside 200 and 422: part of the description that the page is tested with.
REFUSED: dict[int | str, dict[str, Any]] = {
    409: {"model": ask.Refusal, "description": "Not done, with the reason."}
}
PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {}}, "description": "The photo."},
    404: {"content": {"text/plain": {}}, "description": "It cannot be shown, with the reason."},
}
TABLE_KINDS = {
    "csv": "text/csv",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
}
TABLE: dict[int | str, dict[str, Any]] = {
    200: {"content": {kind: {} for kind in TABLE_KINDS.values()}, "description": "The order."}
}
_FOLDER = files("adapter.serve") / "assets"


def make_app(session: Session, address: Address) -> Any:
    """Return the application behind its guard.

    Args:
        session: Photos, runs and what a person has said.
        address: Where it is served.
    """
    app = FastAPI(title="featcache", docs_url=None, redoc_url=None, responses=REFUSED)
    _errors(app)
    _pages(app)
    _ranking(app, session)
    _marks(app, session)
    _teaching(app, session)
    _taking(app, session)
    return Guard(app, address)


def _errors(app: FastAPI) -> None:
    """Answer what is refused with a sentence."""

    @app.exception_handler(AdapterError)
    @app.exception_handler(FeatcacheError)
    async def refused(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": str(error)}, status_code=409)


def _pages(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    def page() -> Response:
        return Response((_FOLDER / "page.html").read_bytes(), media_type="text/html")

    @app.get("/assets/{name}", include_in_schema=False)
    def asset(name: str) -> Response:
        if name not in ASSETS:
            raise HTTPException(404)
        return Response((_FOLDER / name).read_bytes(), media_type=ASSETS[name])


def _ranking(app: FastAPI, session: Session) -> None:
    engine, views = session.engine, session.views

    @app.get("/api/state")
    def state() -> dict[str, Any]:
        return session.state()

    @app.get("/api/wishes")
    def wishes() -> list[dict[str, Any]]:
        return [wish.to_dict() for wish in list(engine.wishes.values())]

    @app.post("/api/wishes")
    def add(body: ask.NewWish) -> dict[str, Any]:
        return engine.add(body.text, body.source, body.opposite).to_dict()

    @app.post("/api/wishes/remove")
    def remove(body: ask.OldWish) -> dict[str, bool]:
        engine.remove(body.number)
        return {"removed": True}

    @app.post("/api/order")
    def order(body: ask.Order) -> Response:
        view = views.make(body)
        content = {"rows": view.rows.tolist(), "sizes": []}
        if body.fold is not None:
            content["sizes"] = view.sizes.tolist()
        return Response(json.dumps(content), media_type="application/json")

    @app.post("/api/details")
    def details(body: ask.Details) -> list[dict[str, Any]]:
        return views.details(body.rows, body.order)

    @app.post("/api/why")
    def why(body: ask.Why) -> dict[str, Any]:
        wish = engine.wishes.get(body.wish)
        run = None if wish is None else engine.runs.get(wish.source)
        if wish is None or run is None:
            raise ConfigError("only wishes that a run ranks can be explained")
        return explain(run, engine.cache, wish.text, body.first, body.second)

    @app.get("/thumb/{row}", response_class=Response, responses=PICTURE)
    async def thumb(row: int) -> Response:
        return await _picture(session.library.thumbnail, row)

    @app.get("/photo/{row}", response_class=Response, responses=PICTURE)
    async def photo(row: int) -> Response:
        return await _picture(session.large, row)


async def _picture(make: Any, row: int) -> Response:
    """Return a JPEG, or 404 with the reason; decoding runs in a thread."""
    try:
        content = await run_in_threadpool(make, row)
    except (ImageError, AdapterError) as error:
        return PlainTextResponse(str(error), status_code=404)
    kept = {"cache-control": "private, max-age=3600"}
    return Response(content, media_type="image/jpeg", headers=kept)


def _marks(app: FastAPI, session: Session) -> None:
    @app.post("/api/marks")
    def mark(body: ask.NewMark) -> dict[str, Any]:
        if body.row >= len(session.library):
            raise ConfigError(f"there is no photo {body.row}")
        sample = session.library.samples[body.row]
        with session.lock:
            return session.marks.set(sample, stars=body.stars, flag=body.flag).to_dict()

    @app.post("/api/marks/undo")
    def undo(_: ask.Nothing) -> dict[str, Any]:
        with session.lock:
            sample = session.marks.undo()
        if sample is None:
            return {"row": None}
        rows = session.library.cache.rows([sample])
        return {"row": int(rows[0]), **session.marks.of(sample).to_dict()}


def _teaching(app: FastAPI, session: Session) -> None:
    teacher = session.teacher

    @app.post("/api/teach/next")
    def pair(body: ask.Question) -> dict[str, Any]:
        with session.lock:
            found = teacher.next(body.question)
        answered = len(teacher.book.of(" ".join(body.question.split())))
        return {
            "left": found.left,
            "right": found.right,
            "drawn": found.drawn,
            "answered": answered,
        }

    @app.post("/api/teach/answer")
    def answer(body: ask.NewAnswer) -> dict[str, int]:
        with session.lock:
            teacher.answer(body.question, body.left, body.right, body.answer, body.drawn)
        return {"answers": len(teacher.book.answers)}

    @app.post("/api/teach/undo")
    def undo(_: ask.Nothing) -> dict[str, Any]:
        with session.lock:
            last = teacher.book.undo()
        if last is None:
            return {"left": None, "right": None}
        left, right = session.library.cache.rows([last.left, last.right])
        return {"left": int(left), "right": int(right), "drawn": last.drawn}

    @app.post("/api/teach/train")
    def train(body: ask.Question) -> dict[str, bool]:
        teacher.train(body.question)
        return {"started": True}

    @app.get("/api/teach/status")
    def status() -> dict[str, Any]:
        return teacher.status

    @app.get(
        "/api/teach/answers.csv",
        response_class=Response,
        responses={200: {"content": {"text/csv": {}}, "description": "All answers."}},
    )
    def answers() -> Response:
        named = {"content-disposition": 'attachment; filename="answers.csv"'}
        return Response(teacher.book.to_csv(), media_type="text/csv", headers=named)


def _taking(app: FastAPI, session: Session) -> None:
    @app.post("/api/take/table", response_class=Response, responses=TABLE)
    def table(body: ask.TableOut) -> Response:
        content = session.views.table(body.order, body.top).to_bytes(f".{body.kind}")
        return Response(content, media_type=TABLE_KINDS[body.kind])

    @app.post("/api/take")
    def take(body: ask.TakeOut) -> dict[str, Any]:
        view = session.views.make(body.order)
        rows = view.rows[: body.top].tolist()
        ratings: list[int | None] = [None] * len(rows)
        if body.stars is not None:
            ratings = StarRule.parse(body.stars).ratings(view.percentile[rows] / 100)
        marks = [
            Marks(
                rating=session.rating(row) if body.marked else rating,
                keywords=tuple(body.keywords),
            )
            for row, rating in zip(rows, ratings, strict=True)
        ]
        with session.lock:
            plan = take_out(
                session.library, body.kind, rows, marks, session.exports(), body.confirm
            )
        return plan.to_dict()
