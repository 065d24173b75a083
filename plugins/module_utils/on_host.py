# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""One door for all that the collection does on a host: ansible packs a module anew in every run, with all of its imports, and that takes
longer than the work of most of them. Packed once, under one name, it serves every task of the run."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

CODE = "ansible_collections.decant.flask.plugins.module_utils.modules"


def packed() -> None:
    """Never called: ansible packs what it sees imported, and code() imports no more than what a task asks for."""
    from ansible_collections.decant.flask.plugins.module_utils.modules import (  # noqa: F401
        backup,
        certificate,
        config_files,
        dotenv,
        host_state,
        instance,
        lock,
        migrate,
        readiness,
        release,
        releases,
        status,
        switch,
        traffic,
        venv,
    )


def code(name: str) -> ModuleType:
    """The code of one module: its ARGUMENTS and its main."""
    return importlib.import_module(f"{CODE}.{name}")


def main(name: str) -> None:
    """A module by its own name. Tasks come by dispatch(): the action plugin on_host sends them there."""
    work = code(name)
    work.main(AnsibleModule(argument_spec=work.ARGUMENTS, supports_check_mode=True))


def secrets(spec: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]) -> set[str]:
    """Every text in the arguments that are no_log, which an answer must not repeat."""
    return {text for name, option in spec.items() if option.get("no_log") for text in texts(given.get(name)) if text}


def texts(value: Any) -> Iterator[str]:
    """The texts in a value, at any depth."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from texts(part)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def dispatch() -> None:
    """The module that the arguments name, with the arguments that it takes."""
    module = AnsibleModule(
        argument_spec={
            "module": {"type": "str", "required": True},
            # Told to no journal: which of them are secret is known when they are read, and then those alone are masked.
            "arguments": {"type": "dict", "required": True, "no_log": True},
        },
        supports_check_mode=True,
    )
    work = code(module.params["module"])
    found = ArgumentSpecValidator(work.ARGUMENTS).validate(module.params["arguments"])
    module.no_log_values.clear()
    module.no_log_values.update(secrets(work.ARGUMENTS, found.validated_parameters))
    module.params = found.validated_parameters
    if found.error_messages:
        module.fail_json(msg="; ".join(found.error_messages))
    work.main(module)
