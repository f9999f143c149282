"""The image: pinned, in layers that change rarely before those that change often."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.deploy.files import DOCKERFILE, ROOT, VERSION

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_version_is_the_packages() -> None:
    assert re.findall(r"^ARG VERSION=(\S+)$", DOCKERFILE, re.MULTILINE) == [VERSION]
    assert set(re.findall(r"deconv-atlas:([\d.]+)-", DOCKERFILE)) == {VERSION}
    readme = (ROOT / "deploy" / "README.md").read_text()
    assert set(re.findall(r"deconv-atlas:([\d.]+)-", readme)) == {VERSION}


def test_dependencies_are_installed_before_code_is_copied(tmp_path: Path) -> None:
    """The very line of the Dockerfile, in a folder with what was copied until then."""
    (script,) = re.findall(r'^RUN python -c "(.+)" > requirements\.txt', DOCKERFILE, re.MULTILINE)
    before = DOCKERFILE[: DOCKERFILE.index(script)]
    assert re.findall(r"^COPY \S+ (.+) \S+$", before, re.MULTILINE) == ["pyproject.toml"]
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    made = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    extras = PROJECT["optional-dependencies"]
    wanted = PROJECT["dependencies"] + extras["s3"] + extras["gcs"]
    assert set(wanted) < set(made.stdout.splitlines())


def test_whatever_is_copied_is_sent_to_the_builder() -> None:
    sent = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"
    }
    copied = {
        name
        for names in re.findall(r"^COPY --chown=\S+ (.+) \S+$", DOCKERFILE, re.MULTILINE)
        for name in names.split()
    }
    assert copied == sent
    assert all((ROOT / name).exists() for name in copied)


def test_it_runs_as_rays_own_user() -> None:
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)[-1:] == ["ray"]
