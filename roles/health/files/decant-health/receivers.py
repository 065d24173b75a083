# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who is told, and in which form. A receiver is one entry of health_alerts."""

from __future__ import annotations

import email.message
import email.policy
import json
import subprocess
import time
import urllib.error
import urllib.request

SECONDS = 15
PAGERDUTY = "https://events.pagerduty.com/v2/enqueue"
SENDMAIL = "/usr/sbin/sendmail"


class NotTaken(Exception):
    """A receiver that did not take a message. Never has the URL, which is a secret."""


def took(seconds: float) -> str:
    """A duration as people say it."""
    whole = int(seconds)
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h {whole % 3600 // 60} min"


def stamp(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))


def subject(event: dict) -> str:
    """One line that says it all."""
    where = f"{event['app']} on {event['host']}"
    if event["kind"] == "heal":
        return f"healed: {where}: {event['title']}, after {took(event['seconds'])}"
    again = f", for {took(event['seconds'])}" if event["kind"] == "reminder" else ""
    return f"{event['severity']}: {where}: {event['title']}{again}: {event['cause']}"


def lines(event: dict) -> list[str]:
    """What somebody who is woken by it needs."""
    found = [f"since {stamp(event['since'])}, {took(event['seconds'])}", f"cause: {event['cause']}"]
    found += [f"release {event['release']} ({event['version'] or 'no version'}, {event['commit'][:12] or 'no commit'})"]
    found += [f"done: {text}" for text in event["done"]]
    found += [f"what to do: {event['runbook']}"] if event["runbook"] else []
    return found


def text(event: dict, fence: str = "") -> str:
    """All of it as text."""
    found = [subject(event), *lines(event)]
    if event.get("journal"):
        found += [
            "last lines of the journal:",
            *([fence] if fence else []),
            *event["journal"],
            *([fence] if fence else []),
        ]
    return "\n".join(found)


def plain(event: dict) -> dict:
    """The generic body: every field, and the sentence."""
    return {**{key: value for key, value in event.items() if key != "delivered"}, "summary": subject(event)}


def pagerduty(target: dict, event: dict) -> dict:
    """PagerDuty's Events API v2. One problem has one dedup_key, so that a heal resolves what its break opened."""
    return {
        "routing_key": target["routing_key"],
        "event_action": "resolve" if event["kind"] == "heal" else "trigger",
        "dedup_key": f"{event['app']}-{event['host']}-{event['problem']}",
        "payload": {
            "summary": subject(event)[:1024],
            "source": event["host"],
            "severity": event["severity"],
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(event["at"])),
            "component": event["app"],
            "class": event["check"],
            "custom_details": plain(event),
        },
    }


def post(url: str, body: dict, event: dict) -> None:
    """A POST that must be answered with 2xx."""
    request = urllib.request.Request(
        url,
        json.dumps(body).encode(),
        {
            "Content-Type": "application/json",
            "User-Agent": "decant-health",
            # The same for every try: a receiver that took it and could not say so knows it again.
            "Idempotency-Key": f"{event['app']}-{event['host']}-{event['problem']}-{event['kind']}-{event['at']:.3f}",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=SECONDS):
            return
    except urllib.error.HTTPError as error:
        raise NotTaken(f"it answered {error.code}") from None
    except urllib.error.URLError as error:
        raise NotTaken(str(error.reason)) from None
    except (OSError, ValueError) as error:
        raise NotTaken(type(error).__name__) from None


def start(argv: list[str], given: bytes) -> None:
    """A program that must end with 0."""
    try:
        done = subprocess.run(argv, input=given, capture_output=True, timeout=4 * SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise NotTaken(f"{argv[0]}: {type(error).__name__}") from None
    if done.returncode:
        raise NotTaken(f"{argv[0]} ended with {done.returncode}")


def mail(target: dict, event: dict) -> bytes:
    """A message for the host's own sendmail."""
    message = email.message.EmailMessage(email.policy.default.clone(max_line_length=500))
    message["To"] = target["to"]
    message["From"] = target.get("from") or f"decant-health@{event['host']}"
    message["Subject"] = " ".join(subject(event).split())[:200]
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text(event))
    return message.as_bytes()


def send(target: dict, event: dict) -> None:
    """Deliver an event to a receiver.

    :raises NotTaken: it is to be tried again.
    """
    kind = target["kind"]
    if kind == "webhook":
        post(target["url"], plain(event), event)
    elif kind in ("slack", "mattermost"):
        post(target["url"], {"text": text(event, "```")}, event)
    elif kind == "pagerduty":
        post(target.get("url") or PAGERDUTY, pagerduty(target, event), event)
    elif kind == "email":
        start([SENDMAIL, "-t", "-i"], mail(target, event))
    else:
        start(target["command"], json.dumps(plain(event)).encode())
