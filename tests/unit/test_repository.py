# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What holds for the repository as a whole: no drift between code, specs, defaults and documentation, no stray names."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
import pytest
import yaml
from ansible_collections.decant.flask.plugins.filter.quoting import FilterModule
from ansible_collections.decant.flask.plugins.module_utils import on_host
from ansible_collections.decant.flask.plugins.plugin_utils import plans, settings

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))
# Modules that run on a host; an action without one has a module of its name that is documentation alone.
CODE = sorted(path.stem for path in (ROOT / "plugins/module_utils/modules").glob("*.py"))
ACTIONS = sorted(path.stem for path in (ROOT / "plugins/action").glob("*.py"))
PREFIXES = "|".join((*settings.ROLES, *settings.VERBS))
SPECS = settings.specs()


@functools.cache
def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def load(path: str) -> Any:
    return yaml.safe_load(read(path))


def files() -> list[Path]:
    """What is, or is about to be, in the repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = [ROOT / name for name in sorted(set(done.stdout.split("\0"))) if name]
    return [path for path in found if path.is_file() and not path.is_symlink()]


# --- names that do not belong here ---------------------------------------------------------------

REGISTRIES = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("deb", "debian", "org"),
        ("security", "debian", "org"),
        ("ftp", "debian", "org"),
        ("archive", "ubuntu", "com"),
        ("galaxy", "ansible", "com"),
        ("docker", "io"),
        ("ghcr", "io"),
        ("quay", "io"),
        ("gcr", "io"),
        ("npmjs", "org"),
    )
]
PLACES = [
    "/".join(("", *parts, "")) for parts in (("work", "main"), ("work", "shared"), ("tmp", "ve"), ("root", ".pyenv"))
]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_registry_and_no_place_of_one_machine(path: Path):
    text = path.read_bytes().decode("utf-8")
    assert [name for name in (*REGISTRIES, *PLACES) if name in text] == []
    assert "\r" not in text
    assert "\t" not in text or path.name.endswith(("Makefile", ".tsv"))
    assert text == "" or text.endswith("\n")


@pytest.mark.parametrize(
    "path", [p for p in files() if p.suffix in (".md", ".yml", ".j2")], ids=lambda p: str(p.relative_to(ROOT))
)
def test_addresses_are_those_for_documentation(path: Path):
    found = re.findall(r"(?<![\d.])\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\d.])", path.read_text(encoding="utf-8"))
    assert [address for address in found if not address.startswith(("192.0.2.", "127.", "0.0.0.0"))] == []


def test_the_checkout_is_the_collection():
    link = ROOT / "collections/ansible_collections/decant/flask"
    assert link.is_symlink()
    assert str(link.readlink()) == "../../.."


# --- roles ---------------------------------------------------------------------------------------


def test_the_order_of_a_deploy():
    (play,) = load("playbooks/deploy.yml")
    block = play["tasks"][1]
    names = [
        task["ansible.builtin.import_role"]["name"] for task in block["block"] if "ansible.builtin.import_role" in task
    ]
    # Every role builds on app, which so comes before the first of them.
    assert names == [f"decant.flask.{role}" for role in settings.ROLES if role != "app"]
    assert list(settings.ROLES) == [
        "lock",
        "app",
        "release",
        "venv",
        "dotenv",
        "migrate",
        "gunicorn",
        "nginx",
        "health",
        "backup",
    ]
    (last,) = block["always"]
    assert last["ansible.builtin.import_role"] == {"name": "decant.flask.lock", "tasks_from": "release"}
    assert sorted((*settings.ROLES, *settings.VERBS)) == ROLES
    assert (play["any_errors_fatal"], play["gather_facts"], play.get("strategy", "linear")) == (True, False, "linear")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "part", ["tasks/main.yml", "defaults/main.yml", "meta/argument_specs.yml", "meta/main.yml", "README.md"]
)
def test_a_role_is_whole(role: str, part: str):
    assert (ROOT / "roles" / role / part).is_file()


@pytest.mark.parametrize("role", sorted(set(ROLES) - {"app", "lock", "status"}))
def test_every_role_builds_on_app(role: str):
    """But for the database's, whose hosts get neither the backend's user nor its directories, and for what sets a flag or is the host's."""
    wanted = (
        []
        if role in ("postgresql", "maintenance", "silence", "baseline", "exporters", "monitoring", "kit", "readiness")
        else [{"role": "decant.flask.app"}]
    )
    assert load(f"roles/{role}/meta/main.yml")["dependencies"] == wanted


