"""The manifests against KubeRay's own definitions."""

import copy
from functools import cache
from typing import Any

import jsonschema
import pytest
import yaml

from tests.deploy.files import RAY, ROOT, VERSION, job_for_kueue, loaded

CRDS = ROOT.parent / "shared" / "kuberay-crds"

MANIFESTS = {
    "rayjob": lambda: loaded("rayjob.yaml"),
    "raycluster": lambda: loaded("raycluster.yaml"),
    "kueue": job_for_kueue,
}


def closed(schema: Any) -> Any:
    """The schema with every unknown field refused, as `kubectl apply` does by default."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    schema = {key: closed(part) for key, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        schema.setdefault("additionalProperties", False)
    return schema


@cache
def validator(kind: str) -> Any:
    """Of the manifests of ray.io/v1 of a kind."""
    if not CRDS.is_dir():
        pytest.skip("no KubeRay definitions beside this checkout (shared/kuberay-crds)")
    definition = yaml.safe_load((CRDS / f"ray.io_{kind.lower()}s.yaml").read_text())["spec"]
    (v1,) = [version for version in definition["versions"] if version["name"] == "v1"]
    schema = closed(v1["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}  # Kubernetes' own, not in there
    return jsonschema.Draft202012Validator(schema)


def problems(manifest: Any) -> list[str]:
    """What the API server would say of a manifest."""
    assert manifest["apiVersion"] == "ray.io/v1"
    errors = validator(manifest["kind"]).iter_errors(manifest)
    return [f"{error.json_path}: {error.message}" for error in errors]


def cluster(manifest: Any) -> Any:
    return manifest["spec"].get("rayClusterSpec", manifest["spec"])


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_is_valid(name: str) -> None:
    assert problems(MANIFESTS[name]()) == []


@pytest.mark.parametrize(
    ("way", "value"),
    [
        (("shutDownAfterJobFinishes",), True),
        (("rayClusterSpec", "authOptions", "mode"), "tokens"),
        (("rayClusterSpec", "workerGroupSpecs", 0, "minReplica"), 0),
        (("rayClusterSpec", "workerGroupSpecs", 0, "template", "spec", "toleration"), []),
        (("rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
    ],
)
def test_a_misspelt_field_and_a_wrong_value_are_found(way: tuple[Any, ...], value: Any) -> None:
    wrong = copy.deepcopy(loaded("rayjob.yaml"))
    *inner, last = way
    at = wrong["spec"]
    for key in inner:
        at = at[key]
    at[last] = value
    (problem,) = problems(wrong)
    assert str(last) in problem or str(value) in problem


@pytest.mark.parametrize("name", MANIFESTS)
def test_work_stays_on_gpu_nodes(name: str) -> None:
    spec = cluster(MANIFESTS[name]())
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    (group,) = spec["workerGroupSpecs"]
    (worker,) = group["template"]["spec"]["containers"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"
    for part in (spec["headGroupSpec"], group):
        pod = part["template"]["spec"]
        (container,) = pod["containers"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert volumes[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
        assert container["envFrom"] == [
            {"secretRef": {"name": "deconv-atlas-bucket", "optional": True}}
        ]
        assert pod["serviceAccountName"] == loaded("service-account.yaml")["metadata"]["name"]


def test_the_groups_scale_from_zero_but_under_kueue() -> None:
    for name, least in (("rayjob", 0), ("raycluster", 0), ("kueue", 4)):
        spec = cluster(MANIFESTS[name]())
        assert spec["enableInTreeAutoscaling"] is (least == 0)
        (group,) = spec["workerGroupSpecs"]
        assert (group["minReplicas"], group["replicas"], group["maxReplicas"]) == (least, least, 4)
    assert job_for_kueue()["spec"]["suspend"] is True


def test_the_job_and_the_cluster_are_of_one_kind() -> None:
    assert cluster(loaded("rayjob.yaml")) == cluster(loaded("raycluster.yaml"))


@pytest.mark.parametrize("name", MANIFESTS)
def test_versions(name: str) -> None:
    spec = cluster(MANIFESTS[name]())
    assert spec["rayVersion"] == RAY
    images = {
        container["image"]
        for part in (spec["headGroupSpec"], *spec["workerGroupSpecs"])
        for container in part["template"]["spec"]["containers"]
    }
    assert images == {f"REGISTRY/deconv-atlas:{VERSION}-{device}" for device in ("cpu", "gpu")}
