# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lookup that gives a role's inputs where the role does not run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COLLECTIONS = Path(__file__).resolve().parents[2] / "collections"
FLEET = {
    "groups": {"backend": ["web1", "web2"], "database": ["db"]},
    "hostvars": {"web1": {"ansible_host": "192.0.2.11"}, "web2": {}, "db": {"ansible_host": "192.0.2.21"}},
}
# In a process of its own: Ansible's loader of collections, which finds the filters, stays once it is there.
PROGRAM = """
import json, sys
from ansible.plugins.loader import init_plugin_loader
init_plugin_loader([sys.argv[1]])
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.decant.flask.plugins.lookup.inputs import LookupModule
scope, templates = json.load(sys.stdin)
scope.update({name: trust_as_template(text) for name, text in templates.items()})
loader = DataLoader()
try:
    print(json.dumps(LookupModule(loader=loader, templar=Templar(loader, scope)).run(["postgresql"], scope)[0]))
except AnsibleError as error:
    sys.exit(str(error))
"""


def ask(templates: dict[str, str], **variables: Any) -> subprocess.CompletedProcess[str]:
    scope = [{"app_name": "shop-api", **FLEET, **variables}, templates]
    command = [sys.executable, "-c", PROGRAM, str(COLLECTIONS)]
    return subprocess.run(command, input=json.dumps(scope), capture_output=True, text=True, check=False)


def inputs(templates: dict[str, str] | None = None, **variables: Any) -> dict[str, Any]:
    done = ask(templates or {}, **variables)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_defaults_are_the_roles_own():
    found = inputs()
    assert set(found) >= {"postgresql_port", "postgresql_locale"}
    assert all(name.startswith("postgresql_") for name in found)
    assert (found["postgresql_host"], found["postgresql_port"]) == ("192.0.2.21", 5432)
    assert (found["postgresql_database"], found["postgresql_user"]) == ("shop_api", "shop_api")
    assert found["postgresql_allowed_addresses"] == ["192.0.2.11", "web2"]
    assert found["postgresql_listen_addresses"] == ["*"]


@pytest.mark.parametrize("host", ["/run/postgresql", "127.0.0.1", "::1", "localhost"])
def test_a_server_for_its_own_host_does_not_listen_to_others(host: str):
    assert inputs(postgresql_host=host)["postgresql_listen_addresses"] == ["localhost"]


def test_the_inventory_wins_and_is_templated():
    found = inputs({"postgresql_user": "{{ app_name[:4] }}"}, postgresql_port="5433")
    assert (found["postgresql_port"], found["postgresql_user"]) == (5433, "shop")


def test_braces_in_a_password_are_letters():
    assert inputs(postgresql_password="{{ app_name }}")["postgresql_password"] == "{{ app_name }}"


def test_a_missing_vault_is_said():
    done = ask({"postgresql_password": "{{ vault_postgresql_password }}"})
    assert done.returncode == 1
    assert "postgresql_password cannot be read: 'vault_postgresql_password' is undefined" in done.stderr
