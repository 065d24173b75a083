# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The inputs of one role, with their defaults, in a play where that role does not run."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: inputs
short_description: The inputs of a role that need not run in the play
version_added: 0.1.0
author: The Decant maintainers (!UNKNOWN)
description:
  - A role's defaults are in scope only where the role runs. This reads them from the role, so that nobody repeats them.
options:
  _terms:
    description: Short names of roles of this collection.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show where the database is
  ansible.builtin.debug:
    msg: "{{ lookup('decant.flask.inputs', 'postgresql').postgresql_host }}"
"""

RETURN = r"""
_raw:
  description: One mapping per role, variable to value.
  type: list
  elements: dict
"""

from typing import Any

from ansible.plugins.lookup import LookupBase
from ansible_collections.decant.flask.plugins.plugin_utils import settings


class LookupModule(LookupBase):
    """Reads the roles' defaults and the play's variables."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[dict[str, Any]]:
        found = []
        for role in terms:
            names = [name for name in settings.specs() if name.startswith(f"{role}_")]
            found.append(settings.load(variables or {}, self._templar, self._loader, names))
        return found
