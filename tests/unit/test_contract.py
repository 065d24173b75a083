# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The contract: what is refused, what is not, and that a refusal says what to write and never shows a secret."""

from __future__ import annotations

import base64
import random
from typing import Any

import pytest
from ansible_collections.decant.flask.plugins.action import contract as action
from ansible_collections.decant.flask.plugins.plugin_utils import contract, settings

SECRET = "k3Jq0v7RwYx2ZtL9mN4bP8sD1fG6hQ5cV0aE"
VALID: dict[str, Any] = {
    "app_name": "projects",
    "app_path": "examples/backend",
    "app_factory": "app:create_app('production')",
    "app_root": "/srv/projects",
    "app_user": "projects",
    "app_env": {"CORS_ALLOWED_ORIGINS": "https://example.org"},
    "app_secrets": {"SECRET_KEY": SECRET},
    "health_path": "/api/health",
    "nginx_server_names": ["projects.example.org"],
    "nginx_listen_port": 80,
    "nginx_client_max_body_size": "10m",
    "dotenv_secret_key_min_length": 32,
}
POSTGRESQL: dict[str, Any] = {
    "app_database": "postgresql",
    "postgresql_host": "db.example.org",
    "postgresql_port": 5432,
    "postgresql_database": "projects",
    "postgresql_user": "projects",
    "postgresql_password": "n0t-a-w0rd-that-anyone-kn0ws",
    "postgresql_allowed_addresses": ["192.0.2.11", "192.0.2.12"],
    "postgresql_listen_addresses": ["*"],
    "postgresql_locale": "C.UTF-8",
}
KNOWN = settings.specs()


def refused(**changes: Any) -> list[str]:
    """What the whole contract says of a valid inventory with some values changed."""
    values = {**VALID, **changes}
    return contract.problems(values, list(values), KNOWN, list(settings.ROLES))


def the_one(**changes: Any) -> str:
    """The only sentence that a change leads to."""
    found = refused(**changes)
    assert len(found) == 1, found
    return found[0]


def secrets_with(**values: Any) -> dict[str, Any]:
    return {"SECRET_KEY": SECRET, **values}


def test_a_valid_inventory_is_taken():
    assert refused() == []


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("gunicorn_worker", "gunicorn_workers"),
        ("gunicorn_timeout", "gunicorn_timeout_seconds"),
        ("app_secret", "app_secrets"),
        ("app_shared_path", "app_shared_paths"),
        ("nginx_server_name", "nginx_server_names"),
        ("health_expected_status", "health_expect_status"),
        ("venv_extra_package", "venv_extra_packages"),
        ("ngnix_server_names", "nginx_server_names"),  # the prefix itself is misspelt
        ("gunicron_workers", "gunicorn_workers"),
    ],
)
def test_a_typo_is_refused_with_the_name_that_was_meant(typo: str, meant: str):
    sentence = the_one(**{typo: 1})
    assert f"{typo} is not an input" in sentence
    assert f"Did you mean {meant}?" in sentence
    assert f"app_ignore_variables: [{typo}]" in sentence


def test_a_name_with_our_prefix_that_resembles_nothing_is_refused_without_a_guess():
    sentence = the_one(nginx_qqqqqqqqqqqqq=1)
    assert "nginx_qqqqqqqqqqqqq is not an input" in sentence
    assert "Did you mean" not in sentence


@pytest.mark.parametrize(
    "name",
    [
        "ansible_user",
        "ansible_host",
        "inventory_hostname",
        "inventory_dir",
        "group_names",
        "groups",
        "hostvars",
        "playbook_dir",
        "role_path",
        "environment",
        "omit",
        "vault_app_secret_key",
        "molecule_file",
        "__app_plan",
        "_app_internal",
        "application_owner",
        "archive_place",
        "database_url",
    ],
)
def test_names_of_ansible_and_of_others_pass(name: str):
    assert refused(**{name: "x"}) == []


@pytest.mark.parametrize(
    ("name", "ignored", "passes"),
    [
        ("app_owner", ["app_owner"], True),
        ("app_owner", ["app_own*"], True),
        ("app_owner", ["app_*"], True),
        ("app_owner", ["other", "app_owner"], True),
        ("app_owner", ["app_own"], False),
        ("app_owner", ["app_owner_*"], False),
        ("app_owner", ["*_owner"], False),  # a star stands at the end, nowhere else
        ("app_owner", [], False),
    ],
)
def test_variables_of_ones_own_can_be_listed(name: str, ignored: list[str], passes: bool):
    assert (refused(**{name: "x", "app_ignore_variables": ignored}) == []) is passes


