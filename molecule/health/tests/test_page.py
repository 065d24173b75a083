# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The page of a real host in a real browser: what a person reads, in light, dark and on a phone, and nothing is asked of anybody.

The pictures are kept beside the runs' other traces, outside the tree: <cache>/pictures.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_health import TLS, checks, problems
from testing import STATE, App, until

PICTURES = Path(os.environ.get("DECANT_CACHE", STATE)) / "pictures"
SIZES = {"light": (900, 1500), "dark": (900, 1500), "phone": (360, 1800)}
PNG = b"\x89PNG"


def chromium(page: Path, *arguments: str) -> str:
    """One run of the browser, which finds no host at all; what it prints."""
    profile = STATE / "profile"
    shutil.rmtree(profile, ignore_errors=True)
    words = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
    words += [f"--user-data-dir={profile}", "--host-resolver-rules=MAP * ~NOTFOUND", *arguments, page.as_uri()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def asked(page: Path) -> list[str]:
    """What a page asks for besides itself. Requests that the browser makes for itself have no origin."""
    log = STATE / "net.json"
    chromium(page, f"--log-net-log={log}", "--dump-dom")
    text = log.read_text(encoding="utf-8")
    try:
        events = json.loads(text)["events"]
    except ValueError:  # the browser ended before it closed the list
        events = json.loads(text.rstrip().rstrip(",") + "]}")["events"]
    found = [event.get("params", {}) for event in events]
    return sorted(
        {one["url"] for one in found if "url" in one and one.get("initiator", "not an origin") != "not an origin"}
    )


def fetched(app: App, name: str) -> Path:
    ca = STATE / "page.pem"
    ca.write_text(app.host.check_output(f"cat {TLS}/fullchain.pem"), encoding="utf-8")
    answer = App("web", port=443, ca=str(ca)).ask("/decant-status/")
    assert answer.status == 200
    path = STATE / f"{name}.html"
    path.write_bytes(answer.body)
    return path


def seen(page: Path) -> str:
    """What a person reads."""
    words = re.sub(r"<style.*?</style>|<[^>]+>", " ", chromium(page, "--dump-dom"), flags=re.DOTALL)
    return re.sub(r"\s+", " ", words)


def pictures(page: Path, name: str) -> list[bytes]:
    PICTURES.mkdir(parents=True, exist_ok=True)
    found = []
    for look, (width, height) in SIZES.items():
        path = PICTURES / f"health-{name}-{look}.png"
        dark = ["--blink-settings=preferredColorScheme=0"] if look == "dark" else []
        chromium(page, f"--screenshot={path}", f"--window-size={width},{height}", *dark)
        found.append(path.read_bytes())
    return found


@pytest.fixture(scope="module")
def app() -> App:
    found = App("web")
    until(lambda: checks(found).get("live") == "ok" and not problems(found), 60, "a healthy backend")
    return found


@pytest.fixture(scope="module")
def healthy(app: App) -> Path:
    return fetched(app, "healthy")


def test_what_a_person_reads_when_all_is_well(app: App, healthy: Path) -> None:
    found = seen(healthy)
    for words in (
        "projects on web",
        "Healthy",
        "No open problem.",
        app.current(),
        "Last 24 hours: ",
        "Last 30 days: ",
        "days left",
    ):
        assert words in found, words


def test_pictures_of_a_healthy_host(healthy: Path) -> None:
    light, dark, phone = pictures(healthy, "healthy")
    assert light[:4] == dark[:4] == phone[:4] == PNG and len({light, dark, phone}) == 3
    assert min(map(len, (light, dark, phone))) > 20000, "there is something on each"


def test_it_fits_on_a_phone(healthy: Path) -> None:
    """By a script in a copy: the page itself has none."""
    copy = STATE / "phone.html"
    measure = "<script>document.title='width '+document.documentElement.scrollWidth+' of '+innerWidth</script></body>"
    copy.write_text(healthy.read_text(encoding="utf-8").replace("</body>", measure), encoding="utf-8")
    width, inner = map(
        int,
        re.search(
            r"<title>width (\d+) of (\d+)</title>", chromium(copy, "--window-size=360,800", "--dump-dom")
        ).groups(),
    )
    assert width <= inner <= 500


def test_no_request_leaves_the_page(healthy: Path) -> None:
    assert not [url for url in asked(healthy) if not url.startswith(("file:", "data:"))]
    copy = STATE / "asks.html"
    image = '<img src="http://elsewhere.example.org/x.png"></body>'
    copy.write_text(healthy.read_text(encoding="utf-8").replace("</body>", image), encoding="utf-8")
    assert "http://elsewhere.example.org/x.png" in asked(copy), "the measure does not measure"


def test_what_a_person_reads_when_something_is_broken(app: App) -> None:
    app.host.check_output(
        "systemctl stop postgresql 2>/dev/null; mv /srv/projects/current/gunicorn.conf.py /srv/projects/kept.conf"
    )
    try:
        until(lambda: "drift" in problems(app), 40, "the problem")
        broken = fetched(app, "broken")
    finally:
        app.host.check_output("mv /srv/projects/kept.conf /srv/projects/current/gunicorn.conf.py")
    found = seen(broken)
    for words in (
        "Degraded",
        "drift, warning",
        "gunicorn.conf.py is not what the release wrote",
        "What to do",
        "Host as it was deployed",
    ):
        assert words in found, words
    assert all(picture[:4] == PNG for picture in pictures(broken, "broken"))
    until(lambda: not problems(app), 40, "a healthy host")
