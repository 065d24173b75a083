# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks every input of every role on the controller, before any host is touched."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible_collections.decant.flask.plugins.plugin_utils import collections, contract, settings


class ActionModule(ActionBase):
    """The contract between an inventory and the roles."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        roles = [str(role) for role in self._task.args.get("roles", settings.ROLES)]
        options = settings.specs()
        values = settings.load(variables, self._templar, self._loader)
        found = type_errors(options, values)
        if not found:
            place, hosts = (
                str(variables.get("inventory_dir") or ""),
                list((variables.get("groups") or {}).get("all", [])),
            )
            found = collections.problems(roles, values)
            found += contract.problems(values, list(variables), options, roles, place, hosts)
            found += single_host(values, list(variables.get("ansible_play_hosts_all") or []))
        if found:
            listing = "\n".join(f"{number}. {text}" for number, text in enumerate(found, 1))
            things = "1 thing" if len(found) == 1 else f"{len(found)} things"
            raise AnsibleActionFail(
                f"The inventory of {variables['inventory_hostname']} needs {things} mended; no host was changed.\n{listing}"
            )
        result["changed"] = False
        return result


def single_host(values: dict[str, Any], hosts: list[str]) -> list[str]:
    """A key that a host makes for itself signs what the other hosts of a fleet cannot read."""
    if not values.get("dotenv_secret_key_generated") or len(hosts) < 2:
        return []
    return [
        f"dotenv_secret_key_generated is true, and {len(hosts)} hosts serve: each would sign sessions with another key. Write one "
        "SECRET_KEY for all of them into app_secrets."
    ]


def type_errors(options: dict[str, dict[str, Any]], values: dict[str, Any]) -> list[str]:
    """Wrong types and choices, over the specs of every role at once: a role's own check runs only when its turn comes."""
    wanted = {
        name: {
            key: value for key, value in option.items() if key in ("type", "elements", "choices", "options", "no_log")
        }
        for name, option in options.items()
        if name in values and not option.get("no_log")
    }
    given = {name: values[name] for name in wanted if values[name] is not None}
    shapes = {"list": (list, "a list, for example [{0}]"), "dict": (dict, "a mapping, for example {{KEY: value}}")}
    misshapen = [
        f"{name} is '{given[name]}', and it must be {shapes[option['type']][1].format(given[name])}."
        for name, option in wanted.items()
        if name in given and option["type"] in shapes and not isinstance(given[name], shapes[option["type"]][0])
    ]
    if misshapen:
        return misshapen
    return list(ArgumentSpecValidator(wanted).validate(given).error_messages)
