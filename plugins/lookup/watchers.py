# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The parts of decant-health, each with its place on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: watchers
short_description: The parts of decant-health
version_added: 0.1.0
author: The Decant maintainers (!UNKNOWN)
description:
  - What decant-health consists of on a host. Some of it is what the modules use as well, so that a host and a playbook never disagree.
options:
  _terms:
    description: The folder on the host, and nothing else.
    type: list
    elements: path
    required: true
"""

EXAMPLES = r"""
- decant.flask.config_files:
    files: "{{ lookup('decant.flask.watchers', '/srv/projects/bin/decant-health') }}"
"""

RETURN = r"""
_raw:
  description: Files, each with path and content.
  type: list
  elements: dict
"""

import os
from typing import Any

from ansible.plugins.lookup import LookupBase
from ansible_collections.decant.flask.plugins.module_utils.layout import WATCHERS
from ansible_collections.decant.flask.plugins.plugin_utils import settings


def source(name: str) -> str:
    """Where a part is read."""
    if name == "decant_probe.py":
        return settings.role_file("health", "files/decant-probe")
    own = settings.role_file("health", f"files/decant-health/{name}")
    return (
        own if os.path.exists(own) else str(settings.collection_file(f"plugins/module_utils/{os.path.basename(name)}"))
    )


class LookupModule(LookupBase):
    """Takes the folder on the host."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[list[dict[str, str]]]:
        found = []
        for name in WATCHERS:
            with open(source(name), encoding="utf-8") as stream:
                found.append({"path": f"{terms[0]}/{name}", "content": stream.read()})
        return [found]
