import json
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.atlas.documents.classes import write_classes, write_pictures
from pipeline.atlas.documents.layers import write_layers
from pipeline.atlas.documents.overlap import Overlap
from pipeline.atlas.documents.root import index_page, root
from pipeline.atlas.documents.script import adding, dump
from tests.atlas.documents.made import assets, content, layer
from tests.atlas.reading import said

WINNERS = [
    (0, 1, 10, 3, "tench"),
    (0, 2, 11, 4, None),
    (2, 1, 10, 3, "tench"),
    (2, 2, 12, None, None),
    (2, 3, 13, 3, "tench"),
]


def layer_said(of, name="conv1", page=0):
    """What is told of a layer and of one page of its maps."""
    place = assets()
    entries = write_layers(place, of)
    (entry,) = [one for one in entries if one["name"] == name]
    told = said(place.dest, entry["script"])[2]
    return entry, told, said(place.dest, told["pages"][page]["maps"])[2]


def test_a_layer():
    entry, told, maps = layer_said(content(layer(WINNERS)))
    assert (entry["maps"], entry["dead"], entry["stride"]) == (3, 1, (4, 4))
    assert told["active"] == [0.4286, 0, 0.4286]
    assert told["max"] == [12350] * 3
    assert told["std"] == [None] * 3
    assert told["missing"] == []
    assert (told["classes"], told["usual"]) == (["tench"], [-1, -1, 0])  # two of three
    assert maps["first"] == [0, 2, 2, 5]
    assert maps["key"] == ["10.jpg", "11.jpg", "10.jpg", "12.jpg", "13.jpg"]
    assert [maps["classes"][n] if n >= 0 else None for n in maps["class"]] == [
        "tench", "class 4", "tench", None, "tench",
    ]  # fmt: skip
    assert maps["source"][:4] == [1, 2, 3, 4]
    assert maps["box"][:4] == [0, 1, 2, 3]
    assert maps["centre"][:2] == [3 * 4 - 2 + 5, 5 * 4 - 2 + 5]
    assert maps["files"] == {"projections": ["conv1/0.avif", "", "conv1/2.avif"]}
    assert maps["without"] == []


def test_what_is_not_projected_is_missing_and_has_no_picture():
    _, told, maps = layer_said(content(layer(WINNERS, projected=[0], ranks=1)))
    assert told["missing"] == [2]
    assert maps["without"] == [1, 3, 4]  # sample 10 is rank 1 of map 0
    assert layer_said(content(layer(WINNERS), patches=False))[2]["without"] == [0, 1, 2, 3, 4]


def test_no_winners_at_all():
    entry, told, maps = layer_said(content(layer([], active=[0, 0, 0])))
    assert entry["dead"] == 3
    assert told["usual"] == [-1, -1, -1]
    assert maps["first"] == [0, 0, 0, 0]


def test_classes_of_one_name_are_told_apart():
    rows = [(0, 1, 1, 134, "crane"), (0, 2, 2, 517, "crane"), (0, 3, 3, None, "fox")]
    of = content(layer([*rows, (0, 4, 4, 134, "crane")]))
    assert of.classes == ["crane (134)", "crane (517)", "fox"]
    assert of.winners["class"].tolist() == [0, 1, 2, 0]


layers_of_winners = st.lists(
    st.dictionaries(
        st.integers(0, 69),
        st.lists(st.integers(0, 30), min_size=1, max_size=9, unique=True),
        max_size=12,
    ),
    min_size=1,
    max_size=3,
)


def made_of(by_layer):
    return content(
        *(
            layer(
                [
                    (m, rank, sample, sample % 5, f"c{sample % 5}")
                    for m in sorted(of)
                    for rank, sample in enumerate(of[m], start=1)
                ],
                maps=70,
                name=f"l{number}",
            )
            for number, of in enumerate(by_layer)
        )
    )


@given(layers_of_winners)
@settings(max_examples=60, deadline=None)
def test_neighbours_share_most_pictures(by_layer):
    of = made_of(by_layer)
    overlap = Overlap.of(of)
    sets = {(n, m): set(samples) for n, one in enumerate(by_layer) for m, samples in one.items()}
    for (number, m), mine in sets.items():
        shared = [
            (other, len(mine & theirs))
            for other, theirs in sorted(sets.items())
            if other != (number, m) and len(mine & theirs) >= 2
        ]
        shared.sort(key=lambda one: -one[1])
        own = [one for one in shared if one[0][0] == number][:6]
        others = [one for one in shared if one[0][0] != number][:6]
        expected = [[*place, count] for place, count in own + others]
        assert overlap.nearest(number, m) == expected


