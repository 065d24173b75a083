# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Builds the virtual environment of a lock, once, and links a release to it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.decant.flask.plugins.module_utils.host import CommandError, run
from ansible_collections.decant.flask.plugins.module_utils.layout import VENV_MARKER, Layout, now

TOOLS = "/usr/local/lib/decant"


class BuildError(Exception):
    """A build that failed; the message is for an operator."""


class Builder:
    """One build of one environment."""

    def __init__(self, p: dict[str, Any], layout: Layout, partial: str) -> None:
        self.p, self.layout, self.partial = p, layout, partial
        self.home = f"{partial}.home"
        self.python = f"{partial}/bin/python"
        self.code = layout.code(p["id"], p["subdir"])
        self.deadline = time.monotonic() + p["timeout"]

    def environment(self) -> dict[str, str]:
        """What the installer is told through its environment: indexes may carry credentials, so never in argv."""
        p = self.p
        env = {
            "HOME": self.home,
            "TMPDIR": self.home,
            "PYTHONDONTWRITEBYTECODE": "",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INPUT": "1",
        }
        env.update(
            {
                "UV_LINK_MODE": "copy",
                "UV_PYTHON_DOWNLOADS": "never",
                "UV_NO_CONFIG": "1",
                "UV_NO_PROGRESS": "1",
                "UV_CACHE_DIR": f"/var/cache/decant/{p['name']}/uv",
            }
        )
        env["PIP_CACHE_DIR"] = f"/var/cache/decant/{p['name']}/pip"
        if p["index_url"]:
            env.update({"PIP_INDEX_URL": p["index_url"], "UV_DEFAULT_INDEX": p["index_url"]})
        if p["extra_index_urls"]:
            env.update(
                {"PIP_EXTRA_INDEX_URL": " ".join(p["extra_index_urls"]), "UV_INDEX": " ".join(p["extra_index_urls"])}
            )
        if p["proxy"]:
            env.update(
                {
                    "HTTP_PROXY": p["proxy"],
                    "HTTPS_PROXY": p["proxy"],
                    "http_proxy": p["proxy"],
                    "https_proxy": p["proxy"],
                }
            )
        if p["ca_bundle"]:
            env.update(
                {"SSL_CERT_FILE": p["ca_bundle"], "PIP_CERT": p["ca_bundle"], "REQUESTS_CA_BUNDLE": p["ca_bundle"]}
            )
        return env

    def step(self, what: str, argv: list[str], *, as_root: bool = False, cwd: str | None = None) -> str:
        """Run one command of the build, as the backend's user unless it only handles files of root's."""
        left = self.deadline - time.monotonic()
        user = None if as_root else self.p["user"]
        try:
            return run(argv, env=self.environment(), cwd=cwd or self.code, timeout=max(left, 1), user=user).stdout
        except CommandError as error:
            raise BuildError(f"{what} failed: {self.tail(error.output)}") from error
        except subprocess.TimeoutExpired as error:
            raise BuildError(f"{what} took longer than venv_timeout_seconds ({self.p['timeout']} s)") from error

    def tail(self, output: str) -> str:
        """The end of an installer's output, without the passwords that index URLs carry."""
        lines = [line.rstrip() for line in output.strip().splitlines() if line.strip()]
        return re.sub(r"(://[^/\s:@]*):[^/\s@]+@", r"\1:***@", "\n".join(lines[-15:]))

    def uv(self) -> str:
        """The path of uv, installed on first use. It is one binary, so its directory can be renamed in place."""
        final = f"{TOOLS}/uv-{self.p['uv_version']}"
        if not os.path.exists(f"{final}/bin/uv"):
            aside = f"{final}.{os.getpid()}"
            os.makedirs(TOOLS, mode=0o755, exist_ok=True)
            self.step("python3 -m venv", ["/usr/bin/python3", "-m", "venv", aside], as_root=True, cwd="/")
            argv = [
                f"{aside}/bin/python",
                "-m",
                "pip",
                "install",
                "--quiet",
                "--only-binary",
                ":all:",
                f"uv=={self.p['uv_version']}",
            ]
            try:
                self.step("Installing uv", argv, as_root=True, cwd="/")
                shutil.rmtree(final, ignore_errors=True)
                os.rename(aside, final)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        return f"{final}/bin/uv"

    def build(self) -> None:
        """Create, install, hand over to root."""
        p = self.p
        for folder in (self.partial, self.home, f"/var/cache/decant/{p['name']}"):
            os.makedirs(folder, mode=0o750, exist_ok=True)
            shutil.chown(folder, p["user"], p["user"])
        uv = self.uv() if p["installer"] == "uv" else ""
        if uv:
            self.step("uv venv", [uv, "venv", "--quiet", "--allow-existing", "--python", p["python"], self.partial])
            install = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", self.python]
        else:
            self.step("python -m venv", [p["python"], "-m", "venv", self.partial])
            install = [self.python, "-m", "pip", "install", "--quiet"]
        self.install(install, uv)
        self.relocate()
        run(["chown", "--recursive", "--no-dereference", "root:root", self.partial])
        run(["chmod", "--recursive", "go-w,a+rX", self.partial])

    def install(self, install: list[str], uv: str) -> None:
        """The backend's requirements first, then what is added, in a run of its own: pip checks hashes for all or none."""
        p = self.p
        requirements = f"{self.home}/requirements.txt"
        if p["mode"] == "uv":
            extras = [word for extra in p["extras"] for word in ("--extra", extra)]
            export = [
                uv,
                "export",
                "--quiet",
                "--frozen",
                "--no-dev",
                "--no-emit-project",
                "--output-file",
                requirements,
                *extras,
            ]
            self.step("Reading uv.lock", export)
            sources = [requirements]
        elif p["mode"] == "pyproject":
            with open(requirements, "w", encoding="utf-8") as stream:
                stream.write(p["text"])
            os.chmod(requirements, 0o644)
            sources = [requirements]
        else:
            sources = [f"{self.code}/{path}" for path in p["paths"]]
        hashed = ["--require-hashes"] if p["hashed"] else []
        files = [word for path in sources for word in ("--requirement", path)]
        together = [] if p["hashed"] or p["mode"] == "uv" else p["additions"]
        self.step("Installing the requirements", [*install, *hashed, *files, *together])
        if not together and p["additions"]:
            self.step("Installing " + ", ".join(p["additions"]), [*install, *p["additions"]])

    def relocate(self) -> None:
        """Write the final path where the build path stands: scripts' first lines, activate, pyvenv.cfg."""
        before, after = self.partial.encode(), f"{self.layout.venvs}/{self.p['lock']}".encode()
        paths = [f"{self.partial}/pyvenv.cfg"]
        paths += [entry.path for entry in os.scandir(f"{self.partial}/bin") if entry.is_file(follow_symlinks=False)]
        for path in paths:
            with open(path, "rb") as stream:
                data = stream.read()
            if before in data and b"\0" not in data:
                with open(path, "wb") as stream:
                    stream.write(data.replace(before, after))


ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "root": {"type": "path", "required": True},
    "user": {"type": "str", "required": True},
    "id": {"type": "str", "required": True},
    "lock": {"type": "str", "required": True},
    "subdir": {"type": "str", "default": ""},
    "mode": {"type": "str", "choices": ["requirements", "pyproject", "uv"], "default": "requirements"},
    "paths": {"type": "list", "elements": "str", "default": []},
    "text": {"type": "str", "default": ""},
    "hashed": {"type": "bool", "default": False},
    "extras": {"type": "list", "elements": "str", "default": []},
    "additions": {"type": "list", "elements": "str", "default": []},
    "python": {"type": "str", "default": "python3"},
    "installer": {"type": "str", "choices": ["uv", "pip"], "default": "uv"},
    "uv_version": {"type": "str", "required": True},
    "index_url": {"type": "str", "default": "", "no_log": True},
    "extra_index_urls": {"type": "list", "elements": "str", "default": [], "no_log": True},
    "proxy": {"type": "str", "default": "", "no_log": True},
    "ca_bundle": {"type": "str", "default": ""},
    "timeout": {"type": "int", "default": 900},
}


