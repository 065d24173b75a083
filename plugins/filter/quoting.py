# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters for values that end up in another language's file: .env, a unit, nginx, PostgreSQL, Python."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ansible.errors import AnsibleFilterError
from ansible_collections.decant.flask.plugins.module_utils import envfile
from ansible_collections.decant.flask.plugins.plugin_utils import (
    alerts,
    baseline,
    contract,
    edge,
    fleet,
    locking,
    monitoring,
    plans,
    readiness,
    settings,
    steps,
)
from ansible_collections.decant.flask.plugins.plugin_utils import sandbox as sandboxes


def dotenv(values: Mapping[str, Any]) -> str:
    """The text of a .env file: sorted, quoted for systemd, python-dotenv and a shell alike."""
    try:
        return envfile.render(settings.plain(values))
    except envfile.EnvFileError as error:
        raise AnsibleFilterError(str(error)) from error


def env_salt(text: str) -> str:
    """The key under which a host digests the variables that it has (see the module host_state)."""
    return plans.salt(str(text))


def sqlite_path(url: str) -> str:
    """The absolute file of a SQLAlchemy SQLite URL; empty for any other database."""
    path = contract.sqlite_path(str(url)) or ""
    return path if path.startswith("/") else ""


def database_place(url: str) -> dict[str, Any]:
    """Where a database answers, without anything that is secret."""
    return alerts.database_place(str(url))


def database_host(groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Mapping[str, Any]]) -> str:
    """Where the backends find the database: the first host of the group database.

    The directory of its socket when that host is the only backend as well; empty when the group has no host.
    """
    hosts = list(groups.get("database") or [])
    if not hosts:
        return ""
    return "/run/postgresql" if list(groups.get("backend") or []) == hosts[:1] else host_address(hosts[0], hostvars)


