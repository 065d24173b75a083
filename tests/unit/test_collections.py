# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The collections that optional roles use: missing, too old, too new, or fine."""

from __future__ import annotations

import pytest
from ansible_collections.decant.flask.plugins.plugin_utils import collections, settings


def installed(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    monkeypatch.setattr(collections, "installed_version", lambda name: version)


@pytest.mark.parametrize("version", ["4.0.0", "4.2.0", "4.99.0-dev", ""])
def test_a_version_in_the_range_is_taken(monkeypatch: pytest.MonkeyPatch, version: str):
    installed(monkeypatch, version)
    assert collections.problems(["postgresql"]) == []


@pytest.mark.parametrize("version", ["3.14.2", "5.0.0", "10.0.0"])
def test_a_version_out_of_the_range(monkeypatch: pytest.MonkeyPatch, version: str):
    installed(monkeypatch, version)
    (sentence,) = collections.problems(["postgresql"])
    assert (
        collections.problems(["exporters"], {"exporters_postgresql_enabled": True}) == [sentence]
        and collections.problems(["exporters"], {"exporters_postgresql_enabled": False}) == []
    )
    assert f"installed in version {version}, and >=4.0.0,<5.0.0 is needed" in sentence
    assert "ansible-galaxy collection install -r requirements.yml" in sentence


def test_a_missing_collection_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    installed(monkeypatch, None)
    (sentence,) = collections.problems(["postgresql"])
    assert "community.postgresql is not installed" in sentence
    assert "ansible-galaxy collection install -r requirements.yml" in sentence
    assert "pip install ansible" in sentence


def test_a_deploy_asks_for_none(monkeypatch: pytest.MonkeyPatch):
    installed(monkeypatch, None)
    assert collections.problems(settings.ROLES) == []
    assert collections.problems(["app"]) == []


@pytest.mark.parametrize("name", ["nobody.nothing", "decant.nothing"])
def test_what_is_not_there(name: str):
    assert collections.installed_version(name) is None


def test_what_does_not_say_its_version():
    assert collections.installed_version("decant.flask") == ""