def main(module: AnsibleModule) -> None:
    p = module.params
    layout = Layout(p["name"], p["root"])
    final = f"{layout.venvs}/{p['lock']}"
    known = layout.venv_known(p["lock"])
    if module.check_mode:
        module.exit_json(changed=True, path=final, built=not known)
    release = layout.release(p["id"])
    if not os.path.isdir(release):
        module.fail_json(msg=f"{release} does not exist: the role decant.flask.release stages it first.")
    if not known:
        partial = f"{layout.venvs}/.{p['lock']}.partial"
        builder = Builder(p, layout, partial)
        try:
            shutil.rmtree(partial, ignore_errors=True)
            builder.build()
            with open(f"{partial}/{VENV_MARKER}", "w", encoding="utf-8") as stream:
                json.dump({"lock": p["lock"], "installer": p["installer"], "built_at": now()}, stream)
            shutil.rmtree(final, ignore_errors=True)
            os.rename(partial, final)
        except (BuildError, CommandError, OSError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            layout.failed(p["id"], "venv", str(error).splitlines()[-1])
            module.fail_json(
                msg=f"The virtual environment of release {p['id']} could not be built. {error}\n{layout.serving()} "
                "Mend the requirements (or venv_index_url, venv_proxy, venv_ca_bundle, venv_build_packages) and run the deploy again."
            )
        finally:
            shutil.rmtree(builder.home, ignore_errors=True)
    linked = layout.link_venv(p["id"], p["lock"])
    module.exit_json(changed=linked or not known, path=final, built=not known)
