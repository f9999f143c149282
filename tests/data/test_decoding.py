import importlib.util
import io
import re
import struct
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from pipeline.data import jpeg
from pipeline.data.decoding import decode, upright
from pipeline.data.jpeg import jpeg_decoder
from pipeline.errors import SampleError

Edit = tuple[float, int]


def reference(data: bytes) -> np.ndarray:
    """What `torchvision.datasets.folder.pil_loader` does, its warnings aside."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data)) as image:
            return np.array(image.convert("RGB")).transpose(2, 0, 1)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def with_transparency(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    image.putalpha(image.getchannel("R"))
    return image


FORMS: dict[str, Callable[[Image.Image], bytes]] = {
    "jpeg": lambda image: encoded(image, "JPEG"),
    "jpeg 4:4:4": lambda image: encoded(image, "JPEG", subsampling=0, quality=95),
    "jpeg progressive": lambda image: encoded(image, "JPEG", progressive=True),
    "jpeg grey": lambda image: encoded(image.convert("L"), "JPEG"),
    "jpeg CMYK": lambda image: encoded(image.convert("CMYK"), "JPEG"),
    "jpeg RGB": lambda image: encoded(image, "JPEG", keep_rgb=True),
    "jpeg with all metadata": lambda image: encoded(
        image, "JPEG", exif=exif(), icc_profile=bytes(70000), comment=b"\xff\xd9", dpi=(72, 72)
    ),
    "png": lambda image: encoded(image, "PNG"),
    "png grey": lambda image: encoded(image.convert("L"), "PNG"),
    "png grey+alpha": lambda image: encoded(with_transparency(image).convert("LA"), "PNG"),
    "png 1 bit": lambda image: encoded(image.convert("1"), "PNG"),
    "png 16 bit grey": lambda image: encoded(sixteen_bits(image), "PNG"),
    "png alpha": lambda image: encoded(with_transparency(image), "PNG"),
    "png transparent colour": lambda image: encoded(image, "PNG", transparency=(250, 20, 30)),
    "png palette": lambda image: encoded(image.quantize(200), "PNG"),
    "png palette 2 bit": lambda image: encoded(image.quantize(4), "PNG", bits=2),
    "png palette+alpha": lambda image: encoded(
        image.quantize(16), "PNG", transparency=bytes(range(0, 256, 16))
    ),
    "png animated": lambda image: encoded(
        image, "PNG", save_all=True, append_images=[image.rotate(90)]
    ),
    "webp": lambda image: encoded(image, "WEBP"),
    "webp lossless": lambda image: encoded(image, "WEBP", lossless=True),
    "webp alpha": lambda image: encoded(with_transparency(image), "WEBP"),
    "webp with metadata": lambda image: encoded(image, "WEBP", exif=exif()),
    "webp animated": lambda image: encoded(
        image, "WEBP", save_all=True, append_images=[image.rotate(90)]
    ),
    "bmp": lambda image: encoded(image, "BMP"),
    "bmp palette": lambda image: encoded(image.quantize(16), "BMP"),
    "ppm": lambda image: encoded(image, "PPM"),
    "pgm": lambda image: encoded(image.convert("L"), "PPM"),
    "pbm": lambda image: encoded(image.convert("1"), "PPM"),
}


def sixteen_bits(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L"), dtype=np.uint16) * 257)


def exif(orientation: int = 6) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    return block


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_what_torchvision_loads(form: str, scene: Image.Image) -> None:
    data = FORMS[form](scene)
    decoded = decode(data)
    assert decoded.dtype == torch.uint8
    assert decoded.shape == (3, 43, 61)
    assert np.array_equal(decoded.numpy(), reference(data))


def test_photographs_are_what_torchvision_loads(photos: dict[str, bytes]) -> None:
    wrong = [
        name
        for name, data in photos.items()
        if not np.array_equal(decode(data).numpy(), reference(data))
    ]
    assert not wrong


LIBRARIES = ("torchcodec", "torchvision", "pillow")


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each decoder in turn: those before it are as if they were not installed."""
    first = str(request.param)
    if not importlib.util.find_spec(first.replace("pillow", "PIL")):
        pytest.skip(f"no {first} here")
    left = LIBRARIES[LIBRARIES.index(first) :]
    makers = {name: make for name, make in jpeg._MAKERS.items() if name in left}
    monkeypatch.setattr(jpeg, "_MAKERS", makers)
    jpeg_decoder.cache_clear()
    yield first
    jpeg_decoder.cache_clear()


