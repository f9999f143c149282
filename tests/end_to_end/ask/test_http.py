"""A live service on a Ray cluster, asked over HTTP: photographs before a net that really sees."""

import io
import socket
import struct
import threading
import time
import zlib
from base64 import b64decode
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from PIL import Image
from ray.cluster_utils import Cluster

from jobs.load import Load, hand, load, pictures
from pipeline import open_run
from pipeline.data.findings import OccludeSettings
from pipeline.data.pictures import read_picture
from pipeline.stages import occlude
from tests.end_to_end.ask.service import (
    LAYERS,
    PHOTOS,
    Service,
    kill_replica,
    photo,
    replicas,
    with_photographs,
)
from tests.end_to_end.runs import command, finished

pytestmark = with_photographs


@pytest.fixture(scope="module")
def net(folder: Path):  # type: ignore[no-untyped-def]
    return open_run(folder / "run").net


def test_it_answers_what_a_notebook_says(asked: Service, folder: Path) -> None:
    run = open_run(folder / "run")
    path = photo("macaw")
    answer = asked.answered("answer", path.read_bytes())
    rows = run.ask(path)
    assert [layer["layer"] for layer in answer["layers"]] == [*LAYERS]
    for layer in answer["layers"]:
        of_layer = rows[rows["layer"] == layer["layer"]]
        assert [found["feature_map"] for found in layer["maps"]] == [*of_layer["feature_map"]]
        for found, (_, row) in zip(layer["maps"], of_layer.iterrows(), strict=True):
            assert found["activation"] == pytest.approx(row["activation"], rel=1e-4)
            assert found["stronger_than"] == pytest.approx(row["stronger_than"], abs=1e-3)
            assert found["box"] == [row[side] for side in ("top", "left", "bottom", "right")]
            assert found["page"] == f"#/{layer['layer']}/{found['feature_map']}"
            wanted = np.asarray(Image.open(io.BytesIO(row["projection"])), np.float64)
            shown = np.asarray(picture_of(found["projection"]), np.float64)
            assert shown.shape == wanted.shape
            assert np.abs(shown - wanted).mean() < (14 if wanted.size > 3 * 64 * 64 else 1e-9)
    assert answer["classes"][0]["name"] == "macaw"
    assert answer["classes"][0]["probability"] > 0.9
    some = asked.answered("answer", picture=answer["picture"], layers=LAYERS[1], maps=5)
    assert [layer["layer"] for layer in some["layers"]] == [LAYERS[1]]
    assert len(some["layers"][0]["maps"]) == 5


def picture_of(url: str) -> Image.Image:
    kind, _, data = url.partition(",")
    assert kind == "data:image/webp;base64"
    return Image.open(io.BytesIO(b64decode(data)))


def test_samples_of_the_dataset_have_names(asked: Service, folder: Path) -> None:
    by_bytes = asked.answered("answer", PHOTOS[3].read_bytes())
    key = PHOTOS[3].name
    for name in ("3", key, f"{folder / 'photos'}/{key}"):
        answer = asked.answered("answer", picture=name)
        assert (answer["name"], answer["picture"]) == (key, "sample-3")
        assert answer["layers"] == by_bytes["layers"]
    for name in ("24", "nothing", "/etc/passwd", "file:///etc/passwd", "http://127.0.0.1/", "é\0"):
        assert asked.refused("answer", picture=name)[0] == 404
    assert asked.refused("answer")[0] == 400


