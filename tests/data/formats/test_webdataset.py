import gzip
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.data.class_names import ClassNames
from pipeline.data.formats.dataset import Dataset, open_dataset
from pipeline.data.formats.tar import members as tar_members
from pipeline.data.samples import Sample
from pipeline.errors import IncompleteError, RequestError

Members = list[tuple[str, bytes]]
Linking = list[tuple[str, bytes, str]]


def tar(members: Members, mode: str = "w", form: int = tarfile.PAX_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode, format=form) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def opened(folder: Path, data: bytes, names: ClassNames | None = None) -> Dataset:
    (folder / "a.tar").write_bytes(data)
    return open_dataset(str(folder / "a.tar"), class_names=names)


def read(dataset: Dataset) -> list[Sample]:
    return [sample for part in dataset.parts() for sample in dataset.read(part)]


def facts(samples: list[Sample]) -> list[tuple[str, int | None, str | None]]:
    return [(sample.key, sample.label, sample.class_name) for sample in samples]


# --- samples ----------------------------------------------------------------------------------


def test_labels_before_and_behind_the_picture(tmp_path: Path) -> None:
    members = [
        ("x/1.cls", b"7"),
        ("x/1.jpg", b"one"),
        ("x/2.JPG", b"two"),
        ("x/2.cls", b" 3\n"),
        ("x/3.png", b"three"),
        ("x/4.webp", b"four"),
        ("x/4.json", b'{"label": 5, "class_name": "cat"}'),
        ("x/5.jpeg", b"five"),
        ("x/5.cls", b"dog"),
    ]
    samples = read(opened(tmp_path, tar(members)))
    assert facts(samples) == [
        ("x/1.jpg", 7, None),
        ("x/2.JPG", 3, None),
        ("x/3.png", None, None),
        ("x/4.webp", 5, "cat"),
        ("x/5.jpeg", None, "dog"),
    ]
    assert [sample.data for sample in samples] == [b"one", b"two", b"three", b"four", b"five"]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (("cls", b""), (None, None)),
        (("cls", b"-1"), (None, None)),
        (("cls", b"99999999999"), (None, "99999999999")),
        (("cls", b"\xff"), (None, "�")),
        (("json", b'{"label": "cat"}'), (None, "cat")),
        (("json", b'{"label": "4"}'), (4, None)),
        (("json", b'{"label": true, "class_name": 3}'), (None, None)),
        (("json", b'{"label": [1]}'), (None, None)),
        (("json", b"[1, 2]"), (None, None)),
        (("json", b"{"), (None, None)),
        (("json", b"\xff\xfe"), (None, None)),
    ],
)
def test_odd_labels_spoil_no_picture(
    label: tuple[str, bytes], expected: tuple[int | None, str | None], tmp_path: Path
) -> None:
    (sample,) = read(opened(tmp_path, tar([("1.jpg", b"one"), (f"1.{label[0]}", label[1])])))
    assert (sample.label, sample.class_name) == expected
    assert sample.data == b"one"


def test_what_is_not_the_picture(tmp_path: Path) -> None:
    members = [
        ("README", b"hello"),
        ("1.mask.png", b"mask"),
        ("1.jpg", b"one"),
        ("1.txt", b"caption"),
        ("2.cls", b"4"),  # a group without a picture is no sample
        ("._3.jpg", b"resource fork"),
        (".jpg", b"hidden"),
        ("dir.jpg/4.png", b"four"),
        ("dir.jpg/4.mask.jpg", b"mask"),
    ]
    assert [s.key for s in read(opened(tmp_path, tar(members)))] == ["1.jpg", "dir.jpg/4.png"]


def test_of_two_pictures_the_first_extension_counts(tmp_path: Path) -> None:
    png, jpg = ("1.png", b"png"), ("1.jpg", b"jpg")
    for members in ([png, jpg], [jpg, png]):
        (sample,) = read(opened(tmp_path, tar(members)))
        assert (sample.key, sample.data) == ("1.jpg", b"jpg")


def test_one_key_in_two_places_is_two_samples(tmp_path: Path) -> None:
    members = [("1.jpg", b"a"), ("2.jpg", b"b"), ("1.jpg", b"c")]
    dataset = opened(tmp_path, tar(members))
    samples = read(dataset)
    assert [sample.data for sample in samples] == [b"a", b"b", b"c"]
    assert dict(dataset.fetch(s.located for s in samples)) == {s.located: s.data for s in samples}


