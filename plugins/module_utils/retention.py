# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which releases and environments stay on a host, and how the others go."""

from __future__ import annotations

import os
import shutil

from ansible_collections.decant.flask.plugins.module_utils.host import active_instances, enabled_instances, systemctl
from ansible_collections.decant.flask.plugins.module_utils.layout import SYSTEMD_UNITS, Layout

# Outcomes of a release that one may go back to: it has served, and nobody left it for being bad.
GOOD = ("live", "retired")
ALL = 1_000_000  # a number of releases that no host has


def prunable(layout: Layout, keep: int, busy: set[str]) -> list[str]:
    """Ids of the releases beyond `keep` good ones.

    Never the one that serves, never the one before it, never one that runs or would start at boot.
    Failed and unfinished ones go first, then the oldest.
    """
    ids = layout.release_ids()
    current = layout.current_id()
    safe = busy | {current, layout.manifest(current).get("previous", "")}
    good = [i for i in ids if layout.manifest(i).get("outcome") in GOOD]
    keepers = set(good[-keep:]) | safe
    return [i for i in ids if i not in keepers]


def remove_release(layout: Layout, release_id: str) -> None:
    """A release, its units, and its socket. The name goes first, so that a killed prune leaves no half a release."""
    aside = f"{layout.releases}/.{release_id}.pruned"
    os.rename(layout.release(release_id), aside)
    for unit in layout.units(release_id):
        if os.path.lexists(f"{SYSTEMD_UNITS}/{unit}"):
            os.unlink(f"{SYSTEMD_UNITS}/{unit}")
    if os.path.lexists(layout.socket(release_id)):
        os.unlink(layout.socket(release_id))
    shutil.rmtree(aside)


def orphan_venvs(layout: Layout) -> list[str]:
    """Names of the virtual environments that no release links to."""
    used = set()
    for release_id in layout.release_ids():
        link = f"{layout.release(release_id)}/venv"
        if os.path.islink(link):
            used.add(os.path.basename(os.readlink(link)))
        used.add(layout.manifest(release_id).get("parts", {}).get("lock", ""))
    names = os.listdir(layout.venvs) if os.path.isdir(layout.venvs) else []
    return sorted(name for name in names if name not in used)


def busy(layout: Layout) -> set[str]:
    """Ids of the releases that run, or would at boot."""
    return set(active_instances(layout)) | set(enabled_instances(layout))


def prune(layout: Layout, keep: int, wanted_venv: str = "") -> list[str]:
    """Remove what is beyond `keep`, and what killed runs left behind.

    :param wanted_venv: an environment that no release links to yet and that one is about to.
    """
    for name in os.listdir(layout.releases):
        if name.startswith("."):
            shutil.rmtree(f"{layout.releases}/{name}", ignore_errors=True)
    gone = prunable(layout, keep, busy(layout))
    for release_id in gone:
        systemctl("stop", layout.socket_unit(release_id), check=False)
        remove_release(layout, release_id)
    if gone:
        systemctl("daemon-reload")
    for name in orphan_venvs(layout):
        if name != wanted_venv:
            shutil.rmtree(f"{layout.venvs}/{name}", ignore_errors=True)
    return gone
