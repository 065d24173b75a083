# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Renders the production kit into a backend's checkout, on the controller."""

from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template
from ansible.utils.display import Display
from ansible_collections.decant.flask.plugins.module_utils import layout
from ansible_collections.decant.flask.plugins.module_utils.requirements_txt import RequirementsError
from ansible_collections.decant.flask.plugins.plugin_utils import kits, locks, settings
from ansible_collections.decant.flask.plugins.plugin_utils.sources import SourceError


class ActionModule(ActionBase):
    """Takes dest and overwrite; the rest are the inputs of all roles."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        dest, overwrite = str(self._task.args["dest"]), bool(self._task.args.get("overwrite"))
        values = settings.load(task_vars or {}, self._templar, self._loader)
        wanted, there, record, decision = survey(values, dest, overwrite, task_vars or {}, self._templar, self._loader)
        for path in decision.keep:
            Display().display(f"{path} is yours, since somebody has changed it. What the kit would have there:")
            Display().display(kits.difference(path, there[path] or "", wanted[path]))
        stale = sorted(decision.write + decision.remove)
        result["diff"] = [
            {"before": there[path] or "", "after": wanted.get(path, ""), "before_header": path, "after_header": path}
            for path in stale
        ]
        answer = {"stale": stale, "kept": decision.keep, "changed": bool(stale)}
        if self._task.check_mode:
            if stale:
                return {
                    **result,
                    **answer,
                    "failed": True,
                    "msg": f"{len(stale)} files of the kit are stale: {', '.join(stale)}. Nothing was written. Run playbooks/kit.yml "
                    "without --check and commit what it writes.",
                }
            return {**result, **answer}
        modes = {one.path: one.mode for one in kits.files(values)}
        try:
            for path in decision.write:
                put(f"{dest}/{path}", wanted[path], modes[path])
            for path in decision.remove:
                os.unlink(f"{dest}/{path}")
            text = kits.record_text(kits.new_record(wanted, decision, record))
            if read(f"{dest}/{kits.RECORD}") != text:
                put(f"{dest}/{kits.RECORD}", text, 0o644)
        except OSError as error:
            raise AnsibleActionFail(
                f"kit_dest is '{dest}', and {error.filename} cannot be written: {error.strerror}. Mend that and run again; what was written is "
                "whole."
            ) from None
        return {**result, **answer}


def survey(
    values: dict[str, Any], dest: str, overwrite: bool, task_vars: dict[str, Any], templar: Any, loader: Any
) -> tuple[dict[str, str], dict[str, str | None], dict[str, str], kits.Decision]:
    """What the kit would have in a checkout, what is there, what it has written there last, and what becomes of each file."""
    files = kits.files(values)
    lock: dict[str, Any] = {}
    if any(one.part != "releases" for one in files):
        try:
            lock = locks.describe(kits.Code(os.path.join(dest, str(values.get("app_subdir") or ""))), values, "")
        except (SourceError, RequirementsError) as error:
            raise AnsibleActionFail(f"{error} Nothing was written.") from None
    review = kits.last_review(read(f"{dest}/{kits.REVIEW}"))
    wanted = rendered(values, kits.told(values, lock, review), files, task_vars, templar, loader)
    record = kits.read_record(read(f"{dest}/{kits.RECORD}"))
    there = {path: read(f"{dest}/{path}") for path in {*wanted, *record}}
    return wanted, there, record, kits.decide(wanted, there, record, overwrite)


def rendered(
    values: dict[str, Any],
    told: dict[str, Any],
    files: list[kits.File],
    task_vars: dict[str, Any],
    templar: Any,
    loader: Any,
) -> dict[str, str]:
    """Path to text. The roles' own templates see what they see in a deploy, but for what a host would say."""
    scope = {**settings.everything(task_vars, loader), **kits.host(values), "kit": told}
    scoped = templar.copy_with_new_env(available_variables=scope)
    found = {}
    for one in files:
        place = settings.collection_file(one.template)
        if not one.template.endswith(".j2"):
            found[one.path] = place.read_text(encoding="utf-8")
            continue
        found[one.path] = str(
            scoped.template(trust_as_template(f"{{{{ lookup('ansible.builtin.template', '{place}') }}}}"))
        )
    return found


def read(path: str) -> str | None:
    """A file's text; None when there is none. Bytes that are no text are a person's."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def put(path: str, text: str, mode: int) -> None:
    """A file, whole or as it was before."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    layout.atomic_write(path, text.encode(), mode, os.getuid(), os.getgid())
