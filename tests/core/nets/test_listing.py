"""What is written down of the nets is what torchvision says of them."""

from pipeline.core.nets.listing import asked, listed


def test_what_is_written_down_is_so() -> None:
    """If not: ``python -m pipeline.core.nets.listing``."""
    assert list(listed().items()) == list(asked().items())
