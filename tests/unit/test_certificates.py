# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reading certificates that openssl has made, and what certbot says when it does not get one."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.decant.flask.plugins.module_utils import certificates
from ansible_collections.decant.flask.plugins.module_utils.modules import certificate as module

DAY = 86400


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pairs: `a` for example.org and *.example.org, for 60 days; `b` without a name."""
    place = tmp_path_factory.mktemp("pairs")
    for name, more in (("a", ["-addext", "subjectAltName=DNS:example.org,DNS:*.example.org"]), ("b", [])):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
            + ["-subj", "/CN=x", "-days", "60", *more, "-out", f"{place}/{name}.pem", "-keyout", f"{place}/{name}.key"],
            check=True,
            capture_output=True,
        )
    return place


def test_a_certificate_is_read(folder: Path):
    info = certificates.read(f"{folder}/a.pem")
    assert info["names"] == ["*.example.org", "example.org"]
    assert info["ocsp"] is False
    assert 59 <= certificates.days_left(info) <= 60
    assert info["sha256"] == hashlib.sha256((folder / "a.pem").read_bytes()).hexdigest()


def test_what_is_no_certificate(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "x").write_text("no certificate")
    assert certificates.read(str(tmp_path / "x")) == {}
    assert certificates.read(str(tmp_path / "missing")) == {}
    assert certificates.days_left({}) == -1

    def absent(*_: Any, **__: Any) -> None:
        raise FileNotFoundError("openssl")

    monkeypatch.setattr(certificates, "run", absent)
    assert certificates.read(f"{folder}/a.pem") == {}, "a host without openssl has not been deployed to yet"


def test_an_issuer_with_ocsp_is_seen():
    text = "notAfter=Nov 24 16:00:00 2027 GMT\nX509v3 Subject Alternative Name: \n    DNS:a.org, DNS:b.org\nhttp://ocsp.example.org\n"
    assert certificates.parse(text) == {"names": ["a.org", "b.org"], "ends": 1827072000, "ocsp": True}


@pytest.mark.parametrize(
    ("names", "wanted", "covered"),
    [
        (["a.org"], "a.org", True),
        (["*.a.org"], "b.a.org", True),
        (["*.a.org"], "a.org", False),
        (["*.a.org"], "c.b.a.org", False),
        ([], "a.org", False),
    ],
)
def test_covers(names: list[str], wanted: str, covered: bool):
    assert certificates.covers(names, wanted) is covered


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),
        ({"names": ["a.org", "b.org"]}, False),
        ({"ends": time.time() - 1}, False),
        ({"directory": "https://staging"}, False),
        ({"ends": time.time() + 5 * DAY}, True),  # certbot's timer renews it
    ],
)
def test_acme_as_wanted(changes: dict[str, Any], fits: bool):
    info = {"names": ["a.org"], "ends": time.time() + 60 * DAY, "directory": "https://live", **changes}
    wanted = {"mode": "acme", "names": ["a.org"], "directory_url": "https://live"}
    assert certificates.as_wanted(wanted, info) is fits


def test_a_selfsigned_one_is_made_again_before_it_ends():
    wanted = {"mode": "selfsigned", "names": ["b.org", "a.org", "a.org"]}
    assert certificates.as_wanted(wanted, {"names": ["a.org", "b.org"], "ends": time.time() + 31 * DAY})
    assert not certificates.as_wanted(wanted, {"names": ["a.org", "b.org"], "ends": time.time() + 29 * DAY})
    assert not certificates.as_wanted(wanted, {})


def test_files_as_wanted():
    info = {"sha256": hashlib.sha256(b"pem").hexdigest(), "ends": time.time() + DAY}
    assert certificates.as_wanted({"mode": "files", "certificate": "pem"}, info)
    assert not certificates.as_wanted({"mode": "files", "certificate": "other"}, info)
    assert not certificates.as_wanted({"mode": "files", "certificate": "pem"}, {**info, "ends": time.time() - 2 * DAY})


@pytest.mark.parametrize(
    ("certificate", "key", "names", "said"),
    [
        ("a.pem", "a.key", ["example.org", "x.example.org"], ""),
        ("a.pem", "b.key", ["example.org"], "belongs to another certificate"),
        ("a.pem", "a.key", ["example.net"], "not for example.net"),
        ("b.pem", "b.key", ["example.org"], "for no host name"),
        ("a.key", "a.key", ["example.org"], "cannot read the certificate"),
        ("a.pem", "a.pem", ["example.org"], "without a passphrase"),
        ("none", "a.key", ["example.org"], "there is no"),
    ],
)
def test_why_a_pair_cannot_be_served(folder: Path, certificate: str, key: str, names: list[str], said: str):
    found = module.trouble(f"{folder}/{certificate}", f"{folder}/{key}", names)
    assert said in found if said else found == ""


def test_a_pair_is_put_in_place_as_one(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module.atomic_write, "__defaults__", (os.getuid(), os.getgid()))
    places = f"{tmp_path}/files/fullchain.pem", f"{tmp_path}/files/privkey.pem"
    for name in ("a", "b"):
        pair = (folder / f"{name}.pem").read_bytes(), (folder / f"{name}.key").read_bytes()
        module.put(pair, places)
        assert (Path(places[0]).read_bytes(), Path(places[1]).read_bytes()) == pair
        assert Path(places[1]).stat().st_mode & 0o777 == 0o600
    assert len(list(tmp_path.iterdir())) == 2, "the link and the pair in use; the one before is gone"


def test_a_selfsigned_pair_is_one():
    certificate, key = module.selfsigned(["a.example.org", "b.example.org"])
    assert b"BEGIN CERTIFICATE" in certificate and b"PRIVATE KEY" in key


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (
            "Some challenges have failed.\n  Domain: a.org\n  Type:   connection\n  Detail: refused\n",
            ["a.org: refused (connection)", "a.org resolves to this host", "port 80"],
        ),
        ("x: CERTIFICATE_VERIFY_FAILED\n", ["nginx_acme_ca_bundle"]),
        ("Saving debug log to /x\nError: rateLimited\n", ["rateLimited", "nginx_acme_staging_enabled"]),
        ("boom\n", ["boom", "nginx_acme_directory_url"]),
        ("", ["it said nothing"]),
    ],
)
def test_what_an_operator_looks_at(output: str, said: list[str]):
    found = module.explain(output, ["a.org"])
    assert all(word in found for word in said), found


def test_what_certbot_hides_is_read_from_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log = tmp_path / "letsencrypt.log"
    log.write_text("acme.messages.Error: urn:ietf:params:acme:error:badNonce :: bad nonce\nAttributeError: can't set\n")
    monkeypatch.setattr(module.hidden_cause, "__defaults__", (str(log),))
    assert "badNonce :: bad nonce" in module.explain("AttributeError: can't set attribute\n", ["a.org"])
    assert "badNonce" not in module.explain("another error\n", ["a.org"])
    log.unlink()
    assert "can't set attribute" in module.explain("AttributeError: can't set attribute\n", ["a.org"])