@pytest.mark.parametrize("name", ["app_name", "app_factory", "health_path", "nginx_server_names"])
@pytest.mark.parametrize("empty", [None, ""])
def test_required_inputs_are_asked_for_with_an_example(name: str, empty: Any):
    sentence = the_one(**{name: empty})
    assert f"{name} is not set" in sentence
    assert f"for example {name}: " in sentence


def test_an_empty_list_of_names_is_no_list_of_names():
    assert "nginx_server_names is not set" in the_one(nginx_server_names=[])


@pytest.mark.parametrize(
    ("roles", "asked"),
    [
        (["app"], ["app_name"]),
        (["app", "health"], ["app_name", "health_path"]),
        (["app", "nginx"], ["app_name", "nginx_server_names"]),
        (["app", "release"], ["app_name", "app_factory", "health_path"]),
        (["app", "gunicorn"], ["app_name", "app_factory", "health_path"]),
        (list(settings.ROLES), ["app_name", "app_factory", "health_path", "nginx_server_names"]),
    ],
)
def test_a_role_that_does_not_run_asks_for_nothing(roles: list[str], asked: list[str]):
    values = {"app_path": "x", "app_secrets": {"SECRET_KEY": SECRET}}
    found = contract.problems(values, list(values), KNOWN, roles)
    assert [sentence.split(" ")[0] for sentence in found] == asked


def test_the_source_is_not_looked_at_when_no_release_is_made():
    values = {"app_name": "projects", "app_root": "/srv/projects", "app_secrets": {}, "health_path": "/h"}
    assert contract.problems(values, list(values), KNOWN, ["app", "health"]) == []


def test_all_that_is_wrong_is_said_at_once():
    found = refused(app_name="Bad", app_version="-x", health_path="health", nginx_listen_port=0, gunicorn_worker=2)
    assert len(found) == 5


# --- identity ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "projects", "shop-api", "a1", "a-", "x" * 31, "health", "web-healthy"])
def test_good_names(name: str):
    assert refused(app_name=name) == []


@pytest.mark.parametrize(
    "name",
    ["Projects", "1st", "-a", "a_b", "a.b", "a b", "a/b", "a@b", "x" * 32, "projet\u00e9", "a\n", "a;b", "a%b", 7],
)
def test_bad_names(name: Any):
    sentence = the_one(app_name=name)
    assert f"app_name is '{name}'" in sentence
    assert "'shop-api'" in sentence


@pytest.mark.parametrize("name", ["projects-health", "projects-migrate", "projects-drain", "projects-backup"])
def test_names_of_another_backends_helpers(name: str):
    sentence = the_one(app_name=name)
    assert f"app_name is '{name}'" in sentence
    assert "helper units" in sentence


@pytest.mark.parametrize("root", ["/srv/projects", "/opt/a/b", "/srv/projects.d", "/var/lib/projects"])
def test_good_roots(root: str):
    assert refused(app_root=root) == []


@pytest.mark.parametrize(
    "root",
    ["srv/projects", "/srv", "/", "/srv/projects/", "/srv//projects", "/srv/../etc/x", "/srv/./x", "/srv/my projects"],
)
def test_bad_roots(root: str):
    sentence = the_one(app_root=root)
    assert f"app_root is '{root}'" in sentence
    assert "'/srv/projects'" in sentence


@pytest.mark.parametrize("root", ["/home/x", "/root/x", "/run/x", "/tmp/x", "/var/tmp/x"])
def test_roots_that_the_sandbox_hides_or_a_reboot_empties(root: str):
    sentence = the_one(app_root=root)
    assert f"app_root is '{root}'" in sentence
    assert "sandbox" in sentence


@pytest.mark.parametrize(
    "factory",
    [
        "app:app",
        "wsgi:app",
        "app:create_app()",
        "app:create_app('production')",
        "a.b.c:make",
        "_x:_y",
        "app:f(a=1, b='c')",
    ],
)
def test_good_factories(factory: str):
    assert refused(app_factory=factory) == []


@pytest.mark.parametrize(
    "factory",
    [
        "app",
        "app.create_app",
        "app:",
        ":app",
        "app:create_app('x'",
        "app:create_app x",
        "app/wsgi:app",
        "1app:app",
        "a b:c",
    ],
)
def test_bad_factories(factory: str):
    sentence = the_one(app_factory=factory)
    assert f"app_factory is '{factory}'" in sentence
    assert "app:create_app('production')" in sentence


@pytest.mark.parametrize("key", ["app_subdir", "migrate_directory"])
@pytest.mark.parametrize(
    ("path", "good"),
    [
        ("backend", True),
        ("a/b", True),
        ("/backend", False),
        ("..", False),
        ("../x", False),
        ("a/../../x", False),
        ("a/..", False),
        (".", False),
        ("./", False),
    ],
)
def test_paths_stay_inside_the_source(key: str, path: str, good: bool):
    if good:
        assert refused(**{key: path}) == []
    else:
        sentence = the_one(**{key: path})
        assert f"{key} is '{path}'" in sentence
        assert "for example 'backend'" in sentence


