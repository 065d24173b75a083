import pytest


def create(client, name, **fields):
    answer = client.post("/api/projects", json={"name": name, **fields})
    assert answer.status_code == 201, answer.json
    return answer.json


def names(client, query):
    answer = client.get(f"/api/projects?{query}")
    assert answer.status_code == 200, answer.json
    return [item["name"] for item in answer.json["items"]]


@pytest.fixture
def cellar(client):
    create(client, "Harvest", status="active", priority="high", due_date="2026-09-30", tags=["vineyard", "autumn"])
    create(client, "Bottling", status="planned", priority="high", due_date="2027-03-01", tags=["cellar"])
    create(client, "Labels 100%", description="new paper for the bottles", status="done", tags=["cellar", "autumn"])
    return client


def test_created_project_is_found_at_its_location(client):
    answer = client.post("/api/projects", json={"name": " Harvest ", "tags": ["Vineyard", "vineyard "]})
    assert answer.status_code == 201
    assert answer.json["name"] == "Harvest"
    assert answer.json["tags"] == ["vineyard"]
    assert (answer.json["status"], answer.json["priority"], answer.json["due_date"]) == ("planned", "normal", None)
    assert answer.json["created_at"].endswith("+00:00")
    assert answer.headers["Location"] == f"/api/projects/{answer.json['id']}"
    assert client.get(answer.headers["Location"]).json == answer.json


def test_patch_changes_only_what_was_sent(client):
    before = create(client, "Harvest", priority="high", tags=["a", "b"], due_date="2026-09-30")
    url = f"/api/projects/{before['id']}"
    after = client.patch(url, json={"status": "active", "tags": ["b", "c"]}).json
    assert after["updated_at"] > before["updated_at"]
    assert after == {**before, "status": "active", "tags": ["b", "c"], "updated_at": after["updated_at"]}
    assert client.get(url).json == after
    assert client.patch(url, json={"due_date": None}).json["due_date"] is None


def test_put_replaces_the_rest_with_defaults(client):
    before = create(client, "Harvest", priority="high", description="grapes", tags=["a"])
    after = client.put(f"/api/projects/{before['id']}", json={"name": "Harvest 2"}).json
    assert (after["name"], after["priority"], after["description"], after["tags"]) == ("Harvest 2", "normal", "", [])
    assert (after["id"], after["created_at"]) == (before["id"], before["created_at"])


def test_delete_removes_the_project_and_its_tags(client):
    url = f"/api/projects/{create(client, 'Harvest', tags=['a'])['id']}"
    assert client.delete(url).status_code == 204
    assert client.get(url).status_code == 404
    assert client.delete(url).status_code == 404
    assert names(client, "tag=a") == []


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["Harvest", "Bottling", "Labels 100%"]),
        ("status=active", ["Harvest"]),
        ("status=active&status=done", ["Harvest", "Labels 100%"]),
        ("priority=high", ["Harvest", "Bottling"]),
        ("priority=high&status=planned", ["Bottling"]),
        ("due_before=2026-09-30", []),
        ("due_before=2026-10-01", ["Harvest"]),
        ("tag=cellar&tag=Autumn", ["Labels 100%"]),
        ("q=bottl", ["Bottling", "Labels 100%"]),
        ("q=100%25", ["Labels 100%"]),
        ("q=_", []),
        ("sort=name", ["Bottling", "Harvest", "Labels 100%"]),
        ("sort=-id", ["Labels 100%", "Bottling", "Harvest"]),
        ("per_page=2", ["Harvest", "Bottling"]),
        ("per_page=2&page=2", ["Labels 100%"]),
        ("page=9", []),
    ],
)
def test_filters_search_order_and_pages(cellar, query, found):
    assert names(cellar, query) == found


def test_a_page_tells_the_totals(cellar):
    answer = cellar.get("/api/projects?per_page=2&tag=autumn").json
    assert (answer["total"], answer["pages"], answer["page"], answer["per_page"]) == (2, 1, 1, 2)


@pytest.mark.parametrize(
    "query",
    [
        "status=lost",
        "priority=",
        "due_before=2026-13-01",
        "due_before=2026-W01-1",
        "page=0",
        "page=x",
        f"page={'9' * 5000}",
        "per_page=101",
        "sort=secret",
        "q=%00",
    ],
)
def test_a_wrong_query_is_a_400(client, query):
    answer = client.get(f"/api/projects?{query}")
    assert answer.status_code == 400
    assert answer.json["error"]["message"].startswith(query.split("=")[0] + " must") or "%00" in query


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ([], "body"),
        ({"name": ""}, "name"),
        ({"name": 7}, "name"),
        ({"name": "x" * 121}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"name": "x", "status": "lost"}, "status"),
        ({"name": "x", "priority": ["high"]}, "priority"),
        ({"name": "x", "due_date": "20260101"}, "due_date"),
        ({"name": "x", "due_date": 20260101}, "due_date"),
        ({"name": "x", "tags": "a"}, "tags"),
        ({"name": "x", "tags": [1]}, "tags"),
        ({"name": "x", "id": 5}, "id"),
    ],
)
def test_a_wrong_body_is_a_422_that_names_the_field(client, body, field):
    answer = client.post("/api/projects", json=body)
    assert answer.status_code == 422
    assert list(answer.json["error"]["fields"]) == [field]
    assert names(client, "") == []


def test_a_name_is_taken_once(client):
    create(client, "Harvest")
    other = create(client, "Bottling")
    assert client.post("/api/projects", json={"name": "Harvest"}).status_code == 409
    answer = client.patch(f"/api/projects/{other['id']}", json={"name": "Harvest"})
    assert answer.status_code == 409
    assert answer.json["error"]["message"] == "There is already a project named 'Harvest'."
    assert names(client, "sort=name") == ["Bottling", "Harvest"]


@pytest.mark.parametrize(
    ("method", "path", "arguments", "status"),
    [
        ("POST", "/api/projects", {"data": "{", "content_type": "application/json"}, 400),
        ("POST", "/api/projects", {"data": "name=x"}, 415),
        ("POST", "/api/projects", {"data": b"x" * 1048577, "content_type": "application/json"}, 413),
        ("GET", "/api/projects/1", {}, 404),
        ("GET", f"/api/projects/{2**80}", {}, 404),
        ("GET", "/api/nothing", {}, 404),
        ("GET", "/nothing", {}, 404),
        ("POST", "/api/health", {}, 405),
    ],
)
def test_every_error_is_json(client, method, path, arguments, status):
    answer = client.open(path, method=method, **arguments)
    assert answer.status_code == status
    assert answer.json["error"]["status"] == status
    assert answer.json["error"]["message"]
    if status == 405:
        assert "GET" in answer.headers["Allow"]


def test_an_unexpected_error_is_json_without_details(app, monkeypatch):
    def broken():
        raise ZeroDivisionError("hunter2")

    monkeypatch.setitem(app.view_functions, "health.live", broken)
    app.testing = False
    answer = app.test_client().get("/api/health")
    assert answer.status_code == 500
    assert answer.json["error"]["name"] == "Internal Server Error"
    assert "hunter2" not in answer.get_data(as_text=True)
