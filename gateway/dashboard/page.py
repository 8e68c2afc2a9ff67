"""The page and its parts, as they are in the folder beside this: nothing is built."""

from __future__ import annotations

from pathlib import Path

from quart import Response
from quart_schema import hide
from quart_trio import QuartTrio

from protocols.http import Code
from runtime.web.errors import ApiError

_ASSETS = Path(__file__).parent / "assets"
_KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_FIELDS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # It is small, and a page of one version with a script of another is no use.
    "Cache-Control": "no-cache",
}


def add_dashboard(app: QuartTrio) -> None:
    """Add GET /dashboard and its assets."""
    page = (_ASSETS / "dashboard.html").read_text(encoding="utf-8")
    parts = {
        path.name: (path.read_bytes(), _KINDS[path.suffix])
        for path in _ASSETS.iterdir()
        if path.suffix in _KINDS
    }

    @app.get("/dashboard")
    @hide
    async def dashboard() -> Response:
        return Response(page, content_type="text/html; charset=utf-8", headers=_FIELDS)

    @app.get("/dashboard/assets/<name>")
    @hide
    async def dashboard_asset(name: str) -> Response:
        if name not in parts:
            raise ApiError(Code.NOT_FOUND, "Nothing is found at this path")
        content, kind = parts[name]
        return Response(content, content_type=f"{kind}; charset=utf-8", headers=_FIELDS)
