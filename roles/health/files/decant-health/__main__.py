# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Watches a backend on its own host: python3 -I <app_root>/bin/decant-health VERB --config FILE

Each verb is a unit of its own, with what that unit needs and no more. Only `check` runs often, so it imports little.
"""

from __future__ import annotations

import argparse
import sys

VERBS = {
    "check": "ask the backend, look at its surroundings, keep the history, write the page (the health timer, as the backend's user)",
    "survey": "read what only root may: backups, schema, drift, failed units (the survey timer)",
    "heal": "restart the instance, or switch back, as a check asked for (its path unit)",
    "alert": "deliver what the spool holds (its path unit)",
    "edge": "ask through nginx alone, where the checks have no network (before each of them)",
    "view": "print what the page shows, as JSON",
}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="decant-health",
        description="Watches a backend on its own host.",
        epilog="\n".join(f"  {verb:8s}{text}" for verb, text in VERBS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("verb", choices=list(VERBS))
    parser.add_argument("--config", required=True, metavar="FILE", help="/etc/decant/health/<app_name>.json")
    arguments = parser.parse_args(argv)
    if arguments.verb in ("check", "edge", "view"):
        import checks as verb
    else:
        import rootly as verb
    return getattr(verb, arguments.verb)(arguments.config)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