def backend_addresses(groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Where the hosts of the group backend come from."""
    return [host_address(name, hostvars) for name in groups.get("backend") or []]


def monitoring_addresses(groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Where the hosts of the group monitoring come from."""
    names = groups.get("monitoring") or []
    return [str(hostvars[name].get("monitoring_address") or host_address(name, hostvars)) for name in names]


def monitoring_targets(hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the role exporters has said of the hosts that it has been on in this run."""
    found = {name: variables.get("__exporters_target") for name, variables in hosts.items()}
    return {name: settings.plain(target) for name, target in found.items() if target}


def monitoring_site(targets: Mapping[str, Mapping[str, Any]], app: str) -> list[dict[str, Any]]:
    """Each backend's own way in, as Prometheus' file_sd takes it."""
    return monitoring.site_targets(settings.plain(targets), str(app))


def monitoring_doors(targets: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The doors of the exporters, as Prometheus' file_sd takes them."""
    return monitoring.door_targets(settings.plain(targets))


def alertmanager_receivers(entries: Sequence[Mapping[str, Any]], smarthost: str, sender: str) -> dict[str, Any]:
    """health_alerts as Alertmanager's own receivers; what a host alone can do is passed over."""
    return monitoring.receivers(settings.plain(entries), str(smarthost), str(sender))


def host_address(name: str, hostvars: Mapping[str, Mapping[str, Any]]) -> str:
    """ansible_host, or the host's name in the inventory when that is what is used to reach it."""
    return str(hostvars[name].get("ansible_host") or name)


def postgresql_url(settings: Mapping[str, Any], driver: str) -> str:
    """The SQLAlchemy URL of the database that the postgresql_* inputs name.

    :param settings: postgresql_host (a name, an address, or the directory of a socket), _port, _database, _user, _password.
    :param driver: SQLAlchemy's name of the driver; empty for its default.
    """

    def part(name: str) -> str:
        return quote(str(settings[f"postgresql_{name}"]), safe="")

    host, port = str(settings["postgresql_host"]), settings["postgresql_port"]
    scheme = f"postgresql+{driver}" if driver else "postgresql"
    who, query = f"{part('user')}:{part('password')}", ""
    if host.startswith("/"):
        # libpq takes the socket's directory for a host, pg8000 wants the socket itself.
        socket = f"unix_sock={host}/.s.PGSQL.{port}" if driver == "pg8000" else f"host={host}&port={port}"
        where, query = "", f"?{socket}"
    else:
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"{scheme}://{who}@{where}/{part('database')}{query}"


def postgresql_cluster(listing: str, port: int) -> dict[str, Any]:
    """The cluster to work on: the one that has the port, else the only one there is.

    :param listing: what `pg_lsclusters --no-header` prints: version, name, port, status, owner, directory, log.
    :returns: version, name, port.
    """
    rows = [line.split() for line in listing.splitlines() if len(line.split()) >= 3]
    chosen = [row for row in rows if row[2] == str(port)] or rows
    if len(chosen) != 1:
        has = ", ".join(f"{row[0]}/{row[1]} on port {row[2]}" for row in rows) or "none"
        raise AnsibleFilterError(
            f"The database host has these clusters of PostgreSQL: {has}. Set postgresql_port to the port of the one to use; "
            "pg_createcluster makes one."
        )
    version, name, found = chosen[0][:3]
    return {"version": version, "name": name, "port": int(found)}


def pg_hba(text: str, name: str, database: str, user: str, addresses: Sequence[str], listen: Sequence[str]) -> str:
    """pg_hba.conf with one block at its top: this role may open this database, from these addresses and the host itself.

    The first record that fits a connection decides, so a new block stands first; all else in the file is left as it is.

    :param name: the backend's name, which marks the block: several backends share a server.
    :param addresses: addresses and networks; an address alone means just that one.
    :param listen: where the server has to listen for this backend, kept as a comment for pg_listen.
    """
    begin, end = f"# BEGIN decant {name}", f"# END decant {name}"
    networks = sorted({str(ipaddress.ip_network(str(item))) for item in addresses})
    records = [f"local {database} {user} scram-sha-256"]
    records += [f"host {database} {user} {network} scram-sha-256" for network in networks]
    block = "\n".join([begin, f"# listen {', '.join(listen)}", *records, end, ""])
    mine = re.compile(rf"^{re.escape(begin)}\n.*?^{re.escape(end)}\n", re.MULTILINE | re.DOTALL)
    place = mine.search(text)
    if not place:
        return block + text
    # In its place: two backends on a server would otherwise move each other's block with every run.
    return text[: place.start()] + block + mine.sub("", text[place.end() :])


def pg_listen(text: str) -> list[str]:
    """Where a server has to listen: what all backends in its pg_hba.conf ask for, since it has one setting for all of them.

    :param text: what pg_hba made.
    """
    lines = re.findall(r"^# BEGIN decant \S+\n# listen (.*)$", text, flags=re.MULTILINE)
    found = {address.strip() for line in lines for address in line.split(",")} - {""}
    return ["*"] if "*" in found else sorted(found)


def pg_value(value: Any) -> str:
    """A value of postgresql.conf, in quotes. A list becomes one text with commas."""
    text = ", ".join(str(item) for item in value) if isinstance(value, (list, tuple)) else str(value)
    return "'" + text.replace("'", "''") + "'"


def systemd_value(value: Any) -> str:
    """One word of a unit file: % doubled, quoted when it has blanks, quotes or backslashes."""
    text = str(value).replace("%", "%%")
    if any(ord(c) < 32 for c in text):
        raise AnsibleFilterError(f"{text!r} has a control character, which a unit file cannot hold on one line")
    if text and not any(c in text for c in " \t\"'\\;$"):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{escaped}"'


def nginx_value(value: Any) -> str:
    """One argument of an nginx directive, quoted when it needs to be."""
    text = str(value)
    if any(ord(c) < 32 for c in text):
        raise AnsibleFilterError(f"{text!r} has a control character, which an nginx directive cannot hold")
    if text and not any(c in text for c in " \t\"'\\;{}#$"):
        return text
    if "$" in text:
        raise AnsibleFilterError(f"'{text}' has a $, which nginx would read as a variable")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def response_headers(headers: Mapping[str, Any]) -> list[dict[str, str]]:
    """name, value and nginx's field of each header that has a value."""
    return edge.response_headers(settings.plain(headers))


def rate_zones(paths: Sequence[Mapping[str, Any]], upstream: str) -> list[dict[str, Any]]:
    """Paths with a limit of their own, each with the name of its zone."""
    return edge.rate_zones(settings.plain(paths), str(upstream))


def sandbox(root: str, **options: Any) -> list[str]:
    """The sandbox of a unit, as lines of its [Service] section."""
    return sandboxes.lines(str(root), **settings.plain(options))


def to_python(value: Any) -> str:
    """A value as a Python literal."""
    return repr(settings.plain(value))


def probe_words(options: Mapping[str, Any]) -> list[str]:
    """The command line of decant-probe: a mapping becomes one option per item, with JSON values for --json."""
    words = []
    for name, value in settings.plain(options).items():
        if not isinstance(value, dict):
            words += [f"--{name}", str(value)]
            continue
        for key, item in sorted(value.items()):
            words += [f"--{name}", f"{key}={json.dumps(item)}" if name == "json" else f"{key}:{item}"]
    return words


def release_line(release: Mapping[str, Any]) -> str:
    """One release as a line of a list: id, outcome, version, commit, age, schema."""
    mark = "* " if release["current"] else "  "
    words = [
        release["id"],
        release["outcome"],
        release["version"],
        release["commit"],
        fleet.age(release["age_seconds"]),
        f"schema {release['schema'] or 'unknown'}",
    ]
    return mark + "  ".join(word for word in words if word) + (f"  ({release['reason']})" if release["reason"] else "")


def migration_lines(done: Mapping[str, Any]) -> list[str]:
    """What a migration did, as lines: the revisions that ran, what they lost, and the backup that was taken before."""
    lines = [f"{item['revision']}  {item['title']}".strip() for item in done.get("pending", [])]
    lines += [f"destructive, and allowed: {text}" for text in done.get("destructive", [])]
    return [*lines, f"backup: {done.get('backup') or 'none, the database was empty or backups are off'}"]


def backup_line(record: Mapping[str, Any]) -> str:
    """One backup as a line of a list: id, time, revision, size, the release that took it."""
    size = f"{int(record['bytes']) / 1024:.0f} KiB"
    revision = ",".join(record.get("revision") or []) or "none"
    return f"{record['id']}  {record['at']}  schema {revision}  {size}  of release {record.get('release') or 'unknown'}"


def lock_line(record: Mapping[str, Any]) -> str:
    """Whose a lock is, as a line."""
    return locking.note(record) if record else "there was no lock"


def hook_paths(hooks: Mapping[str, str], place: str) -> dict[str, str]:
    """Absolute paths of the user's own task files; relative ones start from the inventory's directory."""
    return steps.hook_paths(settings.plain(hooks), str(place))


def switch_steps(hosts: list[str], wanted: list[Any]) -> list[list[str]]:
    """The hosts of each step in which a fleet switches."""
    return steps.steps([str(host) for host in hosts], settings.plain(wanted))


def traffic_worse(after: Mapping[str, Any], before: Mapping[str, Any], limits: Mapping[str, Any]) -> str:
    """Why a step must be taken back; empty when it may stay."""
    return steps.worse(before, after, settings.plain(limits))


def site_ports(inputs: Mapping[str, Any]) -> list[int]:
    """The TCP ports of the site, from the inputs of the role nginx."""
    return edge.ports(settings.plain(inputs))


def readiness_questions(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What the module readiness is asked, from every input."""
    return {**readiness.questions(settings.plain(inputs)), "refused": contract.PLACEHOLDER.pattern}


def firewall_rules(ports: list[int], addresses: Mapping[Any, list[str]], ssh_port: int) -> list[str]:
    """The rules of nftables that let in."""
    return baseline.rules(settings.plain(ports), settings.plain(addresses), int(ssh_port))


def shuts_out(addresses: Mapping[Any, list[str]], ssh_port: int, client: str) -> bool:
    """Whether the client of an SSH connection could not come back."""
    return baseline.shuts_out(settings.plain(addresses), int(ssh_port), str(client))


class FilterModule:
    """Makes the filters known as decant.flask.<name>."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "alertmanager_receivers": alertmanager_receivers,
            "backup_line": backup_line,
            "backend_addresses": backend_addresses,
            "database_host": database_host,
            "database_place": database_place,
            "dotenv": dotenv,
            "env_salt": env_salt,
            "firewall_rules": firewall_rules,
            "hook_paths": hook_paths,
            "lock_line": lock_line,
            "migration_lines": migration_lines,
            "monitoring_addresses": monitoring_addresses,
            "monitoring_doors": monitoring_doors,
            "monitoring_site": monitoring_site,
            "monitoring_targets": monitoring_targets,
            "nginx_value": nginx_value,
            "pg_hba": pg_hba,
            "pg_listen": pg_listen,
            "pg_value": pg_value,
            "postgresql_cluster": postgresql_cluster,
            "postgresql_url": postgresql_url,
            "probe_words": probe_words,
            "rate_zones": rate_zones,
            "release_line": release_line,
            "readiness_questions": readiness_questions,
            "response_headers": response_headers,
            "sandbox": sandbox,
            "shuts_out": shuts_out,
            "site_ports": site_ports,
            "sqlite_path": sqlite_path,
            "switch_steps": switch_steps,
            "systemd_value": systemd_value,
            "to_python": to_python,
            "traffic_worse": traffic_worse,
        }
