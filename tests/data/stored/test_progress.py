"""How far a stage is, for whoever looks from elsewhere."""

import threading
import time
import uuid

import pytest

from pipeline import schema
from pipeline.data.effort import Effort
from pipeline.data.store import Store
from pipeline.data.stored.progress import Progress, now, read_progress
from pipeline.terminal import span


def test_threads_count_what_they_are_at_together() -> None:
    effort = Effort()

    def work() -> None:
        for _ in range(10):
            with effort.on("decoding"):
                time.sleep(0.002)
            effort.add("bytes", 5)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert effort.amounts["bytes"] == 200
    assert 0.08 < effort.amounts["decoding"] < 4


def test_what_is_left_follows_from_what_this_attempt_did() -> None:
    state = Progress(what="mining, parts", updated=now(), seconds=60, total=100, before=40, done=40)
    assert state.seconds_left is None
    state = state.model_copy(update={"done": 60, "images": 1200, "workers": 3})
    assert state.seconds_left == pytest.approx(120, rel=0.01)
    said = state.sentence()
    assert said == "mining, parts: 60 of 100; 1,200 images, 20/s; 3 at work, about 2.0 min left"
    over = state.model_copy(update={"done": 100, "is_over": True, "failures": 2, "skipped": 5})
    assert "5 skipped; in 60 s; 2 failed and were tried again" in over.sentence()


def test_what_cannot_be_read_is_no_progress() -> None:
    run = Store(f"memory://{uuid.uuid4().hex}")
    assert read_progress(run, "mine") is None
    run.write(schema.progress_name("mine"), b'{"what": "')
    assert read_progress(run, "mine") is None
    state = Progress(what="mining, parts", updated=now(), total=1)
    run.write(schema.progress_name("mine"), state.model_dump_json().encode())
    assert read_progress(run, "mine") == state


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (80, "80 s"), (90, "1.5 min"), (7000, "1.9 h"), (200_000, "2.3 d")],
)
def test_spans(seconds: float, said: str) -> None:
    assert span(seconds) == said
