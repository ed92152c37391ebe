"""The architecture is a test: which way imports point, how long a module may be, what the pure parts never touch."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ptubench"
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

# A module imports only from its own floor or from floors above it in this list; docs/architecture.md draws it.
FLOORS = (
    ("errors", "failures", "histogram", "inert", "loop", "samples", "secret", "units", "waits"),
    ("workload.model",),
    ("distributions", "record", "stream", "azure.cloud"),
    ("ptu",),
    ("target",),
    ("workload",),
    ("load", "results"),
    ("usage",),
    ("client",),
    ("azure",),
    ("sim",),
    ("engine",),
    ("analysis",),
    ("calibrate",),
    ("compare",),
    ("gate",),
    ("virtual",),
    ("search",),
    ("size",),
    ("doctor",),
    ("report",),
    ("page",),
    ("commands", "azure_run", "capacity_run", "run_rules"),
    ("cli",),
    ("__main__",),
)
PURE = (
    "load",
    "stream",
    "ptu",
    "usage",
    "workload",
    "analysis",
    "calibrate",
    "compare",
    "gate",
    "sim.deployment",
    "sim.cache",
    "sim.latency",
    "histogram",
)
IMPURE = {"asyncio", "socket", "ssl", "subprocess", "threading", "httpx2", "uvicorn", "time", "random", "rich", "typer"}


def floor(module):
    """The longest name on the list that the module stands under."""
    under = [
        (len(name), number)
        for number, names in enumerate(FLOORS)
        for name in names
        if module == name or module.startswith(f"{name}.")
    ]
    return max(under)[1]


def imports(path):
    """Every module that a file imports, wherever in it the import stands: (ours, others')."""
    ours, others = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            inside = name.removeprefix("ptubench.")
            if name.startswith("ptubench.") and inside in MODULES:
                ours.add(inside)
            elif not name.startswith("ptubench"):
                others.add(name.split(".")[0])
    return ours, others


@pytest.mark.parametrize("module", [name for name in MODULES if name != "__init__"])
def test_imports_point_one_way(module):
    ours, _ = imports(MODULES[module])

    assert [name for name in ours if floor(name) > floor(module)] == []


def test_no_imports_go_in_a_circle():
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    graph = {name: imports(path)[0] - packages for name, path in MODULES.items()}

    assert len(list(TopologicalSorter(graph).static_order())) >= len(graph) - len(packages)


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith(PURE)])
def test_what_is_pure_knows_no_clock_no_socket_and_no_screen(module):
    _, others = imports(MODULES[module])

    assert others & IMPURE == set()


@pytest.mark.parametrize("module", MODULES)
def test_a_module_fits_in_the_head_and_says_what_it_is(module):
    text = MODULES[module].read_text()

    assert len(text.splitlines()) <= 350
    assert ast.get_docstring(ast.parse(text))
