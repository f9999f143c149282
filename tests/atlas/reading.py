"""An atlas read as its pages read it: from the index on, by the names that it gives."""

import html
import json
import re

from pipeline.data.store import Store


def root(atlas: Store) -> dict:
    """What the index knows."""
    page = atlas.read("index.html").decode("ascii")
    return json.loads(page.partition("window.ATLAS_ROOT = ")[2].partition(";</script>")[0])


def said(atlas: Store, name: str) -> tuple[str, str | int, dict]:
    """What a script adds: of which kind, for what, and the value."""
    text = atlas.read(name).decode("ascii")
    assert "</" not in text
    kind, key, value = json.loads(
        f"[{text.removeprefix('ATLAS.add(').removesuffix(');' + chr(10))}]"
    )
    return kind, key, value


def layer(atlas: Store, name: str) -> dict:
    """What is said of a layer's maps."""
    (script,) = [one["script"] for one in root(atlas)["layers"] if one["name"] == name]
    kind, key, value = said(atlas, script)
    assert (kind, key) == ("layers", name)
    return value


def maps(atlas: Store, name: str, page: int = 0) -> dict:
    """What is said of some of a layer's maps."""
    kind, key, value = said(atlas, layer(atlas, name)["pages"][page]["maps"])
    assert (kind, key) == ("maps", f"{name}/{page}")
    return value


def named(atlas: Store) -> set[str]:
    """Every file that can be come to from the index."""
    page, knows = atlas.read("index.html").decode("ascii"), root(atlas)
    names = {
        html.unescape(one) for one in re.findall(r'(?:href|src|content)="([a-z]+/[^"]+)"', page)
    }
    names = {one for one in names if not one.startswith("layers/")} | {"index.html"}
    names |= {one for one in knows["files"].values() if one}
    for file in ("classes", "pictures"):
        if knows["files"][file]:
            names |= set(said(atlas, knows["files"][file])[2]["parts"])
    samples = set()
    for of in knows["layers"]:
        names |= {of["script"], of["strip"]}
        for number, files in enumerate(layer(atlas, of["name"])["pages"]):
            names |= set(files.values())
            told = maps(atlas, of["name"], number)
            names |= {one for kind in told["files"].values() for one in kind if one}
            samples |= set(told["sample"])
    if knows["pictures"]:
        names |= {f"{knows['pictures']}/{sample}.jpg" for sample in samples}
    return names
