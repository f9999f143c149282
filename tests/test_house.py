"""The house stands as it was drawn: imports go one way, and every room keeps its walls."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from itertools import combinations
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# each floor may import itself and those before it; where it has two rooms, these do not meet
FLOORS = [
    ["pipeline.errors", "pipeline.schema"],
    ["pipeline.core"],
    ["pipeline.request"],
    ["pipeline.config", "pipeline.terminal"],
    ["pipeline.data"],
    ["pipeline.stages", "pipeline.atlas"],
    ["pipeline.run", "pipeline.service"],
    ["pipeline.cluster"],
    ["pipeline.commands"],
    ["pipeline.bench"],
    ["pipeline.cli"],
    ["jobs"],
]
MOST_FLOORS, MOST_LINES, MOST_FILES = 12, 300, 14


def is_in(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


def floor(module: str) -> int | None:
    for number, rooms in enumerate(FLOORS):
        if any(is_in(module, room) for room in rooms):
            return number
    return None


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {
    name_of(path): path
    for folder in ("pipeline", "jobs")
    for path in sorted((ROOT / folder).rglob("*.py"))
}


def imports(module: str) -> Iterator[str]:
    """Every module that a file imports, anywhere in it; of this project's own, the very file."""
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            for alias in node.names:
                file = f"{node.module}.{alias.name}"
                yield file if file in FILES else str(node.module)


IMPORTS = {module: set(imports(module)) - {module} for module in FILES}


@pytest.mark.parametrize("module", [module for module in FILES if module != "pipeline"])
def test_imports_go_one_way(module: str) -> None:
    own = floor(module)
    assert own is not None, "say in FLOORS where it lives"
    above = [name for name in IMPORTS[module] if (other := floor(name)) is not None and other > own]
    assert above == []


def test_there_is_no_circle() -> None:
    """File by file: the sorter raises where there is one."""
    own = {
        module: {name for name in used if name in FILES and name != "pipeline"}
        for module, used in IMPORTS.items()
        if module != "pipeline"
    }
    assert len(list(TopologicalSorter(own).static_order())) == len(own)


@pytest.mark.parametrize(
    ("left", "right"), [pair for rooms in FLOORS for pair in combinations(rooms, 2)]
)
def test_rooms_of_one_floor_do_not_meet(left: str, right: str) -> None:
    for one, other in ((left, right), (right, left)):
        users = [module for module in FILES if is_in(module, one)]
        assert not [user for user in users if any(is_in(name, other) for name in IMPORTS[user])]


def users_of(package: str) -> set[str]:
    """The files outside a package that import it."""
    return {
        module
        for module, used in IMPORTS.items()
        if not is_in(module, package) and any(is_in(name, package) for name in used)
    }


def test_only_the_cluster_knows_ray() -> None:
    assert {user.rpartition(".")[0] for user in users_of("ray")} == {"pipeline.cluster.on_ray"}


def test_nothing_needs_the_command_line() -> None:
    assert {user.partition(".")[0] for user in users_of("pipeline.cli")} == {"jobs"}
    assert {user.rpartition(".")[0] for user in users_of("pipeline.bench")} == {"pipeline.cli"}
    assert users_of("jobs") == set()


def test_the_core_needs_neither_ray_nor_files() -> None:
    core = [module for module in FILES if is_in(module, "pipeline.core")]
    code = (
        f"import sys, {', '.join(core)}; print({{'ray', 'fsspec', 'pyarrow'}} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "set()"


def test_only_nets_of_torchvision_wait_for_it() -> None:
    code = (
        "import sys, pipeline.cluster.on_ray.worker, pipeline.data.weights.load as weights;"
        "weights.load_net('demo'); print('torchvision' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "False"


def test_the_rooms_are_small() -> None:
    long = {
        name: n for name, path in FILES.items() if (n := path.read_text().count("\n")) > MOST_LINES
    }
    assert long == {}
    folders = {path.parent for path in FILES.values()}
    full = {
        folder.name: n for folder in folders if (n := len(list(folder.glob("*.py")))) > MOST_FILES
    }
    assert full == {}
    assert len(FLOORS) <= MOST_FLOORS


def test_every_room_says_what_it_is_for() -> None:
    rooms = {path.parent for path in FILES.values()}
    silent = [
        room.name
        for room in rooms
        if not (init := room / "__init__.py").exists()
        or not ast.get_docstring(ast.parse(init.read_text()))
    ]
    assert silent == []
