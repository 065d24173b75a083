# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes a set of configuration files as one change: all of them valid and in effect, or none."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.decant.flask.plugins.module_utils.files import Change, FilesError

ARGUMENTS = {
    "files": {"type": "list", "elements": "dict", "default": []},
    "links": {"type": "list", "elements": "dict", "default": []},
    "absent": {"type": "list", "elements": "str", "default": []},
    "check": {"type": "list", "elements": "str", "default": []},
    "apply": {"type": "list", "elements": "raw", "default": []},
    "pending": {"type": "path", "default": ""},
}


def main(module: AnsibleModule) -> None:
    change = Change(module.params, module.check_mode)
    try:
        change.make()
    except FilesError as error:
        module.fail_json(msg=str(error), paths=error.paths)
    module.exit_json(changed=change.changed, paths=change.paths, diff=change.diff)
