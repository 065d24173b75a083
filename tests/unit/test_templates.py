# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every template of every role, rendered by Ansible with the roles' own defaults and vars for several inventories.

One ansible-playbook run renders them all: each variable set is a host, and nothing is written but one JSON file.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.decant.flask.plugins.module_utils import layout

ROOT = Path(__file__).resolve().parents[2]
ID = "20261122T101500Z-3f2a9c1"
# What is included by others is in parts/.
TEMPLATES = sorted(
    str(path.relative_to(ROOT)) for path in ROOT.glob("roles/*/templates/**/*.j2") if "parts" not in path.parts
)
HOST = ("roles/baseline/", "roles/exporters/", "roles/monitoring/")  # the host's own, the same for every backend
UNITS = [
    name for name in TEMPLATES if re.search(r"(service|socket|target|timer)\.j2$", name) and not name.startswith(HOST)
]
SITES = [f"roles/nginx/templates/{name}.conf.j2" for name in ("site", "catch-all", "catch-all-tls")]
# Prometheus and Alertmanager fill in what has a name of theirs.
GO = [f"roles/monitoring/templates/{name}.yml.j2" for name in ("rules", "alertmanager")]
CONF = "roles/gunicorn/templates/gunicorn.conf.py.j2"
SERVICE = "roles/gunicorn/templates/service.j2"

MINIMUM: dict[str, Any] = {
    "app_name": "projects",
    "app_path": "examples/backend",
    "app_factory": "app:create_app('production')",
    "app_secrets": {"SECRET_KEY": "hunter2hunter2hunter2hunter2hunter2hunter2"},
    "health_path": "/api/health",
    "nginx_server_names": ["projects.example.org"],
    "exporters_password": "hunter2hunter2hunter2",
}
FULL: dict[str, Any] = {
    **MINIMUM,
    "app_name": "shop",
    "app_secrets": {**MINIMUM["app_secrets"], "API_TOKEN": "hunter2", "DATABASE_URL": "postgresql://hunter2"},
    "dotenv_delivery": "credential",
    "app_subdir": "api",
    "app_root": "/opt/backends/shop",
    "app_user": "shop-user",
    "app_factory": 'wsgi:make("it\'s", 100)',
    "gunicorn_worker_class": "gevent",
    "gunicorn_preload_enabled": True,
    "gunicorn_access_log_enabled": True,
    "gunicorn_extra_settings": {
        "limit_request_line": 8190,
        "proc_name": "shop's",
        "raw_env": ["A=1"],
        "reuse_port": False,
    },
    "gunicorn_memory_max": "512M",
    "gunicorn_cpu_quota": "150%",
    "gunicorn_writable_paths": ["/var/lib/shop", "/var/spool/shop"],
    "gunicorn_graceful_timeout_seconds": 7,
    "migrate_directory": "db migrations/100%",
    "health_path": "/healthz?deep=1&x=%20",
    "health_expect_status": 204,
    "health_expect_json": {"checks.db": "all ok", "ready": True},
    "health_headers": {"X-Forwarded-Proto": "https"},
    "health_host": "shop.example.org",
    "health_deadline_seconds": 90,
    "health_timeout_seconds": 2.5,
    "health_timer_seconds": 15,
    "nginx_server_names": ["shop.example.org", "*.shop.example.org"],
    "nginx_listen_port": 8080,
    "nginx_client_max_body_size": "1g",
    "nginx_static_paths": {"/static/": "app/static", "/m edia/": "/public/"},
    "nginx_static_max_age_seconds": 60,
    "nginx_gzip_enabled": False,
    "nginx_gzip_answers_enabled": True,
    "nginx_access_log_enabled": False,
    "nginx_tls": "acme",
    "__app_tls": "acme",
    "nginx_tls_port": 8443,
    "nginx_hsts_max_age_seconds": 31536000,
    "nginx_hsts_subdomains_enabled": True,
    "nginx_resolvers": ["127.0.0.53"],
    "nginx_headers": {"X-Frame-Options": "DENY", "X-Gone": ""},
    "nginx_content_security_policy": "default-src 'self'; img-src *",
    "nginx_trusted_proxies": ["198.51.100.0/24"],
    "nginx_rate_limit": "50r/s",
    "nginx_rate_limited_paths": [{"path": "/api/login", "rate": "5r/m", "burst": 2}],
    "nginx_connections_per_client": 20,
    "nginx_streaming_paths": ["/events/"],
    "nginx_maintenance_allow": ["192.0.2.0/24"],
    "nginx_http_directives": "map $uri $x { default 1; }",
    "gunicorn_egress": ["192.0.2.5"],
    "exporters_address": "2001:db8::10",
    "gunicorn_sandbox_allow": ["jit", "subprocesses"],
    "nginx_extra_directives": "add_header X-Test 1;\nlocation /x { return 204; }\n",
    "__app_host": {"state": {"ipv6": False, "systemd": 252, "certificate": {"ends": 1, "ocsp": True}}},
}
SETS: dict[str, dict[str, Any]] = {
    "minimum": MINIMUM,
    "full": FULL,
    "prefix": {**MINIMUM, "app_name": "projects-two", "nginx_server_names": ["two.example.org"]},
    # What -e on the command line gives: text.
    "text": {
        **MINIMUM,
        "gunicorn_timeout_seconds": "45",
        "gunicorn_preload_enabled": "yes",
        "gunicorn_access_log_enabled": "false",
        "nginx_listen_port": "8080",
        "nginx_gzip_enabled": "no",
        "health_deadline_seconds": "30",
        "health_timeout_seconds": "5",
        "gunicorn_graceful_timeout_seconds": "20",
    },
}
PLAN = {"plan": {"needed": True, "workers": 5, "threads": 4, "current": "", "database": "sqlite"}}
STATE = {
    "state": {
        "ipv6": True,
        "systemd": 252,
        "certificate": {},
        "packages_missing": [],
        "nginx": {"debian_default": True},
    }
}


