"""What Ray's autoscaler says; a cluster without one, or with an older one, says nothing."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

import ray
from ray.experimental.internal_kv import _internal_kv_get

_TIMEOUT = 5

_OLD_STATUS = "__autoscaling_status"
"""Where the autoscaler of version 1 keeps its report."""


def autoscales() -> bool:
    """Whether nodes may come by themselves where there is need of them."""
    state = _state()
    if state is not None and state.autoscaler_state_version > 0:
        return True
    with suppress(Exception):  # of a part of Ray that may change
        return b"autoscaler_report" in (_internal_kv_get(_OLD_STATUS) or b"")
    return False


def refused(resources: Mapping[str, float]) -> int:
    """How many requests for this the autoscaler cannot fulfil, with any type of node or any more.

    Only one of version 2 tells, and only after it was asked; of others the answer is none.
    """
    state = _state()
    requests = state.infeasible_resource_requests if state is not None else ()
    return sum(dict(request.resources_bundle) == dict(resources) for request in requests)


def _state() -> Any:
    """What the autoscaler told the head; None where that cannot be read."""
    with suppress(Exception):  # of a part of Ray that may change
        from ray import _raylet
        from ray.core.generated import autoscaler_pb2

        client = cast("Any", _raylet).GcsClient(ray.get_runtime_context().gcs_address)
        reply = cast("Any", autoscaler_pb2).GetClusterStatusReply()
        reply.ParseFromString(client.get_cluster_status(timeout_s=_TIMEOUT))
        return reply.autoscaling_state
    return None
