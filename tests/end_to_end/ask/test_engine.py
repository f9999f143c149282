"""What answers, without a service around it."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import open_run
from pipeline.core.nets.known import Net
from pipeline.data.class_names import ClassNames
from pipeline.service.answers import Answer, Refusal, Shown
from pipeline.service.engine import Engine, Question
from pipeline.service.memory import Held
from pipeline.service.pictures import Pictures
from tests.end_to_end.ask.service import LAYERS, PHOTOS, with_photographs

pytestmark = with_photographs


def of(folder: Path, net: Net) -> tuple[Pictures, Engine]:
    run = open_run(folder / "run")
    pictures = Pictures(net.preprocessing, run.spec.data, None)
    return pictures, Engine(net, run.spec, run.standing, ClassNames({}))


def held(pictures: Pictures, path: Path) -> Held:
    found = pictures.find(Shown(data=path.read_bytes()))
    assert isinstance(found, Held)
    return found


def told(answer: Answer | Refusal) -> dict[str, list[tuple[int, float]]]:
    assert isinstance(answer, Answer)
    return {
        layer.layer: [(found.feature_map, found.activation) for found in layer.maps]
        for layer in answer.layers
    }


def test_a_batch_answers_each_question(folder: Path, one_thread: None) -> None:
    pictures, engine = of(folder, open_run(folder / "run").mined_net)
    shown = [held(pictures, path) for path in PHOTOS[:4]]
    questions = [
        Question(shown[0], LAYERS, 3),
        Question(shown[1], LAYERS[:1], 2),
        Question(shown[2], LAYERS, 3),
        Question(shown[3], ("nothing",), 3),
        Question(shown[0], LAYERS, 3),
    ]
    together = engine.answer(questions)
    refused = together[3]
    assert isinstance(refused, Refusal)
    assert (refused.status, "no layer 'nothing'" in refused.error) == (422, True)
    for asked, answer in zip(questions, together, strict=True):
        (alone,) = engine.answer([asked])
        if isinstance(alone, Refusal):
            continue
        assert isinstance(answer, Answer)
        assert answer.picture == asked.held.name
        assert [*told(answer)] == [*asked.layers]
        for layer, found in told(alone).items():
            numbers, values = zip(*told(answer)[layer], strict=True)
            assert numbers == tuple(number for number, _ in found)
            assert values == pytest.approx([value for _, value in found], rel=1e-4)


def test_a_net_without_a_classifier(folder: Path, one_thread: None) -> None:
    whole = open_run(folder / "run").mined_net
    pictures, engine = of(folder, replace(whole, module=None, classes=0))
    shown = held(pictures, PHOTOS[0])
    (answer,) = engine.answer([Question(shown, LAYERS, 3)])
    assert isinstance(answer, Answer)
    assert answer.classes == []
    assert len(answer.layers) == len(LAYERS)
    refused = engine.hide(shown, (0, 0, 9, 9), [])
    assert isinstance(refused, Refusal)
    assert (refused.status, "no classes" in refused.error) == (422, True)
    (line,) = engine.occlude(shown, None)
    assert isinstance(line, Refusal)
    assert line.status == 422


def test_a_sample_where_the_dataset_is_gone(folder: Path) -> None:
    pictures, _ = of(folder, open_run(folder / "run").mined_net)
    refused = pictures.find(Shown("3"))
    assert isinstance(refused, Refusal)
    assert refused.status == 404
    assert "send the bytes" in refused.error
