"""The files of deploy/, as their readers see them."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
RAY = re.findall(r"^ARG RAY=(\S+)$", DOCKERFILE, re.MULTILINE)[0]


def loaded(name: str) -> Any:
    """A YAML or JSON file of deploy/."""
    text = (DEPLOY / name).read_text()
    return json.loads(text) if name.endswith(".json") else yaml.safe_load(text)


def job_for_kueue() -> Any:
    """The job as `kubectl patch --type json` makes it for Kueue."""
    job = loaded("rayjob.yaml")
    for change in loaded("kueue.json"):
        *way, last = [int(key) if key.isdigit() else key for key in change["path"].split("/")[1:]]
        at = job
        for key in way:
            at = at[key]
        if change["op"] != "add":
            assert last in at, change["path"]
        if change["op"] == "remove":
            del at[last]
        else:
            at[last] = change["value"]
    return job