def needs(database: str = "sqlite") -> dict[str, Any]:
    return {"__app_plan": {"plan": {**PLAN["plan"], "database": database}}}


def serves(release: str, database: str = "sqlite") -> dict[str, Any]:
    return {"__app_plan": {"plan": {**PLAN["plan"], "needed": False, "current": release, "database": database}}}


# Fleet -> its hosts, and what is decided on each: the release's id, and whether it migrates.
FLEETS: dict[str, list[tuple[dict[str, Any], str, bool]]] = {
    "fresh": [(needs(), ID, True), (needs(), ID, True)],
    "same": [(serves("R1"), "R1", False), (serves("R1"), "R1", False)],
    "grown": [(serves("R1"), "R1", False), (serves("R1"), "R1", False), (needs(), "R1", True)],
    "apart": [(serves("R1"), "R1", False), (serves("R2"), "R2", False), (needs(), ID, True)],
    "shared": [(needs("d1"), ID, True), (needs("d1"), ID, False), (needs("d2"), ID, True)],
    "late": [(serves("R1", "d1"), "R1", False), (needs("d1"), "R1", True), (needs("d1"), "R1", False)],
    "off": [({**needs(), "migrate_enabled": False}, ID, False), ({**needs(), "migrate_enabled": "no"}, ID, False)],
}


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Host -> what the run gave: template -> text for a variable set, the decisions for a host of a fleet."""
    work = tmp_path_factory.mktemp("templates")
    everyone = work / "group_vars/all"
    everyone.mkdir(parents=True)
    (work / "host_vars").mkdir()
    for path in [*ROOT.glob("roles/*/defaults/main.yml"), *ROOT.glob("roles/*/vars/main.yml")]:
        # Beside the inventory, where a host's own variables win over them as they win over a role's defaults.
        shutil.copy(path, everyone / f"{path.parts[-2]}-{path.parts[-3]}.yml")
    groups: dict[str, dict[str, Any]] = {"sets": {"hosts": dict.fromkeys(SETS)}}
    hosts = dict(SETS)
    for fleet, members in FLEETS.items():
        names = [f"{fleet}-{number}" for number in range(len(members))]
        groups[fleet] = {"hosts": dict.fromkeys(names)}
        hosts |= {name: {**MINIMUM, **given} for name, (given, *_) in zip(names, members)}
    fixed = {"__app_plan": PLAN, "__app_host": STATE, "__app_source": {"source": {"id": ID}}}
    fixed["__postgresql_rules"] = {"content": base64.b64encode(b"local all postgres peer\n").decode()}
    for name, values in hosts.items():
        (work / f"host_vars/{name}.yml").write_text(yaml.safe_dump({**fixed, **values}))
    (work / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": groups}}))
    texts = {name: f"{{{{ lookup('ansible.builtin.template', '{ROOT / name}') }}}}" for name in TEMPLATES}
    texts["configuration"] = "{{ __health_configuration | to_json | string }}"
    decisions = {"id": "{{ __app_release_id }}", "migrates": "{{ __migrate_here }}"}
    plays = [{"hosts": "sets", "tasks": [{"ansible.builtin.set_fact": {"result": texts}}]}]
    plays += [{"hosts": fleet, "tasks": [{"ansible.builtin.set_fact": {"result": decisions}}]} for fleet in FLEETS]
    answer = "{{ ansible_play_hosts | zip(ansible_play_hosts | map('extract', hostvars, 'result')) | to_json }}"
    write = {"ansible.builtin.copy": {"content": answer, "dest": f"{work}/out.json", "mode": "0600"}, "run_once": True}
    plays.append({"hosts": "all", "tasks": [write]})
    (work / "play.yml").write_text(yaml.safe_dump([{**play, "gather_facts": False} for play in plays]))
    settings = {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_HOME": str(work),
        "ANSIBLE_NOCOLOR": "1",
    }
    connection = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "hosts.yml", "play.yml"]
    done = subprocess.run(
        [*command, "-e", json.dumps(connection)],
        env={**os.environ, **settings},
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return dict(json.loads((work / "out.json").read_text()))


@pytest.fixture(scope="session")
def rendered(run: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Variable set -> template -> text."""
    return {name: run[name] for name in SETS}


