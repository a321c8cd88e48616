"""Who may ask the page for what.

The page is for one person on one machine. A web page of somebody else, open in the same browser,
must not be able to read photos or give stars: so the Host header has to be an address of this
server (DNS rebinding), a request that changes something has to come from this page (Origin), and
what the browser may load is what this server sends (content security policy).
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY = 256 * 1024  # bytes of a request
COOKIE = "featcache_token"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where the page is served, and the token that it asks for.

    Attributes:
        host: An address or a name.
        port: 1 to 65535.
        token: Needed unless the address is a loopback one; empty for none.
    """

    host: str
    port: int
    token: str = field(default="", repr=False)

    @classmethod
    def of(cls, host: str, port: int) -> Address:
        """Return an address; with a new token where others can reach it."""
        return cls(
            host=host, port=port, token="" if is_loopback(host) else secrets.token_urlsafe(24)
        )

    @property
    def url(self) -> str:
        """What to open in a browser."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/" + (f"?token={self.token}" if self.token else "")

    @property
    def hosts(self) -> frozenset[str]:
        """Host headers that name this server."""
        names = {self.host}
        if is_loopback(self.host):
            names |= {"127.0.0.1", "localhost", "::1"}
        shown = {f"[{name}]" if ":" in name else name for name in names}
        return frozenset(f"{name}:{self.port}" for name in shown) | (
            shown if self.port == 80 else frozenset()
        )


def is_loopback(host: str) -> bool:
    """Tell whether nobody but this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """Stands before the application; see the module's docstring."""

    def __init__(self, app: ASGIApp, address: Address) -> None:
        self._app = app
        self._address = address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        cookie = self._new_cookie(scope, headers)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                extra = [(k.encode(), v.encode()) for k, v in HEADERS.items()]
                if b"cache-control" not in there:
                    extra.append((b"cache-control", b"no-store"))
                if cookie:
                    extra.append((b"set-cookie", cookie.encode()))
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        await self._app(scope, _bounded(receive), guarded)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """Return why a request is not passed on, with its status."""
        hosts = self._address.hosts
        if headers.get("host", "").lower() not in hosts:
            return 421, "this server is not asked for by that name"
        if scope["method"] not in ("GET", "HEAD"):
            origin = headers.get("origin", "").lower()
            if origin not in {f"http://{host}" for host in hosts}:
                return 403, "requests that change something come from the page itself"
            kind = headers.get("content-type", "").split(";")[0].strip()
            if kind != "application/json":
                return 415, "requests hold JSON"
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return 403, "another site has asked"
        try:
            size = int(headers.get("content-length", "0"))
        except ValueError:
            return 400, "the content length is no number"
        if size > LARGEST_BODY:
            return 413, f"requests have at most {LARGEST_BODY:,} bytes"
        if self._address.token and not self._known(scope, headers):
            return 401, "the token is missing: open the address that the command has printed"
        return None

    def _known(self, scope: Scope, headers: dict[str, str]) -> bool:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        given = [cookie.value if cookie else "", self._asked(scope)]
        return any(hmac.compare_digest(g.encode(), self._address.token.encode()) for g in given)

    @staticmethod
    def _asked(scope: Scope) -> str:
        values: list[str] = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])
        return values[0]

    def _new_cookie(self, scope: Scope, headers: dict[str, str]) -> str | None:
        """Keep the token of an address that was opened, so that the page need not carry it."""
        if not self._address.token or not self._asked(scope):
            return None
        return f"{COOKIE}={self._address.token}; HttpOnly; SameSite=Strict; Path=/"


def _bounded(receive: Receive) -> Receive:
    """Cut off a body that is longer than it said, or said nothing."""
    seen = 0

    async def bounded() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > LARGEST_BODY:
                return {"type": "http.disconnect"}
        return message

    return bounded


async def _answer(send: Send, status: int, text: str) -> None:
    body = f"{text}\n".encode()
    headers: list[Any] = [(k.encode(), v.encode()) for k, v in HEADERS.items()]
    headers += [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