def test_a_status_takes_the_inputs_of_app_and_none_of_its_changes():
    assert load("roles/status/meta/main.yml")["dependencies"] == []
    tasks = [task for path in TASKS if path.startswith("roles/status/") for task in load(path)]
    imports = {"ansible.builtin.import_role", "ansible.builtin.import_tasks"}
    acts = {key for task in tasks for key in task if "." in key and key not in imports}
    assert acts == {"decant.flask.status", "decant.flask.report", "ansible.builtin.fail"}
    roles = [task["ansible.builtin.import_role"] for task in tasks if "ansible.builtin.import_role" in task]
    assert roles == [{"name": "decant.flask.app", "tasks_from": "validate"}]


TASKS = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("roles/*/tasks/*.yml"))


@pytest.mark.parametrize("path", TASKS)
def test_task_files_are_short(path: str):
    assert len(read(path).splitlines()) < (60 if path.endswith("/main.yml") else 100)


@pytest.mark.parametrize("role", ROLES)
def test_specs_are_the_defaults(role: str):
    defaults = load(f"roles/{role}/defaults/main.yml")
    (document,) = load(f"roles/{role}/meta/argument_specs.yml").values()
    options = {name: option for entry in document.values() for name, option in entry.get("options", {}).items()}
    required = {name for name, option in options.items() if option.get("required")}
    assert set(defaults) == set(options) - required
    assert {name: options[name]["default"] for name in defaults} == defaults
    for name in options:
        assert name.startswith(f"{role}_")
        assert re.search(rf"^# .*\n(# )?{name}:", read(f"roles/{role}/defaults/main.yml"), re.MULTILINE)


@pytest.mark.parametrize("name", sorted(SPECS))
def test_specs_have_types_and_sentences(name: str):
    option = SPECS[name]
    assert option["type"] in ("str", "int", "float", "bool", "list", "dict", "path", "raw")
    assert ("elements" in option) == (option["type"] == "list")
    assert option["description"].endswith(".")
    assert not (option.get("required") and "default" in option)


# --- variables -----------------------------------------------------------------------------------


