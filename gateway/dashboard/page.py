"""The dashboard's page and its assets, served as they are in the folder `assets`: there is no build step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quart import Response, redirect
from quart_schema import hide
from quart_trio import QuartTrio

from protocols.http import Code
from runtime.web.errors import ApiError

_ASSETS = Path(__file__).parent / "assets"
_CONTENT_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    # They are small, and a page must not get a script of another version from a cache.
    "Cache-Control": "no-cache",
}


def add_dashboard(app: QuartTrio) -> None:
    """Add GET /dashboard and its assets."""
    page = (_ASSETS / "dashboard.html").read_text(encoding="utf-8")
    assets = {
        path.relative_to(_ASSETS).as_posix(): (path.read_bytes(), _CONTENT_TYPES[path.suffix])
        for path in _ASSETS.rglob("*")
        if path.suffix in _CONTENT_TYPES
    }

    @app.get("/dashboard/")
    @hide
    async def dashboard_folder() -> Any:
        return redirect("/dashboard")

    @app.get("/dashboard")
    @hide
    async def dashboard() -> Response:
        return Response(page, content_type="text/html; charset=utf-8", headers=_HEADERS)

    @app.get("/dashboard/assets/<path:name>")
    @hide
    async def dashboard_asset(name: str) -> Response:
        if name not in assets:
            raise ApiError(Code.NOT_FOUND, "Nothing is found at this path")
        content, kind = assets[name]
        return Response(content, content_type=f"{kind}; charset=utf-8", headers=_HEADERS)
