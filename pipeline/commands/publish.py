"""The atlas of a run, put where a browser finds it."""

import logging
from pathlib import Path

from pipeline import schema
from pipeline.atlas.outline import Outline, outline_of
from pipeline.atlas.prune import prune
from pipeline.atlas.publish import Appearance, Published, publish_pages, units
from pipeline.cluster import session
from pipeline.cluster import stages as cluster
from pipeline.commands.report import reported
from pipeline.data.class_name_files import names_of_outputs
from pipeline.data.weights.files import is_at_hand
from pipeline.errors import RequestError
from pipeline.request import PublishRequest, Workforce
from pipeline.run import Run

log = logging.getLogger(__name__)


def publish_run(request: PublishRequest) -> tuple[Published, str]:
    """Compose the atlas and its web pages.

    Returns:
        What was published, and where.

    Raises:
        RequestError: there is no run, or it has no projections yet.
    """
    run = Run(request.run, request.storage_options)
    target = run.store.at(request.dest or f"{run.store.url}/{schema.ATLAS}")
    target.require_room("DEST")
    for place in (run.store, target):
        place.sweep()
    look = Appearance(not request.no_patches, request.credit, request.url)
    waiting = units(run.store, target, look)
    total = sum(unit.last - unit.first for unit in waiting)
    with session.connected(request.address, total):
        session.seats(Workforce(workers=request.workers, gpus="none"))
        session.require_in_sight(run.store)
        if target.is_local:
            Path(target.path()).mkdir(parents=True, exist_ok=True)
        session.require_in_sight(target, "", "DEST")
        with reported([run.store], "publish", "publishing, feature maps", total) as report:
            for maps in cluster.publish(run.store, target, waiting, request.workers):
                report.advance(maps)
    published = publish_pages(run.store, target, look, _outline(run))
    if request.prune:
        prune(target, published.files)
    return published, target.url


def _outline(run: Run) -> Outline:
    """What is known of the net, if its weights are here: none are fetched for that."""
    why = f"{run.spec.weights} would have to be fetched"
    if is_at_hand(run.spec.weights, run.spec.net):
        try:
            net = run.mined_net
            return outline_of(net, names_of_outputs(run.spec.class_names, net).names)
        except RequestError as error:
            why = str(error).rstrip(".")
    log.info("The atlas goes without the net's diagram: %s.", why)
    return Outline()