def jinja_names(text: str) -> set[str]:
    """Variables that a template, or the expressions in a text, refer to."""
    environment = jinja2.Environment(extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"])
    # Ansible's filters and tests are not Jinja's; their names alone matter here.
    environment.filters.update(dict.fromkeys(re.findall(r"\|\s*([\w.]+)", text), str))
    environment.tests.update(dict.fromkeys(re.findall(r"\bis\s+(?:not\s+)?([\w.]+)", text), str))
    return jinja2.meta.find_undeclared_variables(environment.parse(text))


def expressions(value: Any, key: str = "") -> list[str]:
    """The templates in a task file: texts with braces, and the bare expressions of conditions."""
    if isinstance(value, dict):
        return [text for k, v in value.items() for text in expressions(v, str(k))]
    if isinstance(value, list):
        return [text for item in value for text in expressions(item, key)]
    if not isinstance(value, str):
        return []
    if key in ("when", "until", "failed_when", "changed_when", "that"):
        return [f"{{{{ {value} }}}}"]
    return [value] if "{" in value else []


USERS = sorted(
    str(path.relative_to(ROOT))
    for pattern in (
        "roles/*/tasks/*.yml",
        "roles/*/vars/*.yml",
        "roles/*/templates/**/*.j2",
        "roles/*/handlers/*.yml",
        "playbooks/*.yml",
    )
    for path in ROOT.glob(pattern)
)


@functools.cache
def used_in(path: str) -> set[str]:
    if path.endswith(".j2"):
        return jinja_names(read(path))
    return {name for text in expressions(load(path)) for name in jinja_names(text)}


def internal_names() -> dict[str, set[str]]:
    """Where each internal variable comes from: vars/, register, set_fact, loop_var."""
    found: dict[str, set[str]] = {}
    for path in ROOT.glob("roles/*/vars/*.yml"):
        for name in yaml.safe_load(path.read_text()):
            found.setdefault(name, set()).add(path.parts[-3])
    playbooks = {ROOT / "playbooks/deploy.yml": "app", ROOT / "playbooks/provision.yml": "postgresql"}
    for path in [*ROOT.glob("roles/*/tasks/*.yml"), *playbooks]:
        role = playbooks.get(path) or path.parts[-3]
        for name in re.findall(r"(?:register|loop_var): (\w+)", path.read_text()):
            found.setdefault(name, set()).add(role)
    return found


INTERNAL = internal_names()


@pytest.mark.parametrize("path", USERS)
def test_every_variable_is_declared(path: str):
    used = used_in(path)
    ours = {name for name in used if re.match(rf"(?:{PREFIXES})_", name)}
    assert ours <= set(SPECS)
    assert {name for name in used if name.startswith("_")} <= set(INTERNAL)
    rest = used - ours - set(INTERNAL)
    assert {n for n in rest if not n.startswith("ansible_")} <= {
        "lookup",
        "now",
        "group_names",
        "groups",
        "hostvars",
        "inventory_dir",
        "inventory_hostname",
        "none",
        "line",
        *("exporter", "unit", "config"),  # what the parts of a template are called with
    }


@pytest.mark.parametrize("name", sorted(INTERNAL))
def test_internal_names_begin_with_their_role(name: str):
    assert len(INTERNAL[name]) == 1 or name == "__app_contract"
    assert name.startswith(tuple(f"__{role}_" for role in INTERNAL[name]))


@pytest.mark.parametrize("name", sorted(INTERNAL))
def test_no_internal_name_is_dead(name: str):
    # Of other hosts it is asked for by its name: map(attribute='...').
    assert any(name in used_in(path) or f"='{name}'" in read(path) for path in USERS)


PLUGINS = "\n".join(path.read_text() for path in (ROOT / "plugins").rglob("*.py"))


@pytest.mark.parametrize("name", sorted(SPECS))
def test_no_input_is_dead(name: str):
    # In a message it stands without quotes, so that is no use.
    assert any(name in used_in(path) for path in USERS) or re.search(rf"[\"']{name}[\"']", PLUGINS)


# --- what a hash covers --------------------------------------------------------------------------


def made_from(paths: list[str]) -> set[str]:
    """The inputs that some templates depend on, through the internal variables of the roles."""
    definitions = {
        name: value
        for role in ROLES
        if (ROOT / f"roles/{role}/vars").is_dir()
        for name, value in load(f"roles/{role}/vars/main.yml").items()
    }
    seen: set[str] = set()
    waiting = {name for path in paths for name in used_in(path)}
    while waiting:
        name = waiting.pop()
        seen.add(name)
        new = {n for text in expressions(definitions.get(name, "")) for n in jinja_names(text)}
        waiting |= new - seen
    return seen & set(SPECS)


@pytest.mark.parametrize(
    "name",
    sorted(
        made_from(
            [
                str(p.relative_to(ROOT))
                for role in ("gunicorn", "migrate")
                for p in ROOT.glob(f"roles/{role}/templates/**/*.j2")
            ]
        )
        # What a migration may do is a property of one run; the backups are the host's; secrets are in the environment's own part.
        - {*plans.UNIT_EXCEPT, "backup_enabled", "backup_keep", "app_secrets"}
    ),
)
def test_what_a_release_is_made_from_makes_another_release(name: str):
    before = {n: option.get("default", "x") for n, option in SPECS.items()}
    after = {**before, name: "another"}
    assert plans.unit_hash(before, 1, 1, {}) != plans.unit_hash(after, 1, 1, {})


# --- modules -------------------------------------------------------------------------------------


def document(name: str, what: str) -> Any:
    module = importlib.import_module(f"ansible_collections.decant.flask.plugins.modules.{name}")
    found = yaml.safe_load(getattr(module, what))
    if what == "DOCUMENTATION":
        found["options"] = {
            **shared_options(found.get("extends_documentation_fragment", [])),
            **found.get("options", {}),
        }
    return found


def shared_options(fragments: list[str]) -> dict[str, Any]:
    """What ansible-doc adds from plugins/doc_fragments."""
    options: dict[str, Any] = {}
    for fragment in fragments:
        name, _, part = fragment.removeprefix("decant.flask.").partition(".")
        module = importlib.import_module(f"ansible_collections.decant.flask.plugins.doc_fragments.{name}")
        options.update(yaml.safe_load(getattr(module.ModuleDocFragment, part.upper() or "DOCUMENTATION"))["options"])
    return options


@pytest.mark.parametrize("name", CODE)
def test_documented_options_are_the_modules(name: str):
    kept = ("type", "required", "default", "choices", "elements")
    spec = {n: {k: v for k, v in o.items() if k in kept} for n, o in on_host.code(name).ARGUMENTS.items()}
    options = {
        n: {k: v for k, v in o.items() if k in kept} for n, o in document(name, "DOCUMENTATION")["options"].items()
    }
    assert options == spec


@pytest.mark.parametrize("name", CODE)
def test_documentation_is_complete(name: str):
    found = document(name, "DOCUMENTATION")
    assert found["module"] == name
    assert {"short_description", "description", "version_added", "author", "options", "attributes"} <= set(found)
    assert all(option["description"] for option in found["options"].values())
    assert {"check_mode", "diff_mode"} <= set(found["attributes"])
    assert found["attributes"]["check_mode"]["support"] == "full"
    for value in document(name, "RETURN").values():
        assert {"description", "returned", "type"} <= set(value)


def test_every_module_of_a_host_goes_through_one_door():
    """What is not packed fails on the host, and what is not routed is packed once more in every run."""
    tree = ast.parse(read("plugins/module_utils/on_host.py"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == on_host.CODE]
    assert [alias.name for node in imports for alias in node.names] == CODE
    for name in CODE:
        action = ROOT / f"plugins/action/{name}.py"
        assert action.resolve().name == "on_host.py" or "self.on_host(" in action.read_text(encoding="utf-8"), name


@pytest.mark.parametrize("name", CODE)
def test_examples_could_be_run(name: str):
    options = document(name, "DOCUMENTATION")["options"]
    for task in document(name, "EXAMPLES"):
        given = task[f"decant.flask.{name}"]
        assert set(given) <= set(options)
        assert {n for n, option in options.items() if option.get("required")} <= set(given)


@pytest.mark.parametrize("name", CODE)
def test_tasks_give_options_that_exist(name: str):
    options = set(document(name, "DOCUMENTATION")["options"])
    given = [task[f"decant.flask.{name}"] for path in TASKS for task in load(path) if f"decant.flask.{name}" in task]
    assert given, "no role uses this module"
    assert all(set(arguments) <= options for arguments in given)


@pytest.mark.parametrize("name", ACTIONS)
def test_actions_are_documented(name: str):
    """ansible-doc reads an action's documentation from the module of its name."""
    found = document(name, "DOCUMENTATION")
    assert found["module"] == name
    assert found["description"] and document(name, "EXAMPLES")


@pytest.mark.parametrize("name", sorted(FilterModule().filters()))
def test_filters_are_documented(name: str):
    assert (ROOT / f"plugins/filter/{name}.yml").is_file()


@pytest.mark.parametrize("name", sorted(FilterModule().filters()))
def test_no_filter_is_dead(name: str):
    defaults = [str(path.relative_to(ROOT)) for path in ROOT.glob("roles/*/defaults/main.yml")]
    assert any(f"decant.flask.{name}" in read(path) for path in (*USERS, *defaults))


# --- what runs on hosts --------------------------------------------------------------------------

ON_HOSTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("plugins/modules/*.py", "plugins/module_utils/**/*.py", "roles/health/files/decant-probe")
    for path in ROOT.glob(pattern)
)


@pytest.mark.parametrize("path", ON_HOSTS)
def test_hosts_need_python_3_9_and_its_library_alone(path: str):
    tree = ast.parse(read(path), feature_version=(3, 9))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a module is sent without its neighbours"
            names.add(node.module or "")
    allowed = ("ansible.module_utils.", "ansible_collections.decant.flask.plugins.module_utils")
    foreign = {n for n in names if n.split(".")[0] not in sys.stdlib_module_names and not n.startswith(allowed)}
    assert foreign == set()
    if path.endswith(".py"):
        assert any(isinstance(n, ast.ImportFrom) and n.module == "__future__" for n in tree.body)


@pytest.mark.parametrize("path", sorted(str(p.relative_to(ROOT)) for p in (ROOT / "plugins").rglob("*.py")))
def test_plugins_have_a_licence_a_docstring_and_no_private_import(path: str):
    text = read(path)
    assert "GNU General Public License v3.0" in "\n".join(text.splitlines()[:2])
    assert ast.get_docstring(ast.parse(text))
    assert not re.search(r"from ansible[\w.]*\._|import ansible[\w.]*\._|\btype\([^)]*\) (?:is|==)", text)


# --- the collection ------------------------------------------------------------------------------


def test_versions():
    galaxy = load("galaxy.yml")
    assert (galaxy["namespace"], galaxy["name"]) == ("decant", "flask")
    if (ROOT / "changelogs/changelog.yaml").exists():
        assert galaxy["version"] in load("changelogs/changelog.yaml")["releases"]
    requires = load("meta/runtime.yml")["requires_ansible"]
    assert re.fullmatch(r">=2\.\d+(\.\d+)?", requires), "a floor and no ceiling"
    for role in ROLES:
        assert load(f"roles/{role}/meta/main.yml")["galaxy_info"]["min_ansible_version"] in requires


# --- collections of others -----------------------------------------------------------------------


def test_a_deploy_needs_ansible_core_alone():
    assert load("galaxy.yml")["dependencies"] == {}
    for path in (p for p in USERS if not p.startswith(("roles/postgresql/", "roles/exporters/"))):
        assert "community." not in read(path)


def test_only_included_tasks_use_another_collection():
    """An imported one is read with the play: without the collection, Ansible would speak before the contract can."""
    users = [path for path in TASKS if re.search(r"^\s+community\.", read(path), re.MULTILINE)]
    assert users == ["roles/exporters/tasks/postgresql.yml", "roles/postgresql/tasks/database.yml"]
    for path in users:
        assert f"include_tasks: {Path(path).name}" in read(f"{Path(path).parent}/main.yml")


def test_the_tests_run_with_a_version_that_users_may_have():
    pinned = re.search(r"version=(\d+)", read("bin/lib/setup.sh")).group(1)
    assert pinned == "12" and "ansible-core==2.19." in read("requirements-test.txt"), "ansible 12 carries core 2.19"


@pytest.mark.parametrize("role", ROLES)
def test_no_description_is_a_template(role: str):
    """Ansible renders a spec, descriptions and all, before it checks an input."""
    document = load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]
    texts = [
        str(option.get("description", ""))
        for point in document.values()
        for option in point.get("options", {}).values()
    ]
    assert not [text for text in texts if "{{" in text or "{%" in text]