@pytest.mark.parametrize("path", ["/uploads", "../uploads", "a/../../b", ".", ""])
def test_shared_paths_stay_inside(path: str):
    sentence = the_one(app_shared_paths=["uploads", path])
    assert f"app_shared_paths has '{path}'" in sentence
    assert "for example 'uploads'" in sentence


@pytest.mark.parametrize(
    ("prefix", "path"),
    [
        ("static/", "app/static"),
        ("/static", "app/static"),
        ("/static/", "/etc"),
        ("/static/", "../x"),
        ("/static/", "."),
        ("/static/", ""),
        ("/", "app"),
    ],
)
def test_static_paths(prefix: str, path: str):
    sentence = the_one(nginx_static_paths={prefix: path})
    assert f"nginx_static_paths has '{prefix}': '{path}'" in sentence
    assert "'/static/': 'app/static'" in sentence


def test_good_shared_and_static_paths():
    assert refused(app_shared_paths=["uploads", "var/log"], nginx_static_paths={"/a/": "app", "/static/": "a/b"}) == []


# --- source --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        {"app_path": "", "app_repo": "https://git.example.org/p.git", "app_version": "v1"},
        {"app_path": "", "app_archive": "p.tar.gz", "app_archive_checksum": "sha256:" + "a" * 64},
        {"app_path": "p"},
    ],
)
def test_one_source_of_each_kind(given: dict[str, str]):
    assert refused(**given) == []


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ({"app_path": ""}, "none of them"),
        ({"app_repo": "https://git.example.org/p.git", "app_version": "v1"}, "app_repo and app_path"),
        ({"app_archive": "p.zip", "app_archive_checksum": "sha256:" + "a" * 64}, "app_path and app_archive"),
    ],
)
def test_exactly_one_source(given: dict[str, str], seen: str):
    sentence = the_one(**given)
    assert f"sets {seen}" in sentence
    assert "Set exactly one" in sentence


def test_a_repository_needs_a_version():
    sentence = the_one(app_path="", app_repo="https://git.example.org/p.git")
    assert "app_version is not set" in sentence
    assert "'v1.4.0'" in sentence


@pytest.mark.parametrize("version", ["-x", "--upload-pack=touch x"])
def test_a_version_is_never_an_option_of_git(version: str):
    assert f"app_version is '{version}'" in the_one(
        app_path="", app_repo="https://git.example.org/p.git", app_version=version
    )


@pytest.mark.parametrize(
    "checksum",
    [
        "",
        "a" * 64,
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:" + "A" * 64,
        "sha256:" + "g" * 64,
        "md5:" + "a" * 32,
    ],
)
def test_an_archive_needs_its_checksum(checksum: str):
    sentence = the_one(app_path="", app_archive="p.zip", app_archive_checksum=checksum)
    assert f"app_archive_checksum is '{checksum}'" in sentence
    assert "sha256sum" in sentence


def test_a_checksum_without_an_archive_is_not_looked_at():
    assert refused(app_archive_checksum="sha256:old") == []


# --- environment ---------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["SECRET_KEY=x", ["SECRET_KEY"], 7])
def test_a_mapping_is_a_mapping(wrong: Any):
    sentence = the_one(app_secrets=wrong)
    assert "app_secrets is not a mapping" in sentence
    assert "vault_app_secret_key" in sentence
    assert str(wrong) not in sentence
    assert "app_env is not a mapping" in the_one(app_env=wrong)


def test_a_key_is_in_one_mapping():
    sentence = the_one(app_env={"API_TOKEN": "plain"}, app_secrets=secrets_with(API_TOKEN="hidden-token"))
    assert sentence.startswith("API_TOKEN is in both app_env and app_secrets")
    assert "hidden-token" not in sentence


@pytest.mark.parametrize(
    ("key", "instead"), [("FLASK_APP", "app_factory"), ("APP_CONFIG", "app_config"), ("DECANT_RELEASE", "nothing")]
)
@pytest.mark.parametrize("group", ["app_env", "app_secrets"])
def test_what_decant_sets_is_not_set_twice(key: str, instead: str, group: str):
    sentence = the_one(**{group: {**VALID[group], key: "x"}})
    assert sentence.startswith(f"{key} is set by Decant")
    assert f"set {instead}" in sentence


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("A", None),
        ("A", ["x"]),
        ("A", {"x": 1}),
        ("A-B", "x"),
        ("1A", "x"),
        ("A", "x\r\n"),
        ("A", "${x}"),
        ("A", "x\\"),
    ],
)
@pytest.mark.parametrize("group", ["app_env", "app_secrets"])
def test_what_no_env_file_can_carry(key: str, value: Any, group: str):
    sentence = the_one(**{group: {**VALID[group], key: value}})
    assert sentence.startswith(f"{group}: ")
    assert key in sentence