# --- every template ------------------------------------------------------------------------------


def test_there_are_templates():
    assert len(TEMPLATES) >= 9


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("which", SETS)
def test_nothing_raw_reaches_a_file(rendered: dict[str, dict[str, str]], which: str, name: str):
    text = rendered[which][name]
    assert text.startswith("#\n# Ansible managed\n#\n")
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    if name in GO:
        text = re.sub(
            r"\{\{ (range \.Alerts|if \.\w+\.\w+|end|\.[\w.]+( \| toUpper)?|\$(labels\.\w+|value( \| \w+)?)) \}\}",
            "",
            text,
        )
    assert not re.search(r"\{\{|\}\}|\{%|%\}|\{#|<ansible|Undefined|omit_place", text)
    assert "hunter2" not in text
    assert not [line for line in text.splitlines() if line != line.rstrip()]
    if name != CONF:
        assert not re.search(r"\b(None|True|False)\b", text)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_gives_the_same_for_text_from_the_command_line(rendered: dict[str, dict[str, str]], name: str):
    """-e gives text for numbers and booleans; what was not changed by the set is as in the minimum."""
    same = rendered["text"][name].splitlines()
    changed = set(same) ^ set(rendered["minimum"][name].splitlines())
    assert not [line for line in changed if re.search(r"'(\d+|yes|no|true|false)'", line)]


# --- units ---------------------------------------------------------------------------------------


