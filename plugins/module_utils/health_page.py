# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The picture of a backend's health: a page per host, and one report of a fleet. Text in, HTML out.

Without Ansible and without a neighbour: hosts have it as it is (decant-health), and the controller imports it (playbooks/status.yml).
It asks for nothing: no script, no font, no image from elsewhere.
"""

from __future__ import annotations

import html
import time
from collections.abc import Iterable, Mapping
from typing import Any

WIDTH, HEIGHT = 720, 64
DAY_SECONDS, MONTH_SECONDS = 86400, 30 * 86400
SHOWN_MARKS = 12
WORDS = {
    "healthy": ("Healthy", "Everything that is looked at is as it should be."),
    "degraded": ("Degraded", "It answers, and something needs a look."),
    "failing": ("Failing", "Clients notice this."),
    "unknown": ("Unknown", "Nothing was measured lately."),
}
STATES = {"ok": "good", "warn": "warning", "fail": "failing", "unknown": "unknown"}
SIGNS = {"ok": "✓", "warn": "!", "fail": "✗", "unknown": "?"}
KINDS = {"deploy": "▲", "rollback": "▼", "switch-back": "▼", "restart": "●", "restore": "■"}

STYLE = """
:root{color-scheme:light dark;--ground:#fbfbfa;--card:#fff;--ink:#1c2024;--soft:#5a6370;--line:#dfe2e6;--good:#146c3b;--warn:#8a5300;
--fail:#b3261e;--wash:#eef1f4}
@media(prefers-color-scheme:dark){:root{--ground:#14171a;--card:#1c2024;--ink:#e8eaed;--soft:#a3adb8;--line:#343b43;--good:#6fd49a;
--warn:#f0b65a;--fail:#ff8a80;--wash:#262c32}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif}
main{max-width:60rem;margin:0 auto;padding:1.5rem 1rem 3rem}
h1{font-size:1.15rem;margin:0;font-weight:600;overflow-wrap:anywhere}
h2{font-size:1rem;margin:0 0 .6rem;font-weight:600}
section{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:1rem;margin-top:1rem}
.now{display:flex;flex-wrap:wrap;gap:.2rem 1rem;align-items:baseline;border-left:.4rem solid var(--tone)}
.now p{margin:0;color:var(--soft)}
.word{font-size:2rem;font-weight:700;color:var(--tone);line-height:1.2}
.ok,.healthy{--tone:var(--good)}.warn,.degraded{--tone:var(--warn)}.fail,.failing{--tone:var(--fail)}.unknown{--tone:var(--soft)}
.state{color:var(--tone);font-weight:600;white-space:nowrap}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(11rem,1fr));gap:.8rem 1.2rem;margin:0}
dt{color:var(--soft);font-size:.82rem}dd{margin:0;overflow-wrap:anywhere}
table{width:100%;border-collapse:collapse;font-size:.92rem}
th,td{text-align:left;padding:.35rem .6rem .35rem 0;border-top:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}
thead th{border-top:0;color:var(--soft);font-weight:500;font-size:.82rem}
tbody th{font-weight:500}td,thead th{white-space:nowrap}td[colspan],td.long{white-space:normal}
ul{margin:0;padding-left:1.1rem}li+li{margin-top:.4rem}
svg{display:block;width:100%;height:4rem;margin-top:.3rem}section>p{margin:0}
.axis{display:flex;justify-content:space-between;color:var(--soft);font-size:.78rem}
.figure{margin:0}.figure+.figure{margin-top:1.1rem}
.figure p{margin:0}.soft{color:var(--soft)}.small{font-size:.85rem}
code{font-family:ui-monospace,"DejaVu Sans Mono",monospace;font-size:.92em;overflow-wrap:anywhere}
a{color:inherit}
@media(max-width:32rem){.limit{display:none}.word{font-size:1.7rem}main{padding:1rem .75rem 2rem}}
"""


def text(value: Any) -> str:
    """Anything as text of a page."""
    return html.escape(str(value), quote=True)


def moment(at: float | None) -> str:
    """A time in UTC, to the minute."""
    return "unknown" if at is None else time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))


def ago(seconds: float | None) -> str:
    """A span in the largest unit that says something."""
    if seconds is None:
        return "unknown"
    for width, word in ((172800, "days"), (7200, "hours"), (120, "minutes")):
        if seconds >= width:
            return f"{int(seconds // {'days': 86400, 'hours': 3600, 'minutes': 60}[word])} {word}"
    return f"{max(0, int(seconds))} seconds"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def uptime(buckets: Iterable[Mapping[str, Any]]) -> str:
    """The share of answers that were good."""
    asked = failed = 0
    for one in buckets:
        asked, failed = asked + one["asked"], failed + one["failed"]
    if not asked:
        return "no data"
    share = 100 * (asked - failed) / asked
    return "100 %" if not failed else f"{min(share, 99.99):.2f} %"


def sparkline(
    buckets: list[Mapping[str, Any]],
    width: int,
    begin: float,
    span: float,
    marks: Iterable[Mapping[str, Any]],
    title: str,
) -> str:
    """The time of an answer over a span: a line with gaps where nothing was measured, a bar where answers failed.

    :param width: seconds of a bucket.
    """
    top = max((one["p50"] for one in buckets), default=0) or 0.001
    scale, parts, path, last = WIDTH / span, [], [], None
    for one in buckets:
        x = (one["at"] - begin) * scale
        if x < -1 or x > WIDTH:
            continue
        if one["failed"]:
            high = max(6.0, HEIGHT * one["failed"] / max(1, one["asked"]))
            parts.append(
                f'<rect x="{x:.1f}" y="{HEIGHT - high:.1f}" width="{max(1.5, width * scale):.1f}" height="{high:.1f}" '
                'fill="var(--fail)" opacity=".55"/>'
            )
        y = HEIGHT - 4 - (HEIGHT - 12) * one["p50"] / top
        joined = last is not None and one["at"] - last <= width * 1.5
        path.append(f"{'L' if joined else 'M'}{x + width * scale / 2:.1f} {y:.1f}" + ("" if joined else "h.1"))
        last = one["at"]
    for mark in marks:
        x = (mark["at"] - begin) * scale
        if 0 <= x <= WIDTH:
            tip = f"{mark['kind']} {mark['release']} {mark['outcome']}, {moment(mark['at'])}"
            parts.append(
                f'<g><title>{text(tip)}</title><line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}" stroke="var(--soft)" '
                'stroke-dasharray="2 2"/></g>'
            )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(title)}" preserveAspectRatio="none">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="var(--wash)"/>{"".join(parts)}'
        f'<path d="{"".join(path)}" fill="none" stroke="var(--ink)" stroke-width="1.5" stroke-linecap="round"/></svg>'
    )


def figure(view: Mapping[str, Any], name: str, label: str, width: int, span: float) -> str:
    """Uptime and the times of answers over one span."""
    end = view["generated_at"]
    buckets = [one for one in view["history"][name] if one["at"] > end - span - width]
    share = uptime(buckets)
    slowest = max((one["max"] for one in buckets), default=None)
    typical = sorted(one["p50"] for one in buckets)
    says = f"{label}: {share} of the answers were good"
    times = (
        f"typical answer {milliseconds(typical[len(typical) // 2])}, slowest {milliseconds(slowest)}"
        if typical
        else "nothing measured"
    )
    return (
        f'<div class="figure"><p>{text(label)}: <strong>{share}</strong> <span class="soft">up; {times}</span></p>'
        f"{sparkline(buckets, width, end - span, span, view['marks'], says)}"
        f'<div class="axis"><span>{ago(span)} ago</span><span>now</span></div></div>'
    )


def problems(view: Mapping[str, Any]) -> str:
    """What is wrong, since when, and where it says what to do."""
    if not view["problems"]:
        return "<p>No open problem.</p>"
    lines = []
    for one in view["problems"]:
        link = (
            f' <a href="{text(one["runbook"])}">What to do</a>'
            if str(one["runbook"]).startswith(("https://", "http://"))
            else ""
        )
        lines.append(
            f'<li class="{text(one["state"])}"><span class="state">{text(one["check"])}, {STATES.get(one["state"], "unknown")}</span>: '
            f'{text(one["cause"])} <span class="soft">since {moment(one["since"])}, for '
            f"{ago(view['generated_at'] - one['since'])}</span>{link}</li>"
        )
    return f"<ul>{''.join(lines)}</ul>"


def facts(view: Mapping[str, Any]) -> str:
    """The release, the certificate and the backup."""
    release, certificate, backup = view["release"], view["certificate"], view["backup"]
    found = [("Release", "none serves")]
    if release:
        found = [
            ("Release", f"<code>{text(release['id'])}</code>"),
            ("Version", text(release["version"] or "none given")),
            ("Commit", f"<code>{text(release['commit'][:12] or 'unknown')}</code>"),
            ("Serves since", f"{moment(release['since'])}{' by ' + text(release['by']) if release['by'] else ''}"),
        ]
    found.append(("Certificate", f"{certificate['days']:.0f} days left" if certificate else "none seen"))
    found.append(("Last backup", f"{ago(backup['age'])} ago" if backup else "none seen"))
    return "<dl>" + "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in found) + "</dl>"


def table(view: Mapping[str, Any]) -> str:
    """Every check."""
    rows = []
    for one in view["checks"]:
        state = one["state"] if one["state"] in STATES else "unknown"
        detail = f'<br><span class="soft small">{text(one["detail"])}</span>' if state != "ok" and one["detail"] else ""
        rows.append(
            f'<tr class="{state}"><th scope="row">{text(one["title"])}{detail}</th>'
            f'<td class="state"><span aria-hidden="true">{SIGNS[state]}</span> {STATES[state]}</td>'
            f'<td>{text(one["value"])}</td><td class="limit">{text(one["limit"])}</td></tr>'
        )
    head = '<th scope="col">Check</th><th scope="col">State</th><th scope="col">Seen</th><th scope="col" class="limit">Limit</th>'
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def marks(view: Mapping[str, Any]) -> str:
    """The last deploys and the like, newest first."""
    last = sorted(view["marks"], key=lambda one: -one["at"])[:SHOWN_MARKS]
    if not last:
        return "<p>None on record.</p>"
    lines = [
        f'<li><span aria-hidden="true">{KINDS.get(one["kind"], "·")}</span> {moment(one["at"])}: {text(one["kind"])} '
        f"<code>{text(one['release'])}</code>{', ' + text(one['outcome']) if one['outcome'] else ''}"
        f"{' <span class=' + chr(34) + 'soft' + chr(34) + '>by ' + text(one['by']) + '</span>' if one['by'] else ''}</li>"
        for one in last
    ]
    return f"<ul>{''.join(lines)}</ul>"


def host(view: Mapping[str, Any], level: int = 1) -> str:
    """Everything about one host."""
    word, sentence = WORDS.get(view["health"], WORDS["unknown"])
    silence = view["silence"]
    quiet = ""
    if silence:
        by = f", by {text(silence['by'])}" if silence["by"] else ""
        quiet = f"<section><h2>Silenced</h2><p>No alerts until {moment(silence['until'])}{by}: {text(silence['reason'])}</p></section>"
    tone = view["health"] if view["health"] in WORDS else "unknown"
    return (
        f"<h{level}>{text(view['app'])} on {text(view['host'])}</h{level}>"
        f'<section class="now {tone}"><span class="word">{word}</span><p>{sentence}</p></section>'
        f"{quiet}"
        f"<section><h2>Open problems</h2>{problems(view)}</section>"
        f"<section><h2>What serves</h2>{facts(view)}</section>"
        "<section><h2>Answers</h2>"
        f"{figure(view, 'day', 'Last 24 hours', 300, DAY_SECONDS)}{figure(view, 'month', 'Last 30 days', 7200, MONTH_SECONDS)}</section>"
        f"<section><h2>Checks</h2>{table(view)}</section>"
        f"<section><h2>Deploys, rollbacks, restarts</h2>{marks(view)}</section>"
        f'<p class="soft small">Written {moment(view["generated_at"])} on the host itself.</p>'
    )


def document(title: str, body: str, refresh: int = 0) -> str:
    """A page that asks for nothing else."""
    again = f'<meta http-equiv="refresh" content="{int(refresh)}">' if refresh else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex">'
        f'<meta name="referrer" content="no-referrer">{again}<link rel="icon" href="data:,">'
        f"<title>{text(title)}</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>\n"
    )


def render(view: Mapping[str, Any]) -> str:
    """The page of one host.

    :param view: what `decant-health view` prints. Times are seconds since 1970, spans are seconds.
    """
    word = WORDS.get(view["health"], WORDS["unknown"])[0]
    return document(f"{word}: {view['app']} on {view['host']}", host(view), max(10, view["refresh_seconds"]))


def render_fleet(views: list[Mapping[str, Any]], generated_at: float) -> str:
    """One report of several hosts.

    :param views: of each host its view, or host, app and error where it could not be read.
    :param generated_at: seconds since 1970.
    """
    rows, sections = [], []
    for view in views:
        if "error" in view:
            rows.append(
                f'<tr class="fail"><th scope="row">{text(view["host"])}</th><td class="state">not read</td>'
                f'<td colspan="2">{text(view["error"])}</td></tr>'
            )
            continue
        tone = view["health"] if view["health"] in WORDS else "unknown"
        release = view["release"]["id"] if view["release"] else "none"
        rows.append(
            f'<tr class="{tone}"><th scope="row">{text(view["host"])}</th><td class="state">{WORDS[tone][0]}</td>'
            f"<td><code>{text(release)}</code></td><td>{uptime(view['history']['day'])}</td></tr>"
        )
        sections.append(host(view, 2))
    app = views[0]["app"] if views else "no backend"
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Host", "Health", "Release", "Up, 24 hours"))
    body = (
        f"<h1>{text(app)}, {len(views)} host{'' if len(views) == 1 else 's'}</h1>"
        f"<section><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></section>{''.join(sections)}"
        f'<p class="soft small">Report of {moment(generated_at)}.</p>'
    )
    return document(f"{app}: health of the fleet", body)
