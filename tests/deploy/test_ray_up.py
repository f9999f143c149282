"""The `ray up` file against Ray's own schema."""

import copy
from typing import Any

import jsonschema
import pytest
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.deploy.files import VERSION, loaded


def validated(config: Any) -> Any:
    """The file as `ray up` fills it in and checks it."""
    full = prepare_config(copy.deepcopy(config))
    validate_config(full)
    return full


def test_it_is_valid_and_scales_from_zero() -> None:
    config = validated(loaded("ray-up.yaml"))
    types = config["available_node_types"]
    assert types[config["head_node_type"]]["resources"]["CPU"] == 0
    gpu = types["gpu"]
    assert (gpu["min_workers"], gpu["max_workers"]) == (0, config["max_workers"])
    assert gpu["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    images = {config["docker"]["head_image"], config["docker"]["worker_image"]}
    assert images == {f"REGISTRY/deconv-atlas:{VERSION}-{device}" for device in ("cpu", "gpu")}
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]


def test_a_misspelt_field_is_refused() -> None:
    config = loaded("ray-up.yaml")
    config["idle_timeout"] = 5
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout"):
        validated(config)