def test_names_of_numbers(tmp_path: Path) -> None:
    data = tar([("1.jpg", b"x"), ("1.cls", b"1"), ("2.jpg", b"x"), ("2.json", b'{"label": "bee"}')])
    net = ClassNames.of(["ant", "bee"])
    assert facts(read(opened(tmp_path, data, net))) == [
        ("1.jpg", 1, None),
        ("2.jpg", None, "bee"),
    ]
    explicit = ClassNames({0: "bee", 1: "cat"}, explicit=True)
    assert facts(read(opened(tmp_path, data, explicit))) == [
        ("1.jpg", 1, "cat"),
        ("2.jpg", 0, "bee"),
    ]


# --- tars of every make -----------------------------------------------------------------------


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_offsets_are_those_of_the_bytes(form: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(form)
    members = [
        (f"folder/{number:03}{'x' * 90 if number % 3 else ''}.jpg", rng.bytes(number * 97))
        for number in range(20)
    ]
    data = tar(members, form=form)
    samples = read(opened(tmp_path, data))
    assert [(sample.key, sample.data) for sample in samples] == members
    for sample in samples:
        assert sample.offset is not None
        assert sample.length == len(sample.data)
        assert data[sample.offset : sample.offset + sample.length] == sample.data


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names(form: int, tmp_path: Path) -> None:
    names = ["é" * 80 + ".jpg", "deep/" * 60 + "1.jpg", "日本/2.jpg", "n" * 300 + ".jpg"]
    samples = read(opened(tmp_path, tar([(name, b"x") for name in names], form=form)))
    assert [sample.key for sample in samples] == names


def test_a_size_in_an_extended_header(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for number in range(2):
            info = tarfile.TarInfo(f"{number}.jpg")
            info.size, info.pax_headers = 600, {"size": "600", "comment": "big = small\n"}
            archive.addfile(info, io.BytesIO(bytes(600)))
    assert [len(sample.data) for sample in read(opened(tmp_path, stream.getvalue()))] == [600, 600]


def linking(members: Linking, form: int) -> bytes:
    """A tar of members of any type: name, type, and what it leads to or (of a file) its content."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for name, kind, text in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = text
            elif kind == tarfile.REGTYPE:
                info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return stream.getvalue()


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("mode", ["tar", "tar.gz"])
def test_a_link_is_the_picture_that_it_leads_to(form: int, mode: str, tmp_path: Path) -> None:
    long = "d" * 120 + "/1.jpg"
    data = linking(
        [
            ("0.jpg", tarfile.SYMTYPE, "a/2.jpg"),  # ahead
            (long, tarfile.REGTYPE, "long"),
            ("1.jpg", tarfile.LNKTYPE, long),
            ("a/2.jpg", tarfile.REGTYPE, "two"),
            ("a/3.jpg", tarfile.SYMTYPE, "../1.jpg"),  # a link to a link
            ("4.jpg", tarfile.LNKTYPE, "5.jpg"),  # a hard link to what follows
            ("5.jpg", tarfile.SYMTYPE, "5.jpg"),
            ("6.jpg", tarfile.SYMTYPE, "/elsewhere/6.jpg"),
            ("7.jpg", tarfile.DIRTYPE, ""),
            ("8.jpg", tarfile.FIFOTYPE, ""),
            ("9.jpg", tarfile.REGTYPE, "nine"),
        ],
        form,
    )
    path = tmp_path / f"a.{mode}"
    path.write_bytes(gzip.compress(data) if mode == "tar.gz" else data)
    dataset = open_dataset(str(path))
    samples = read(dataset)
    found = {sample.key: sample.data for sample in samples if not sample.problem}
    assert found == {
        "0.jpg": b"two",
        long: b"long",
        "1.jpg": b"long",
        "a/2.jpg": b"two",
        "a/3.jpg": b"long",
        "9.jpg": b"nine",
    }
    problems = {sample.key: sample.problem or "" for sample in samples if sample.problem}
    assert list(problems) == ["4.jpg", "5.jpg", "6.jpg"]
    assert problems["6.jpg"] == "it is a link to /elsewhere/6.jpg, which is no file of the tar"
    usable = [sample for sample in samples if not sample.problem]
    again = dict(dataset.fetch(sample.located for sample in usable))
    assert again == {sample.located: sample.data for sample in usable}


NAMES = st.sampled_from(["1.jpg", "a/2.jpg", "3.jpg", "d" * 120 + "/4.jpg", "../1.jpg", "2.jpg"])
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])


def as_tarfile_has_it(archive: tarfile.TarFile, header: tarfile.TarInfo) -> bytes | None:
    try:
        content = archive.extractfile(header)
    except (KeyError, RecursionError):
        return None
    return content.read() if content else None


@settings(max_examples=100, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(
    members=st.lists(st.tuples(NAMES, KINDS, NAMES), min_size=1, max_size=8),
    form=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_any_tar_is_read_as_by_tarfile(members: Linking, form: int, tmp_path: Path) -> None:
    data = linking(members, form)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        expected = [
            (header.name, as_tarfile_has_it(archive, header))
            for header in archive
            if not header.isdir()
        ]
    ours = tar_members(io.BytesIO(data), lambda _: True, lambda: io.BytesIO(data))
    assert [(m.name, None if m.problem else m.data) for m in ours] == expected


def test_a_compressed_bomb_is_a_recorded_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.data.formats.tar._LARGEST", 1000)
    (tmp_path / "a.tgz").write_bytes(
        tar([("1.jpg", b"one"), ("2.jpg", bytes(1001)), ("3.jpg", b"three")], "w:gz")
    )
    one, two, three = read(open_dataset(str(tmp_path / "a.tgz")))
    assert (one.data, two.data, three.data) == (b"one", b"", b"three")
    assert two.problem == "a file of 1001 bytes, more than 1000"


def test_the_reason_is_one_line_whatever_a_link_is_called(tmp_path: Path) -> None:
    data = linking(
        [("1.jpg", tarfile.REGTYPE, "one"), ("2.jpg", tarfile.LNKTYPE, "x\n\x1b[31m")],
        tarfile.PAX_FORMAT,
    )
    (_, link) = read(opened(tmp_path, data))
    assert link.problem == "it is a link to x \ufffd[31m, which is no file of the tar"


def test_labels_that_come_first_and_apart(tmp_path: Path) -> None:
    members = [("1.cls", b"1"), ("2.cls", b"2"), ("1.jpg", b"x"), ("2.jpg", b"y"), ("3.jpg", b"z")]
    assert facts(read(opened(tmp_path, tar(members)))) == [
        ("1.jpg", 1, None),
        ("2.jpg", 2, None),
        ("3.jpg", None, None),
    ]


@pytest.mark.parametrize(
    ("strange", "said"),
    [
        ("{}.heic", "of its first 20 names, 15 have no known extension but only .heic, which"),
        ("photo {}.2.jpg", "of its first 20 names, 15 have no known extension but only .2.jpg,"),
    ],
)
def test_a_great_part_without_a_known_extension_is_said(
    strange: str, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = [(f"{number}.jpg", b"x") for number in range(5)]
    opened(tmp_path, tar([*known, *((strange.format(n), b"y") for n in range(50, 65))]))
    assert said in caplog.text


def test_little_without_a_known_extension_is_not_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    samples = [(f"{number}.{kind}", b"x") for number in range(20) for kind in ("jpg", "txt")]
    opened(tmp_path, tar([("README.md", b"about"), *samples]))
    assert not caplog.records


def test_labels_that_come_too_late_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    members = [("1.jpg", b"x"), ("2.jpg", b"y"), ("1.cls", b"1"), ("2.cls", b"2")]
    assert [s.label for s in read(opened(tmp_path, tar(members)))] == [None, None]
    assert "2 labels come after their pictures" in caplog.text


def test_names_with_dots_are_named_as_unusable(tmp_path: Path) -> None:
    names = ["photo 1.2.jpg", "a1.jpg", "a1.mask.png", "22.05.jpg", "b2.jpg"]
    samples = read(opened(tmp_path, tar([(name, b"x") for name in names])))
    assert [sample.key for sample in samples if not sample.problem] == ["a1.jpg", "b2.jpg"]
    assert {sample.key: sample.problem for sample in samples if sample.problem} == {
        "photo 1.2.jpg": "its extension is all that follows the first dot, .2.jpg; "
        "rename it without dots",
        "22.05.jpg": "its extension is all that follows the first dot, .05.jpg; "
        "rename it without dots",
    }


def test_the_class_of_a_tar_as_downloaded(tmp_path: Path) -> None:
    data = tar([("n01440764_1.JPEG", b"x"), ("n01440764_2.JPEG", b"x"), ("n2_1.JPEG", b"x")])
    (tmp_path / "n01440764.tar").write_bytes(data)
    assert [s.class_name for s in read(open_dataset(str(tmp_path)))] == [*["n01440764"] * 2, None]
    names = ClassNames({3: "tench"}, {"n01440764": 3}, explicit=True)
    samples = read(open_dataset(str(tmp_path), class_names=names))
    assert [(s.label, s.class_name) for s in samples][:2] == [(3, "tench")] * 2


def test_a_tar_of_tars(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"tar of tars .*mkdir a && tar -xf .*a\.tar -C a`"):
        opened(tmp_path, tar([("n01440764.tar", tar([("n01440764_1.JPEG", b"x")]))]))


@pytest.mark.skipif(shutil.which("tar") is None, reason="no tar command here")
def test_what_the_tar_command_writes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / ("long" * 40)).mkdir(parents=True)
    for number in range(5):
        (source / f"{number}.jpg").write_bytes(bytes([number]) * 700 * number)
        (source / ("long" * 40) / f"{number}.jpg").write_bytes(b"y")
    for suffix, option in (("tar", "-cf"), ("tar.gz", "-czf"), ("tgz", "-czf")):
        path = tmp_path / f"a.{suffix}"
        subprocess.run(["tar", option, path, "-C", source, "."], check=True)
        dataset = open_dataset(str(path))
        samples = read(dataset)
        assert len(samples) == 10
        for sample in samples:
            assert sample.data == (source / sample.key).read_bytes()
        assert {sample.offset is None for sample in samples} == {suffix != "tar"}
        again = dict(dataset.fetch(sample.located for sample in samples))
        assert again == {sample.located: sample.data for sample in samples}


# --- cut short --------------------------------------------------------------------------------


WHOLE = [(f"{number}.{kind}", data) for number in range(4) for kind, data in
         (("cls", b"%d" % number), ("jpg", bytes([number]) * 700))]  # fmt: skip
ARCHIVE = tar(WHOLE, form=tarfile.USTAR_FORMAT)  # a member is 512 + 512 or 512 + 1024 bytes
END = 4 * (1024 + 1536)


@pytest.mark.parametrize("cut", [*range(1, END + 512, 83), *range(512, END, 512), END])
def test_a_tar_cut_anywhere_gives_what_is_whole_and_one_problem(cut: int, tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(ARCHIVE)
    (tmp_path / "1.tar").write_bytes(ARCHIVE[:cut])
    (tmp_path / "2.tar").write_bytes(ARCHIVE)
    samples = read(open_dataset(str(tmp_path)))
    assert len({sample.shard for sample in samples}) == 3
    broken = [sample for sample in samples if sample.shard.endswith("1.tar")]
    whole = [number for number in range(4) if number * 2560 + 1024 + 512 + 700 <= cut]
    assert [sample.data[0] for sample in broken[:-1]] == whole
    assert [sample.label for sample in broken[:-1]] == whole
    assert broken[-1].data == b""
    assert "cut short" in (broken[-1].problem or "") or cut < 512
    is_in_picture = cut < END and 1536 <= cut % 2560 < 1536 + 700
    assert broken[-1].key == (f"{cut // 2560}.jpg" if is_in_picture else broken[-1].key)


def test_the_end_mark_alone_ends_a_tar(tmp_path: Path) -> None:
    for cut in (END + 512, END + 600, END + 1024):
        samples = read(opened(tmp_path, ARCHIVE[:cut]))
        assert [sample.problem for sample in samples] == [None] * 4


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.95, 0.999])
def test_a_compressed_tar_cut_short(share: float, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    members = [(f"{number}.jpg", rng.bytes(5000)) for number in range(20)]
    data = tar(members, "w:gz")
    (tmp_path / "a.tar.gz").write_bytes(data[: int(len(data) * share)])
    samples = read(open_dataset(str(tmp_path)))
    assert [(sample.key, sample.data) for sample in samples[:-1]] == members[: len(samples) - 1]
    assert len(samples) - 1 >= int(20 * share) - 1
    assert "cut short" in (samples[-1].problem or "")


def test_a_damaged_header_ends_a_shard(tmp_path: Path) -> None:
    data = bytearray(ARCHIVE)
    data[2560 + 1024 : 2560 + 1124] = b"?" * 100
    samples = read(opened(tmp_path, bytes(data)))
    assert [sample.problem is None for sample in samples] == [True, False]
    assert "damaged at byte 3584" in (samples[1].problem or "")


@pytest.mark.parametrize("length", [b"000", b"xyz", b"172", b"006", b"999"])
def test_a_damaged_extended_header_ends_a_shard(length: bytes, tmp_path: Path) -> None:
    """The member is not passed over for its short name, which has lost its extension."""
    data = tar([("1.jpg", b"x"), ("é" * 80 + ".jpg", b"y"), ("2.jpg", b"z")])
    at = data.index(b"174 path=")
    samples = read(opened(tmp_path, data[:at] + length + data[at + 3 :]))
    assert [sample.key for sample in samples] == ["1.jpg", ""]
    assert "damaged at byte 1024" in (samples[1].problem or "")


def test_an_extended_header_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 34
    data = tar([("1.jpg", b"x")])[:1024] + info.tobuf(tarfile.GNU_FORMAT)
    samples = read(opened(tmp_path, data))
    assert [sample.key for sample in samples] == ["1.jpg", ""]
    assert samples[1].problem == f"the tar is damaged: an extended header of {1 << 34} bytes"


@pytest.mark.parametrize("name", ["2.jpg", "2.txt"])
def test_a_negative_size_ends_a_shard(name: str, tmp_path: Path) -> None:
    info = tarfile.TarInfo(name)
    info.size = -5000
    data = tar([("1.jpg", b"x")])[:1024] + info.tobuf(tarfile.GNU_FORMAT)
    samples = read(opened(tmp_path, data))
    assert [sample.problem is None for sample in samples] == [True, False]
    assert "damaged" in (samples[1].problem or "")


@pytest.mark.skipif(shutil.which("tar") is None, reason="no tar command here")
@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_a_sparse_picture_is_whole(form: str, tmp_path: Path) -> None:
    for name in ("1.jpg", "2.txt"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(1 << 20)
            file.seek(1 << 19)
            file.write(b"x")
    names = ["2.txt", "0.jpg", "1.jpg", "3.jpg"]
    (tmp_path / "3.jpg").write_bytes(b"last")
    (tmp_path / "0.jpg").write_bytes(b"whole")
    command = ["tar", "-cSf", tmp_path / "a.tar", f"--format={form}", "-C", tmp_path, *names]
    if subprocess.run(command).returncode:
        pytest.skip("this tar command knows no sparse files")
    dataset = open_dataset(str(tmp_path / "a.tar"))
    samples = read(dataset)
    whole = (tmp_path / "1.jpg").read_bytes()
    assert [(sample.key, sample.data) for sample in samples] == [
        ("0.jpg", b"whole"),
        ("1.jpg", whole),
        ("3.jpg", b"last"),
    ]
    again = dict(dataset.fetch(sample.located for sample in samples))
    assert again == {sample.located: sample.data for sample in samples}


@settings(max_examples=150, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(edits=st.lists(st.tuples(st.integers(0, END - 1), st.binary(min_size=1, max_size=40))))
def test_any_damage_ends_in_samples(edits: list[tuple[int, bytes]], tmp_path: Path) -> None:
    data = bytearray(ARCHIVE)
    for at, new in edits:
        data[at : at + len(new)] = new
    (tmp_path / "0.tar").write_bytes(ARCHIVE)
    (tmp_path / "1.tar").write_bytes(data)
    samples = read(open_dataset(str(tmp_path)))
    assert [sample.problem for sample in samples[:4]] == [None] * 4
    assert sum(sample.problem is not None for sample in samples) <= 1
    for sample in samples:
        sample.key.encode()


# --- refused ----------------------------------------------------------------------------------


def test_a_tar_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"a\.tar holds no picture.*jpeg, jpg, png,"):
        opened(tmp_path, tar([("1.cls", b"1"), ("1.mask.png", b"x"), ("img_0.5.jpg", b"x")]))


@pytest.mark.parametrize("data", [b"", b"hello", b"<html>" * 200, bytes(100)])
def test_no_tar_at_all(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"a\.tar: .*no shard has a picture"):
        opened(tmp_path, data)


def test_a_broken_first_shard_does_not_refuse_the_rest(tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(b"")
    (tmp_path / "1.tar").write_bytes(ARCHIVE)
    samples = read(open_dataset(str(tmp_path)))
    assert [sample.problem for sample in samples] == ["the file is empty"] + [None] * 4


def test_opening_does_not_read_on(tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(ARCHIVE)
    (tmp_path / "1.tar").write_bytes(b"no tar, but nobody looks before its turn comes")
    assert len(open_dataset(str(tmp_path)).parts()) == 2


def test_fetching_what_was_cut_since(tmp_path: Path) -> None:
    dataset = opened(tmp_path, ARCHIVE)
    last = read(dataset)[-1].located
    (tmp_path / "a.tar").write_bytes(ARCHIVE[: END - 600])
    with pytest.raises(IncompleteError, match="no longer whole"):
        list(dataset.fetch([last]))