@pytest.mark.parametrize("value", ["text", "", "two words", 7, 0.5, True, False, "a'b", 'a"b', "a\nb"])
def test_values_that_can_be_written(value: Any):
    assert refused(app_env={"A": value}) == []


@pytest.mark.parametrize(
    "value",
    [
        "changeme",
        "change-me",
        "CHANGE_ME",
        "Change me please",
        "changeit",
        "replace-me",
        "TODO",
        "xxx",
        "XXXXXXXX",
        "placeholder",
        "example-key",
        "your-secret-key-here",
        "your_key",
        "default",
        "dev",
        "dev-key",
        "development",
        "test",
        "test-secret",
        "insecure-key",
        "password",
        "password123",
        "secret",
        "secret-key",
        "SECRET_KEY",
        "<generate me>",
        '"changeme"',
        "--changeme--",
    ],
)
def test_placeholders(value: str):
    sentence = the_one(app_secrets=secrets_with(API_TOKEN=value))
    assert sentence.startswith("API_TOKEN in app_secrets is still a placeholder")
    assert "app_allow_insecure: [secret_key_placeholder]" in sentence


def made_secrets() -> list[str]:
    """What secrets.token_urlsafe, token_hex, base64 and a password manager give; seeded, so that a run is repeatable."""
    source = random.Random(20261124)
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#%&()*+,-./:;=?@[]^_{|}~"
    found = []
    for _ in range(3000):
        data = source.randbytes(48)
        found += [
            base64.urlsafe_b64encode(data).rstrip(b"=").decode(),
            data.hex(),
            base64.b64encode(data).decode(),
            "".join(source.choice(letters) for _ in range(40)),
        ]
    return found


def test_no_random_secret_is_taken_for_a_placeholder():
    assert [value for value in made_secrets() if contract.PLACEHOLDER.search(value)] == []


@pytest.mark.parametrize(
    "value",
    [
        "devoted-otter-51-lamp",
        "tested-by-fire-8812",
        "secretary-bird-77",
        "my-password-is-long",
        "xxl-9-shirt",
        "contest-1",
    ],
)
def test_words_that_only_resemble_a_placeholder(value: str):
    assert refused(app_secrets=secrets_with(API_TOKEN=value)) == []


@pytest.mark.parametrize(
    ("key", "name", "sentence"),
    [
        (None, "secret_key_missing", "app_secrets has no SECRET_KEY"),
        ("", "secret_key_missing", "app_secrets has no SECRET_KEY"),
        ("q" * 31, "secret_key_short", "SECRET_KEY has 31 characters; 32 are needed"),
        ("q", "secret_key_short", "SECRET_KEY has 1 characters"),
    ],
)
def test_secret_key(key: str | None, name: str, sentence: str):
    values = {} if key is None else {"SECRET_KEY": key}
    found = the_one(app_secrets=values)
    assert found.startswith(sentence)
    assert "secrets.token_urlsafe(48)" in found
    assert f"app_allow_insecure: [{name}]" in found


def test_secret_key_length_is_an_input():
    assert refused(app_secrets={"SECRET_KEY": "q" * 32}) == []
    assert "40 are needed" in the_one(app_secrets={"SECRET_KEY": "q" * 39}, dotenv_secret_key_min_length=40)
    assert refused(app_secrets={"SECRET_KEY": "q" * 16}, dotenv_secret_key_min_length=16) == []


def test_a_secret_key_in_app_env_counts():
    assert refused(app_env={"SECRET_KEY": SECRET}, app_secrets={}) == []


@pytest.mark.parametrize("name", ["DEBUG", "FLASK_DEBUG"])
@pytest.mark.parametrize("value", ["1", "true", "True", "yes", "ON", " t ", "y", True, 1])
def test_debug(name: str, value: Any):
    sentence = the_one(app_env={name: value})
    assert f"{name} is '{value}'" in sentence
    assert "app_allow_insecure: [debug]" in sentence


@pytest.mark.parametrize("value", ["0", "false", "no", "", "off", False, 0])
def test_no_debug(value: Any):
    assert refused(app_env={"DEBUG": value, "FLASK_DEBUG": value}) == []


