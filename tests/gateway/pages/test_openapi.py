"""The services' OpenAPI documents as one, and the page that shows it."""

import httpx
import trio
import trio.testing

from tests.gateway.scripted_service import DEAD


def document(path, schema):
    """An OpenAPI document with one operation."""
    answer = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Item"}}}}
    paths = {path: {"get": {"responses": {"200": answer}}}, "/livez": {"get": {"responses": {}}}}
    return {"openapi": "3.1.0", "paths": paths, "components": {"schemas": {"Item": {"title": schema}}}}


async def test_the_document_has_the_public_paths_and_schemas_of_all_services(
    gateway, services, autojump_clock
):
    for name, path in (("auth", "/login"), ("school", "/schools/{id}"), ("student", "/students")):
        services[name].documents["/openapi.json"] = httpx.Response(200, json=document(path, name))
    merged = (await gateway.client().get("/docs/openapi.json")).json()
    assert sorted(merged["paths"]) == ["/auth/livez", "/auth/login", "/schools/{id}", "/students"]
    for path, name, needs_token in (("/auth/login", "auth", False), ("/students", "student", True)):
        operation = merged["paths"][path]["get"]
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert schema == {"$ref": f"#/components/schemas/{name}.Item"}
        assert merged["components"]["schemas"][f"{name}.Item"] == {"title": name}
        assert ("security" in operation) is needs_token


async def test_the_document_keeps_a_services_part_while_it_is_down(gateway, services, autojump_clock):
    """It is renewed when the service is back."""
    client, school = gateway.client(), services["school"]
    school.documents["/openapi.json"] = httpx.Response(200, json=document("/schools", "old"))
    await client.get("/docs/openapi.json")
    school.documents["/openapi.json"] = DEAD
    await trio.sleep(120)
    assert "/schools" in (await client.get("/docs/openapi.json")).json()["paths"]
    school.documents["/openapi.json"] = httpx.Response(200, json=document("/schools/new", "new"))
    await trio.sleep(120)
    assert "/schools/new" in (await client.get("/docs/openapi.json")).json()["paths"]


async def test_the_page_refers_to_the_gateways_own_assets_alone(gateway, autojump_clock):
    client = gateway.client()
    page = await client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "http://" not in page.text
    assert "https://" not in page.text
    references = [part.split('"')[0] for part in page.text.replace('href="', 'src="').split('src="')[1:]]
    assert len(references) == 5
    for reference in references:
        asset = await client.get(reference)
        assert asset.status_code == 200
        assert len(asset.content) > 100
