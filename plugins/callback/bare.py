# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""A run without banners: what an action prints is all of stdout, so that a program can read it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: bare
type: stdout
short_description: Prints nothing but what actions print themselves
version_added: 0.1.0
author: The Decant maintainers (!UNKNOWN)
description:
  - No plays, no tasks, no recap. Errors go to stderr.
  - For C(ANSIBLE_STDOUT_CALLBACK=decant.flask.bare ansible-playbook ... playbooks/status.yml -e status_format=json), whose
    stdout is then JSON alone.
"""

from typing import Any

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    """Errors to stderr, and nothing else."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "decant.flask.bare"

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            self.tell(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self.tell(result)

    def tell(self, result: Any) -> None:
        """The host and its error."""
        message = result.result.get("msg") or "failed"
        self._display.display(f"{result.host.get_name()}: {message}", stderr=True)
