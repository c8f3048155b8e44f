"""The cluster: valid objects that fit together, pods that may do little, probes and bounds that agree with the code."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from service.exposure import refuse_exposure
from service.settings import Settings
from service.worker import STOP_S
from tests.deploy.manifests import CLUSTER, kustomization, objects, pods, settings

VERSION: Final = "1.37.0"
"""The release of Kubernetes whose schemas are asked."""

PODS: Final = pods()

every_pod = pytest.mark.parametrize("pod", PODS.values(), ids=PODS.keys())


def named(kind: str) -> dict[str, dict[str, Any]]:
    """Return the objects of a kind by name, those of the example of secrets as well."""
    return {
        one["metadata"]["name"]: one for one in [*objects(), *objects("secrets.example.yaml")] if one["kind"] == kind
    }


def container(workload: str) -> dict[str, Any]:
    """Return the one container of a workload."""
    [only] = PODS[workload]["spec"]["containers"]
    found: dict[str, Any] = only
    return found


def variables(workload: str) -> dict[str, str]:
    """Return the environment that is written in the manifest."""
    return {one["name"]: one["value"] for one in container(workload).get("env", ())}


def service_settings() -> Settings:
    """Return the settings of the service in the cluster."""
    return settings(CLUSTER / "service.toml", variables("Deployment/fraud-scoring"))


def labels_of(selector: dict[str, Any]) -> dict[str, str]:
    """Return the labels that a selector asks for."""
    found: dict[str, str] = selector.get("matchLabels", selector)
    return found


@pytest.mark.parametrize(
    "document",
    [*objects(), *objects("secrets.example.yaml")],
    ids=lambda one: f"{one['kind']}/{one['metadata']['name']}",
)
def test_it_is_an_object_of_kubernetes(document: dict[str, Any]) -> None:
    """The schema of its kind accepts it, with no field that it does not know."""
    kubernetes_validate.validate(document, VERSION, strict=True)


def test_kustomize_puts_it_together() -> None:
    """`kubectl kustomize` makes the objects, and gives what is mounted the name of what it generates."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed: https://kubernetes.io/docs/tasks/tools/")
    made = subprocess.run([kubectl, "kustomize", str(CLUSTER)], capture_output=True, text=True, check=True)
    built = list(yaml.safe_load_all(made.stdout))
    assert len(built) == len(objects()) + len(kustomization()["configMapGenerator"])
    assert {one["metadata"].get("namespace") for one in built if one["kind"] != "Namespace"} == {"fraud"}
    generated = {one["metadata"]["name"] for one in built if one["kind"] == "ConfigMap"}
    assert all(name in made.stdout.replace(f"  name: {name}", "", 1) for name in generated)


