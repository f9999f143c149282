"""How the files of an atlas are called, before their content is told."""

import hashlib
import json
from dataclasses import asdict

from pipeline import schema
from pipeline.config import RunSpec

INDEX = "index.html"


def layer_folder(layer: str) -> str:
    """Where all of a layer is."""
    return f"layers/{schema.quoted(layer)}"


def drawn_name(layer: str, page: int) -> str:
    """From what the pictures of some feature maps were drawn; it is for publishing alone."""
    return f"{layer_folder(layer)}/drawn-{page}.json"


def pictures_folder(spec: RunSpec) -> str:
    """Where the whole pictures are: another place for another dataset, or other inputs of it."""
    what = json.dumps([spec.fingerprint, asdict(spec.preprocessing)])
    return f"pictures/{hashlib.sha256(what.encode()).hexdigest()[:10]}"


def picture_name(folder: str, sample: int) -> str:
    """The whole picture of a sample, as the net takes it."""
    return f"{folder}/{sample}.jpg"
