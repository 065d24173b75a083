#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of an action, which runs on the controller: plugins/action/kit_release.py."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: kit_release
short_description: Makes a release of a backend's repository
version_added: 0.1.0
description:
  - Checks the tree, the checklist, the fragments and the version; then sets the version, writes the notes and their index, keeps the
    ticked checklist beside them, removes the fragments that were used, makes one commit and an annotated tag. Runs on the controller alone.
  - The commit is made in a working tree of its own. The person's branch follows when all else has worked; on a failure nothing of it is left.
  - Takes no options. It reads the inputs of the role kit, kit_release and those that begin so.
author: The Decant maintainers (!UNKNOWN)
options: {}
attributes:
  check_mode:
    description: Says what it would do, with the difference, and neither writes nor runs a command of the person's own.
    support: full
  diff_mode:
    description: Shows every file of the commit, but for what kit_release_prepare makes.
    support: full
"""

EXAMPLES = r"""
- name: Make the release that -e kit_release=1.5.0 names
  decant.flask.kit_release:
"""

RETURN = r"""
tag:
  description: Name of the release's tag.
  returned: success
  type: str
  sample: v1.5.0
commit:
  description: The release's commit; empty in check mode, when there is none yet.
  returned: success
  type: str
pushed:
  description: Whether branch and tag are pushed, or would be.
  returned: success
  type: bool
"""
