"""How the files of an atlas are called, before their content is told."""

from pipeline import schema

INDEX = "index.html"


def layer_folder(layer: str) -> str:
    """Where all of a layer is."""
    return f"layers/{schema.quoted(layer)}"


def drawn_name(layer: str, page: int) -> str:
    """From what the pictures of some feature maps were drawn; it is for publishing alone."""
    return f"{layer_folder(layer)}/drawn-{page}.json"
