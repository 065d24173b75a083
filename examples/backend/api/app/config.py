"""Settings by environment name.

Values are read when the application is created, not when this module is imported: two applications in one process
(tests, the Flask CLI) then see their own environment. Messages name a variable and never print its value.
"""

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

API_DIR = Path(__file__).resolve().parent.parent
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
SQLITE_BUSY_SECONDS = 15
# What tutorials, templates and this file's own default have.
KNOWN_KEYS = ("dev", "secret", "changeme", "change-me", "for-development-only", "your-secret-key")


class Config:
    DEBUG = False
    TESTING = False
    BEHIND_PROXY = False
    MAX_CONTENT_LENGTH = 1024 * 1024
    DEFAULT_LOG_LEVEL = "INFO"

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.SECRET_KEY = self.secret_key(environ)
        self.SQLALCHEMY_DATABASE_URI = self.database_url(environ)
        self.SQLALCHEMY_ENGINE_OPTIONS = engine_options(self.SQLALCHEMY_DATABASE_URI)
        self.CORS_ALLOWED_ORIGINS = split_list(environ.get("CORS_ALLOWED_ORIGINS", ""))
        self.LOG_LEVEL = log_level(environ.get("LOG_LEVEL") or self.DEFAULT_LOG_LEVEL)
        self.RELEASE = environ.get("DECANT_RELEASE") or None

    def secret_key(self, environ: Mapping[str, str]) -> str:
        return environ.get("SECRET_KEY") or "for-development-only"

    def database_url(self, environ: Mapping[str, str]) -> str:
        raise NotImplementedError


class DevelopmentConfig(Config):
    DEBUG = True
    DEFAULT_LOG_LEVEL = "DEBUG"

    def database_url(self, environ: Mapping[str, str]) -> str:
        if url := environ.get("DATABASE_URL"):
            return url
        instance = API_DIR / "instance"
        instance.mkdir(exist_ok=True)
        return f"sqlite:///{instance / 'development.db'}"


class TestingConfig(Config):
    TESTING = True

    def database_url(self, environ: Mapping[str, str]) -> str:
        return environ.get("DATABASE_URL") or "sqlite://"


class ProductionConfig(Config):
    BEHIND_PROXY = True

    def secret_key(self, environ: Mapping[str, str]) -> str:
        hint = "a random string, for example from: openssl rand -hex 32"
        key = required(environ, "SECRET_KEY", hint)
        if key.lower() in KNOWN_KEYS:
            raise RuntimeError(f"SECRET_KEY is one that everybody knows. Set it to {hint}")
        return key

    def database_url(self, environ: Mapping[str, str]) -> str:
        example = "sqlite:////srv/projects/shared/projects.db"
        url = required(environ, "DATABASE_URL", f"for example {example}")
        try:
            parsed = make_url(url)
        except ArgumentError:
            # "from None": the original message repeats the URL, password included.
            raise RuntimeError(f"DATABASE_URL is not a database URL. Write it like {example}") from None
        if parsed.get_backend_name() == "sqlite" and not (parsed.database or "").startswith("/"):
            raise RuntimeError(
                "DATABASE_URL names a relative or in-memory SQLite database, which every process would resolve for "
                f"itself. Use an absolute path with four slashes, for example {example}"
            )
        return url


CONFIGS: dict[str, type[Config]] = {
    "development": DevelopmentConfig,
    "testing": TestingConfig,
    "production": ProductionConfig,
}


def with_files(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment with NAME read from the file that NAME_FILE names, as container secrets and systemd credentials come."""
    found = dict(environ)
    for key in ("SECRET_KEY", "DATABASE_URL"):
        if path := environ.get(f"{key}_FILE"):
            found[key] = Path(path).read_text(encoding="utf-8").rstrip("\n")
    return found


def make_config(name: str, environ: Mapping[str, str]) -> Config:
    if name not in CONFIGS:
        raise RuntimeError(f"There is no configuration named {name!r}. Use one of: {', '.join(CONFIGS)}")
    return CONFIGS[name](with_files(environ))


def required(environ: Mapping[str, str], name: str, hint: str) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise RuntimeError(f"{name} is required in production and is not set. Set it to {hint}")
    return value


def split_list(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def log_level(text: str) -> str:
    level = text.strip().upper()
    if level not in LOG_LEVELS:
        raise RuntimeError(f"LOG_LEVEL is {text!r}. Use one of: {', '.join(LOG_LEVELS)}")
    return level


def engine_options(url: str) -> dict:
    if url.startswith("sqlite"):
        # How long a writer waits for another one before it gives up: workers, and the old and the new
        # instance during a switch, share one file.
        return {"connect_args": {"timeout": SQLITE_BUSY_SECONDS}}
    # A database server that was restarted leaves dead connections in the pool: test each before use.
    return {"pool_pre_ping": True, "pool_recycle": 1800}
