"""The dashboard's page and its assets."""

from __future__ import annotations

import re

import pytest

from gateway.routes import SERVICES
from tests.gateway.dashboard.streams import ROOT, Silent
from tests.gateway.running_gateway import in_process_gateway

ASSETS = ROOT / "gateway" / "dashboard" / "assets"


FILES = [path for path in ASSETS.rglob("*") if path.is_file()]


# The page.


async def test_the_page_refers_to_the_gateways_own_assets_alone() -> None:
    """Every reference in it and in its assets exists."""
    async with (
        in_process_gateway({one.name: Silent() for one in SERVICES}) as built,
        built.client() as client,
    ):
        page = await client.get("/dashboard")
        assert page.headers["content-type"].startswith("text/html")
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        texts = [page.text, *(path.read_text() for path in FILES)]
        elsewhere = {found for text in texts for found in re.findall(r"https?://[^\"' )]+", text)}
        assert elsewhere == {"http://www.w3.org/2000/svg"}  # a name, not an address
        for reference in re.findall(r'(?:href|src)="(/dashboard/assets/[^"]+)"', page.text):
            assert (await client.get(reference)).status_code == 200, reference
        for path in ASSETS.rglob("*.js"):
            for name in re.findall(r'from "(\.[^"]+)"', path.read_text()):
                imported = (path.parent / name).resolve().relative_to(ASSETS)
                assert (await client.get(f"/dashboard/assets/{imported}")).status_code == 200, name


async def test_the_page_has_no_inline_script_or_style() -> None:
    """The Content-Security-Policy would block it."""
    for path in FILES:
        text = path.read_text()
        assert not re.search(r"<style|<script(?![^>]+src=)|\sstyle=|\son[a-z]+=\"|innerHTML", text), path


@pytest.mark.parametrize("name", ["nothing.js", "dashboard.html", "..%2ffeed.py", "views/..%2fmain.html"])
async def test_an_asset_that_the_page_does_not_use_is_404(name: str) -> None:
    async with (
        in_process_gateway({one.name: Silent() for one in SERVICES}) as built,
        built.client() as client,
    ):
        assert (await client.get(f"/dashboard/assets/{name}")).status_code == 404
