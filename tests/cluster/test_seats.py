"""What workers hold of machines of other kinds than the one that tests run on."""

import pytest

from pipeline.cluster.seats import chosen_seats, require_room, room_on
from pipeline.errors import RequestError
from pipeline.request import Workforce

GPU_NODE = {"CPU": 16.0, "GPU": 1.0}
EIGHT_GPUS = {"CPU": 96.0, "GPU": 8.0}
PROCESSORS = {"CPU": 4.0}


def test_a_gpu_with_its_share_of_the_processors() -> None:
    seat = chosen_seats(Workforce(), [EIGHT_GPUS, PROCESSORS])
    assert (seat.gpus, seat.cpus) == (1, 12)
    assert room_on([EIGHT_GPUS, PROCESSORS], seat) == 8


@pytest.mark.parametrize(("share", "workers"), [(0.5, 2), (0.25, 4), (0.1, 10)])
def test_processes_share_a_gpu_and_its_processors(share: float, workers: int) -> None:
    seat = chosen_seats(Workforce(gpus_per_worker=share), [GPU_NODE])
    assert (seat.gpus, seat.cpus) == (share, 16 // workers)
    assert room_on([GPU_NODE], seat) == workers


def test_nodes_without_what_is_asked_for_seat_nobody() -> None:
    two = chosen_seats(Workforce(gpus_per_worker=2), [GPU_NODE])
    assert (two.gpus, two.cpus) == (0, 1)  # auto: no node has two
    required = chosen_seats(Workforce(gpus="required", gpus_per_worker=2), [GPU_NODE])
    assert required.gpus == 2
    assert room_on([GPU_NODE], required) == 0
    with pytest.raises(RequestError, match="no 2 GPU with 1 CPU for a worker"):
        require_room(required, [GPU_NODE])


def test_none_leaves_gpus_alone() -> None:
    seat = chosen_seats(Workforce(gpus="none"), [GPU_NODE])
    assert seat.resources == {"CPU": 1}
    assert room_on([GPU_NODE], seat) == 16
