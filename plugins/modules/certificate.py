#!/usr/bin/python
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Brings the certificate that nginx shows: made on the host, given by the inventory, or from an ACME server."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: certificate
short_description: Brings the certificate of a backend to a host
version_added: 0.1.0
description:
  - V(selfsigned) makes a key and a certificate on the host, again when the names change or its end is near.
  - V(files) takes both from the inventory, or checks those that are on the host. They must belong together, name the backend and be valid.
  - V(acme) has certbot get one by HTTP-01 through nginx, which must answer on port 80 of every name already. certbot's own timer renews it
    and reloads nginx afterwards. Other names, or another directory, get another certificate.
  - Whatever goes wrong, the certificate that was there stays in use.
author: The Decant maintainers (!UNKNOWN)
options:
  name:
    description: The backend's name.
    type: str
    required: true
  mode:
    description: Where the certificate comes from.
    type: str
    choices: [selfsigned, files, acme]
    required: true
  names:
    description: Host names that it must be good for; V(selfsigned) takes IP addresses as well.
    type: list
    elements: str
    required: true
  certificate:
    description: The certificate and its chain as PEM (V(files)).
    type: str
    default: ""
  key:
    description: The private key as PEM, without a passphrase (V(files)).
    type: str
    default: ""
  certificate_path:
    description: A certificate that is on the host already (V(files)).
    type: str
    default: ""
  key_path:
    description: The private key that is on the host already (V(files)).
    type: str
    default: ""
  directory_url:
    description: URL of the ACME server's directory.
    type: str
    default: ""
  email:
    description: Address of the ACME account; empty for none.
    type: str
    default: ""
  ca_bundle:
    description: CA certificates on the host that the ACME server's own certificate is checked with; empty for the system's.
    type: str
    default: ""
  webroot:
    description: Directory in which nginx looks for challenges.
    type: path
    default: /var/lib/decant/acme
attributes:
  check_mode:
    description: Says whether a certificate would be made, written or asked for.
    support: full
  diff_mode:
    description: A certificate is new as a whole, and a key is never shown.
    support: none
"""

EXAMPLES = r"""
- name: Get a certificate
  decant.flask.certificate:
    name: projects
    mode: acme
    names: [projects.example.org]
    directory_url: https://acme-v02.api.letsencrypt.org/directory
"""

RETURN = r"""
info:
  description: Names of the certificate, its end (C(ends), seconds since the epoch), its digest and whether its issuer answers OCSP.
  returned: always
  type: dict
  sample: {names: [projects.example.org], ends: 1795000000, ocsp: false}
asked:
  description: Whether the host was asked; false when it is known to have the certificate.
  returned: always
  type: bool
"""

from ansible_collections.decant.flask.plugins.module_utils.on_host import main

if __name__ == "__main__":
    main("certificate")
