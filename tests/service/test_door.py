"""What may come in, and what goes out, without a net behind it."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.store import Store
from pipeline.service import door
from pipeline.service.answers import About, Answer, Begun, Box, Hidden, Places, Refusal, Shown
from pipeline.service.door import Watched, make_app
from pipeline.service.pictures import MOST_BYTES

pytest.importorskip("fastapi")

ABOUT = About(
    net="net", dataset="photos", images=3, layers=[], input=(8, 8), classes=2,
    most_bytes=MOST_BYTES, most_pixels=9, remembered=1.0,
)  # fmt: skip
ANSWER = Answer(
    picture="p", name="", size=(4, 5), turned=False, seen="data:,", classes=[], layers=[]
)
PLACES = Places(row=[0], column=[1], probability=[0.5], total=[2.0], top_class=[1])
BEGUN = Begun(
    picture="p", layer="conv1", feature_map=3, label=1, name="cat", probability=0.7, total=5.0,
    occluder=2, tops=[0], lefts=[0, 1],
)  # fmt: skip


class Nobody:
    """Instead of a net: notes what it is asked."""

    def __init__(self, lines: Sequence[Begun | Places | Refusal] = ()) -> None:
        self.asked: list[Any] = []
        self.lines = lines

    async def answer(self, shown: Shown, layers: Sequence[str], maps: int) -> Answer | Refusal:
        self.asked.append((shown, list(layers), maps))
        return ANSWER

    async def hide(self, shown: Shown, box: Box, maps: Watched) -> Hidden | Refusal:
        self.asked.append((shown, box, list(maps)))
        return Refusal(404, "Not remembered.")

    async def occlude(
        self, shown: Shown, layer: str | None
    ) -> AsyncIterator[Begun | Places | Refusal]:
        for line in self.lines:
            yield line


def ask(
    behind: Nobody,
    path: str,
    chunks: Sequence[bytes] | None = (b"picture",),
    method: str = "POST",
    headers: dict[str, str] | None = None,
    atlas: Store | None = None,
    only_here: bool = True,
    fails: type[Exception] | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """A request as a server hands it on; a body of None never comes.

    With what it `fails` the server has to write it down, once it is answered.
    """
    app = make_app(ABOUT, atlas, only_here, behind)
    path, _, query = path.partition("?")
    given = {"Host": "localhost:8000"} | (headers or {})
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "root_path": "", "server": ("localhost", 8000), "client": ("127.0.0.1", 1),
        "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
    }  # fmt: skip
    coming = iter(chunks or ())
    sent: list[dict[str, Any]] = []
    ended: list[bool] = []

    async def receive() -> dict[str, Any]:
        chunk = next(coming, None)
        if chunk is None:
            if chunks is None or ended:
                await asyncio.sleep(3600)
            ended.append(True)
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.request", "body": chunk, "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    with pytest.raises(fails) if fails else nullcontext():
        asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    head = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], head, b"".join(part.get("body", b"") for part in sent[1:])


def fault(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, str]:
    (text,) = json.loads(answer[2]).values()
    assert text.endswith(".")
    assert "\n" not in text
    return answer[0], text


def test_a_question_is_handed_on() -> None:
    behind = Nobody()
    status, _, body = ask(behind, "/ask/answer?layers=a&layers=b&maps=2", [b"pic", b"ture"])
    assert (status, json.loads(body)["picture"]) == (200, "p")
    assert behind.asked == [(Shown("", b"picture"), ["a", "b"], 2)]
    ask(behind, "/ask/hidden?picture=p&box=1,2,3,4&map=a/b/12", [])
    assert behind.asked[1] == (Shown("p", b""), (1, 2, 3, 4), [("a/b", 12)])


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/ask/hidden", 400),
        ("/ask/hidden?box=1,2,3", 400),
        ("/ask/hidden?box=1,2,3,x", 400),
        ("/ask/hidden?box=1,2,3,4&map=12", 400),
        ("/ask/hidden?box=1,2,3,4&map=a/-1", 400),
        ("/ask/hidden?box=1,2,3,4&map=a/" + "9" * 5000, 400),
        ("/ask/hidden?box=1,2,3,4", 404),  # as the net says
        ("/ask/answer?maps=0", 400),
        ("/ask/answer?maps=1000", 400),
        ("/ask/nothing", 404),
        ("/", 404),
    ],
)
def test_what_makes_no_sense_is_told_in_a_sentence(path: str, status: int) -> None:
    assert fault(ask(Nobody(), path))[0] == status


def test_a_method_that_is_none() -> None:
    assert fault(ask(Nobody(), "/ask/answer", method="DELETE"))[0] == 405


def test_bodies_that_are_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "MOST_BYTES", 1000)
    monkeypatch.setattr(door, "_MOST_READ", 3000)
    behind = Nobody()
    endless = ask(behind, "/ask/answer", [b"x" * 100] * 100_000)
    assert fault(endless)[0] == 413
    assert endless[1]["connection"] == "close"  # else the rest would be read
    said = ask(behind, "/ask/answer", None, headers={"Content-Length": "3001"})
    assert fault(said)[0] == 413
    large = ask(behind, "/ask/answer", [b"x" * 100] * 20)
    assert fault(large)[0] == 413
    assert "connection" not in large[1]  # it was read, and the next question may follow
    assert behind.asked == []


def test_a_body_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "_SLOWEST", 0.05)
    assert fault(ask(Nobody(), "/ask/answer", None))[0] == 408


def test_a_service_that_fails_says_so() -> None:
    class Broken(Nobody):
        async def answer(self, shown: Shown, layers: Sequence[str], maps: int) -> Answer | Refusal:
            raise ZeroDivisionError("not for strangers")

    told = fault(ask(Broken(), "/ask/answer", fails=ZeroDivisionError))
    assert told == (500, "The service failed (ZeroDivisionError); its log tells more.")


def test_an_answer_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "_PATIENCE", 0.05)

    class Slow(Nobody):
        async def answer(self, shown: Shown, layers: Sequence[str], maps: int) -> Answer | Refusal:
            await asyncio.sleep(3600)
            return ANSWER

    assert fault(ask(Slow(), "/ask/answer"))[0] == 504


@pytest.mark.parametrize(("host", "status"), [("localhost:1", 200), ("evil.example", 421)])
def test_it_is_for_this_machine(host: str, status: int, tmp_path: Path) -> None:
    """A page elsewhere may have a name that leads here, and could then read what is answered."""
    (tmp_path / "index.html").write_text("atlas")
    for path, method in (("/ask/answer", "POST"), ("/index.html", "GET")):
        asked = {"method": method, "headers": {"Host": host}, "atlas": Store(tmp_path)}
        assert ask(Nobody(), path, **asked)[0] == status  # type: ignore[arg-type]
        assert ask(Nobody(), path, **asked, only_here=False)[0] == 200  # type: ignore[arg-type]


def test_an_occlusion_map_is_lines() -> None:
    behind = Nobody([BEGUN, PLACES, Refusal(503, "It died.")])
    status, headers, body = ask(behind, "/ask/occlusion")
    begun, places, end = map(json.loads, body.splitlines())
    assert (status, headers["content-type"]) == (200, "application/x-ndjson")
    assert Begun(**begun) == BEGUN
    assert Places(**places) == PLACES
    assert end == {"error": "It died."}
    assert fault(ask(Nobody([Refusal(422, "Damaged.")]), "/ask/occlusion")) == (422, "Damaged.")


def test_the_atlas_is_beside_it(tmp_path: Path) -> None:
    (tmp_path / "viewer").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "viewer" / "atlas.js").write_text("let x;" * 1000)
    atlas = Store(tmp_path)
    status, headers, body = ask(Nobody(), "/", method="GET", atlas=atlas)
    assert (status, body) == (200, b"<!doctype html>")
    assert headers["cache-control"] == "no-cache"
    packed = {"Accept-Encoding": "gzip"}
    _, headers, body = ask(Nobody(), "/viewer/atlas.js", method="GET", atlas=atlas, headers=packed)
    assert headers["content-encoding"] == "gzip"
    assert int(headers["content-length"]) == len(body) < 200
    assert ask(Nobody(), "/viewer/atlas.js", method="HEAD", atlas=atlas)[2] == b""
    assert ask(Nobody(), "/../secret", method="GET", atlas=atlas)[0] == 404


def test_the_interface_is_described() -> None:
    status, _, body = ask(Nobody(), "/ask/openapi.json", method="GET")
    described = json.loads(body)
    assert status == 200
    assert set(described["paths"]) == {
        "/ask/service", "/ask/answer", "/ask/hidden", "/ask/occlusion",
    }  # fmt: skip
    for path in ("/ask/answer", "/ask/hidden", "/ask/occlusion"):
        post = described["paths"][path]["post"]
        assert "image/*" in post["requestBody"]["content"]
        assert {"200", "404", "413", "415", "503"} <= set(post["responses"])
        assert post["description"]
    strong = described["components"]["schemas"]["StrongMap"]["properties"]
    assert {name for name, field in strong.items() if "description" not in field} == {
        "feature_map",
        "y",  # told with x
    }
