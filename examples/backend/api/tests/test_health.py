from app import create_app
from flask_migrate import downgrade, upgrade

RELEASE = "20260101T000000Z-abc1234"


def test_liveness_needs_no_database(empty_app):
    answer = empty_app.test_client().get("/api/health")
    assert (answer.status_code, answer.json) == (200, {"status": "ok", "release": RELEASE})
    assert answer.headers["Cache-Control"] == "no-store"


def test_ready_when_the_schema_is_at_head(client):
    answer = client.get("/api/ready")
    assert answer.status_code == 200
    assert answer.json == {"status": "ok", "release": RELEASE, "schema": {"found": ["0003"], "expected": ["0003"]}}


def test_not_ready_before_the_first_migration_and_behind_the_head(empty_app):
    client = empty_app.test_client()
    answer = client.get("/api/ready")
    assert answer.status_code == 503
    assert answer.json["reasons"] == ["the schema is at no revision, this release expects 0003"]
    with empty_app.app_context():
        upgrade()
        downgrade(revision="0002")
    assert client.get("/api/ready").json["reasons"] == ["the schema is at 0002, this release expects 0003"]


def test_not_ready_when_the_database_is_away(environment, tmp_path):
    environment.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/missing/test.db")
    client = create_app("testing").test_client()
    answer = client.get("/api/ready")
    assert answer.status_code == 503
    assert answer.json["reasons"] == ["the database is not reachable"]
    assert str(tmp_path) not in answer.get_data(as_text=True)
    assert client.get("/api/health").status_code == 200
    answer = client.get("/api/projects")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json["error"]["message"] == "The database is not available."


def test_pages_for_a_browser(client):
    page = client.get("/").get_data(as_text=True)
    assert RELEASE in page
    for path in ("/api/health", "/api/ready", "/api/projects", "/static/style.css"):
        assert f'href="{path}"' in page
        with client.get(path) as answer:
            assert answer.status_code == 200
    with client.get("/robots.txt") as answer:
        assert answer.text.startswith("User-agent: *")
