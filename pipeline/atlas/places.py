"""How the atlas names where weights and data are: nothing that only their owner should see."""

from urllib.parse import urlsplit


def without_secrets(place: str) -> str:
    """A URL without user name, password and signature; a path as it is."""
    url = urlsplit(place)
    if not (url.scheme and url.netloc):
        return place
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"


def public_name(place: str) -> str:
    """`place` as it may be shown to anyone: of a path on a disk only its last part."""
    scheme = urlsplit(place).scheme
    if len(scheme) > 1 and scheme != "file":  # one letter is a Windows drive
        return without_secrets(place)
    return place.replace("\\", "/").rstrip("/").rpartition("/")[2]
