# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Talking to systemd and the journal on a host, for the modules that act on units."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from ansible_collections.decant.flask.plugins.module_utils import envfile
from ansible_collections.decant.flask.plugins.module_utils.layout import SECRETS_FILE, SYSTEMD_UNITS, Layout


class CommandError(Exception):
    """A command that ended badly. `output` is what it said, on either stream."""

    def __init__(self, argv: Sequence[str], code: int, output: str) -> None:
        super().__init__(f"'{' '.join(argv)}' ended with {code}: {output.strip()[-2000:]}")
        self.code = code
        self.output = output


def run(
    argv: Sequence[str],
    *,
    check: bool = True,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    timeout: float | None = None,
    user: str | None = None,
    group: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command without a shell, with both streams in `stdout`.

    :param env: the whole environment of the command; PATH and LANG are added. None passes a minimal one.
    :param timeout: seconds; subprocess.TimeoutExpired past it.
    :param user: run as this user (needs root), with no supplementary groups.
    :raises CommandError: when check is set and the command fails.
    """
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    environment.update(env or {})
    switch = {} if user is None else {"user": user, "group": group or user, "extra_groups": []}
    done = subprocess.run(
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=cwd,
        timeout=timeout,
        encoding="utf-8",
        errors="replace",
        check=False,
        **switch,
    )
    if check and done.returncode != 0:
        raise CommandError(argv, done.returncode, done.stdout)
    return done


def systemctl(*arguments: str, check: bool = True, timeout: float | None = None) -> str:
    """systemctl's output, stripped. With check=False a failure is an answer, not an error."""
    return run(["systemctl", *arguments], check=check, timeout=timeout).stdout.strip()


def unit_properties(unit: str, *names: str) -> dict[str, str]:
    """Properties of one unit, as systemctl show prints them."""
    out = systemctl("show", "--property", ",".join(names), "--", unit, check=False)
    return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)


def active_instances(layout: Layout) -> list[str]:
    """Ids of the releases whose service is up or on its way up. Matched by exact prefix `<name>@`, so that
    a backend whose name begins with this one's is never meant."""
    out = systemctl(
        "list-units", "--plain", "--no-legend", "--all", "--type=service", f"{layout.name}@*.service", check=False
    )
    found = []
    for line in out.splitlines():
        fields = line.split()
        if len(fields) >= 4 and fields[2] in ("active", "activating", "reloading", "deactivating"):
            unit = fields[0]
            found.append(unit[len(layout.name) + 1 : -len(".service")])
    return sorted(found)


def enabled_instances(layout: Layout) -> list[str]:
    """Ids of the releases that a boot would start."""
    try:
        names = os.listdir(f"{SYSTEMD_UNITS}/{layout.name}.target.wants")
    except OSError:
        return []
    prefix, suffix = f"{layout.name}@", ".service"
    return sorted(n[len(prefix) : -len(suffix)] for n in names if n.startswith(prefix) and n.endswith(suffix))


def secret_values(layout: Layout, release_id: str) -> list[str]:
    """The values in a release's .env that its manifest lists as secret, all of them when it lists none; and its credentials."""
    delivered = list(layout.secrets_of(release_id).values())
    try:
        with open(f"{layout.release(release_id)}/{SECRETS_FILE}", encoding="utf-8") as stream:
            values = envfile.parse(stream.read())
    except (OSError, ValueError):
        return delivered
    names = layout.manifest(release_id).get("secret_keys")
    return [*delivered, *(value for key, value in values.items() if names is None or key in names)]


def journal(unit: str, lines: int, layout: Layout, release_id: str) -> str:
    """The last lines of a unit's latest run, with the release's secrets masked."""
    invocation = unit_properties(unit, "InvocationID").get("InvocationID", "")
    run(["journalctl", "--sync"], check=False)
    match = [f"_SYSTEMD_INVOCATION_ID={invocation}"] if invocation else ["--unit", unit]
    done = run(["journalctl", "--no-pager", "--output=cat", f"--lines={lines}", *match], check=False)
    return envfile.mask(done.stdout.strip(), secret_values(layout, release_id))
