import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from torchvision.models import AlexNet_Weights

from pipeline.core.nets.known import Net
from pipeline.data.class_name_files import load_class_names, names_for_labels, names_of_outputs
from pipeline.data.class_names import ClassNames, called, described, folder_classes, is_same
from pipeline.errors import RequestError
from tests.stages import tiny

Put = Callable[[str, dict[str, bytes]], str]

WITH_IDS = ClassNames(
    {0: "tench", 1: "goldfish", 2: "crane", 3: "crane"},
    {"n01440764": 0, "n01443537": 1, "n02012849": 2, "n03126707": 3},
    explicit=True,
)
FORMS = {
    "names.txt": "tench\ngoldfish\n",
    "windows.txt": "\ufefftench\r\ngoldfish\r\n\r\n",
    "list.json": '["tench", "goldfish"]',
    "object.json": '{"1": "goldfish", "0": "tench"}',
    "keras.json": '{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}',
    "synsets.txt": "n01440764 tench\nn01443537 goldfish\n",
    "class_to_idx.json": '{"goldfish": 1, "tench": 0}',
    "heading.csv": "index,name\n0,tench\n1,goldfish\n",
    "no-heading.csv": '1, "goldfish"\n0, tench\n',
    "tabs.txt": "class\tname\n0\ttench\n1\tgoldfish\n",
    "list-without-extension": ' ["tench", "goldfish"]',
}


@pytest.mark.parametrize("name", FORMS)
def test_forms(name: str, tmp_path: Path, put: Put) -> None:
    put(str(tmp_path), {name: FORMS[name].encode()})
    names = load_class_names(str(tmp_path / name))
    assert names.explicit
    assert names.names == {0: "tench", 1: "goldfish"}
    has_ids = name in ("keras.json", "synsets.txt")
    assert names.wnids == ({"n01440764": 0, "n01443537": 1} if has_ids else {})


def test_names_with_commas(tmp_path: Path, put: Put) -> None:
    lines = b"tench, Tinca tinca\ngoldfish, Carassius auratus\n"
    put(str(tmp_path), {"a.txt": lines, "b.csv": b'id;name\n3;"a;b, c"\n'})
    names = load_class_names(str(tmp_path / "a.txt")).names
    assert names == dict(enumerate(lines.decode().splitlines()))
    assert load_class_names(str(tmp_path / "b.csv")).names == {3: "a;b, c"}


def test_the_ids_of_a_folder_of_imagenet(tmp_path: Path, put: Put) -> None:
    put(str(tmp_path), {"class_to_idx.json": b'{"n01440764": 0}'})
    assert load_class_names(str(tmp_path / "class_to_idx.json")).wnids == {"n01440764": 0}


def test_anywhere(place: str, put: Put) -> None:
    put(place, {"names.txt": b"a\nb"})
    assert load_class_names(f"{place}/names.txt").names == {0: "a", 1: "b"}


def test_imagenets_own_file(photos_folder: Path) -> None:
    names = load_class_names(str(photos_folder / "imagenet_class_index.json"))
    assert len(names) == len(names.wnids) == 1000
    assert names.index("n01440764") == 0
    assert names.names[0] == "tench"


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.txt", b"", "empty"),
        ("a.txt", b"a\n\nb\n", "empty line"),
        ("a.txt", b"\xff\xfe\x00", "utf-8"),
        ("a.json", b"[", "Expecting"),
        ("a.json", b"[]", "no names"),
        ("a.json", b"3", "no names"),
        ("a.json", b"[1, 2]", "not a name"),
        ("a.json", b'{"tench": "a"}', "invalid literal"),
        ("a.json", b'{"tench": 0, "goldfish": 0}', "number 0, that another has"),
        ("a.json", b'{"tench": -1}', "below 0"),
        ("a.json", b'{"tench": true}', "invalid literal"),
        ("a.csv", b"index,name\n0,tench\n0,goldfish\n", "number 0 twice"),
        ("a.csv", b"0,tench\n1,gold,fish\n", "not a number and a name"),
        ("a.csv", b"0,tench\n1,\n", "not a number and a name"),
        ("a.csv", b'0,tench\n1,"gold\n', "unexpected end of data"),
        ("a.csv", b"name\ntench\n", "heading"),
        ("a.csv", b"name,index\ntench,0\n", "heading"),
        ("a.json", b'{"0": ["n01440764", "tench", "fish"]}', "not a name"),
    ],
)
def test_other_files_are_refused(
    name: str, text: bytes, reason: str, tmp_path: Path, put: Put
) -> None:
    put(str(tmp_path), {name: text})
    with pytest.raises(RequestError, match=reason) as refusal:
        load_class_names(str(tmp_path / name))
    assert name in str(refusal.value)
    assert "one name per line" in str(refusal.value)


