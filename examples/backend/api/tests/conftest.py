import pytest
from app import create_app
from app.extensions import db
from flask_migrate import upgrade

VARIABLES = ("APP_CONFIG", "SECRET_KEY", "DATABASE_URL", "CORS_ALLOWED_ORIGINS", "LOG_LEVEL", "DECANT_RELEASE")


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """Only what a test sets counts; the database is a file of its own, as in production."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'test.db'}")
    return monkeypatch


@pytest.fixture
def empty_app(environment):
    """An application whose database has no schema yet."""
    environment.setenv("DECANT_RELEASE", "20260101T000000Z-abc1234")
    app = create_app("testing")
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def app(empty_app):
    with empty_app.app_context():
        upgrade()
    return empty_app


@pytest.fixture
def client(app):
    return app.test_client()
