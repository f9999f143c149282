"""The index: a page that shows something by itself, and all that its scripts begin with."""

import html
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from urllib.parse import quote

from pipeline.atlas import sheets
from pipeline.atlas.assets import Assets
from pipeline.atlas.documents.content import Content
from pipeline.atlas.documents.names import INDEX, pictures_folder
from pipeline.atlas.documents.script import Json, dump
from pipeline.atlas.places import public_name
from pipeline.config import Machine, RunSpec
from pipeline.data.machines import unlike

FORMAT = 2

_SCRIPTS = (
    *("data.js", "search.js", "address.js", "elements.js", "sheet.js", "home.js", "layer.js"),
    *(
        "known.js",
        "map.js",
        "picture.js",
        "classes.js",
        "compare.js",
        "about.js",
        "main.js",
    ),
)
"""The viewer's, in the order in which they stand in one file."""

_COMMENTS = re.compile(rb"/\*\*[\s\S]*?\*/ ?|^ *//.*\n", re.MULTILINE)

_STRIP_SHOWN = 24


def write_viewer(assets: Assets) -> Mapping[str, str]:
    """Write the pages' own files; their names, for the index."""
    viewer = resources.files("pipeline.atlas") / "viewer"
    code = _bare(b"\n".join((viewer / name).read_bytes() for name in _SCRIPTS))
    kept = viewer / "openseadragon"
    licence = (kept / "LICENSE.txt").read_bytes()
    wall = (kept / "openseadragon.min.js").read_bytes() + b"\n"
    wall += _bare((viewer / "wall.js").read_bytes())
    return {
        "style": assets.write("viewer/style.css", (viewer / "style.css").read_bytes()),
        "script": assets.write("viewer/atlas.js", code),
        "ask": assets.write("viewer/ask.js", _bare((viewer / "ask.js").read_bytes())),
        "wall": assets.write("viewer/wall.js", wall),
        "licence": assets.write("viewer/openseadragon-licence.txt", licence),
    }


def _bare(code: bytes) -> bytes:
    """Scripts without comments, types and indents, for those who read the source: a third of it."""
    lines = (line.strip() for line in _COMMENTS.sub(b"", code).splitlines())
    return b"\n".join(filter(None, lines)) + b"\n"


def root(content: Content, layers: Sequence[Json], files: Mapping[str, str]) -> Json:
    """What the index knows.

    Args:
        content: what is shown.
        layers: of each what `write_layers` tells.
        files: what is loaded later, by what it is.
    """
    spec = content.spec
    return {
        "format": FORMAT,
        "net": spec.net,
        "images": content.images,
        "skipped": content.skipped,
        "kinds": ["projections", "patches"] if content.patches else ["projections"],
        "credit": content.credit,
        "input": list(spec.preprocessing.input_size),
        "sprite": {
            "columns": sheets.SPRITE_COLUMNS,
            "cells": sheets.SPRITE_CELLS,
            **sheets.THUMBNAILS,
        },
        "pixels": sheets.PIXELS_FROM,
        "examples": len(spec.examples),
        "about": _about(content),
        "year": content.mined[:4],
        "layers": list(layers),
        "pictures": pictures_folder(spec) if content.patches else "",
        "files": dict(files),
    }


def _about(content: Content) -> list[list[str]]:
    """What a reader must know to judge the atlas, by line: what, and how it is."""
    spec = content.spec
    uncertified = sum(len(layer.uncertified) for layer in content.layers)
    lines = {
        "Net": spec.net,
        "Weights": public_name(spec.weights),
        "Digest of the weights": spec.weights_digest[:16],
        "Pictures": public_name(spec.data),
        "Images seen": f"{content.images:,}",
        "Unusable files": f"{content.skipped:,}" if content.skipped else "",
        "Preprocessing": _preprocessing(spec),
        "Winners kept": f"{spec.top_k} for each feature map",
        "Precision": _precision(spec, uncertified),
        "Unpooling": "sum where windows overlap (the adjoint)"
        if content.unpooling == "sum"
        else "max where windows overlap",
        **_made(spec),
        "Mined on": content.mined,
        "Mined with": ", ".join(
            f"{name} {spec.versions[name]}"
            for name in ("deconv-atlas", "torch")
            if name in spec.versions
        ),
        "The pictures": content.credit,
    }
    return [[name, value] for name, value in lines.items() if value]


def _preprocessing(spec: RunSpec) -> str:
    how = spec.preprocessing
    resize = (
        f"{how.resize} px on the shorter side" if isinstance(how.resize, int) else _by(how.resize)
    )
    kernel = f"{how.interpolation}, {how.kernel}"
    return f"resized to {resize} ({kernel}), {_by(how.input_size)} px cut from the middle"


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} × {size[1]}"


def _precision(spec: RunSpec, uncertified: int) -> str:
    if spec.precision == "exact":
        return "exact: every image in float32"
    sure = f"{uncertified:,} maps are not certified" if uncertified else "every map is certified"
    return f"screened in reduced precision, then exact: {sure}"


def _made(spec: RunSpec) -> dict[str, str]:
    """Who mined the run: of several kinds of machines what they differ in."""
    differences = unlike(spec.machines)
    if differences:
        return {"Unlike machines": f"{differences}. Last bits may depend on who mined what."}
    return {"Machine": ", ".join(_machine(made.machine) for made in spec.machines)}


def _machine(machine: Machine) -> str:
    return f"{machine.device}, {machine.instructions}, {machine.decoder}"


def index_page(content: Content, document: Json, files: Mapping[str, str], preview: str) -> bytes:
    """The index: the only file that is ever exchanged.

    Args:
        content: what is shown.
        document: from `root`.
        files: from `write_viewer`.
        preview: name of the picture that other sites show beside a link.
    """
    maps = sum(layer.maps for layer in content.layers)
    said = (
        f"For each of {maps:,} feature maps of {content.spec.net}: the pictures that excite it "
        f"most, out of {content.images:,}, and what in them does."
    )
    base = content.url.removesuffix(INDEX)
    base += "/" if base and not base.endswith("/") else ""
    filled = {
        "title": f"What does {content.spec.net} look for?",
        "description": said,
        "preview": f"{base}{preview}",
        "style": files["style"],
        "script": files["script"],
    }
    page = (resources.files("pipeline.atlas") / "viewer" / INDEX).read_text(encoding="utf-8")
    filled = {name: html.escape(value) for name, value in filled.items()} | {
        "address": f'<meta property="og:url" content="{html.escape(base)}">' if base else "",
        "layers": _without_script(document["layers"]),
        "data": dump(document),
    }
    # in one go, since a name may look like one of these places
    page = re.sub(r"{{(\w+)}}", lambda place: filled[place[1]], page)
    return page.encode("ascii", "xmlcharrefreplace")


def _without_script(layers: Sequence[Json]) -> str:
    """A picture of each layer, for those who run no scripts."""
    return "".join(
        f"<h2>{html.escape(layer['name'])}</h2>"
        f'<img src="{html.escape(quote(layer["strip"]))}" loading="lazy" '
        f'alt="The strongest projections of the first feature maps">'
        for layer in layers[:_STRIP_SHOWN]
    )
