"""What tests of several areas share."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

# the same examples every time: a failure then tells of a change.
# `pytest --hypothesis-profile default` looks for new ones
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")


def pytest_itemcollected(item: pytest.Item) -> None:
    """With several processes, one of them has all tests that want a cluster or a browser."""
    if item.nodeid.startswith(("tests/end_to_end/", "tests/bench/", "tests/browser/")):
        item.add_marker(pytest.mark.xdist_group("cluster"))
    elif item.nodeid.startswith("tests/jobs/"):
        item.add_marker(pytest.mark.xdist_group("jobs"))


def _one_thread() -> Iterator[None]:
    """One thread for torch: small nets gain nothing from more, and sums always come out alike."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


one_thread = pytest.fixture(_one_thread, name="one_thread")
one_thread_in_module = pytest.fixture(_one_thread, scope="module", name="one_thread_in_module")
"""The same, for the fixtures of a module too."""