@pytest.mark.parametrize("name", ["CORS_ALLOWED_ORIGINS", "CORS_ORIGINS", "cors_origin", "APP_CORS_ORIGIN_LIST"])
@pytest.mark.parametrize("value", ["*", "https://example.org,*", "https://example.org, *", '["*"]', "['*']"])
def test_cors(name: str, value: str):
    sentence = the_one(app_env={name: value})
    assert sentence.startswith(f"{name} allows every origin")
    assert "app_allow_insecure: [cors_wildcard]" in sentence


@pytest.mark.parametrize(
    ("name", "value"),
    [("CORS_ORIGINS", "https://*.example.org"), ("CORS_ORIGINS", ""), ("CORS_METHODS", "*"), ("ORIGIN", "*")],
)
def test_no_cors(name: str, value: str):
    assert refused(app_env={name: value}) == []


@pytest.mark.parametrize(
    "name",
    [
        "secret_key_placeholder",
        "secret_key_short",
        "secret_key_missing",
        "debug",
        "cors_wildcard",
        "database_in_memory",
        "postgresql_password_weak",
    ],
)
def test_each_check_is_waived_by_its_own_name_alone(name: str):
    changes: dict[str, dict[str, Any]] = {
        "postgresql_password_weak": {**POSTGRESQL, "postgresql_password": "short"},
        "secret_key_placeholder": {"app_secrets": secrets_with(TOKEN="changeme")},
        "secret_key_short": {"app_secrets": {"SECRET_KEY": "q7"}},
        "secret_key_missing": {"app_secrets": {}},
        "debug": {"app_env": {"DEBUG": "1"}},
        "cors_wildcard": {"app_env": {"CORS_ORIGINS": "*"}},
        "database_in_memory": {"app_env": {"DATABASE_URL": "sqlite://"}},
    }
    assert set(changes) == set(contract.INSECURE)
    assert len(refused(**changes[name])) == 1
    assert refused(**changes[name], app_allow_insecure=[name]) == []
    others = sorted(set(contract.INSECURE) - {name})
    assert len(refused(**changes[name], app_allow_insecure=others)) == 1


def test_a_waiver_that_does_not_exist():
    sentence = the_one(app_allow_insecure=["debugg"])
    assert "app_allow_insecure has 'debugg'" in sentence
    assert all(name in sentence for name in contract.INSECURE)


# --- databases -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:////srv/p/shared/p.db", "/srv/p/shared/p.db"),
        ("sqlite+pysqlite:////srv/p/shared/p.db", "/srv/p/shared/p.db"),
        ("sqlite:////srv/p/shared/p.db?timeout=5", "/srv/p/shared/p.db"),
        ("sqlite:///p.db", "p.db"),
        ("sqlite:///instance/p.db", "instance/p.db"),
        ("sqlite:///../p.db", "../p.db"),
        ("sqlite://", ""),
        ("sqlite:///", ""),
        ("sqlite:///:memory:", ""),
        ("sqlite:///:memory:?cache=shared", ""),
        ("postgresql://u:p@192.0.2.1/db", None),
        ("postgresql+psycopg:///db", None),
        ("mysql://u@192.0.2.1/sqlite:///x", None),
        ("sqlite:/x", None),
        ("", None),
    ],
)
def test_sqlite_path(url: str, path: str | None):
    assert contract.sqlite_path(url) == path


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////srv/projects/shared/projects.db",
        "sqlite:////srv/projects/shared/a/b.db",
        "sqlite:////srv/projects/shared/../shared/b.db",
        "postgresql://u:p@192.0.2.1/db",
    ],
)
def test_good_databases(url: str):
    assert refused(app_env={"DATABASE_URL": url}) == []


@pytest.mark.parametrize("url", ["sqlite:///p.db", "sqlite:///instance/p.db", "sqlite:///../shared/p.db"])
def test_relative_databases(url: str):
    sentence = the_one(app_env={"DATABASE_URL": url})
    assert "DATABASE_URL is a relative SQLite path" in sentence
    assert "Write sqlite:////srv/projects/shared/projects.db" in sentence


@pytest.mark.parametrize(
    "path",
    [
        "/srv/projects/releases/x/src/p.db",
        "/srv/projects/current/src/p.db",
        "/srv/projects/venvs/p.db",
        "/srv/projects/shared/../releases/x/p.db",
    ],
)
def test_databases_inside_a_release(path: str):
    sentence = the_one(app_env={"SQLALCHEMY_DATABASE_URI": f"sqlite:///{path}"})
    assert sentence.startswith("SQLALCHEMY_DATABASE_URI puts the database inside a release")
    assert f"'{path}'" in sentence