def test_a_hidden_box_is_one_painted_over(asked: Service, net) -> None:  # type: ignore[no-untyped-def]
    data = photo("macaw").read_bytes()
    answer = asked.answered("answer", data)
    maps = [(of["layer"], found["feature_map"]) for of in answer["layers"] for found in of["maps"]]
    watched = [f"{layer}/{number}" for layer, number in maps]
    image = net.preprocessing.normalise(read_picture(data, net.preprocessing).image[None])
    for top, left, bottom, right in ((0, 0, 224, 224), (40, 60, 160, 120), (223, 223, 224, 224)):
        hidden = asked.answered(
            "hidden", picture=answer["picture"], box=f"{top},{left},{bottom},{right}", map=watched
        )
        over = image.clone()
        over[:, :, top:bottom, left:right] = 0.0
        with torch.inference_mode():
            before, now = (net.module(each.clone()).softmax(1)[0] for each in (image, over))
            trunk = dict(zip(net.graph.layers, net.graph.trunk(over.clone()), strict=True))
        assert hidden["classes"][0]["label"] == int(now.argmax())
        for found in hidden["classes"]:
            assert found["probability"] == pytest.approx(float(now[found["label"]]), abs=1e-4)
            assert found["before"] == pytest.approx(float(before[found["label"]]), abs=1e-4)
        strongest = {layer.name: maps[0].amax((1, 2)) for layer, maps in trunk.items()}
        for found in hidden["maps"]:
            wanted = float(strongest[found["layer"]][found["feature_map"]])
            assert found["activation"] == pytest.approx(wanted, rel=1e-3, abs=1e-2)
    assert len(hidden["maps"]) == len(watched)
    wrong = {"picture": answer["picture"], "map": []}
    assert asked.refused("hidden", **wrong, box="9,9,9,20")[0] == 422
    assert asked.refused("hidden", **(wrong | {"map": "nothing/1"}), box="0,0,9,9")[0] == 422
    assert asked.refused("hidden", **(wrong | {"map": f"{LAYERS[0]}/16"}), box="0,0,9,9")[0] == 422
    assert asked.refused("hidden", picture="f" * 32, box="0,0,9,9")[0] == 404


def test_the_occlusion_map_grows(asked: Service, net) -> None:  # type: ignore[no-untyped-def]
    data = photo("macaw").read_bytes()
    status, (begun, *places) = asked.post("occlusion", data, layer=LAYERS[2])
    assert (status, begun["name"], begun["layer"]) == (200, "macaw", LAYERS[2])
    settings = OccludeSettings(LAYERS[2], begun["occluder"], begun["tops"][1])
    image = net.preprocessing.normalise(read_picture(data, net.preprocessing).image[None])[0]
    wanted = occlude.prepare(net, settings).measure(image)
    assert (begun["tops"], begun["lefts"]) == (wanted.tops.tolist(), wanted.lefts.tolist())
    probability = np.full(wanted.probability.shape, np.nan)
    assert len(places) > 3
    for line in places:
        probability[line["row"], line["column"]] = line["probability"]
    np.testing.assert_allclose(probability, wanted.probability, atol=1e-4)
    assert begun["total"] == pytest.approx(wanted.base_total, rel=1e-4)
    assert asked.refused("occlusion", data, layer="nothing")[0] == 422


