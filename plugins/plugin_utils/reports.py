# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reports that stay on the controller."""

from __future__ import annotations

import os

from ansible.errors import AnsibleActionFail
from ansible_collections.decant.flask.plugins.module_utils import layout

MODE = 0o600  # host names, people's names and what went wrong are nobody else's business


def write(path: str, document: str, name: str) -> None:
    """Keep a report on the controller, whole or not at all.

    :param name: the input that names the path.
    """
    full = os.path.abspath(os.path.expanduser(path))
    try:
        layout.atomic_write(full, document.encode(), MODE, os.getuid(), os.getgid())
    except OSError as error:
        raise AnsibleActionFail(
            f"{name} is '{path}', and {full} cannot be written on the controller: {error.strerror}. "
            "Name a file in a directory that is there and that you may write to."
        ) from None
