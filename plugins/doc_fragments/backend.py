# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Options that several modules share, told once."""

from __future__ import annotations


class ModuleDocFragment:
    """Which backend a module works on, as whom, and the units that it brings along."""

    DOCUMENTATION = r"""
options:
  name:
    description: The backend's name.
    type: str
    required: true
  root:
    description: The backend's directory, absolute.
    type: path
    required: true
"""

    USER = r"""
options:
  user:
    description: The system user (and group) that runs the backend.
    type: str
    required: true
"""

    UNITS = r"""
options:
  files:
    description:
      - The units and settings that the release brings along.
      - Each has path and content, and where they differ from root, root and 0644 owner, group and mode.
      - They are written, and systemd is told, as one change; see M(decant.flask.config_files).
    type: list
    elements: dict
    default: []
  pending:
    description: Path of the note that such a change leaves until it is in effect.
    type: path
    default: ""
"""