@pytest.mark.parametrize(
    "path", ["/var/lib/p.db", "/srv/projects/p.db", "/srv/projects/shared-not/p.db", "/srv/projects2/shared/p.db"]
)
def test_databases_where_the_sandbox_is_read_only(path: str):
    sentence = the_one(app_env={"DATABASE_URL": f"sqlite:///{path}"})
    assert f"('{path}') that the sandbox keeps read-only" in sentence
    assert "gunicorn_writable_paths" in sentence


def test_a_writable_path_is_a_place_for_a_database():
    url = {"DATABASE_URL": "sqlite:////var/lib/projects/p.db"}
    assert refused(app_env=url, gunicorn_writable_paths=["/var/lib/projects"]) == []
    assert refused(app_env=url, gunicorn_writable_paths=["/var/lib/projects/"]) == []
    assert len(refused(app_env=url, gunicorn_writable_paths=["/var/lib/proj"])) == 1


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite+pysqlite:///:memory:",
        "sqlite:///",
        "sqlite:///:memory:?cache=shared",
    ],
)
def test_databases_in_memory(url: str):
    found = refused(app_env={"CACHE_URL": url})
    assert len(found) == 1, found
    assert found[0].startswith("CACHE_URL is a SQLite database in memory")


# --- serving -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["example.org", "a.b.example.org", "localhost", "*.example.org", "xn--bcher-kva.example", "a_b.example.org"]
)
def test_good_server_names(name: str):
    assert refused(nginx_server_names=[name]) == []


@pytest.mark.parametrize(
    "name",
    [
        "https://example.org",
        "example.org:80",
        "example.org/x",
        "example..org",
        ".example.org",
        "-a.example.org",
        "a-.example.org",
        "a b",
        "~^x$",
        "example.org;",
        "{x}",
        "*",
        "a.*.example.org",
        "",
    ],
)
def test_bad_server_names(name: str):
    sentence = the_one(nginx_server_names=["example.org", name])
    assert f"nginx_server_names has '{name}'" in sentence
    assert "'projects.example.org'" in sentence


@pytest.mark.parametrize(
    ("port", "good"), [(1, True), (80, True), (65535, True), (0, False), (65536, False), (-1, False)]
)
def test_ports(port: int, good: bool):
    if good:
        assert refused(nginx_listen_port=port) == []
    else:
        assert f"nginx_listen_port is {port}" in the_one(nginx_listen_port=port)


@pytest.mark.parametrize(
    ("size", "good"),
    [
        ("0", True),
        ("1", True),
        ("10m", True),
        ("1G", True),
        ("512K", True),
        ("10 m", False),
        ("10mb", False),
        ("-1", False),
        ("1.5m", False),
    ],
)
def test_body_sizes(size: str, good: bool):
    if good:
        assert refused(nginx_client_max_body_size=size) == []
    else:
        sentence = the_one(nginx_client_max_body_size=size)
        assert f"nginx_client_max_body_size is '{size}'" in sentence
        assert "'10m'" in sentence


@pytest.mark.parametrize("path", ["/", "/api/health", "/h?x=1", "/a-b_c.d"])
def test_good_health_paths(path: str):
    assert refused(health_path=path) == []


@pytest.mark.parametrize("path", ["api/health", "http://example.org/h", "/a b", "/a\n", "/caf\u00e9"])
def test_bad_health_paths(path: str):
    sentence = the_one(health_path=path)
    assert f"health_path is '{path}'" in sentence
    assert "'/api/health'" in sentence


@pytest.mark.parametrize(
    "name",
    [
        "gunicorn_timeout_seconds",
        "gunicorn_graceful_timeout_seconds",
        "health_deadline_seconds",
        "health_successes",
        "health_timer_seconds",
        "migrate_timeout_seconds",
    ],
)
def test_limits_of_at_least_one(name: str):
    assert refused(**{name: 1}) == []
    for value in (0, -1, 0.5):
        assert the_one(**{name: value}) == f"{name} is {value}. At least 1 is needed."


def test_a_rollback_needs_two_releases():
    assert refused(release_keep=2) == []
    assert the_one(release_keep=1).startswith("release_keep is 1. At least 2 is needed (the one that serves")


def test_sync_workers_have_no_threads():
    assert refused(gunicorn_worker_class="gthread", gunicorn_threads=4) == []
    assert refused(gunicorn_worker_class="sync", gunicorn_threads=1) == []
    assert refused(gunicorn_worker_class="sync", gunicorn_threads=0) == []
    sentence = the_one(gunicorn_worker_class="sync", gunicorn_threads=4)
    assert sentence.startswith("gunicorn_threads is 4 with the sync worker class")
    assert "gunicorn_worker_class: gthread" in sentence


# --- secrets -------------------------------------------------------------------------------------

