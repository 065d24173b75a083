import pytest
from app import create_app
from app.config import make_config
from app.extensions import db

KEY = "0123456789abcdef0123456789abcdef"
ENVIRON = {"SECRET_KEY": KEY, "DATABASE_URL": "sqlite:////srv/projects/shared/projects.db"}


@pytest.mark.parametrize(
    ("name", "debug", "testing", "behind_proxy", "level"),
    [
        ("development", True, False, False, "DEBUG"),
        ("testing", False, True, False, "INFO"),
        ("production", False, False, True, "INFO"),
    ],
)
def test_each_configuration_by_value(name, debug, testing, behind_proxy, level):
    config = make_config(name, ENVIRON)
    assert (
        debug,
        testing,
        behind_proxy,
        level,
    ) == (config.DEBUG, config.TESTING, config.BEHIND_PROXY, config.LOG_LEVEL)
    assert config.SECRET_KEY == KEY
    assert ENVIRON["DATABASE_URL"] == config.SQLALCHEMY_DATABASE_URI
    assert config.SQLALCHEMY_ENGINE_OPTIONS == {"connect_args": {"timeout": 15}}
    assert config.CORS_ALLOWED_ORIGINS == []
    assert config.RELEASE is None


def test_values_come_from_the_environment():
    config = make_config(
        "production",
        {
            **ENVIRON,
            "DATABASE_URL": "postgresql://projects@db.example.org/projects",
            "CORS_ALLOWED_ORIGINS": "https://example.org, https://www.example.org,",
            "LOG_LEVEL": "warning",
            "DECANT_RELEASE": "r1",
        },
    )
    assert config.CORS_ALLOWED_ORIGINS == ["https://example.org", "https://www.example.org"]
    assert (config.LOG_LEVEL, config.RELEASE) == ("WARNING", "r1")
    assert config.SQLALCHEMY_ENGINE_OPTIONS["pool_pre_ping"] is True


@pytest.mark.parametrize("missing", ["SECRET_KEY", "DATABASE_URL"])
@pytest.mark.parametrize("value", [None, "", "  "])
def test_production_refuses_to_start_without(missing, value):
    environ = {name: text for name, text in ENVIRON.items() if name != missing}
    if value is not None:
        environ[missing] = value
    with pytest.raises(RuntimeError, match=f"^{missing} is required in production"):
        make_config("production", environ)


@pytest.mark.parametrize("key", ["dev", "changeme", "For-Development-Only"])
def test_production_refuses_a_key_that_everybody_knows(key):
    with pytest.raises(RuntimeError, match="^SECRET_KEY is one that everybody knows"):
        make_config("production", {**ENVIRON, "SECRET_KEY": key})


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///projects.db", "hunter2-no-url"])
def test_production_refuses_a_database_that_is_not_absolute(url):
    with pytest.raises(RuntimeError, match=r"^DATABASE_URL ") as caught:
        make_config("production", {**ENVIRON, "DATABASE_URL": url})
    assert "hunter2" not in str(caught.value)
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_wrong_log_level_or_name_says_what_to_write():
    with pytest.raises(RuntimeError, match=r"LOG_LEVEL is 'LOUD'\. Use one of: DEBUG, INFO"):
        make_config("production", {**ENVIRON, "LOG_LEVEL": "LOUD"})
    with pytest.raises(RuntimeError, match=r"no configuration named 'prod'\. Use one of: development, testing"):
        create_app("prod")


def test_app_config_decides_when_no_name_is_given(environment):
    environment.setenv("APP_CONFIG", "production")
    with pytest.raises(RuntimeError, match="SECRET_KEY"):
        create_app()
    environment.setenv("SECRET_KEY", KEY)
    assert create_app().config["BEHIND_PROXY"] is True


def test_two_applications_read_their_own_environment(environment):
    environment.setenv("DECANT_RELEASE", "one")
    first = create_app("testing")
    environment.setenv("DECANT_RELEASE", "two")
    second = create_app("testing")
    assert (first.config["RELEASE"], second.config["RELEASE"]) == ("one", "two")


def test_creating_the_application_opens_no_connection(empty_app):
    with empty_app.app_context():
        pool = db.engine.pool
    assert (pool.checkedin(), pool.checkedout()) == (0, 0)


def test_forwarded_headers_count_in_production_only(environment):
    environment.setenv("SECRET_KEY", KEY)
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "projects.example.org"}
    page = create_app("production").test_client().get("/", headers=headers).get_data(as_text=True)
    assert "https://projects.example.org/api/projects" in page
    page = create_app("testing").test_client().get("/", headers=headers).get_data(as_text=True)
    assert "http://localhost/api/projects" in page


def test_cors_is_off_until_an_origin_is_allowed(environment):
    def allowed(origin):
        answer = create_app("testing").test_client().get("/api/health", headers={"Origin": origin})
        return answer.headers.get("Access-Control-Allow-Origin")

    assert allowed("https://example.org") is None
    environment.setenv("CORS_ALLOWED_ORIGINS", "https://example.org")
    assert allowed("https://example.org") == "https://example.org"
    assert allowed("https://evil.example.org") is None


def test_a_secret_from_a_file(tmp_path):
    key = tmp_path / "key"
    key.write_text("from a file\n")
    environ = {name: value for name, value in ENVIRON.items() if name != "SECRET_KEY"}
    assert make_config("production", {**environ, "SECRET_KEY_FILE": str(key)}).SECRET_KEY == "from a file"
