import pytest

from pipeline.atlas.explain.figure import run_caption
from pipeline.atlas.occlusion import figure
from pipeline.atlas.places import public_name, without_secrets
from pipeline.config import RunSpec
from pipeline.core.nets.preprocessing import Preprocessing


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("/home/someone/pictures/val", "val"),
        ("./val/", "val"),
        ("C:\\pictures\\val", "val"),
        ("file:///home/someone/val", "val"),
        ("IMAGENET1K_V1", "IMAGENET1K_V1"),
        ("random:0", "random:0"),
        ("s3://bucket/train-{000000..001280}.tar", "s3://bucket/train-{000000..001280}.tar"),
        ("https://user:secret@host/a.tar?X-Signature=abc", "https://host/a.tar"),
        ("s3://key:secret@bucket/val", "s3://bucket/val"),
        ("s3://bucket/val", "s3://bucket/val"),
        ("", ""),
    ],
)
def test_what_anyone_may_see_of_a_place(place, shown):
    assert public_name(place) == shown


def test_a_path_has_no_secrets():
    assert without_secrets("/home/someone/val/") == "/home/someone/val/"
    assert without_secrets("IMAGENET1K_V1") == "IMAGENET1K_V1"


def test_figures_print_no_secrets():
    spec = RunSpec(
        net="alexnet", weights="https://user:secret@host/w.pth?X-Signature=abc",
        weights_digest="0" * 64, classes=2, preprocessing=Preprocessing(resize=256, crop=224),
        layers=(), top_k=9, precision="exact", data="s3://user:secret@b/x?X-Signature=abc",
        format="webdataset", fingerprint="f", versions={},
    )  # fmt: skip
    captions = [*run_caption(spec), *figure.run_caption(spec)]
    said = " ".join(captions)
    assert said.count("https://host/w.pth (") == said.count("s3://b/x") == 2
    assert "secret" not in said
    assert "Signature" not in said