def png(width: int, height: int) -> bytes:
    """A picture that says so of itself, and has a hundredth of it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(bytes(10**6))), chunk(b"IEND", b""))
    )


def test_what_cannot_be_used_is_told_and_does_no_harm(asked: Service) -> None:
    large = io.BytesIO()
    Image.new("L", (10_000, 10_000), 99).save(large, "PNG")
    whole = photo("macaw").read_bytes()
    for data, status, why in (
        (large.getvalue(), 413, "100000000 pixels"),
        (png(60_000, 60_000), 413, "decompression bomb"),
        (bytes(33 * 2**20), 413, "32 MB"),
        (b"%PDF-1.7 a photograph.jpg", 415, "not a JPEG"),
        (whole[:2000], 422, "cut short"),
        (b"", 400, "no picture"),
    ):
        found, text = asked.refused("answer", data)
        assert found == status
        assert why in text
    assert without_end(asked) == b"HTTP/1.1 413"
    lines = [socket.create_connection(("127.0.0.1", asked.port), 30) for _ in range(1000)]
    asked.answered("answer", whole)
    for line in lines:
        line.sendall(b"GET /ask/service HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert {line.recv(15) for line in lines} == {b"HTTP/1.1 200 OK"}
    for line in lines:
        line.close()
    asked.answered("answer", whole)


def without_end(asked: Service) -> bytes:
    """How the answer begins to a body that never ends; the line is cut after it."""
    head = b"POST /ask/answer HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", asked.port), 30) as line:
        line.sendall(head)
        with suppress(ConnectionError):
            ends = time.monotonic() + 60
            while time.monotonic() < ends:
                line.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")
            pytest.fail("it goes on reading")
        return line.recv(12)


def test_who_is_refused_early_hears_so_while_sending(asked: Service) -> None:
    head = b"POST /ask/answer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", asked.port), 30) as line:
        line.sendall(head)
        answer = b""
        while not answer.endswith(b"}"):
            answer += line.recv(4096)
        for _ in range(5):  # closed at once, the line would take what is not yet read with it
            time.sleep(0.05)
            line.sendall(b"a part")
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"32 MB" in answer
        with suppress(ConnectionResetError):
            assert line.recv(1) == b""  # and then the line is closed


def test_only_this_machine_is_answered(asked: Service) -> None:
    own = ray.util.get_node_ip_address()
    if own.startswith("127."):
        pytest.skip("this machine has no other address")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((own, asked.port), 5)


def test_nothing_of_a_picture_is_stored(asked: Service, folder: Path) -> None:
    """Neither in the run nor in Ray's files: its bytes are looked for."""
    noise = np.random.default_rng(1).integers(0, 256, (300, 300, 3), np.uint8)
    sink = io.BytesIO()
    Image.fromarray(noise).save(sink, "PNG")
    data = sink.getvalue()
    answer = asked.answered("answer", data)
    asked.answered("hidden", picture=answer["picture"], box="0,0,50,50")
    time.sleep(1)
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    mark = data[len(data) // 2 :][:64]
    files = [path for path in (*session.rglob("*"), *folder.rglob("*")) if path.is_file()]
    assert len(files) > 20
    assert not [path for path in files if mark in path.read_bytes()]


def test_many_ask_at_once(asked: Service) -> None:
    files = [path.read_bytes() for path in PHOTOS]
    for clients in (1, 4, 10, 16):
        found = load(asked.address, lambda: pictures(files), clients, 3.0)
        assert found.faults == {}
        assert len(found.times) >= clients
        assert max(found.times) < 60
    ends = time.monotonic() + 120
    while len(replicas()) < 2:  # another one comes, on the other node
        assert time.monotonic() < ends
        assert load(asked.address, lambda: pictures(files), 6, 2.0).faults == {}
    moved = load(asked.address, hand(asked.address, files[0]), 2, 3.0)
    assert moved.faults == {}
    assert len(moved.times) > 3


def test_a_replica_may_die(asked: Service) -> None:
    """What was asked of it goes to another, or waits for the next one."""
    files = [path.read_bytes() for path in PHOTOS]
    before = set(replicas())
    found: list[Load] = []
    asking = threading.Thread(
        target=lambda: found.append(load(asked.address, lambda: pictures(files), 4, 8.0))
    )
    asking.start()
    time.sleep(2)
    kill_replica()
    asking.join()
    assert found[0].faults == {}
    assert len(found[0].times) >= 4
    wait_for(lambda: bool(set(replicas()) - before) or len(replicas()) > 1)
    asked.answered("answer", files[0])


def wait_for(what: Callable[[], bool], limit: float = 60.0) -> None:
    ends = time.monotonic() + limit
    while not what():
        assert time.monotonic() < ends
        time.sleep(0.2)


def test_wrong_requests(
    asked: Service, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, why in (
        ([tmp_path / "nothing"], "There is no run"),
        ([folder / "run", "--port", asked.port], f"at port {asked.port}"),
        ([folder / "run", "--atlas", tmp_path], "There is no atlas"),
    ):
        command("ask", *arguments, code=2)
        assert why in " ".join(capsys.readouterr().err.split())


def test_a_cluster_has_one_service(asked: Service, cluster: Cluster, folder: Path) -> None:
    second = finished("ask", folder / "run", "--address", cluster.address)
    assert second.returncode == 2
    assert "answers on this cluster already" in second.stderr
    asked.answered("answer", photo("macaw").read_bytes())
