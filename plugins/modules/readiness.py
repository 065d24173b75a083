#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a review of production asks of a host, in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: readiness
short_description: Reads of a host what a review of production asks
version_added: 0.1.0
description:
  - Reads the serving processes, the app's configuration, modes, sandbox, way in, backups, disk, clock, boot and pending updates.
  - Holds drills when asked to, under the lock of deploys and without traffic. The newest backup is restored into a copy; the release that a
    rollback would go to is started and probed; the serving release is started with a database that is nowhere; a test is told to the
    receivers of alerts. Nothing of them stays.
  - Judges nothing; M(decant.flask.review) does.
author: The Decant maintainers (!UNKNOWN)
extends_documentation_fragment: [decant.flask.backend, decant.flask.backend.user]
options:
  schema:
    description: Whether to read the revision of the database.
    type: bool
    default: true
  keys:
    description: Keys of app.config whose values are told.
    type: list
    elements: str
    default: []
  refused:
    description: Regular expression of SECRET_KEYs that everybody knows.
    type: str
    default: ""
  server_name:
    description: Host name to come through nginx with.
    type: str
    required: true
  health_url:
    description: URL path that says whether the backend can serve; with the database, where there are two.
    type: str
    required: true
  host_header:
    description: Host header of the drills' requests.
    type: str
    default: ""
  headers:
    description: Further headers of those requests.
    type: dict
    default: {}
  listen_port:
    description: TCP port of nginx without TLS; 0 for none.
    type: int
    default: 80
  tls_port:
    description: TCP port of nginx with TLS; 0 for none.
    type: int
    default: 0
  controller_time:
    description: The controller's time, in seconds since the epoch.
    type: float
    required: true
  drills:
    description: Whether to hold the drills. Never in check mode.
    type: bool
    default: true
  drill_seconds:
    description: How long the drills may keep the lock, in seconds.
    type: int
    default: 1800
attributes:
  check_mode:
    description: Reads the same, and holds no drill.
    support: full
  diff_mode:
    description: Changes nothing, so there is no difference to show.
    support: none
"""

EXAMPLES = r"""
- name: Review the host
  decant.flask.readiness:
    name: projects
    root: /srv/projects
    user: projects
    server_name: projects.example.org
    health_url: /api/ready
    controller_time: "{{ now().timestamp() }}"
  register: found
"""

RETURN = r"""
review:
  description: What was found; without a release no more than status and clock.
  returned: always
  type: dict
  sample: {status: {id: 20261122T101500Z-3f2a9c1}, sandbox: 1.1, drills: {rollback: {target: 20261120T091200Z-9b1d03c}}}
"""

from ansible_collections.decant.flask.plugins.module_utils.on_host import main

if __name__ == "__main__":
    main("readiness")
