# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Makes a release of a backend's repository on the controller: checks, version, notes, one commit, a tag; a push when it is asked for."""

from __future__ import annotations

import os
import time
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.decant.flask.plugins.action import kit
from ansible_collections.decant.flask.plugins.plugin_utils import settings, tagging
from ansible_collections.decant.flask.plugins.plugin_utils.notes import Refused


class ActionModule(ActionBase):
    """Takes nothing: the inputs of the role kit say all."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        v = settings.load(task_vars or {}, self._templar, self._loader)
        try:
            return {**result, **self.release(v, task_vars or {})}
        except Refused as refused:
            listing = "\n".join(f"{number}. {text}" for number, text in enumerate(refused.problems, 1))
            raise AnsibleActionFail(f"{v['app_name']} {v['kit_release']} is not released.\n{listing}") from None

    def release(self, v: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """The result: of a release that is made, or that was made before."""
        if problems := tagging.name_problems(v):
            raise Refused(*problems)
        check = bool(self._task.check_mode)
        repository = tagging.opened(str(v["kit_dest"]))
        name = f"{v['kit_release_tag_prefix']}{v['kit_release']}"
        if commit := tagging.released(repository, v):
            did = tagging.finish(repository, v, commit, check)
            say(f"{v['app_name']} {v['kit_release']} is released: {name} is {commit[:7]}.", *(f"{one}." for one in did))
            return {"changed": bool(did), "tag": name, "commit": commit, "pushed": bool(v["kit_release_push"])}
        stale = kit.survey(v, repository.folder, False, task_vars, self._templar, self._loader)[3]
        date = str(v["kit_release_date"]) or time.strftime("%Y-%m-%d", time.gmtime())
        found = tagging.plan(repository, v, sorted(stale.write + stale.remove), date)
        changes = {path: (found.before[path], text) for path, text in found.after.items() if found.before[path] != text}
        diff = [
            {"before": old or "", "after": new or "", "before_header": path, "after_header": path}
            for path, (old, new) in changes.items()
        ]
        after = f" after {found.since}" if found.since else ""
        say(
            f"{found.title}{after}: {found.commits} commits, {len(found.fragments.paths)} fragments, {len(changes)} files."
        )
        answer = {"changed": True, "diff": diff, "tag": found.tag, "pushed": bool(v["kit_release_push"])}
        if check:
            tests = ["run kit_release_test_command"] if v["kit_release_test_command"] else []
            sent = [f"push {found.branch} and {name} to {found.remote.name}"] if v["kit_release_push"] else []
            steps = [*tests, f"commit {', '.join(changes)}", f"tag {name}", *sent]
            say(f"It would {'; '.join(steps)}. Nothing was done.")
            return {**answer, "commit": ""}
        if v["kit_release_test_command"]:
            folder = os.path.join(repository.folder, str(v.get("app_subdir") or ""))
            argv = [str(word) for word in v["kit_release_test_command"]]
            tagging.command(argv, folder, "kit_release_test_command")
            if left := [path for path in repository.dirty() if path != v["kit_release_checklist"]]:
                raise Refused(f"kit_release_test_command has left {', '.join(left)}. Let .gitignore have them.")
        commit = tagging.make(repository, found, v)
        sent = (
            "It is pushed."
            if v["kit_release_push"]
            else "It is not pushed: run the same with -e kit_release_push=true."
        )
        say(f"{name} is {commit[:7]} on {found.branch}. {sent}")
        return {**answer, "commit": commit}


def say(*lines: str) -> None:
    """To the person at the terminal, where a result would be quoted."""
    for line in lines:
        Display().display(line)