CANARY = "canary8f2e7Qx"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("TOKEN", f"changeme-{CANARY}"),
        ("TOKEN", f"<{CANARY}>"),
        ("TOKEN", [CANARY]),
        ("TOKEN", {"a": CANARY}),
        ("TOKEN", f"${{{CANARY}}}"),
        ("TOKEN", f"{CANARY}\\"),
        ("TOKEN", f"{CANARY}\r"),
        ("TOKEN", f"{CANARY}\0"),
        ("TOKEN", f"'{CANARY}$"),
        ("BAD-NAME", CANARY),
        ("FLASK_APP", CANARY),
        ("SECRET_KEY", CANARY),
        ("CORS_ORIGINS", f"{CANARY},*"),
        ("CORS_ALLOWED_ORIGINS", CANARY),
        ("DATABASE_URL", f"sqlite:///{CANARY}.db"),
        ("DATABASE_URL", f"sqlite:////srv/projects/releases/{CANARY}.db"),
        ("DATABASE_URL", f"sqlite:////var/lib/{CANARY}.db"),
    ],
)
def test_no_sentence_shows_the_value_of_a_secret(key: str, value: Any):
    found = refused(app_secrets=secrets_with(**{key: value}))
    assert found, "this value is to be refused"
    assert CANARY not in "\n".join(found)


# --- PostgreSQL ----------------------------------------------------------------------------------


def provision_refused(**changes: Any) -> list[str]:
    """What the contract says of the play that makes the database."""
    values = {"app_name": "projects", **POSTGRESQL, **changes}
    return contract.problems(values, list(values), KNOWN, ["postgresql"])


def test_a_valid_postgresql_is_taken():
    assert refused(**POSTGRESQL) == []
    assert provision_refused() == []
    assert provision_refused(app_database="sqlite") == [], "the database may be made before the backends use it"


def test_with_sqlite_nothing_of_it_is_asked():
    assert refused(**{name: "" for name in POSTGRESQL if name.startswith("postgresql_")}, app_database="sqlite") == []


def test_other_plays_do_not_ask_for_the_password():
    values = {**VALID, **POSTGRESQL, "postgresql_password": ""}
    assert contract.problems(values, list(values), KNOWN, ["app"]) == []


@pytest.mark.parametrize("name", ["postgresql_database", "postgresql_user"])
@pytest.mark.parametrize(
    "value", ["", "Shop", "shop-api", "1shop", "shop api", 'shop"', "s" * 64, "postgres", "all", "template1", "pg_shop"]
)
def test_names_that_sql_or_pg_hba_would_read_differently(name: str, value: str):
    for found in (refused(**{**POSTGRESQL, name: value}), provision_refused(**{name: value})):
        assert len(found) == 1
        assert f"{name} is '{value}'" in found[0] and "'shop_api'" in found[0]


@pytest.mark.parametrize("value", ["shop", "shop_api", "_shop", "s" * 63, "shop1"])
def test_names_that_are_taken(value: str):
    assert provision_refused(postgresql_database=value, postgresql_user=value) == []


@pytest.mark.parametrize(
    "host", ["db.example.org", "db", "192.0.2.21", "2001:db8::21", "/run/postgresql", "/var/run/postgresql"]
)
def test_where_a_server_may_be(host: str):
    assert refused(**{**POSTGRESQL, "postgresql_host": host}) == []


@pytest.mark.parametrize(
    "host",
    ["postgresql://db.example.org", "db.example.org:5432", "me@db", "run/postgresql", "/run/../x", "/run/a?b", "a b"],
)
def test_where_a_server_cannot_be(host: str):
    (sentence,) = refused(**{**POSTGRESQL, "postgresql_host": host})
    assert f"postgresql_host is '{host}'" in sentence and "'192.0.2.21'" in sentence


def test_no_server_at_all():
    (sentence,) = refused(**{**POSTGRESQL, "postgresql_host": ""})
    assert "no host in the group database" in sentence and "playbooks/provision.yml" in sentence


@pytest.mark.parametrize("port", [0, 65536])
def test_a_port_that_is_none(port: int):
    assert f"postgresql_port is {port}." in provision_refused(postgresql_port=port)[0]


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("", "is not set, and app_database is 'postgresql'"),
        (None, "is not set"),
        (12345678901234567, "is not text"),
        ({"a": "hunter2hunter2hunter2"}, "is not text"),
        ("hunter2", "has 7 characters; 16 are needed"),
        ("change-me-hunter2-hunter2", "is still a placeholder"),
        ("hunter2-hunter2-hunter2\n", "a blank at one of its ends"),
        (" hunter2-hunter2-hunter2", "a blank at one of its ends"),
        ("hunter2-hunter2\x00hunter2", "a control character"),
    ],
)
def test_a_password_that_will_not_do_is_not_shown(password: Any, why: str):
    for found in (
        refused(**{**POSTGRESQL, "postgresql_password": password}),
        provision_refused(postgresql_password=password),
    ):
        assert len(found) == 1, found
        assert found[0].startswith("postgresql_password ") and why in found[0]
        assert "hunter2" not in found[0] and "1234567" not in found[0]