def unit_name(template: str, which: str) -> str:
    """The file name of a unit, as the tasks write it."""
    app = SETS[which]["app_name"]
    return {
        "service.j2": f"{app}@{ID}.service",
        "socket.j2": f"{app}@{ID}.socket",
        "target.j2": f"{app}.target",
        "migrate.service.j2": f"{app}-migrate@{ID}.service",
        "backup.service.j2": f"{app}-backup@.service",
        "backup.timer.j2": f"{app}-backup.timer",
        "restore.service.j2": f"{app}-restore@.service",
        "health.service.j2": f"{app}-health.service",
        "health.timer.j2": f"{app}-health.timer",
        **{f"{verb}.{kind}.j2": f"{app}-health-{verb}.{kind}" for verb, kind in layout.WATCHING},
    }[template.rsplit("/", 1)[1]]


def options(text: str) -> dict[str, list[str]]:
    """Section.Key -> values, in order. What is no comment, section or assignment is an error."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        if re.fullmatch(r"\[\w+\]", line):
            section = line[1:-1]
            continue
        match = re.fullmatch(r"([A-Z]\w+)=(.*)", line)
        assert match, line
        assert section, line
        found.setdefault(f"{section}.{match[1]}", []).append(match[2])
    return found


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize("which", SETS)
def test_units_are_made_of_sections_and_assignments(rendered: dict[str, dict[str, str]], which: str, name: str):
    found = options(rendered[which][name])
    assert found["Unit.Description"][0].startswith(SETS[which]["app_name"])
    lists = {"Unit.After", "Service.Environment", "Service.SystemCallFilter", "Service.LoadCredential"}
    lists |= {"Service.IPAddressAllow", "Path.PathChanged"}
    assert {key for key, values in found.items() if len(values) > 1} <= lists


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("which", SETS)
def test_systemd_takes_the_units(rendered: dict[str, dict[str, str]], which: str, tmp_path: Path):
    paths = []
    for name in UNITS:
        paths.append(tmp_path / unit_name(name, which))
        paths[-1].write_text(rendered[which][name])
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--generators=no", *map(str, paths)],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:/lib/systemd/system"},
        capture_output=True,
        text=True,
        check=False,
    )
    said = [
        line
        for line in done.stderr.splitlines()
        if str(tmp_path) in line or SETS[which]["app_name"] in line
        if "is not executable: No such file" not in line  # the release is on no disk here
    ]
    assert said == []


@pytest.mark.parametrize("which", SETS)
def test_the_journal_is_found_by_the_backends_name(rendered: dict[str, dict[str, str]], which: str):
    name = SETS[which]["app_name"]
    identifiers = [
        options(rendered[which][unit]).get("Service.SyslogIdentifier") for unit in UNITS if "service" in unit
    ]
    health = [[f"{name}-health"]] * 5  # the checks, and what they ask for
    assert identifiers == [[f"{name}-backup"], [f"{name}-restore"], [name], *health, [f"{name}-migrate"]]


def test_the_service_of_the_minimum(rendered: dict[str, dict[str, str]]):
    found = options(rendered["minimum"][SERVICE])
    release = f"/srv/projects/releases/{ID}"
    for key, value in {
        "Service.Type": "notify",
        "Service.User": "projects",
        "Service.Group": "projects",
        "Service.WorkingDirectory": f"{release}/src",
        "Service.EnvironmentFile": f"{release}/.env",
        "Service.ExecStart": f"{release}/venv/bin/python -m gunicorn --config {release}/gunicorn.conf.py",
        "Service.TimeoutStartSec": "75",
        "Service.TimeoutStopSec": "35",
        "Service.Restart": "always",
        "Service.TasksMax": "512",
        "Service.ReadWritePaths": "/srv/projects/shared",
        "Service.InaccessiblePaths": "-/srv/projects/backups",
        "Service.NoNewPrivileges": "yes",
        "Service.CapabilityBoundingSet": "",
        "Unit.Requires": f"projects@{ID}.socket",
        "Unit.PartOf": "projects.target",
        "Install.WantedBy": "projects.target",
    }.items():
        assert found[key] == [value], key
    assert f"DECANT_RELEASE={ID}" in found["Service.Environment"]
    assert "Service.MemoryMax" not in found
    assert "Service.CPUQuota" not in found


def test_credentials_are_delivered_by_name(rendered: dict[str, dict[str, str]]):
    """To the instance and to the migration those of the release, to what is there for every release those of the current one."""
    release = f"/opt/backends/shop/releases/{ID}"
    for name in (SERVICE, "roles/migrate/templates/migrate.service.j2"):
        found = options(rendered["full"][name])
        assert found["Service.LoadCredential"] == [
            f"{key}:{release}/credentials/{key}" for key in ("API_TOKEN", "SECRET_KEY")
        ]
        assert {"API_TOKEN_FILE=%d/API_TOKEN", "SECRET_KEY_FILE=%d/SECRET_KEY"} < set(found["Service.Environment"])
    for name in ("backup", "restore"):
        found = options(rendered["full"][f"roles/backup/templates/{name}.service.j2"])
        assert found["Service.LoadCredential"] == ["secret:/opt/backends/shop/current/credentials"]
    assert "Service.LoadCredential" not in options(rendered["minimum"][SERVICE])


def test_the_service_of_the_full_set(rendered: dict[str, dict[str, str]]):
    found = options(rendered["full"][SERVICE])
    for key, value in {
        "Service.User": "shop-user",
        "Service.WorkingDirectory": f"/opt/backends/shop/releases/{ID}/src/api",
        "Service.TimeoutStartSec": "105",
        "Service.TimeoutStopSec": "12",
        "Service.MemoryMax": "512M",
        "Service.CPUQuota": "150%",
        "Service.ReadWritePaths": "/opt/backends/shop/shared /var/lib/shop /var/spool/shop",
    }.items():
        assert found[key] == [value], key


def probe_options(command: str) -> list[str]:
    """The words of a probe's command line, as systemd splits them."""
    return [word.replace("%%", "%") for word in shlex.split(command)]


