# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every input of every role, complete and templated, for the plugins that look at a deploy as a whole.

A role that runs alone has only its own defaults in scope; a contract and a fingerprint need all of them. So the defaults
are read from the roles themselves and the play's variables laid over them: there is no second list of defaults.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail, AnsibleUndefinedVariable
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

ROLES = ("lock", "app", "release", "venv", "dotenv", "migrate", "gunicorn", "nginx", "health", "backup")
VERBS = (
    "rollback",
    "restore",
    "status",
    "postgresql",
    "maintenance",
    "baseline",
    "silence",
    "exporters",
    "monitoring",
    "kit",
    "readiness",
)  # roles of the other playbooks
COMMAND_LINE = (
    "release_id",
    "release_list",
    "backup_id",
    "backup_list",
)  # what only a command line says: -e release_id=...
# PyYAML's own parser takes a third of a second for all specs; libyaml, where PyYAML has it, a tenth of that.
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def plain(value: Any) -> Any:
    """A value without Ansible's tags: what JSON would carry, decrypted."""
    return json.loads(json.dumps(value, default=str))


def collection_file(path: str) -> Path:
    """The path of a file of this collection."""
    return Path(_ROOT, path)


def role_file(role: str, path: str) -> str:
    """The path of a file in one of this collection's roles."""
    return os.path.join(_ROOT, "roles", role, path)


@functools.cache
def specs() -> dict[str, dict[str, Any]]:
    """Public variable -> its entry in an argument spec, over every entry point of every role."""
    found: dict[str, dict[str, Any]] = {}
    for role in (*ROLES, *VERBS):
        with open(role_file(role, "meta/argument_specs.yml"), encoding="utf-8") as stream:
            document = yaml.load(stream, Loader=YAML_LOADER)
        for entry_point in document["argument_specs"].values():
            found.update(entry_point.get("options", {}))
    return found


def role_values(part: str, loader: Any) -> dict[str, Any]:
    """What every role has in a file of values, untemplated.

    :param part: defaults or vars.
    """
    paths = [role_file(role, f"{part}/main.yml") for role in (*ROLES, *VERBS)]
    found: dict[str, Any] = {}
    for path in filter(os.path.exists, paths):
        found.update(loader.load_from_file(path, trusted_as_template=True) or {})
    return found


def everything(task_vars: Mapping[str, Any], loader: Any) -> dict[str, Any]:
    """What the templates of every role see, untemplated: defaults below the play's variables, the roles' own above them."""
    return {**role_values("defaults", loader), **task_vars, **role_values("vars", loader)}


def load(
    task_vars: Mapping[str, Any], templar: Any, loader: Any, names: Container[str] | None = None
) -> dict[str, Any]:
    """All public variables that are set or have a default, templated, as plain values.

    :param templar: the plugin's own templar.
    :param loader: the plugin's own data loader.
    :param names: only these; all of them without.
    """
    scope = {**role_values("defaults", loader), **task_vars}
    scoped = templar.copy_with_new_env(available_variables=scope)
    values = {}
    for name in specs():
        if name not in scope or (names is not None and name not in names):
            continue
        try:
            values[name] = plain(scoped.template(scope[name]))
        except AnsibleUndefinedVariable as error:
            # Without app_name the defaults that build on it have no value; the contract says that app_name is missing.
            if "app_name" in scope:
                raise AnsibleActionFail(
                    f"{name} cannot be read: {str(error).rstrip('.')}. Define what it refers to, for example in the vault. No host was changed."
                ) from None
    return typed(values)


def typed(values: dict[str, Any]) -> dict[str, Any]:
    """Values as their spec's type: `-e gunicorn_workers=4` is text on the command line. What does not convert stays as it
    is, for the contract to refuse."""
    found = {}
    for name, option in specs().items():
        if name in values:
            shape = {"list": list, "dict": dict}.get(option["type"])
            if shape and values[name] is not None and not isinstance(values[name], shape):
                found[name] = values[name]  # Ansible would split a text into a list here, and the roles would not
                continue
            spec = {key: option[key] for key in ("type", "elements", "choices") if key in option}
            answer = ArgumentSpecValidator({name: spec}).validate({name: values[name]})
            found[name] = values[name] if answer.error_messages else answer.validated_parameters[name]
    return found
