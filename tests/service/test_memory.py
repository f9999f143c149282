"""What is remembered of pictures, and for how long."""

import torch

from pipeline.core.occlusion.hiding import Seen
from pipeline.data.pictures import Picture, Wanted
from pipeline.service import memory
from pipeline.service.memory import REMEMBERED, Held, Memory


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def held(name: str, side: int = 8) -> Held:
    image = torch.zeros(3, side, side, dtype=torch.uint8)
    return Held(name, Picture(Wanted(name), image, (side, side)))


def test_a_picture_is_forgotten_when_nobody_asks_about_it() -> None:
    clock = Clock()
    pictures = Memory(clock)
    pictures.put(held("a"))
    pictures.put(held("b"))
    clock.now = REMEMBERED - 1
    assert pictures.get("b")
    clock.now += 2
    pictures.forget()
    assert pictures.get("a") is None
    assert pictures.get("b")
    clock.now += REMEMBERED + 1
    pictures.forget()
    assert pictures.get("b") is None


def test_where_it_is_too_much_the_oldest_go(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(memory, "_MOST_BYTES", 3 * 8 * 8 * 2)
    pictures = Memory(Clock())
    for name in "abc":
        pictures.put(held(name))
    assert pictures.get("a")  # now b is the one that was not used for longest
    pictures.forget()
    assert [name for name in "abc" if pictures.get(name)] == ["a", "c"]
    pictures.put(held("large", side=100))
    pictures.forget()
    assert [name for name in ("a", "c", "large") if pictures.get(name)] == ["large"]


def test_maps_count_too() -> None:
    from pipeline.core.occlusion.base import Base

    picture = held("a")
    before = picture.nbytes
    base = Base({"conv": torch.zeros(1, 4, 5, 5)})
    picture.seen = Seen(torch.zeros(2), {}, base)
    assert picture.nbytes == before + base.nbytes
    assert base.nbytes >= 4 * 5 * 5 * 4