@pytest.mark.parametrize("which", SETS)
def test_the_gate_asks_the_instances_own_socket(rendered: dict[str, dict[str, str]], which: str):
    (command,) = options(rendered[which][SERVICE])["Service.ExecStartPost"]
    words = probe_options(command)
    name = SETS[which]["app_name"]
    assert words[:2] == ["/usr/bin/python3", "-I"]
    assert words[words.index("--unix") + 1] == f"/run/{name}/{ID}.sock"
    assert options(rendered[which]["roles/gunicorn/templates/socket.j2"])["Socket.ListenStream"] == [
        f"/run/{name}/{ID}.sock"
    ]
    assert words[-2:] == ["--pid", "$MAINPID"]


def test_the_gate_of_the_full_set(rendered: dict[str, dict[str, str]]):
    (command,) = options(rendered["full"][SERVICE])["Service.ExecStartPost"]
    words = probe_options(command)
    assert words[5:] == [
        *["--path", "/healthz?deep=1&x=%20", "--host", "shop.example.org", "--status", "204", "--timeout", "2.5"],
        *["--json", 'checks.db="all ok"', "--json", "ready=true", "--header", "X-Forwarded-Proto:https"],
        *["--successes", "3", "--interval", "0.1", "--deadline", "90", "--pid", "$MAINPID"],
    ]


@pytest.mark.parametrize("which", SETS)
def test_gate_and_timer_ask_the_same(rendered: dict[str, dict[str, str]], which: str):
    (gate,) = options(rendered[which][SERVICE])["Service.ExecStartPost"]
    asked = json.loads(rendered[which]["configuration"])["live"]
    words = probe_options(gate)
    assert asked[2:] == words[words.index("--path") : words.index("--successes")]


