# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The host around the backend, seen from outside: what answers, what does not, and that nobody is shut out."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from testing import App, Run, address, open_host, play, reboot, until

UNDECLARED = 9000
PATHS = (
    "/etc/nftables.d/decant.nft",
    "/etc/systemd/system/decant-firewall.service",
    "/etc/systemd/system/nftables.service.d/decant.conf",
    "/etc/apt/apt.conf.d/90decant",
    "/etc/systemd/journald.conf.d/decant.conf",
)


def baseline(*arguments: str, **variables: Any) -> Run:
    return play("playbooks/baseline.yml", *arguments, **variables)


def connects(port: int) -> str:
    """What becomes of a connection from the controller: open, refused or silent."""
    try:
        with socket.create_connection((address("web"), port), timeout=3):
            return "open"
    except TimeoutError:
        return "silent"
    except ConnectionRefusedError:
        return "refused"


def listen(app: App) -> None:
    """A server that nobody has declared."""
    start = f"systemd-run --unit=undeclared python3 -m http.server {UNDECLARED}"
    app.host.check_output(f"systemctl is-active --quiet undeclared.service || {start}")
    until(lambda: app.host.run(f"ss -Hltn sport = :{UNDECLARED}").stdout, what="the server that listens")


def files(app: App) -> str:
    """Sums of what the role writes; what is missing is named."""
    return app.host.run(f"sha256sum {' '.join(PATHS)} 2>&1").stdout


@pytest.fixture(scope="module")
def app() -> App:
    """A host that listens where it should not, with a table of other software, before and after the baseline."""
    found = App("web")
    listen(found)
    assert connects(UNDECLARED) == "open", "a test that the firewall closes it would show nothing"
    planned = baseline("--check", "--diff").ok()
    assert "tcp dport { 22, 80 } accept" in planned.says() and "nftables" in planned.says()
    assert connects(UNDECLARED) == "open" and not found.host.file(PATHS[0]).exists, "a check changes nothing"
    baseline().ok()
    found.host.check_output("nft add table inet other; nft add chain inet other mine")
    return found


def test_declared_ports_answer_and_others_do_not(app: App) -> None:
    assert app.ask("/api/health").status == 200
    assert connects(UNDECLARED) == "silent"
    assert connects(22) == "open"
    assert open_host("web").check_output("id --user --name") == "root"


def test_the_host_reaches_itself(app: App) -> None:
    assert (
        app.host.run(f"python3 -c 'import urllib.request as r; r.urlopen(\"http://127.0.0.1:{UNDECLARED}\")'").rc == 0
    )


def test_a_second_run_changes_nothing(app: App) -> None:
    before = app.host.check_output("systemctl show --property ActiveEnterTimestampMonotonic systemd-journald.service")
    assert baseline().ok().changed() == 0
    assert baseline("--check").ok().changed() == 0
    after = app.host.check_output("systemctl show --property ActiveEnterTimestampMonotonic systemd-journald.service")
    assert before == after


def test_a_port_is_open_to_whom_it_is_declared_for(app: App) -> None:
    baseline(baseline_open_addresses={UNDECLARED: ["192.0.2.0/24", "192.0.2.7", "2001:db8::/32"]}).ok()
    assert connects(UNDECLARED) == "silent"
    me = app.host.check_output("ss -Htn state established sport = :22").split()[3].rsplit(":", 1)[0].strip("[]")
    baseline(baseline_open_addresses={UNDECLARED: [me.removeprefix("::ffff:")]}).ok()
    assert connects(UNDECLARED) == "open"
    baseline(baseline_open_ports=[80, UNDECLARED]).ok()
    assert connects(UNDECLARED) == "open"
    baseline().ok()
    assert connects(UNDECLARED) == "silent"


def test_other_tables_stay(app: App) -> None:
    assert "table inet other" in app.host.check_output("nft list tables")


@pytest.mark.parametrize("action", ["reload", "restart"])
def test_the_rules_come_again_when_the_whole_rule_set_is_emptied(app: App, action: str) -> None:
    app.host.check_output(f"systemctl start nftables && systemctl {action} nftables")
    assert connects(UNDECLARED) == "silent"
    app.host.check_output("nft add table inet other")


