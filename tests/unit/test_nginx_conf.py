# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The survey of the nginx sites on a host."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.decant.flask.plugins.module_utils import nginx_conf

SITE = """
# server_name commented.example.org;
server {
    listen 80 default_server;
    listen [::]:80 default_server;  # both
    server_name one.example.org "two.example.org"
                'three.example.org';
    location / { return 200 "} server { listen 81; server_name fake;"; }
    location ~ ^/x(.*)$ { rewrite ^ /y break; }
}
server{listen unix:/run/x.sock;server_name four.example.org;}
"""


def test_servers():
    assert nginx_conf.servers(SITE) == [
        {
            "listen": [["80", "default_server"], ["[::]:80", "default_server"]],
            "server_name": [["one.example.org", "two.example.org", "three.example.org"]],
        },
        {"listen": [["unix:/run/x.sock"]], "server_name": [["four.example.org"]]},
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing",
        "upstream x { server 127.0.0.1:1; }",
        "map $a $server { default 1; }",
        "types { text/html html; }",
        "}",
        "server",
    ],
)
def test_no_server(text: str):
    assert nginx_conf.servers(text) == []


def test_a_server_inside_http():
    assert nginx_conf.servers("http { server { listen 81; } }") == [{"listen": [["81"]], "server_name": []}]


def test_directives_of_a_location_are_not_the_servers():
    text = "server { location / { listen 82; server_name inner; } listen 81; }"
    assert nginx_conf.servers(text) == [{"listen": [["81"]], "server_name": []}]


def test_an_escaped_quote_does_not_end_a_string():
    text = r'server { add_header X "a\"; } server { listen 99"; listen 81; }'
    assert nginx_conf.servers(text) == [{"listen": [["81"]], "server_name": []}]


@pytest.mark.parametrize(
    ("arguments", "port"),
    [
        (["80"], 80),
        (["8080", "ssl"], 8080),
        (["127.0.0.1:8080"], 8080),
        (["[::]:8080"], 8080),
        (["*:443"], 443),
        (["127.0.0.1"], 80),
        (["localhost"], 80),
        (["[::1]"], 80),
        (["unix:/run/x.sock"], None),
        ([], 80),
    ],
)
def test_listen_port(arguments: list[str], port: int | None):
    assert nginx_conf.listen_port(arguments) == port


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """A Debian nginx with its welcome page."""
    for folder in ("sites-available", "sites-enabled", "conf.d"):
        (tmp_path / folder).mkdir()
    (tmp_path / "sites-available/default").write_text("server { listen 80 default_server; server_name _; }")
    (tmp_path / "sites-enabled/default").symlink_to("../sites-available/default")
    return tmp_path


def survey(etc: Path, name: str = "projects", port: int = 80, names: tuple[str, ...] = ("projects.example.org",)):
    return nginx_conf.survey(str(etc), name, [port, 443], list(names))


def test_debians_welcome_page_is_no_default_server_of_anyone(etc: Path):
    assert survey(etc) == {"conflicts": [], "default_servers": {}, "debian_default": True}


def test_a_file_in_the_place_of_debians_link_is_somebodys(etc: Path):
    (etc / "sites-enabled/default").unlink()
    (etc / "sites-enabled/default").write_text("server { listen 80 default_server; }")
    found = survey(etc)
    assert found["debian_default"] is False
    assert found["default_servers"] == {"80": f"{etc}/sites-enabled/default"}


def test_a_link_elsewhere_in_the_place_of_debians_is_somebodys(etc: Path):
    (etc / "sites-available/mine").write_text("server { listen 80 default_server; }")
    (etc / "sites-enabled/default").unlink()
    (etc / "sites-enabled/default").symlink_to("../sites-available/mine")
    assert survey(etc)["debian_default"] is False


def test_nginx_that_is_not_there(tmp_path: Path):
    assert survey(tmp_path) == {"conflicts": [], "default_servers": {}, "debian_default": False}


@pytest.mark.parametrize("place", ["sites-enabled/other.conf", "sites-enabled/other", "conf.d/other.conf"])
def test_a_conflict(etc: Path, place: str):
    (etc / place).write_text("server { listen 80; server_name a.example.org projects.example.org; }")
    assert survey(etc)["conflicts"] == [f"{etc}/{place} already answers to projects.example.org on port 80"]


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("sites-enabled/other", "server { listen 81; server_name projects.example.org; }"),
        ("sites-enabled/other", "server { listen 80; server_name projects.example.org.evil; }"),
        ("sites-enabled/other", "# server { listen 80; server_name projects.example.org; }"),
        ("conf.d/other.conf.bak", "server { listen 80; server_name projects.example.org; }"),
        ("sites-available/other", "server { listen 80; server_name projects.example.org; }"),
        ("sites-enabled/projects.conf", "server { listen 80; server_name projects.example.org; }"),
        ("conf.d/decant-catch-all-80.conf", "server { listen 80 default_server; server_name _; }"),
    ],
)
def test_no_conflict(etc: Path, place: str, text: str):
    (etc / place).write_text(text)
    found = survey(etc)
    assert (found["conflicts"], found["default_servers"]) == ([], {})


def test_a_backend_whose_name_begins_alike_is_another(etc: Path):
    (etc / "sites-enabled/projects-two.conf").write_text("server { listen 80; server_name projects.example.org; }")
    assert len(survey(etc)["conflicts"]) == 1
    assert survey(etc, name="projects-two")["conflicts"] == []


def test_the_catch_all_of_another_port_is_looked_at(etc: Path):
    (etc / "conf.d/decant-catch-all-8080.conf").write_text("server { listen 80 default_server; }")
    assert survey(etc)["default_servers"] == {"80": f"{etc}/conf.d/decant-catch-all-8080.conf"}


def test_each_port_has_a_default_server_of_its_own(etc: Path):
    (etc / "conf.d/x.conf").write_text(
        "server { listen 443 ssl default_server; listen 80; server_name projects.example.org; }"
    )
    found = survey(etc)
    assert found["default_servers"] == {"443": f"{etc}/conf.d/x.conf"}
    assert [text[-2:] for text in found["conflicts"]] == ["80", "43"]


def test_a_server_without_listen_is_on_port_80(etc: Path):
    (etc / "conf.d/x.conf").write_text("server { server_name projects.example.org; }")
    assert len(survey(etc)["conflicts"]) == 1
    assert survey(etc, port=8080)["conflicts"] == []


def test_every_name_is_named(etc: Path):
    (etc / "conf.d/x.conf").write_text("server { listen 80; server_name b.example.org; server_name a.example.org; }")
    found = survey(etc, names=("a.example.org", "b.example.org", "c.example.org"))
    assert [text.split(" ")[4] for text in found["conflicts"]] == ["a.example.org", "b.example.org"]


def test_bytes_and_broken_links_do_not_stop_the_survey(etc: Path):
    (etc / "conf.d/a.conf").write_bytes(b"\xff\xfe server { listen 80; server_name \xff; }")
    (etc / "sites-enabled/broken").symlink_to("nowhere")
    (etc / "conf.d/z.conf").write_text("server { listen 80; server_name projects.example.org; }")
    assert len(survey(etc)["conflicts"]) == 1