@pytest.mark.parametrize("group", ["app_env", "app_secrets"])
def test_a_sqlite_url_does_not_go_with_postgresql(group: str):
    url = {"DATABASE_URL": "sqlite:////srv/projects/shared/projects.db"}
    value = {"SECRET_KEY": SECRET, **url} if group == "app_secrets" else url
    (sentence,) = refused(**{**POSTGRESQL, group: value})
    assert f"DATABASE_URL in {group} is a SQLite URL, which wins" in sentence
    assert "app_database: sqlite" in sentence


def test_a_url_of_ones_own_needs_no_password():
    url = {"DATABASE_URL": "postgresql+psycopg://me:there@db.example.org/x"}
    assert (
        refused(**{**POSTGRESQL, "postgresql_password": "", "postgresql_host": ""}, app_secrets=secrets_with(**url))
        == []
    )
    assert provision_refused(postgresql_password="", app_secrets=secrets_with(**url)) != []


@pytest.mark.parametrize(
    ("changes", "built"),
    [
        ({}, True),
        ({"app_database": "sqlite"}, False),
        ({"app_env": {"DATABASE_URL": "postgresql://x"}}, False),
        ({"app_secrets": {"DATABASE_URL": "postgresql://x"}}, False),
        ({"app_env": {"DATABASE_URL": ""}, "app_secrets": None}, True),
    ],
)
def test_whose_url_it_is(changes: dict[str, Any], built: bool):
    assert contract.builds_database_url({**POSTGRESQL, **changes}) is built


@pytest.mark.parametrize("address", ["192.0.2.11", "192.0.2.0/24", "192.0.2.11/32", "2001:db8::1", "2001:db8::/64"])
def test_addresses_that_may_connect(address: str):
    assert provision_refused(postgresql_allowed_addresses=[address]) == []


@pytest.mark.parametrize("address", ["web1.example.org", "192.0.2.11/24", "192.0.2", "all", ""])
def test_addresses_that_are_none(address: str):
    (sentence,) = provision_refused(postgresql_allowed_addresses=[address])
    assert f"postgresql_allowed_addresses has '{address}'" in sentence and "ansible_host" in sentence


@pytest.mark.parametrize("address", ["0.0.0.0/0", "::/0"])
def test_everybody_is_not_a_fleet(address: str):
    assert "every address there is" in provision_refused(postgresql_allowed_addresses=[address])[0]


def test_nobody_is_not_a_fleet_either():
    (sentence,) = provision_refused(postgresql_allowed_addresses=[])
    assert "nobody could connect" in sentence
    assert provision_refused(postgresql_allowed_addresses=[], postgresql_host="/run/postgresql") == []


@pytest.mark.parametrize(("address", "good"), [("*", True), ("localhost", True), ("192.0.2.21", True), ("eth0", False)])
def test_where_the_server_may_listen(address: str, good: bool):
    found = provision_refused(postgresql_listen_addresses=[address])
    assert (found == []) is good
    assert good or f"postgresql_listen_addresses has '{address}'" in found[0]


@pytest.mark.parametrize("locale", ["", "C UTF-8", "x'y"])
def test_a_locale_that_is_none(locale: str):
    assert f"postgresql_locale is '{locale}'" in provision_refused(postgresql_locale=locale)[0]


def test_without_a_name_the_groups_are_explained():
    found = provision_refused(app_name="")
    assert "app_name is not set" in found[0] and "group_vars/all" in found[1]


# --- a key of the host's own ---------------------------------------------------------------------


def test_a_host_that_makes_its_own_key_needs_none():
    found = contract.insecure({"app_secrets": {}, "dotenv_secret_key_generated": True})
    assert "secret_key_missing" not in [name for name, _ in found]


def test_two_keys_are_one_too_many():
    both = {"app_secrets": {"SECRET_KEY": "x" * 48}, "dotenv_secret_key_generated": True}
    assert [text for text in contract.environment(both) if "two keys would sign in turns" in text]


@pytest.mark.parametrize(("generated", "hosts", "refused"), [(True, 1, False), (True, 2, True), (False, 2, False)])
def test_a_fleet_shares_one_key(generated: bool, hosts: int, refused: bool):
    found = action.single_host({"dotenv_secret_key_generated": generated}, [f"web{n}" for n in range(hosts)])
    assert bool(found) is refused
    assert all("app_secrets" in text for text in found)
