"""From samples to batches of the net's input: reading and decoding run beside the net."""

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import Tensor

from pipeline.core.preprocessing import Preprocessing
from pipeline.data.decoding import decode
from pipeline.data.samples import Sample
from pipeline.errors import SampleError

_AT_ONCE = 8
"""Samples that a thread takes together: handing them over one by one costs as much as resizing."""


@dataclass(frozen=True)
class Picture:
    """A decoded sample.

    Attributes:
        sample: what was read, its bytes dropped.
        position: of the sample among those read, unusable ones counted too.
        image: uint8 (3, crop, crop), or None.
        size: (height, width) of the original picture.
        problem: why there is no image.
    """

    sample: Sample
    position: int
    image: Tensor | None = None
    size: tuple[int, int] = (0, 0)
    problem: str | None = None


@dataclass(frozen=True)
class Batch:
    """Some pictures, in the order of the dataset.

    Attributes:
        images: uint8 (batch, 3, crop, crop); the tail of the last one is black.
        pictures: those that could be decoded: one per image, the tail apart.
        skipped: those met on the way that could not.
    """

    images: Tensor
    pictures: list[Picture] = field(default_factory=list)
    skipped: list[Picture] = field(default_factory=list)


def decode_sample(sample: Sample, position: int, preprocessing: Preprocessing) -> Picture:
    """Decode, resize and crop one sample."""
    known = Sample(
        sample.shard, sample.key, b"", sample.label, sample.class_name, sample.offset, sample.length
    )
    if sample.problem is not None:
        return Picture(known, position, problem=sample.problem)
    try:
        picture = decode(sample.data)
        image = preprocessing.prepare(picture)
    except SampleError as error:
        return Picture(known, position, problem=str(error))
    return Picture(known, position, image, (picture.shape[1], picture.shape[2]))


def batches(
    samples: Iterator[Sample], preprocessing: Preprocessing, size: int, decoders: int = 1
) -> Iterator[Batch]:
    """Batches of one fixed size, read and decoded ahead by threads.

    Args:
        samples: what to read; iterated in a thread of its own.
        preprocessing: of the net.
        size: images in a batch. A convolution's last bits may change with it: it never varies.
        decoders: threads that decode.

    Yields:
        Full batches, the last one padded; memory is bounded by two batches of pictures.
    """
    crop = preprocessing.crop

    def empty() -> Batch:
        return Batch(torch.zeros(size, 3, crop, crop, dtype=torch.uint8))

    batch = empty()
    for picture in _decoded(samples, preprocessing, decoders, ahead=size):
        if picture.image is None:
            batch.skipped.append(picture)
            continue
        batch.images[len(batch.pictures)] = picture.image
        batch.pictures.append(Picture(picture.sample, picture.position, None, picture.size))
        if len(batch.pictures) == size:
            yield batch
            batch = empty()
    if batch.pictures or batch.skipped:
        yield batch


def _decoded(
    samples: Iterator[Sample], preprocessing: Preprocessing, decoders: int, ahead: int
) -> Iterator[Picture]:
    """Pictures in the order of the samples, about `ahead` of them waiting."""
    waiting: queue.Queue[Future[list[Picture]] | None] = queue.Queue(-(-ahead // _AT_ONCE))
    stop = threading.Event()

    def decode_some(some: list[tuple[int, Sample]]) -> list[Picture]:
        return [decode_sample(sample, position, preprocessing) for position, sample in some]

    def offer(item: Future[list[Picture]] | None) -> None:
        while not stop.is_set():
            with suppress(queue.Full):
                return waiting.put(item, timeout=0.1)
        return None

    with ThreadPoolExecutor(decoders, "decode") as pool, ThreadPoolExecutor(1, "read") as reader:

        def read() -> None:
            numbered = enumerate(samples)
            try:
                while not stop.is_set() and (some := list(islice(numbered, _AT_ONCE))):
                    offer(pool.submit(decode_some, some))
            finally:
                offer(None)

        reading = reader.submit(read)
        try:
            while (future := waiting.get()) is not None:
                yield from future.result()
            reading.result()  # raises what reading raised
        finally:
            stop.set()