@pytest.mark.parametrize("which", SETS)
def test_the_migration_runs_as_the_service_does(rendered: dict[str, dict[str, str]], which: str):
    service = options(rendered[which][SERVICE])
    migration = options(rendered[which]["roles/migrate/templates/migrate.service.j2"])
    own = {"Type", "SyslogIdentifier", "Environment", "ExecStart", "ExecStopPost", "TimeoutStartSec", "ReadWritePaths"}
    own |= {"NoExecPaths"}  # it may start the database's programs
    shared = {key: value for key, value in migration.items() if key.startswith("Service.") and key[8:] not in own}
    assert shared == {key: service[key] for key in shared}
    assert {"Service.User", "Service.EnvironmentFile", "Service.WorkingDirectory", "Service.ProtectSystem"} <= set(
        shared
    )
    assert set(service["Service.Environment"]) < set(migration["Service.Environment"])


def test_the_migration_of_the_full_set(rendered: dict[str, dict[str, str]]):
    found = options(rendered["full"]["roles/migrate/templates/migrate.service.j2"])
    assert probe_options(found["Service.ExecStart"][0]) == [
        f"/opt/backends/shop/releases/{ID}/venv/bin/python",
        "/opt/backends/shop/bin/decant-database",
        "upgrade",
        "--directory",
        "db migrations/100%",
        "--lock-timeout",
        "10",
        "--statement-timeout",
        "0",
        "--incoming",
        "/opt/backends/shop/backups/incoming",
    ]
    assert found["Service.ReadWritePaths"][-1].endswith(" /opt/backends/shop/backups")
    assert "Service.InaccessiblePaths" not in found
    assert found["Service.ExecStopPost"][0].startswith(
        "+/usr/bin/python3 -I /opt/backends/shop/bin/decant-database keep "
    )
    assert found["Service.TimeoutStartSec"] == ["600"]


@pytest.mark.parametrize(("which", "seconds"), [("minimum", "30s"), ("full", "15s")])
def test_the_timer(rendered: dict[str, dict[str, str]], which: str, seconds: str):
    found = options(rendered[which]["roles/health/templates/health.timer.j2"])
    assert found["Timer.OnUnitActiveSec"] == found["Timer.OnActiveSec"] == [seconds]
    assert found["Install.WantedBy"] == ["timers.target"]


@pytest.mark.parametrize("which", SETS)
def test_the_socket_is_for_the_proxy_alone(rendered: dict[str, dict[str, str]], which: str):
    found = options(rendered[which]["roles/gunicorn/templates/socket.j2"])
    user = SETS[which].get("app_user", SETS[which]["app_name"])
    assert found["Socket.SocketUser"] == [user]
    assert found["Socket.SocketGroup"] == ["www-data"]
    assert found["Socket.SocketMode"] == ["0660"]
    assert found["Socket.Backlog"] == ["2048"]


def test_names_that_are_prefixes_of_each_other_share_no_unit_and_no_file(rendered: dict[str, dict[str, str]]):
    one = {unit_name(name, "minimum") for name in UNITS}
    two = {unit_name(name, "prefix") for name in UNITS}
    assert not one & two
    paths = {}
    for which in ("minimum", "prefix"):
        everything = "\n".join(
            text
            for name, text in rendered[which].items()
            if not name.endswith("catch-all.conf.j2") and not name.startswith(HOST)
        )
        paths[which] = set(re.findall(r"/(?:srv|run|etc|var/log)/[^\s;]+", everything))
    assert not paths["minimum"] & paths["prefix"]
    mine = [
        re.escape(name)
        for name in ("projects@", "projects.target", "/srv/projects/", "/run/projects/", "decant-projects ")
    ]
    for name, text in rendered["prefix"].items():
        assert not re.search("|".join(mine), text), name


# --- gunicorn ------------------------------------------------------------------------------------