def test_a_missing_file_is_refused(place: str) -> None:
    with pytest.raises(RequestError, match=r"nowhere\.txt cannot be read"):
        load_class_names(f"{place}/nowhere.txt")


def test_a_class_by_id_name_or_number() -> None:
    assert WITH_IDS.index("n01443537") == 1
    assert WITH_IDS.index("goldfish") == 1
    assert WITH_IDS.index("3") == 3
    assert WITH_IDS.index("crane") is None  # which of the two?
    assert WITH_IDS.index("4") is None
    assert WITH_IDS.index("9" * 5000) is None
    assert WITH_IDS.index("²") is None


def test_what_wins() -> None:
    explicit, weights = WITH_IDS, ClassNames.of(["tench", "goldfish"])
    assert described(None, 1, "own") == (1, "own")
    assert described(explicit, 1, "own") == (1, "goldfish")
    assert described(explicit, 7, "own") == (7, "own")
    assert described(explicit, None, "n01440764") == (0, "tench")
    assert described(explicit, None, "own") == (None, "own")
    assert described(weights, 1, "own") == (1, "own")
    assert described(weights, 1, None) == (1, None)  # of whatever set
    assert described(weights, None, None) == (None, None)
    said = ClassNames.of(["tench", "goldfish"], explicit=True)
    assert described(said, 1, None) == (1, "goldfish")
    assert described(said, 2, None) == (2, None)


def test_folders_without_names() -> None:
    assert folder_classes(["b", "a"], None) == {"a": (0, "a"), "b": (1, "b")}


def test_folders_named_by_ids() -> None:
    assert folder_classes(["n03126707", "n01440764", "other"], WITH_IDS) == {
        "n01440764": (0, "tench"),
        "n03126707": (3, "crane"),
        "other": (None, "other"),
    }


@pytest.mark.parametrize(
    ("folders", "classes"),
    [
        (["tench", "goldfish"], {"goldfish": (1, "goldfish"), "tench": (0, "tench")}),
        (["Great_White-shark"], {"Great_White-shark": (2, "Great_White-shark")}),
        (["bee", "ant", "cat"], {"ant": (0, "ant"), "bee": (1, "bee"), "cat": (2, "cat")}),
        (["tench", "goldfish", "cat"], {"cat": (0, "cat"), "goldfish": (1, "goldfish"),
                                        "tench": (2, "tench")}),
        (["tench", "Tench"], {"Tench": (0, "Tench"), "tench": (1, "tench")}),
    ],
)  # fmt: skip
def test_folders_and_the_nets_categories(folders: list[str], classes: dict[str, object]) -> None:
    """As many folders as classes are no reason to take them for these."""
    assert folder_classes(folders, ClassNames.of(["tench", "goldfish", "great white shark"])) == (
        classes
    )


def test_folders_by_place_where_the_user_says_so() -> None:
    said = ClassNames.of(["tench", "goldfish"], explicit=True)
    assert folder_classes(["n1", "n0"], said) == {"n0": (0, "tench"), "n1": (1, "goldfish")}


def test_imagenets_ids_and_a_net_of_its_classes() -> None:
    imagenet = ClassNames.of(AlexNet_Weights.IMAGENET1K_V1.meta["categories"])
    assert list(imagenet.wnids) == sorted(imagenet.wnids)
    assert folder_classes(["n01514859", "n01440764"], imagenet) == {
        "n01440764": (0, "tench"),
        "n01514859": (8, "hen"),
    }
    assert described(imagenet, None, "n01514859") == (8, "hen")
    assert described(imagenet, 0, "n01514859") == (0, "n01514859")  # of some classes only
    others = ["n01514859", "n99999999"]
    assert folder_classes(others, imagenet) == folder_classes(others, None)
    assert not ClassNames.of([f"bird {number}" for number in range(1000)]).wnids
    assert not ClassNames.of(["tench"]).wnids