def test_a_table_that_was_removed_by_hand_comes_back(app: App) -> None:
    app.host.check_output("nft delete table inet decant_baseline")
    assert connects(UNDECLARED) == "open"
    assert baseline().ok().changed() == 1
    assert connects(UNDECLARED) == "silent"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"baseline_open_ports": [70000]}, "baseline_open_ports has '70000'"),
        ({"baseline_open_addresses": {"9100": ["db.example.org"]}}, "names are not looked up"),
        ({"baseline_journal_max_use": "much"}, "baseline_journal_max_use is 'much'"),
        ({"baseline_reboot_time": 840}, "baseline_reboot_time is '840'"),
        ({"baseline_open_port": [80]}, "Did you mean baseline_open_ports?"),
        ({"baseline_open_addresses": {"22": ["192.0.2.0/24"]}}, "No rule was changed"),
    ],
)
def test_bad_input_changes_nothing(app: App, variables: dict[str, Any], words: str) -> None:
    before = files(app)
    refused = baseline(**variables).refused()
    assert words in refused.says() and refused.changed() == 0
    assert files(app) == before


def test_rules_that_nftables_refuses_are_put_back(app: App) -> None:
    """The check stands in for a rule that the contract cannot foresee: nft itself is replaced by one that refuses."""
    before = files(app)
    app.host.check_output("printf '#!/bin/sh\\necho no such rule; exit 1\\n' > /usr/local/sbin/nft")
    app.host.check_output("chmod 755 /usr/local/sbin/nft")
    try:
        refused = baseline(baseline_open_ports=[80, 81]).refused()
    finally:
        app.host.check_output("rm /usr/local/sbin/nft")
    assert "put back as they were" in refused.says() and "no such rule" in refused.says()
    assert files(app) == before


def test_only_security_updates_are_installed(app: App) -> None:
    said = app.host.run("unattended-upgrade --dry-run --debug 2>&1")
    assert said.rc == 0, said.stdout
    (allowed,) = [line for line in said.stdout.splitlines() if line.startswith("Allowed origins are:")]
    assert allowed == "Allowed origins are: origin=Debian,codename=bookworm-security,label=Debian-Security"
    settings = app.host.check_output("apt-config dump")
    assert 'APT::Periodic::Unattended-Upgrade "1"' in settings
    assert 'Unattended-Upgrade::Automatic-Reboot "false"' in settings
    for timer in ("apt-daily.timer", "apt-daily-upgrade.timer"):
        assert app.host.check_output(f"systemctl is-enabled {timer}; systemctl is-active {timer}") == "enabled\nactive"


def test_a_reboot_happens_only_when_it_has_a_time(app: App) -> None:
    assert baseline(baseline_reboot_time="04:00").ok().changed() == 1
    settings = app.host.check_output("apt-config dump")
    assert 'Unattended-Upgrade::Automatic-Reboot "true"' in settings
    assert 'Unattended-Upgrade::Automatic-Reboot-Time "04:00"' in settings
    assert baseline().ok().changed() == 1


def test_the_clock_is_kept(app: App) -> None:
    assert app.host.check_output("systemctl is-enabled systemd-timesyncd.service") == "enabled"


def test_the_journal_is_limited(app: App) -> None:
    assert "max 1.0G" in app.host.check_output(
        "systemctl restart systemd-journald; journalctl --no-pager --output=cat --unit=systemd-journald.service | tail -3"
    )
    said = app.host.check_output("systemd-analyze cat-config systemd/journald.conf")
    assert "\nSystemMaxUse=1G\n" in said and "\nMaxRetentionSec=30day" in said


def test_a_reboot_keeps_it_closed(app: App) -> None:
    reboot("web")
    listen(app)
    assert until(lambda: app.ask("/api/health").status == 200)
    assert connects(UNDECLARED) == "silent"
    assert open_host("web").check_output("systemctl is-active decant-firewall.service") == "active"
    assert baseline().ok().changed() == 0


def test_a_part_that_is_switched_off_is_taken_back(app: App) -> None:
    off = {
        f"baseline_{part}_enabled": False for part in ("firewall", "security_upgrades", "time_sync", "journal_limits")
    }
    baseline(**off).ok()
    assert connects(UNDECLARED) == "open"
    assert [path for path in PATHS if app.host.file(path).exists] == []
    assert baseline(**off).ok().changed() == 0
