"""The services' OpenAPI documents as one, and the page that shows it."""

import httpx
import trio
import trio.testing

from gateway.pages.own_document import own_paths
from gateway.routes import OWN_FOLDERS, OWN_PATHS
from runtime.admin.service import ACTIONS
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
    assert sorted(merged["paths"].keys() - own_paths().keys()) == [
        "/auth/livez",
        "/auth/login",
        "/schools/{id}",
        "/students",
    ]
    for path, name, needs_token in (("/auth/login", "auth", False), ("/students", "student", True)):
        operation = merged["paths"][path]["get"]
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert schema == {"$ref": f"#/components/schemas/{name}.Item"}
        assert merged["components"]["schemas"][f"{name}.Item"] == {"title": name}
        assert ("security" in operation) is needs_token


async def test_the_document_keeps_a_services_part_while_it_is_down(gateway, services, autojump_clock):
    """The part is renewed when the service is back."""
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
    assert len(references) == 6
    for reference in references:
        asset = await client.get(reference)
        assert asset.status_code == 200
        assert len(asset.content) > 100


async def test_the_document_has_the_gateways_own_calls_and_every_status(gateway, services, autojump_clock):
    services["auth"].documents["/openapi.json"] = httpx.Response(200, json=document("/login", "auth"))
    services["student"].documents["/openapi.json"] = httpx.Response(200, json=document("/students", "s"))
    merged = (await gateway.client().get("/docs/openapi.json")).json()
    routes = {rule.rule.replace("<path:", "<") for rule in gateway.app.url_map.iter_rules()}
    for path in merged["paths"]:
        if path in own_paths():
            assert path.replace("{", "<").replace("}", ">") in routes | {"/dashboard/events"}
    documented = {path.encode() for path in own_paths()}
    assert documented >= OWN_PATHS
    assert all(any(path.startswith(folder) for path in documented) for folder in OWN_FOLDERS)
    action = merged["paths"]["/admin/breakers/{name}/{action}"]
    assert action["parameters"][1]["schema"]["enum"] == list(ACTIONS)
    assert action["post"]["security"] == [{"bearer": []}]
    given = merged["paths"]["/auth/login"]["get"]["responses"]
    assert sorted(given) == ["200", "400", "429", "500", "502", "503", "504"]
    assert "401" in merged["paths"]["/students"]["get"]["responses"]
    reference = given["502"]["content"]["application/json"]["schema"]["$ref"]
    assert merged["components"]["schemas"][reference.rpartition("/")[2]]["required"] == ["error", "message"]


async def test_docs_and_dashboard_with_a_slash_redirect(gateway, autojump_clock):
    for path in ("/docs", "/dashboard"):
        answer = await gateway.client().get(f"{path}/")
        assert (answer.status_code, answer.headers["location"]) == (302, path)


async def test_the_page_follows_the_dark_mode(gateway, autojump_clock):
    client = gateway.client()
    assert "prefers-color-scheme: dark" in (await client.get("/docs/assets/docs.js")).text
    assert "dark-mode" in (await client.get("/docs/assets/docs.css")).text
    assert ".dark-mode" in (await client.get("/docs/assets/swagger-ui.css")).text