def test_every_decoder_has_the_same_pixels(
    library: str, scene: Image.Image, photos: dict[str, bytes]
) -> None:
    assert jpeg_decoder().library == library
    files = [make(scene) for form, make in FORMS.items() if form.startswith("jpeg")]
    files += list(photos.values())[:40]
    assert all(np.array_equal(decode(data).numpy(), reference(data)) for data in files)
    for data in files[:5]:
        with pytest.raises(SampleError, match="damaged or cut short"):
            decode(data[: len(data) // 2])


def test_the_order_of_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [name for name in LIBRARIES if importlib.util.find_spec(name.replace("pillow", "PIL"))]
    jpeg_decoder.cache_clear()
    assert jpeg_decoder().library == there[0]
    assert re.fullmatch(rf"{there[0]} \d+\.\d+.*", str(jpeg_decoder()))


def refuse() -> Callable[[bytes], torch.Tensor]:
    raise OSError("undefined symbol: _ZN3c10\nand pages more")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (refuse, r"torchcodec .* not decode JPEGs here \(undefined symbol: _ZN3c10\)\.$"),
        (lambda: lambda data: torch.zeros(3, 40, 40, dtype=torch.uint8), "pixels are not Pillow's"),
    ],
)
def test_a_decoder_that_cannot_be_used_is_named(
    make: Callable[[], Callable[[bytes], torch.Tensor]],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(jpeg._MAKERS, "torchcodec", make)
    jpeg_decoder.cache_clear()
    assert jpeg_decoder().library == "torchvision"
    (said,) = (record.getMessage() for record in caplog.records)
    assert re.search(reason, said)
    monkeypatch.setattr(jpeg, "_MAKERS", {})
    jpeg_decoder.cache_clear()
    assert jpeg_decoder().library == "pillow"
    assert "decoded by Pillow" in caplog.records[-1].getMessage()
    jpeg_decoder.cache_clear()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_orientation_is_not_applied(kind: str, orientation: int, scene: Image.Image) -> None:
    turned = decode(encoded(scene, kind, exif=exif(orientation)))
    assert torch.equal(turned, decode(encoded(scene, kind)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("orientation", [*range(10), "up"])
def test_a_persons_own_file_is_turned_upright(
    kind: str, orientation: int | str, scene: Image.Image
) -> None:
    block = exif(orientation) if kind != "BMP" and isinstance(orientation, int) else None
    data = encoded(scene, kind, **({"exif": block} if block else {}))
    with Image.open(io.BytesIO(data)) as image:
        expected = np.array(ImageOps.exif_transpose(image).convert("RGB")).transpose(2, 0, 1)
    picture, is_turned = upright(data, decode(data))
    assert np.array_equal(picture.numpy(), expected)
    assert is_turned == (block is not None and kind != "TIFF" and orientation in range(2, 9))


def test_a_broken_exif_block_turns_nothing(scene: Image.Image) -> None:
    data = encoded(scene, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\3\0\xff\xff")
    picture = decode(data)
    assert upright(data, picture) == (picture, False)


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_a_broken_exif_block_changes_nothing(mode: str, scene: Image.Image) -> None:
    image = scene.convert(mode)
    entries = struct.pack("<HHHII", 1, 0x010E, 2, 5000, 26)  # a text far beyond the block's end
    block = b"Exif\0\0II*\0\x08\0\0\0" + entries + bytes(4)
    data = encoded(image, "JPEG", exif=block)
    with pytest.warns(UserWarning, match="EXIF|Tag"), Image.open(io.BytesIO(data)) as opened:
        opened.getexif()  # Pillow itself complains
    assert torch.equal(decode(data), decode(encoded(image, "JPEG")))


def test_the_tensor_is_its_own(scene: Image.Image) -> None:
    data = FORMS["jpeg"](scene)
    decode(data).zero_()
    assert decode(data).float().mean() > 50


def test_it_decodes_in_threads(scene: Image.Image) -> None:
    files = [make(scene) for make in FORMS.values()] * 4
    files += [data[: len(data) // 2] for data in files]
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(outcome, files))
    assert outcomes == [outcome(data) for data in files]


def outcome(data: bytes) -> str:
    try:
        return str(hash(decode(data).numpy().tobytes()))
    except SampleError as error:
        return str(error)


# --- what cannot be used ----------------------------------------------------------------------


def test_no_bytes() -> None:
    with pytest.raises(SampleError, match="the file is empty"):
        decode(b"")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "1", "P", "CMYK"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate"])
def test_tiffs(mode: str, compression: str | None, scene: Image.Image) -> None:
    data = encoded(scene.convert(mode), "TIFF", compression=compression)
    assert np.array_equal(decode(data).numpy(), reference(data))


@pytest.mark.parametrize("kind", ["GIF", "ICO"])
def test_other_pictures_are_none(kind: str, scene: Image.Image) -> None:
    with pytest.raises(SampleError, match="not a JPEG, PNG, WebP, BMP, PPM, PGM or TIFF"):
        decode(encoded(scene, kind))


@pytest.mark.parametrize("data", [b"<html>404</html>", b"\0" * 1000, b"RIFF\0\0\0\0WAVEfmt "])
def test_other_files_are_none(data: bytes) -> None:
    with pytest.raises(SampleError, match="not a JPEG, PNG, WebP, BMP, PPM, PGM or TIFF"):
        decode(data)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_cut_short(form: str, share: float, scene: Image.Image) -> None:
    data = FORMS[form](scene)
    cut = data[: int(len(data) * share)]
    try:
        expected = reference(cut)  # the first frame of an animation may be whole
    except Exception:
        with pytest.raises(SampleError, match=r"damaged|cut short|not a JPEG"):
            decode(cut)
    else:
        assert np.array_equal(decode(cut).numpy(), expected)


def test_a_photograph_cut_short_anywhere(photos: dict[str, bytes]) -> None:
    data = min(photos.values(), key=len)
    for end in range(3, len(data) - 100, len(data) // 60):
        with pytest.raises(SampleError, match="damaged or cut short"):
            decode(data[:end])


def jpeg_of_size(width: int, height: int, scene: Image.Image) -> bytes:
    data = bytearray(FORMS["jpeg"](scene))
    data[(at := data.index(b"\xff\xc0") + 5) : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def png_of_size(width: int, height: int, scene: Image.Image) -> bytes:
    data = bytearray(FORMS["png"](scene))
    data[16:24] = struct.pack(">II", width, height)
    return bytes(data)


def webp_of_size(width: int, height: int, scene: Image.Image) -> bytes:
    data = bytearray(FORMS["webp with metadata"](scene))
    assert data[12:16] == b"VP8X"
    data[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(data)


def lossy_webp_of_size(width: int, height: int, scene: Image.Image) -> bytes:
    data = bytearray(FORMS["webp"](scene))
    data[26:30] = struct.pack("<HH", width, height)
    return bytes(data)


def lossless_webp_of_size(width: int, height: int, scene: Image.Image) -> bytes:
    data = bytearray(FORMS["webp lossless"](scene))
    data[21:25] = (width - 1 | (height - 1) << 14).to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize(
    "forge",
    [jpeg_of_size, png_of_size, webp_of_size, lossy_webp_of_size, lossless_webp_of_size],
)
def test_a_bomb_is_not_set_off(
    forge: Callable[[int, int, Image.Image], bytes], scene: Image.Image
) -> None:
    bomb = forge(16383, 16383, scene)
    with pytest.raises(SampleError, match=r"16383 × 16383 .*\(decompression bomb"):
        decode(bomb)


def test_a_photograph_of_108_megapixels() -> None:
    """Pillow warns of it, and `ImageFolder` reads it."""
    photograph = encoded(Image.new("L", (12000, 9000), 90), "PNG")
    assert decode(photograph).shape == (3, 9000, 12000)


def test_the_limit_is_pillows(scene: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    data = FORMS["jpeg"](scene)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", (61 * 43 + 1) // 2)
    decode(data)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 61 * 43 // 2)
    with pytest.raises(SampleError, match="more than 2622"):
        decode(data)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    decode(data)


def test_a_picture_without_pixels(scene: Image.Image) -> None:
    with pytest.raises(SampleError, match="0 × 43 pixels"):
        decode(png_of_size(0, 43, scene))


# --- any bytes at all -------------------------------------------------------------------------


def usable(data: bytes) -> np.ndarray | None:
    """The pixels, or None for the one error that may come."""
    try:
        return decode(data).numpy()
    except SampleError:
        return None


FUZZ = settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@FUZZ
@given(
    form=st.sampled_from(list(FORMS)),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    keep=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_damaged_pictures_are_what_torchvision_makes_of_them(
    form: str, edits: list[Edit], keep: float, scene: Image.Image
) -> None:
    data = bytearray(FORMS[form](scene))
    for where, byte in edits:
        data[int(where * len(data))] = byte
    data = data[: int(keep * len(data))]
    ours = usable(bytes(data))
    try:
        expected = reference(bytes(data))
    except Exception:
        assert ours is None
    else:
        is_bomb = expected[0].size > 2 * (Image.MAX_IMAGE_PIXELS or sys.maxsize)
        assert (ours is None) if is_bomb else np.array_equal(ours, expected)


HEADS = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\xff\0\0\0WEBPVP8X", b"RIFFabcdWEBPVP8L"]


@FUZZ
@given(head=st.sampled_from(HEADS), tail=st.binary(max_size=300))
def test_random_bytes_are_no_picture(head: bytes, tail: bytes) -> None:
    assert usable(head + tail) is None