def python_values(text: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    exec(compile(text, "gunicorn.conf.py", "exec"), {"__builtins__": {}}, values)
    assert callable(values.pop("post_worker_init"))
    return values


GUNICORN = {
    "wsgi_app": "app:create_app('production')",
    "worker_class": "gthread",
    "workers": 5,
    "threads": 4,
    "timeout": 30,
    "graceful_timeout": 30,
    "backlog": 2048,
    "keepalive": 2,
    "max_requests": 0,
    "max_requests_jitter": 0,
    "preload_app": False,
    "loglevel": "info",
    "accesslog": None,
    "errorlog": "-",
    "worker_tmp_dir": "/dev/shm",
    "control_socket_disable": True,
    "forwarded_allow_ips": "*",
}


@pytest.mark.parametrize(
    ("which", "changes"),
    [
        ("minimum", {}),
        ("prefix", {}),
        ("text", {"timeout": 45, "graceful_timeout": 20, "preload_app": True}),
        (
            "full",
            {
                "wsgi_app": 'wsgi:make("it\'s", 100)',
                "worker_class": "gevent",
                "graceful_timeout": 7,
                "preload_app": True,
                "accesslog": "-",
                "limit_request_line": 8190,
                "proc_name": "shop's",
                "raw_env": ["A=1"],
                "reuse_port": False,
            },
        ),
    ],
)
def test_gunicorns_settings(rendered: dict[str, dict[str, str]], which: str, changes: dict[str, Any]):
    assert python_values(rendered[which][CONF]) == {**GUNICORN, **changes}


# --- nginx ---------------------------------------------------------------------------------------


def directives(text: str) -> list[tuple[tuple[str, ...], str]]:
    """(blocks around it, directive) in order; unbalanced braces are an error."""
    found, blocks = [], []
    for line in (line.strip() for line in text.splitlines()):
        if not line or line.startswith("#"):
            continue
        if line.endswith("{"):
            blocks.append(line[:-1].strip())
        elif line == "}":
            blocks.pop()
        else:
            line = line.partition(" # ")[0]
            assert line.endswith((";", "}")), line
            found.append((tuple(blocks), line))
    assert blocks == []
    return found


@pytest.mark.parametrize("name", SITES)
@pytest.mark.parametrize("which", SETS)
def test_sites_are_blocks_and_directives(rendered: dict[str, dict[str, str]], which: str, name: str):
    assert directives(rendered[which][name])


def test_the_site_of_the_minimum(rendered: dict[str, dict[str, str]]):
    found = directives(rendered["minimum"][SITES[0]])
    upstream = ("upstream decant-projects",)
    assert found[0] == (upstream, "server unix:/srv/projects/current/gunicorn.sock fail_timeout=0;")
    server = [line for blocks, line in found if blocks == ("server",)]
    for line in (
        "listen 80;",
        "listen [::]:80;",
        "server_name projects.example.org;",
        "server_tokens off;",
        "access_log /var/log/nginx/projects.access.log decant-projects;",
        "client_max_body_size 10m;",
        "client_header_timeout 15s;",
        "proxy_set_header Host $decant_projects_host;",
        "proxy_set_header X-Forwarded-For $remote_addr;",
        "proxy_read_timeout 60s;",
        "gzip off;",
    ):
        assert line in server, line
    locations = {blocks[1] for blocks, _ in found if len(blocks) > 1}
    assert locations == {
        "if ($request_method !~ ^(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS)$)",
        "location ^~ /.well-known/acme-challenge/",
        "location ^~ /decant-status/",
        "location = /decant-error/json",
        "location = /decant-error/html",
        "location = /api/health",
        "location /",
    }
    assert [line for blocks, line in found if blocks[1:] == ("location = /api/health",)] == [
        "access_log off;",
        "proxy_pass http://decant-projects;",
    ]
    assert not [line for _, line in found if "ssl" in line or "limit_req " in line]


def test_the_site_of_the_full_set(rendered: dict[str, dict[str, str]]):
    found = directives(rendered["full"][SITES[0]])
    server = [line for blocks, line in found if blocks == ("server",)]
    # Plain HTTP has a server of its own, which leads to the one with TLS.
    assert [line for line in server if line.startswith("listen")] == ["listen 8080;", "listen 8443 ssl http2;"]
    assert (("server", "location /"), "return 308 https://$host:8443$request_uri;") in found
    assert ('map "$https:$upstream_http_strict_transport_security" $decant_shop_hsts',) in [
        blocks for blocks, _ in found
    ]
    for location, line in (
        ("/api/login", "limit_req zone=decant-shop-path-1 burst=2 nodelay;"),
        ("/api/login", "limit_req zone=decant-shop-general burst=100 nodelay;"),
        ("/", "limit_req zone=decant-shop-general burst=100 nodelay;"),
        ("/events/", "proxy_buffering off;"),
        ("/events/", "proxy_set_header X-Forwarded-For $remote_addr;"),
        ("/events/", "proxy_set_header Upgrade $http_upgrade;"),
    ):
        assert (("server", f"location {location}"), line) in found, line
    assert "limit_req" not in " ".join(line for blocks, line in found if blocks[1:] == ("location = /healthz",))
    for line in (
        "ssl_certificate /etc/letsencrypt/live/decant-shop/fullchain.pem;",
        "ssl_protocols TLSv1.2 TLSv1.3;",
        "ssl_stapling on;",
        "set_real_ip_from 198.51.100.0/24;",
        "limit_conn decant-shop-connections 20;",
        "add_header X-Frame-Options $decant_shop_x_frame_options always;",
        "server_name shop.example.org *.shop.example.org;",
        "client_max_body_size 1g;",
        "gzip on;",
        "access_log off;",
        "add_header X-Test 1;",
        "location /x { return 204; }",
    ):
        assert line in server, line
    code = "/opt/backends/shop/current/src/api"
    assert (("server", "location /static/"), f"alias {code}/app/static/;") in found
    assert (("server", 'location "/m edia/"'), f"alias {code}/public/;") in found
    assert (("server", "location /static/"), "expires 60s;") in found
    assert (("server", "location /static/"), "gzip off;") in found


def test_a_header_without_a_value_is_not_sent(rendered: dict[str, dict[str, str]]):
    assert "X-Gone" not in rendered["full"][SITES[0]]
    assert "DENY;" in rendered["full"][SITES[0]]


def test_no_header_of_the_client_is_passed_on_as_ours(rendered: dict[str, dict[str, str]]):
    for which in SETS:
        assert "proxy_add_x_forwarded_for" not in rendered[which][SITES[0]]


def test_the_catch_all_is_the_same_for_every_backend_of_a_port(rendered: dict[str, dict[str, str]]):
    text = rendered["minimum"][SITES[1]]
    assert text == rendered["prefix"][SITES[1]]
    assert directives(text) == [
        (("server",), line)
        for line in (
            "listen 80 default_server;",
            "listen [::]:80 default_server;",
            "server_name _;",
            "client_header_timeout 15s;",
            "access_log off;",
            "return 444;",
        )
    ]


# --- decisions over a fleet ----------------------------------------------------------------------


@pytest.mark.parametrize("fleet", FLEETS)
def test_one_id_for_all_and_one_migration_per_database(run: dict[str, dict[str, Any]], fleet: str):
    decided = [run[f"{fleet}-{number}"] for number in range(len(FLEETS[fleet]))]
    assert decided == [{"id": release, "migrates": migrates} for _, release, migrates in FLEETS[fleet]]


# --- PostgreSQL ----------------------------------------------------------------------------------


def test_the_servers_settings(rendered: dict[str, dict[str, str]]):
    text = rendered["minimum"]["roles/postgresql/templates/decant.conf.j2"]
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert lines == ["listen_addresses = '*'", "port = 5432", "password_encryption = 'scram-sha-256'"]


def test_the_door_is_at_the_hosts_own_address(rendered: dict[str, dict[str, str]]):
    door = "roles/exporters/templates/door.conf.j2"
    assert "    listen [2001:db8::10]:9443 ssl http2;\n" in rendered["full"][door]
    assert "    listen minimum:9443 ssl http2;\n" in rendered["minimum"][door]
