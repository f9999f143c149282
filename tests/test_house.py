"""The house stands as it was drawn: imports go one way, and the core is science alone."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# each floor may import itself and those before it
FLOORS = [
    ("pipeline.errors", "pipeline.schema"),
    ("pipeline.core",),
    ("pipeline.config", "pipeline.request"),
    ("pipeline.data",),
    ("pipeline.atlas", "pipeline.stages"),
    ("pipeline.run", "pipeline.terminal"),
    ("pipeline.cluster",),
    ("pipeline.commands",),
    ("pipeline.bench",),
    ("pipeline.cli",),
    ("jobs",),
]


def floor(module: str) -> int | None:
    for number, names in enumerate(FLOORS):
        if any(module == name or module.startswith(f"{name}.") for name in names):
            return number
    return None


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules() -> list[Path]:
    return sorted(path for folder in ("pipeline", "jobs") for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    own = floor(name_of(path))
    if name_of(path) == "pipeline":
        return
    assert own is not None, "say in FLOORS where it lives"
    above = [name for name in imports(path) if (other := floor(name)) is not None and other > own]
    assert above == []


def test_only_the_cluster_knows_ray() -> None:
    users = {
        name_of(path) for path in modules() if any(n.split(".")[0] == "ray" for n in imports(path))
    }
    assert users <= {
        "pipeline.cluster.connection",
        "pipeline.cluster.crew",
    }


def test_the_core_needs_neither_ray_nor_files() -> None:
    core = [name_of(path) for path in modules() if name_of(path).startswith("pipeline.core")]
    code = (
        f"import sys, {', '.join(core)}; print({{'ray', 'fsspec', 'pyarrow'}} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "set()"
