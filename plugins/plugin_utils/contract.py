# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a type cannot say about the inputs: one function per subject, each returns sentences an operator can act on.

A sentence names the variable, the value seen (never a secret's), the rule, and a good example.
"""

from __future__ import annotations

import datetime
import difflib
import ipaddress
import os
import posixpath
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.decant.flask.plugins.module_utils import envfile

from . import alerts, baseline, edge, kits, monitoring, readiness, sandbox
from .settings import COMMAND_LINE, ROLES, VERBS
from .steps import HOOKS, hook_paths, share

APP_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
# <name>-health.timer and the like belong to the backend <name>; a backend called so would share its units.
RESERVED_SUFFIXES = ("-health", "-migrate", "-drain", "-backup", "-restore")
PATH = re.compile(r"[A-Za-z0-9_./-]+")
URL_PREFIX = re.compile(r"/([A-Za-z0-9_.~-]+/)+")
USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
FACTORY = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*(\(.*\))?")
SERVER_NAME = re.compile(
    r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*"
)
# What needs no quotes in SQL and in pg_hba.conf, and at most NAMEDATALEN - 1 bytes.
SQL_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
# Databases and roles of the server itself, and words that pg_hba.conf reads as something else than a name.
SQL_RESERVED = {
    "all",
    "none",
    "postgres",
    "public",
    "replication",
    "samegroup",
    "samerole",
    "sameuser",
    "template0",
    "template1",
}
PASSWORD_LEAST = 16
LOCALE = re.compile(r"[A-Za-z0-9_.@-]+")
NGINX_SIZE = re.compile(r"[1-9][0-9]*[kmg]?|0", re.IGNORECASE)
PLACEHOLDER = re.compile(
    r"^\W*(change[-_ ]?me|changeit|replace[-_ ]?me|todo([-_ ]|$)|x{3,}\W*$|placeholder|example|your[-_ ]|default|dev([-_ ]|$)|"
    r"development|test([-_ ]|$)|insecure|password|secret([-_ ]?key)?\W*$|<)",
    re.IGNORECASE,
)
TRUTHY = {"1", "true", "yes", "on", "t", "y"}
MINIMUM = {
    "backup_jitter_seconds": 0,
    "backup_keep": 1,
    "dotenv_secret_key_min_length": 1,
    "gunicorn_backlog": 1,
    "gunicorn_drain_seconds": 0,
    "gunicorn_graceful_timeout_seconds": 1,
    "gunicorn_keepalive_seconds": 0,
    "gunicorn_max_requests": 0,
    "gunicorn_restart_interval_seconds": 1,
    "gunicorn_restart_limit": 1,
    "gunicorn_tasks_max": 16,
    "gunicorn_threads": 0,
    "gunicorn_timeout_seconds": 1,
    "gunicorn_workers": 0,
    "gunicorn_workers_max": 1,
    "health_alert_failures": 1,
    "health_alert_journal_lines": 0,
    "health_alert_reminder_hours": 0,
    "health_alert_retry_seconds": 1,
    "health_alert_successes": 1,
    "health_backup_age_hours": 0,
    "health_certificate_days": 1,
    "health_deadline_seconds": 1,
    "health_disk_free_percent": 0,
    "health_failures_before_restart": 0,
    "health_inodes_free_percent": 0,
    "health_memory_percent": 1,
    "health_restart_backoff_seconds": 1,
    "health_restart_window_seconds": 1,
    "health_restarts": 1,
    "health_restarts_per_hour": 1,
    "health_rollback_window_seconds": 1,
    "health_slow_seconds": 0,
    "health_successes": 1,
    "health_survey_seconds": 1,
    "health_timeout_seconds": 0.1,
    "health_timer_seconds": 1,
    "lock_lease_seconds": 60,
    "lock_wait_seconds": 0,
    "migrate_lock_timeout_seconds": 0,
    "migrate_statement_timeout_seconds": 0,
    "migrate_timeout_seconds": 1,
    "nginx_client_timeout_seconds": 1,
    "nginx_connections_per_client": 0,
    "nginx_hsts_max_age_seconds": 0,
    "nginx_maintenance_retry_after_seconds": 1,
    "nginx_proxy_connect_timeout_seconds": 1,
    "nginx_proxy_read_timeout_seconds": 1,
    "nginx_proxy_send_timeout_seconds": 1,
    "nginx_rate_limit_burst": 0,
    "nginx_static_max_age_seconds": 0,
    "nginx_streaming_timeout_seconds": 1,
    "release_bake_min_requests": 1,
    "release_bake_seconds": 0,
    "release_keep": 2,
    "status_history": 0,
    "venv_timeout_seconds": 1,
}
INSECURE = {
    "secret_key_placeholder": "a secret that is still a placeholder",
    "secret_key_short": "a SECRET_KEY shorter than dotenv_secret_key_min_length",
    "secret_key_missing": "no SECRET_KEY at all",
    "debug": "a truthy DEBUG or FLASK_DEBUG",
    "cors_wildcard": "a CORS list that allows every origin",
    "database_in_memory": "a SQLite database that lives in memory",
    "postgresql_password_weak": f"a postgresql_password that is a placeholder or shorter than {PASSWORD_LEAST} characters",
}


def unknown_variables(names: Iterable[str], known: Iterable[str], ignored: Iterable[str]) -> list[str]:
    """Variables that look like an input of Decant and are none: what a typo becomes."""
    known = sorted({*known, *COMMAND_LINE})
    prefixes = tuple(f"{role}_" for role in (*ROLES, *VERBS))
    problems = []
    for name in sorted(set(names) - set(known)):
        if name.startswith(("_", "ansible_", "vault_", "molecule_")) or any(matches(name, p) for p in ignored):
            continue
        ours = name.startswith(prefixes)
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.6 if ours else 0.9)
        if ours or close:
            hint = f" Did you mean {close[0]}?" if close else ""
            problems.append(
                f"{name} is not an input of Decant.{hint} If it is a variable of your own, "
                f"list it: app_ignore_variables: [{name}]."
            )
    return problems


def matches(name: str, pattern: str) -> bool:
    """A name against an entry of app_ignore_variables, where a trailing * stands for any ending."""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def required(v: Mapping[str, Any], names: Iterable[str], examples: Mapping[str, str]) -> list[str]:
    """Inputs that have no default and were not given."""
    return [
        f"{name} is not set. Write it in the inventory's group_vars, for example {name}: {examples[name]}"
        for name in names
        if v.get(name) in (None, "", [])
    ]


def identity(v: Mapping[str, Any]) -> list[str]:
    """Name, user, directory, factory, sub-directory, shared paths."""
    problems = []
    name = v.get("app_name")
    if name:
        if not APP_NAME.fullmatch(str(name)):
            problems.append(
                f"app_name is '{name}'. Use lower-case letters, digits and dashes, at most 31, starting with a letter, "
                "for example 'shop-api': it becomes a unit, a user and a directory."
            )
        elif str(name).endswith(RESERVED_SUFFIXES):
            problems.append(
                f"app_name is '{name}'. Endings {', '.join(RESERVED_SUFFIXES)} name the helper units of another backend; "
                "choose a name without them."
            )
    user = str(v.get("app_user") or "")
    if user and not USER.fullmatch(user):
        problems.append(
            f"app_user is '{user}'. Use lower-case letters, digits, dashes and underscores, at most 31, for example 'shop'."
        )
    root = str(v.get("app_root") or "")
    if root and (
        not root.startswith("/") or posixpath.normpath(root) != root or root.count("/") < 2 or not PATH.fullmatch(root)
    ):
        problems.append(
            f"app_root is '{root}'. Write a normalised absolute path at least two levels deep, of letters, digits, dots, dashes "
            "and slashes, for example '/srv/projects'."
        )
    if root.startswith(("/home/", "/root/", "/run/", "/tmp/", "/var/tmp/")):
        problems.append(
            f"app_root is '{root}', which the sandbox hides from the backend or a reboot empties. Write for example '/srv/projects'."
        )
    factory = str(v.get("app_factory") or "")
    if factory and not FACTORY.fullmatch(factory):
        problems.append(
            f"app_factory is '{factory}'. Write module:callable(arguments) or module:object, for example "
            "\"app:create_app('production')\" or 'wsgi:app'. gunicorn serves it and the Flask CLI migrates through it."
        )
    for key in ("app_subdir", "migrate_directory"):
        if v.get(key) and not inside(str(v[key])):
            problems.append(f"{key} is '{v[key]}'. Write a relative path inside the source, for example 'backend'.")
    for path in v.get("app_shared_paths") or []:
        if not inside(str(path)):
            problems.append(
                f"app_shared_paths has '{path}'. Write paths relative to the code, for example 'uploads': each becomes a "
                "link to the same name under the shared directory."
            )
    for url_prefix, path in (v.get("nginx_static_paths") or {}).items():
        if not URL_PREFIX.fullmatch(str(url_prefix)) or not PATH.fullmatch(str(path)) or not inside(str(path)):
            problems.append(
                f"nginx_static_paths has '{url_prefix}': '{path}'. Write a URL prefix that starts and ends with a slash, "
                "and a directory relative to the code, for example '/static/': 'app/static'."
            )
    return problems


def inside(path: str) -> bool:
    """Whether a relative path stays where it starts."""
    return (
        bool(path)
        and not path.startswith("/")
        and not path.endswith("/")
        and ".." not in path.split("/")
        and posixpath.normpath(path) != "."
    )


def source(v: Mapping[str, Any]) -> list[str]:
    """Exactly one source, and what belongs to it."""
    given = [name for name in ("app_repo", "app_path", "app_archive") if v.get(name)]
    problems = []
    if len(given) != 1:
        seen = " and ".join(given) if given else "none of them"
        problems.append(
            f"The source is one of app_repo (git), app_path (a directory on the controller) and app_archive (a file or URL); "
            f"this inventory sets {seen}. Set exactly one."
        )
    if v.get("app_repo") and not v.get("app_version"):
        problems.append(
            "app_version is not set. Name the branch, tag or commit of app_repo to deploy, for example 'v1.4.0'."
        )
    if str(v.get("app_version") or "").startswith("-"):
        problems.append(f"app_version is '{v['app_version']}'. A branch, tag or commit does not start with a dash.")
    checksum = str(v.get("app_archive_checksum") or "")
    if v.get("app_archive") and not re.fullmatch(r"sha256:[0-9a-f]{64}", checksum):
        problems.append(
            f"app_archive_checksum is '{checksum}'. An archive needs its checksum: 'sha256:' and 64 lower-case hex digits, "
            "as sha256sum prints them."
        )
    return problems


def environment(v: Mapping[str, Any]) -> list[str]:
    """app_env and app_secrets: can be written, do not collide, and are fit for production."""
    problems = []
    plain, secrets = v.get("app_env") or {}, v.get("app_secrets") or {}
    if not isinstance(secrets, dict):
        return [
            'app_secrets is not a mapping. Write KEY: value lines under it, for example SECRET_KEY: "{{ vault_app_secret_key }}".'
        ]
    if not isinstance(plain, dict):
        return ["app_env is not a mapping. Write KEY: value lines under it, for example LOG_LEVEL: info."]
    for key in sorted(set(plain) & set(secrets)):
        problems.append(
            f"{key} is in both app_env and app_secrets. Keep it in one of them; a secret belongs in app_secrets."
        )
    for key in ("FLASK_APP", "APP_CONFIG", "DECANT_RELEASE"):
        if key in plain or key in secrets:
            instead = {"FLASK_APP": "app_factory", "APP_CONFIG": "app_config"}.get(key, "nothing: each release sets it")
            problems.append(f"{key} is set by Decant. Remove it from app_env and app_secrets, and set {instead}.")
    for variable, group in (("app_env", plain), ("app_secrets", secrets)):
        for key, value in sorted(group.items()):
            try:
                envfile.render({key: value})
            except envfile.EnvFileError as error:
                problems.append(f"{variable}: {error}")
    if v.get("dotenv_secret_key_generated") and "SECRET_KEY" in {**plain, **secrets}:
        problems.append(
            "dotenv_secret_key_generated is true, and the inventory has a SECRET_KEY. Remove one of them: two keys would sign in turns."
        )
    allowed = set(v.get("app_allow_insecure") or [])
    for name in sorted(allowed - set(INSECURE)):
        problems.append(f"app_allow_insecure has '{name}', which is not one of {', '.join(sorted(INSECURE))}.")
    problems += [
        f"{text} To accept it knowingly: app_allow_insecure: [{name}]."
        for name, text in insecure(v)
        if name not in allowed
    ]
    return problems


def insecure(v: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What must not go to production, as (name of the exception, sentence). Values of secrets are never in a sentence."""
    plain, secrets = v.get("app_env") or {}, v.get("app_secrets") or {}
    both = {**plain, **secrets}
    found = []
    for key, value in sorted(secrets.items()):
        if isinstance(value, str) and PLACEHOLDER.search(value):
            found.append(
                (
                    "secret_key_placeholder",
                    f"{key} in app_secrets is still a placeholder. Generate one and keep it in the vault.",
                )
            )
    key = both.get("SECRET_KEY")
    least = int(v.get("dotenv_secret_key_min_length") or 32)
    make = "python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
    if not key and not v.get("dotenv_secret_key_generated"):
        found.append(
            (
                "secret_key_missing",
                f"app_secrets has no SECRET_KEY. Sessions and tokens are signed with it; make one: {make}.",
            )
        )
    elif key and len(str(key)) < least:
        found.append(
            ("secret_key_short", f"SECRET_KEY has {len(str(key))} characters; {least} are needed. Make one: {make}.")
        )
    for name in ("DEBUG", "FLASK_DEBUG"):
        if str(both.get(name, "")).strip().lower() in TRUTHY:
            found.append(
                (
                    "debug",
                    f"{name} is '{both[name]}'. The debugger runs code for whoever asks; remove it or write false.",
                )
            )
    for name, value in sorted(both.items()):
        if "CORS" in name.upper() and "ORIGIN" in name.upper() and "*" in re.split(r"[\s,\[\]\"']+", str(value)):
            found.append(
                (
                    "cors_wildcard",
                    f"{name} allows every origin ('*'). List the origins, for example https://example.org.",
                )
            )
    for name, value in sorted(both.items()):
        if sqlite_path(str(value)) == "":
            found.append(
                (
                    "database_in_memory",
                    f"{name} is a SQLite database in memory: every worker has its own, and a restart empties it.",
                )
            )
    return found


def sqlite_path(url: str) -> str | None:
    """The file of a SQLite URL; None when the URL is of another kind, empty when the database is in memory.

    SQLAlchemy: sqlite:///relative, sqlite:////absolute.
    """
    match = re.fullmatch(r"sqlite(?:\+\w+)?://(?:/([^?]*))?(?:\?.*)?", url)
    if not match:
        return None
    path = match.group(1) or ""
    return "" if path == ":memory:" else path


def database(v: Mapping[str, Any]) -> list[str]:
    """SQLite files: absolute, and in a place that outlives a release and that the app may write."""
    problems = []
    root = str(v.get("app_root") or "")
    both = {**(v.get("app_env") or {}), **(v.get("app_secrets") or {})}
    writable = [f"{root}/shared", *[str(p) for p in v.get("gunicorn_writable_paths") or []]]
    for name, value in sorted(both.items()):
        path = sqlite_path(value) if isinstance(value, str) else None
        if not path:
            continue
        shown = "from app_secrets" if name in (v.get("app_secrets") or {}) else f"'{path}'"
        wanted = f"sqlite:///{root}/shared/{v.get('app_name')}.db"
        if not path.startswith("/"):
            problems.append(
                f"{name} is a relative SQLite path ({shown}), which Flask reads relative to its instance folder. Write {wanted}."
            )
            continue
        real = posixpath.normpath(path)
        if any(real.startswith(f"{root}/{part}/") for part in ("releases", "current", "venvs")):
            problems.append(
                f"{name} puts the database inside a release ({shown}): the next deploy would leave it behind. Write {wanted}."
            )
        elif not any(real.startswith(f"{folder.rstrip('/')}/") for folder in writable):
            problems.append(
                f"{name} puts the database at a place ({shown}) that the sandbox keeps read-only. Write {wanted}, "
                "or list its directory in gunicorn_writable_paths."
            )
    return problems


def explicit_database_url(v: Mapping[str, Any]) -> str:
    """DATABASE_URL as the inventory gives it, which wins over the one that Decant would build; empty when it does not."""
    return str({**(v.get("app_env") or {}), **(v.get("app_secrets") or {})}.get("DATABASE_URL") or "")


def builds_database_url(v: Mapping[str, Any]) -> bool:
    """Whether the backend's DATABASE_URL is made of the postgresql_* inputs, password included."""
    return v.get("app_database") == "postgresql" and not explicit_database_url(v)


def postgresql(v: Mapping[str, Any], provisions: bool) -> list[str]:
    """The inputs of a PostgreSQL database.

    :param provisions: whether this play makes the database, or only connects to it.
    """
    url = explicit_database_url(v)
    problems = []
    if v.get("app_database") == "postgresql" and sqlite_path(url) is not None:
        where = "app_secrets" if "DATABASE_URL" in (v.get("app_secrets") or {}) else "app_env"
        problems.append(
            f"app_database is 'postgresql', and DATABASE_URL in {where} is a SQLite URL, which wins. Remove it, "
            "or write app_database: sqlite."
        )
    if url and not provisions:
        return problems
    for name in ("postgresql_database", "postgresql_user"):
        value = str(v.get(name) or "")
        if not SQL_NAME.fullmatch(value) or value in SQL_RESERVED or value.startswith("pg_"):
            problems.append(
                f"{name} is '{value}'. Use lower-case letters, digits and underscores, at most 63, not starting with a digit or pg_, "
                "and no name of the server's own such as 'postgres', for example 'shop_api'."
            )
    port = v.get("postgresql_port")
    if isinstance(port, int) and not 1 <= port <= 65535:
        problems.append(f"postgresql_port is {port}. Write a TCP port from 1 to 65535, for example 5432.")
    problems += postgresql_host(str(v.get("postgresql_host") or ""))
    problems += postgresql_password(v)
    if provisions:
        problems += postgresql_server(v)
    return problems


def postgresql_host(host: str) -> list[str]:
    """Where the backends find the server: a name, an address, or the directory of a socket."""
    if not host:
        return [
            "postgresql_host is not set, and the inventory has no host in the group database to take it from. Add the group "
            "and run playbooks/provision.yml, or name a server of your own, for example postgresql_host: db.example.org."
        ]
    if host.startswith("/"):
        good = bool(PATH.fullmatch(host)) and posixpath.normpath(host) == host
    else:
        good = bool(SERVER_NAME.fullmatch(host)) or is_address(host)
    return (
        []
        if good
        else [
            f"postgresql_host is '{host}'. Write a host name or an address without scheme, user and port, or the directory of "
            "the server's socket, for example 'db.example.org', '192.0.2.21' or '/run/postgresql'."
        ]
    )


def postgresql_password(v: Mapping[str, Any]) -> list[str]:
    """The password, never shown."""
    password = v.get("postgresql_password")
    make = "python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
    if password in (None, ""):
        return [
            "postgresql_password is not set, and app_database is 'postgresql'. Keep it in the vault, for example "
            f'postgresql_password: "{{{{ vault_postgresql_password }}}}"; make one: {make}.'
        ]
    if not isinstance(password, str):
        return ["postgresql_password is not text. Put quotes around it, or a number would lose its leading zeros."]
    found = []
    if any(not c.isprintable() for c in password) or password != password.strip():
        found.append(
            "postgresql_password has a control character, or a blank at one of its ends, as from a file that ends in a new line. "
            f"Make another: {make}."
        )
    weak = ""
    if PLACEHOLDER.search(password):
        weak = "postgresql_password is still a placeholder"
    elif len(password) < PASSWORD_LEAST:
        weak = f"postgresql_password has {len(password)} characters; {PASSWORD_LEAST} are needed"
    if weak and "postgresql_password_weak" not in (v.get("app_allow_insecure") or []):
        found.append(
            f"{weak}. Make one: {make}. To accept it knowingly: app_allow_insecure: [postgresql_password_weak]."
        )
    return found


def postgresql_server(v: Mapping[str, Any]) -> list[str]:
    """What the server itself is told: where it listens, whom it lets in, how it sorts."""
    problems = []
    local = str(v.get("postgresql_host") or "").startswith("/")
    allowed = [str(item) for item in v.get("postgresql_allowed_addresses") or []]
    if not allowed and not local:
        problems.append(
            "postgresql_allowed_addresses is empty, and the inventory has no host in the group backend to take addresses from: "
            "nobody could connect. Write for example postgresql_allowed_addresses: [192.0.2.11]."
        )
    for item in allowed:
        try:
            network = ipaddress.ip_network(item)
        except ValueError:
            problems.append(
                f"postgresql_allowed_addresses has '{item}'. The server compares addresses, not names: write an address or a "
                "network without host bits, for example '192.0.2.11' or '192.0.2.0/28', or give the host its ansible_host."
            )
            continue
        if network.prefixlen == 0:
            problems.append(
                f"postgresql_allowed_addresses has '{item}', which is every address there is. Write those of the backends."
            )
    for item in v.get("postgresql_listen_addresses") or []:
        if item not in ("*", "localhost") and not is_address(str(item)):
            problems.append(
                f"postgresql_listen_addresses has '{item}'. Write addresses of the database host, 'localhost', or '*' for all of them."
            )
    locale = str(v.get("postgresql_locale") or "")
    if not LOCALE.fullmatch(locale):
        problems.append(
            f"postgresql_locale is '{locale}'. Write a name that 'locale -a' lists on the database host, for example 'C.UTF-8'."
        )
    return problems


def is_address(text: str) -> bool:
    """Whether a text is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def serving(v: Mapping[str, Any]) -> list[str]:
    """gunicorn, nginx and health inputs."""
    problems = []
    for name in v.get("nginx_server_names") or []:
        if not SERVER_NAME.fullmatch(str(name)) or name == "_":
            problems.append(
                f"nginx_server_names has '{name}'. Write host names without scheme, port or path, for example 'projects.example.org'."
            )
    port = v.get("nginx_listen_port")
    if isinstance(port, int) and not 1 <= port <= 65535:
        problems.append(f"nginx_listen_port is {port}. Write a TCP port from 1 to 65535, for example 80.")
    size = str(v.get("nginx_client_max_body_size") or "10m")
    if not NGINX_SIZE.fullmatch(size):
        problems.append(f"nginx_client_max_body_size is '{size}'. Write a number with k, m or g, for example '10m'.")
    path = str(v.get("health_path") or "")
    if path and not re.fullmatch(r"/[!#%-~]*", path):
        problems.append(
            f"health_path is '{path}'. Write a URL path that starts with a slash, without blanks, quotes and dollars, for example '/api/health'."
        )
    for name, least in MINIMUM.items():
        value = v.get(name)
        if isinstance(value, (int, float)) and value < least:
            why = " (the one that serves and the one before it)" if name == "release_keep" else ""
            problems.append(f"{name} is {value}. At least {least} is needed{why}.")
    for path in v.get("gunicorn_writable_paths") or []:
        if not str(path).startswith("/") or not PATH.fullmatch(str(path)):
            problems.append(
                f"gunicorn_writable_paths has '{path}'. Write absolute paths of letters, digits, dots, dashes and slashes, "
                "for example '/var/lib/projects'."
            )
    for name in v.get("gunicorn_extra_settings") or {}:
        if not str(name).isidentifier():
            problems.append(
                f"gunicorn_extra_settings has '{name}', which is no setting of gunicorn. Write for example limit_request_line: 8190."
            )
        elif name in ("bind", "wsgi_app", "chdir", "user", "group", "pidfile", "daemon"):
            problems.append(f"gunicorn_extra_settings has '{name}', which the unit decides. Remove it.")
    if v.get("gunicorn_worker_class") == "sync" and int(v.get("gunicorn_threads") or 0) > 1:
        problems.append(
            f"gunicorn_threads is {v['gunicorn_threads']} with the sync worker class, which has no threads. "
            "Write gunicorn_worker_class: gthread, or leave gunicorn_threads out."
        )
    return problems


def fleet(v: Mapping[str, Any], place: str, hosts: Iterable[str]) -> list[str]:
    """Hooks, steps, and hosts that may be away."""
    problems = []
    for moment, path in (v.get("release_hooks") or {}).items():
        if moment not in HOOKS:
            problems.append(f"release_hooks has '{moment}', which is not one of {', '.join(HOOKS)}.")
        elif not os.path.isfile(hook_paths({moment: path}, place)[moment]):
            problems.append(
                f"release_hooks: {moment} is '{path}', and there is no such file ({hook_paths({moment: path}, place)[moment]}). "
                "Write a task file's path, absolute or relative to the inventory's directory."
            )
    for entry in v.get("release_batches") or []:
        if share(entry, 100) is None:
            problems.append(
                f'release_batches has \'{entry}\'. Write numbers of hosts or percentages, growing, for example [1, "50%", "100%"].'
            )
    rate, ratio = v.get("release_bake_max_error_rate"), v.get("release_bake_max_p95_ratio")
    if isinstance(rate, (int, float)) and not 0 <= rate <= 1:
        problems.append(f"release_bake_max_error_rate is {rate}. Write a share from 0 to 1, for example 0.01.")
    if isinstance(ratio, (int, float)) and ratio < 1:
        problems.append(f"release_bake_max_p95_ratio is {ratio}. At least 1 is needed, for example 3.")
    if int(v.get("release_bake_seconds") or 0) > 0 and v.get("nginx_access_log_enabled") is False:
        problems.append(
            f"release_bake_seconds is {v['release_bake_seconds']}, and a step is judged by nginx's access log, which "
            "nginx_access_log_enabled turns off. Remove one of them."
        )
    known = set(hosts)
    for name in v.get("release_allow_missing") or []:
        if known and name not in known:
            problems.append(f"release_allow_missing has '{name}', which is no host of this inventory.")
    return problems


def problems(
    v: Mapping[str, Any],
    names: Iterable[str],
    known: Iterable[str],
    needs: Iterable[str],
    place: str = "",
    hosts: Iterable[str] = (),
) -> list[str]:
    """Everything that is wrong with the inputs, in the order an operator would fix it.

    :param v: every public variable that is set or has a default.
    :param names: every variable of the play, for typos.
    :param known: the variables that exist.
    :param needs: the roles that run in this play.
    :param place: the inventory's directory.
    :param hosts: the hosts of the inventory.
    """
    examples = {
        "app_name": "projects",
        "app_factory": "\"app:create_app('production')\"",
        "health_path": "/api/health",
        "nginx_server_names": "[projects.example.org]",
    }
    wanted = ["app_name"]
    if "release" in needs or "gunicorn" in needs:
        wanted += ["app_factory", "health_path"]
    elif "health" in needs:
        wanted += ["health_path"]
    if "nginx" in needs:
        wanted += ["nginx_server_names"]
    found = unknown_variables(names, known, [str(p) for p in v.get("app_ignore_variables") or []])
    found += required(v, wanted, examples)
    if "postgresql" in needs and not v.get("app_name"):
        found.append(
            "The hosts of the groups backend and database share app_name and postgresql_*: keep them in group_vars/all, "
            "or the database has other names than the backends look for."
        )
    found += identity(v)
    if "release" in needs:
        found += source(v)
        found += environment(v)
    if isinstance(v.get("app_env") or {}, dict) and isinstance(v.get("app_secrets") or {}, dict):
        found += database(v)
        if "postgresql" in needs or ("release" in needs and v.get("app_database") == "postgresql"):
            found += postgresql(v, "postgresql" in needs)
    found += serving(v)
    found += sandbox.problems(v)
    found += alerts.problems(v)
    if "nginx" in needs:
        found += edge.problems(v, place)
    if "baseline" in needs:
        found += baseline.problems(v)
    if "exporters" in needs or "monitoring" in needs:
        found += monitoring.problems(v, list(needs), place)
    if "kit" in needs:
        found += kits.problems(v)
    if "readiness" in needs:
        found += readiness.problems(v, hosts, datetime.date.today())
    found += fleet(v, place, hosts)
    return found