@every_pod
def test_a_pod_may_do_little(pod: dict[str, Any]) -> None:
    """It is nobody, writes to no image, asks Kubernetes nothing and stays what it is; its memory is bounded."""
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for one in spec["containers"]:
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert one["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in one["resources"]["limits"]


@every_pod
def test_what_a_pod_mounts_is_there(pod: dict[str, Any]) -> None:
    """Every volume that a container mounts is one of its pod, and names something that exists."""
    spec = pod["spec"]
    generated = {one["name"] for one in kustomization()["configMapGenerator"]}
    volumes = {one["name"]: one for one in spec.get("volumes", ())}
    for one in spec["containers"]:
        wanted = {mount["name"] for mount in one.get("volumeMounts", ())}
        assert wanted <= volumes.keys() | {"data"}
        assert {source["secretRef"]["name"] for source in one.get("envFrom", ())} <= named("Secret").keys()
    for volume in volumes.values():
        assert volume.get("configMap", {"name": next(iter(generated))})["name"] in generated
        assert volume.get("secret", {"secretName": "fraud-registry"})["secretName"] in named("Secret")
        claim = volume.get("persistentVolumeClaim")
        assert claim is None or claim["claimName"] in named("PersistentVolumeClaim")


@every_pod
def test_every_pod_is_behind_a_policy(pod: dict[str, Any]) -> None:
    """Who may talk to it, and to whom it may, is said of it by name."""
    policies = [labels_of(one["spec"]["podSelector"]) for one in named("NetworkPolicy").values()]
    assert any(wanted and wanted.items() <= pod["metadata"]["labels"].items() for wanted in policies)


@pytest.mark.parametrize("kind", ["Service", "PodDisruptionBudget"])
def test_what_selects_pods_finds_some(kind: str) -> None:
    """No selector is spelt wrong."""
    for name, one in named(kind).items():
        wanted = labels_of(one["spec"]["selector"]).items()
        assert any(wanted <= pod["metadata"]["labels"].items() for pod in PODS.values()), name


MONITORS: Final = [one for one in objects("monitoring.yaml") if one["kind"] == "PodMonitor"]


@pytest.mark.parametrize("monitor", MONITORS, ids=lambda one: str(one["metadata"]["name"]))
def test_prometheus_finds_what_it_looks_for(monitor: dict[str, Any]) -> None:
    """A monitor's labels are some pod's, and its port is one that this pod opens."""
    wanted = labels_of(monitor["spec"]["selector"]).items()
    [pod] = [pod for pod in PODS.values() if wanted <= pod["metadata"]["labels"].items()]
    opened = {port["name"] for one in pod["spec"]["containers"] for port in one["ports"]}
    assert {one["port"] for one in monitor["spec"]["podMetricsEndpoints"]} <= opened


def test_the_service_starts_with_what_it_is_given() -> None:
    """Its settings are settings, name files of its secrets, and let it listen to the cluster."""
    chosen = service_settings()
    refuse_exposure(chosen)
    secrets = {
        volume["name"]: named("Secret")[volume["secret"]["secretName"]]["stringData"]
        for volume in PODS["Deployment/fraud-scoring"]["spec"]["volumes"]
        if "secret" in volume
    }
    there = {
        Path(mount["mountPath"]) / file
        for mount in container("Deployment/fraud-scoring")["volumeMounts"]
        for file in secrets.get(mount["name"], ())
    }
    named_files = {chosen.tls.certificate_path, chosen.tls.key_path, chosen.access.callers_path}
    assert named_files | {Path(variables("Deployment/fraud-scoring")["FRAUD_CA"])} <= there


def test_one_worker_for_each_core() -> None:
    """The cores that are asked for are those that are used."""
    assert container("Deployment/fraud-scoring")["resources"]["requests"]["cpu"] == str(
        service_settings().server.workers
    )


def test_ports_are_those_of_the_settings() -> None:
    """Calls and metrics go where somebody listens."""
    chosen = service_settings()
    ports = {one["name"]: one["containerPort"] for one in container("Deployment/fraud-scoring")["ports"]}
    assert ports == {"grpc": int(chosen.server.listen.rpartition(":")[2]), "metrics": chosen.metrics_port}


def test_the_service_has_time_to_drain() -> None:
    """It is killed only after its pause and its drain would have ended by themselves."""
    pod = PODS["Deployment/fraud-scoring"]["spec"]
    pause_s = float(container("Deployment/fraud-scoring")["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > pause_s + service_settings().server.drain_s + STOP_S


def test_probes_run_what_the_image_has() -> None:
    """A probe that does not exist would restart a healthy service."""
    one = container("Deployment/fraud-scoring")
    commands = [one[f"{probe}Probe"]["exec"]["command"] for probe in ("startup", "liveness", "readiness")]
    assert {tuple(command[:3]) for command in commands} == {("python", "-m", "service.health")}
    assert find_spec("service.health") is not None


def test_nodes_of_the_store_are_where_everybody_looks() -> None:
    """Settings and heartbeat name every node of the set, and no other."""
    one = named("StatefulSet")["aerospike"]
    nodes = {f"aerospike-{index}.{one['spec']['serviceName']}" for index in range(one["spec"]["replicas"])}
    conf = (CLUSTER / "aerospike.conf").read_text(encoding="utf-8")
    seeds = {line.split()[1] for line in conf.splitlines() if "mesh-seed-address-port" in line}
    assert seeds == nodes
    assert {host.partition(":")[0] for host in service_settings().store.aerospike.hosts} == nodes