def test_the_ids_are_those_of_keras_file(photos_folder: Path) -> None:
    imagenet = ClassNames.of(AlexNet_Weights.IMAGENET1K_V1.meta["categories"])
    keras = load_class_names(str(photos_folder / "imagenet_class_index.json"))
    assert imagenet.wnids == keras.wnids
    assert ClassNames.of([keras.names[number] for number in range(1000)]).wnids == keras.wnids


@pytest.mark.parametrize("other", ["tench, Tinca tinca", "Tench", " tench"])
def test_one_class_in_other_words(other: str) -> None:
    assert is_same("tench", other)
    assert not is_same("tench", "goldfish, " + other)


def test_names_of_signs_alone_differ() -> None:
    assert not is_same("_", "-")
    assert is_same(",", ",")


def test_what_is_shown() -> None:
    assert (called(3, "cat"), called(3, None), called(None, "cat")) == ("cat", "class 3", "cat")
    assert called(None, None) is None


def test_numbered_folders_go_by_number_not_by_spelling() -> None:
    weights = ClassNames.of([f"fish {number}" for number in range(12)])
    folders = [str(number) for number in range(12)]
    classes = folder_classes(folders, weights)
    assert classes["10"] == (10, "10")  # digits are no fishes
    said = folder_classes(folders, replace(weights, explicit=True))
    assert said["10"] == (10, "fish 10")
    assert said["2"] == (2, "fish 2")
    beyond = [str(number) for number in range(1, 13)]
    assert folder_classes(beyond, weights) == folder_classes(beyond, None)


def test_numbered_folders_of_some_classes() -> None:
    weights = ClassNames.of([f"class {number}" for number in range(1000)])
    subset = ["0", "1", "2", "10", "100"]
    assert folder_classes(subset, weights) == {folder: (int(folder), folder) for folder in subset}
    padded = folder_classes(["000", "010", "100"], weights)
    assert padded == {"000": (0, "000"), "010": (10, "010"), "100": (100, "100")}
    for ambiguous in (["1", "10", "1000"], ["1", "01"], ["1", "2", "other"]):
        assert folder_classes(ambiguous, weights) == folder_classes(ambiguous, None)


@pytest.fixture
def net() -> Net:
    return tiny.net_of(tiny.module())


def test_whose_classes_the_names_are(net: Net, tmp_path: Path, put: Put) -> None:
    net = replace(net, classes=2, categories=("tench", "goldfish"))
    put(str(tmp_path), {"two.txt": b"ant\nbee\n", "three.txt": b"ant\nbee\ncat\n"})
    two, three = f"{tmp_path}/two.txt", f"{tmp_path}/three.txt"
    own, ants = {0: "tench", 1: "goldfish"}, {0: "ant", 1: "bee"}
    for asked, of_labels, of_outputs, is_said in (
        (None, own, own, False),
        ("none", None, own, False),
        ("net", own, own, True),
        (two, ants, ants, True),
        (three, ants | {2: "cat"}, own, False),  # a file of other classes than the net's
    ):
        labels, outputs = names_for_labels(asked, net), names_of_outputs(asked, net)
        assert (labels and labels.names) == of_labels
        assert (outputs.names, outputs.explicit) == (of_outputs, is_said)


def test_labels_that_mean_the_nets_classes() -> None:
    net = ClassNames.of(["tench", "goldfish"])
    assert net.means(1, "goldfish, Carassius auratus")
    assert not net.means(1, "bee")
    assert not net.means(1, None)
    assert not net.means(2, None)
    assert replace(net, explicit=True).means(1, None)


def test_a_net_without_classes_names_none(net: Net) -> None:
    with pytest.raises(RequestError, match="tiny tells no classes apart, so --class-names net"):
        names_for_labels("net", net)
    assert names_for_labels(None, net) is None


def test_they_travel() -> None:
    assert pickle.loads(pickle.dumps(WITH_IDS)) == WITH_IDS
