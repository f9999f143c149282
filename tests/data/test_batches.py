"""Batches of one fixed size, in the order of the samples, whatever the threads do."""

import io
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.core.nets.preprocessing import Preprocessing
from pipeline.data.batches import Batch, Stream, batches
from pipeline.data.samples import Sample

PREPARED = Preprocessing(6, 6)


def sample(number: int) -> Sample:
    """A picture of one grey; every seventh cannot be decoded, every ninth was not read."""
    if number % 9 == 8:
        return Sample("shard", str(number), b"", problem="cut short")
    stream = io.BytesIO()
    Image.fromarray(np.full((8 + number % 5, 9, 3), number, np.uint8)).save(stream, "PNG")
    data = stream.getvalue()
    return Sample("shard", str(number), data[:20] if number % 7 == 6 else data, number)


def usable(number: int) -> bool:
    return number % 9 != 8 and number % 7 != 6


SAMPLES = [sample(number) for number in range(100)]


def batched(samples: Iterator[tuple[int, Sample]], size: int, decoders: int = 1) -> Iterator[Batch]:
    """Batches for one net."""
    return batches(samples, [Stream(PREPARED, size)], decoders)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100), st.integers(1, 40), st.integers(0, 4))
def test_every_sample_comes_out_once_in_order(count: int, size: int, decoders: int) -> None:
    made = list(batched(enumerate(SAMPLES[:count]), size, decoders))
    pictures = [picture for batch in made for picture in batch.pictures]
    skipped = [picture for batch in made for picture in batch.skipped]
    good = [number for number in range(count) if usable(number)]
    bad = [number for number in range(count) if not usable(number)]
    assert [picture.position for picture in pictures] == good
    assert [picture.position for picture in skipped] == bad
    assert [picture.sample.label for picture in pictures] == good
    assert all(picture.problem for picture in skipped)
    assert [picture.size for picture in pictures] == [(8 + n % 5, 9) for n in good]
    assert all(not picture.sample.data and picture.images == () for picture in pictures + skipped)
    for batch in made:
        assert batch.images.shape == (size, 3, 6, 6)
        assert batch.images.dtype == torch.uint8
        used = len(batch.pictures)
        assert (batch.images[used:] == 0).all()
        greys = torch.tensor([picture.position for picture in batch.pictures], dtype=torch.uint8)
        assert (batch.images[:used] == greys[:, None, None, None]).all()
    assert all(len(batch.pictures) == size for batch in made[:-1])


WAYS = [PREPARED, Preprocessing(8, 7), Preprocessing(6, 6)]  # the first and last are the same


@settings(max_examples=60, deadline=None)
@given(
    st.sets(st.integers(0, 99)),
    st.lists(st.tuples(st.sampled_from(WAYS), st.integers(1, 40)), min_size=1, max_size=4),
    st.integers(0, 3),
)
def test_several_nets_get_what_each_would_get_alone(
    numbers: set[int], wanted: list[tuple[Preprocessing, int]], decoders: int
) -> None:
    """Whatever sizes of batches they take; positions may have gaps."""
    samples = [(number, SAMPLES[number]) for number in sorted(numbers)]
    streams = [Stream(way, size) for way, size in wanted]
    together = list(batches(iter(samples), streams, decoders))
    for number, stream in enumerate(streams):
        own = [batch for batch in together if batch.stream == number]
        alone = list(batches(iter(samples), [stream]))
        expected = [batch for batch in alone if batch.pictures]
        filled = [batch for batch in own if batch.pictures]
        assert [batch.pictures for batch in filled] == [batch.pictures for batch in expected]
        assert all(map(torch.equal, (b.images for b in filled), (b.images for b in expected)))
        skipped = [picture.position for batch in own for picture in batch.skipped]
        bad = [position for position in sorted(numbers) if not usable(position)]
        assert skipped == (bad if number == 0 else [])


def test_what_reading_fails_with_comes_out() -> None:
    def breaking() -> Iterator[Sample]:
        yield from SAMPLES[:40]
        raise ConnectionError("the store is gone")

    threads = threading.active_count()
    seen: list[int] = []

    def consume() -> None:
        for batch in batched(enumerate(breaking()), 2):
            seen.extend(picture.position for picture in batch.pictures)

    with pytest.raises(ConnectionError, match="the store is gone"):
        consume()
    assert seen == [number for number in range(40) if usable(number)][: len(seen)]
    assert threading.active_count() == threads


@pytest.mark.parametrize("size", [3, 32])
def test_reading_is_bounded_and_ends_with_the_one_who_asks(size: int) -> None:
    """Memory does not grow with the dataset, and nobody goes on reading for nothing."""
    read = 0

    def endless() -> Iterator[Sample]:
        nonlocal read
        while True:
            read += 1
            yield SAMPLES[0]

    threads = threading.active_count()
    made = batched(enumerate(endless()), size, 2)
    next(made)
    time.sleep(0.3)
    assert read <= 4 * max(size, 16)
    made.close()  # type: ignore[attr-defined]
    seen = read
    time.sleep(0.2)
    assert read == seen
    assert threading.active_count() == threads


def test_reading_runs_ahead_of_the_one_who_asks() -> None:
    read: list[int] = []

    def counted() -> Iterator[Sample]:
        for number, sample in enumerate(SAMPLES):
            read.append(number)
            yield sample

    made = batched(enumerate(counted()), 16)
    next(made)
    deadline = time.monotonic() + 5
    while len(read) < 25 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(read) >= 25  # of the next batch, while this one is looked at
    made.close()  # type: ignore[attr-defined]