@given(layers_of_winners)
@settings(max_examples=30, deadline=None)
def test_classes_and_pictures_lead_to_all_their_maps(by_layer):
    of, place = made_of(by_layer), assets()
    held, won = defaultdict(Counter), defaultdict(set)
    for n, one in enumerate(by_layer):
        for m, samples in one.items():
            for rank, sample in enumerate(samples, start=1):
                held[f"c{sample % 5}"][n, m] += 1
                won[sample].add((n, m, rank))
    if not won:
        return
    index = said(place.dest, write_classes(place, of))[2]
    assert dict(zip(index["names"], index["maps"], strict=True)) == {
        k: len(v) for k, v in held.items()
    }
    for number, name in enumerate(index["names"]):
        told = said(place.dest, index["parts"][number // index["each"]])[2]
        rows = slice(*told["first"][number % index["each"] :][:2])
        columns = (told[key][rows] for key in ("layer", "feature_map", "times"))
        found = list(zip(*columns, strict=True))
        assert Counter({(n, m): times for n, m, times in found}) == held[name]
        assert found == sorted(found, key=lambda row: (-row[2], -row[0], row[1]))
    index = said(place.dest, write_pictures(place, of))[2]
    seen = {}
    for first, part in zip(index["firsts"], index["parts"], strict=True):
        told = said(place.dest, part)[2]
        assert told["sample"][0] == first
        wins = list(zip(*(told[key] for key in ("layer", "feature_map", "rank")), strict=True))
        for at, sample in enumerate(told["sample"]):
            seen[sample] = set(wins[told["first"][at] : told["first"][at + 1]])
            assert told["key"][at] == f"{sample}.jpg"
    assert seen == won


def test_pictures_are_told_of_in_parts():
    rows = [(m, rank, m * 9 + rank, 0, "c") for m in range(64) for rank in range(1, 10)]
    place = assets()
    index = said(place.dest, write_pictures(place, content(layer(rows, maps=64))))[2]
    assert index["firsts"] == [1, 129, 257, 385, 513]


def test_nothing_that_is_private_is_told():
    of = content(layer(WINNERS), skipped=3, credit="By <me>", mined="2026-11-30")
    document = root(of, [], {})
    told = dict(document["about"])
    assert (told["Weights"], told["Pictures"]) == ("w.pth", "s3://b/x")
    assert told["Unusable files"] == "3"
    assert told["Mined on"] == "2026-11-30"
    assert "/home" not in json.dumps(document)
    assert "k:s" not in json.dumps(document)


def test_a_name_that_looks_like_a_place_of_the_index_is_a_name():
    of = content(layer(WINNERS, name="{{data}}"), url="https://example.org/a")
    page = index_page(
        of, root(of, write_layers(assets(), of), {}), {"style": "", "script": ""}, "p"
    )
    without = page.decode("ascii").partition("<noscript>")[2].partition("</noscript>")[0]
    assert "<h2>{{data}}</h2>" in without
    assert b'content="https://example.org/a/p"' in page  # a folder, with its slash or without


def test_the_index_is_a_page_by_itself():
    of = content(layer(WINNERS, name="<b>&"), url="https://example.org/a/index.html")
    entries = write_layers(assets(), of)
    files = {"style": "viewer/s.css", "script": "viewer/a.js"}
    page = index_page(of, root(of, entries, {}), files, "viewer/p.jpg").decode("ascii")
    assert "{{" not in page
    assert '<meta property="og:image" content="https://example.org/a/viewer/p.jpg">' in page
    assert '<meta property="og:url" content="https://example.org/a/">' in page
    without = page.partition("<noscript>")[2].partition("</noscript>")[0]
    assert "<h2>&lt;b&gt;&amp;</h2>" in without
    assert "<b>&" not in page


@pytest.mark.parametrize("text", ["</script><script>alert(1)", "<!--", "ü混", "a\u2028b"])
def test_texts_cannot_leave_their_script(text):
    assert json.loads(dump(text)) == text
    script = adding("maps", text, [text])
    assert script.isascii()
    assert b"<" not in script
    assert b"\n" not in script[:-1]


def test_what_the_first_view_needs_does_not_grow_with_the_maps():
    rows = [
        (m, rank, m * 9 + rank, m % 1000, f"c{m % 1000}")
        for m in range(3000)
        for rank in range(1, 10)
    ]
    sizes = []
    for maps in (64, 3000):
        of = content(layer([row for row in rows if row[0] < maps], maps=maps))
        place = assets()
        entries = write_layers(place, of)
        files = {"classes": write_classes(place, of), "pictures": write_pictures(place, of)}
        page = index_page(of, root(of, entries, files), {"style": "", "script": ""}, "")
        sizes.append(len(page))
    assert abs(sizes[1] - sizes[0]) < 100
    told = place.dest.read(entries[0]["script"])
    assert len(told) / 3000 < 50
    pages = said(place.dest, entries[0]["script"])[2]["pages"]
    assert max(len(place.dest.read(page["maps"])) for page in pages) < 64 * 900
    assert len(pages) == int(np.ceil(3000 / 64))
