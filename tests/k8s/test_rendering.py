"""What comes out of overlays, components and single bases is valid, and the parts fit each other."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from shared.metrics import CATALOGUE
from shared.settings import variable
from shared.store_settings import StoreSettings
from tests.k8s.manifests import COMPONENTS, K8S, NAME, PART_OF, SETTINGS, Manifests, bases, kustomize, read, render_with
from tests.k8s.test_network import CALLS

VERSIONS = ("1.30", kubernetes_validate.latest_version())
"""The first that sleeps before a stop without being asked for it, and the newest that is known."""
CUSTOM = {"Certificate", "Issuer", "ScaledObject", "ServiceMonitor"}
"""Kinds of other projects: no schema is at hand, so what matters of them is tested here."""


@pytest.mark.parametrize("version", VERSIONS)
def test_objects_are_valid(manifests: Manifests, version: str):
    for each in manifests.objects:
        if each["kind"] not in CUSTOM:
            _validate(json.dumps(each), version)


def test_a_misspelt_field_is_not_valid():
    workload = bases().workloads[0].object
    misspelt = json.dumps(workload).replace('"readinessProbe"', '"readinessProb"')
    with pytest.raises(kubernetes_validate.ValidationError):
        _validate(misspelt, VERSIONS[-1])


@pytest.mark.parametrize("service", SETTINGS)
@pytest.mark.skipif(not kustomize(), reason="neither kustomize nor kubectl is installed")
def test_a_base_is_complete_by_itself(service: str, tmp_path: Path):
    alone = render_with(f"base/{service}", (), tmp_path)
    [workload] = alone.workloads
    assert workload.service == service
    assert workload.variables  # which looks the ConfigMap up by its hashed name
    kinds = {"Service", "ServiceAccount", "NetworkPolicy", "PodDisruptionBudget", "ConfigMap", workload.kind}
    scaled = {"HorizontalPodAutoscaler"} if workload.kind == "Deployment" else set()
    assert {each["kind"] for each in alone.objects} == kinds | scaled


@pytest.mark.parametrize("components", [("gpu",), ("keda",), ("gpu", "keda")], ids="+".join)
@pytest.mark.skipif(not kustomize(), reason="neither kustomize nor kubectl is installed")
def test_components_of_the_ranker_go_with_the_ranker_alone(components: tuple[str, ...], tmp_path: Path):
    assert [each.service for each in render_with("base/ranker", components, tmp_path).workloads] == ["ranker"]


@pytest.mark.skipif(not kustomize(), reason="neither kustomize nor kubectl is installed")
def test_the_order_of_components_does_not_matter(tmp_path: Path):
    orders = (COMPONENTS, COMPONENTS[::-1])
    for number in range(len(orders)):
        (tmp_path / str(number)).mkdir()
    one, other = (
        {(each["kind"], each["metadata"]["name"]): each for each in rendered.objects}
        for number, order in enumerate(orders)
        for rendered in [render_with("overlays/production", order, tmp_path / str(number))]
    )
    assert one == other


def test_all_lies_in_one_namespace_that_enforces_the_restricted_profile(rendered: Manifests):
    [namespace] = rendered.of("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    names = {each["metadata"].get("namespace") for each in rendered.objects if each is not namespace}
    assert names == {namespace["metadata"]["name"]}


def test_budgets_let_one_pod_go_at_a_time(manifests: Manifests):
    for each in manifests.all_workloads:
        spec = manifests.named("PodDisruptionBudget", each.service)["spec"]
        assert spec["selector"]["matchLabels"].items() <= each.labels.items()
        assert spec["maxUnavailable"] == 1


def test_pods_spread_over_zones_and_nodes(manifests: Manifests):
    for each in manifests.all_workloads:
        spread = each.pod["topologySpreadConstraints"]
        assert {one["topologyKey"] for one in spread} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
        assert all(one["labelSelector"]["matchLabels"].items() <= each.labels.items() for one in spread)


def test_what_scales_has_one_autoscaler_and_leaves_the_replicas_to_it(rendered: Manifests):
    scalers = [*rendered.of("HorizontalPodAutoscaler"), *rendered.of("ScaledObject")]
    targets = [each["spec"]["scaleTargetRef"] for each in scalers]
    scaled = [each["name"] for each in targets]
    assert len(scaled) == len(set(scaled))
    kinds = {each.service: each.kind for each in rendered.workloads}
    assert all(target.get("kind", "Deployment") == kinds[target["name"]] for target in targets)
    scalable = {each.service for each in rendered.workloads if each.kind == "Deployment"}
    scalable |= {"profile", "retrieval"} if "redis" in rendered.components else set()
    assert not any("replicas" in each.object["spec"] for each in rendered.workloads if each.service in scalable)
    if rendered.production:
        assert set(scaled) == scalable
    else:
        assert set(scaled) == ({"ranker"} if "keda" in rendered.components else set())


def test_images_are_named_for_their_services_and_production_pins_them(rendered: Manifests):
    for each in rendered.workloads:
        cuda = "-cuda" if each.service == "ranker" and "gpu" in rendered.components else ""
        path, _, tag = each.container["image"].rpartition(":")
        assert path.rpartition("/")[2] == f"homepage-{each.service}{cuda}"
        assert ("/" in path) is rendered.production
        assert (tag == "latest") is not rendered.production


def test_the_gpu_component_asks_for_a_gpu_and_computes_on_it(rendered: Manifests):
    [ranker] = [each for each in rendered.workloads if each.service == "ranker"]
    with_gpu = "gpu" in rendered.components
    assert (ranker.container["resources"]["limits"].get("nvidia.com/gpu") == "1") is with_gpu
    assert ("nvidia.com/gpu" in {each["key"] for each in ranker.pod.get("tolerations", [])}) is with_gpu
    assert ("nvidia.com/gpu.present" in ranker.pod.get("nodeSelector", {})) is with_gpu
    assert (ranker.setting("device") == "cuda") is with_gpu


def test_dev_serves_the_zero_shot_model_and_production_a_registry_it_cannot_write(rendered: Manifests):
    [ranker] = [each for each in rendered.workloads if each.service == "ranker"]
    mounts = {each["mountPath"]: each for each in ranker.container["volumeMounts"]}
    registry = ranker.setting("registry")
    claims = {each["metadata"]["name"] for each in rendered.of("PersistentVolumeClaim")}
    if registry is None:
        assert claims == set()
        return
    mount = mounts[str(registry)]
    [volume] = [each for each in ranker.pod["volumes"] if each["name"] == mount["name"]]
    assert mount["readOnly"] is True
    assert volume["persistentVolumeClaim"]["claimName"] in claims


def test_scraping_finds_the_metrics_port_of_every_service():
    [monitor] = read(K8S / "components/monitoring/service-monitor.yaml")
    [endpoint] = monitor["spec"]["endpoints"]
    wanted = monitor["spec"]["selector"]["matchLabels"]
    services = bases().of("Service")
    assert len(services) == len(SETTINGS)
    for each in services:
        assert wanted.items() <= each["metadata"]["labels"].items()
        assert endpoint["port"] in {port["name"] for port in each["spec"]["ports"]}
        assert each["metadata"]["labels"][monitor["spec"]["jobLabel"]] == each["metadata"]["name"]


def test_the_scaler_asks_for_metrics_of_the_ranker_that_exist():
    [scaled] = read(K8S / "components/keda/scaled-object.yaml")
    [trigger] = scaled["spec"]["triggers"]
    query = trigger["metadata"]["query"]
    metrics = re.findall(r"\b(homepage_\w+)\{", query)
    assert "homepage_ranker_queue_tokens" in metrics
    assert set(metrics) <= {each.name for each in CATALOGUE if each.kind == "gauge"}
    [namespace] = read(K8S / "base/namespace/namespace.yaml")
    assert set(re.findall(r'(\w+)="(\w+)"', query)) == {("namespace", namespace["metadata"]["name"]), ("job", "ranker")}
    assert bases().named("Deployment", scaled["spec"]["scaleTargetRef"]["name"])
    assert float(trigger["metadata"]["threshold"]) > 0
    assert trigger["metadata"]["ignoreNullValues"] == "false"  # or a lack of metrics would scale down


def test_overlays_mean_the_same_number_of_rankers_with_keda_as_without(rendered: Manifests):
    for scaled in rendered.of("ScaledObject"):
        assert scaled["spec"]["minReplicaCount"] == (3 if rendered.production else 1)
        assert scaled["spec"]["fallback"]["replicas"] >= scaled["spec"]["minReplicaCount"]


def test_certificates_name_the_services_and_lie_where_the_settings_say(rendered: Manifests):
    certificates = {each["metadata"]["name"]: each["spec"] for each in rendered.of("Certificate")}
    if "mtls" not in rendered.components:
        assert not certificates
        assert not any("TLS" in name for each in rendered.workloads for name in each.variables)
        return
    issuers = {each["metadata"]["name"]: each["spec"] for each in rendered.of("Issuer")}
    assert certificates["homepage-ca"]["secretName"] == issuers["homepage-ca"]["ca"]["secretName"]
    for each in rendered.all_workloads:
        certificate = certificates[each.service]
        assert each.service in certificate["dnsNames"]
        assert {"server auth", "client auth"} <= set(certificate["usages"])
        assert certificate["issuerRef"]["name"] == "homepage-ca"
        [volume] = [one for one in each.pod["volumes"] if "secret" in one]
        [mount] = [one for one in each.container["volumeMounts"] if one["name"] == volume["name"]]
        assert volume["secret"]["secretName"] == certificate["secretName"]
        assert mount["readOnly"] is True
        if each.service in SETTINGS:
            assert _files(each.variables) == _wanted_files(each.service, mount["mountPath"])
        else:
            [scripts] = [one["configMap"]["name"] for one in each.pod["volumes"] if "configMap" in one]
            data = rendered.named("ConfigMap", scripts)["data"]
            assert all(f"tls={mount['mountPath']}\n" in data[name] for name in ("start.sh", "ping.sh"))


def _files(variables: Any) -> dict[str, str]:
    return {name: value for name, value in variables.items() if "TLS" in name}


def _wanted_files(service: str, folder: str) -> dict[str, str]:
    """Who calls shows the certificate that it answers with."""
    fields = {"tls_certificate": "tls.crt", "tls_key": "tls.key", "tls_client_ca": "ca.crt"}
    if any(caller == service for caller, _ in CALLS):
        fields |= {"upstream_tls_certificate": "tls.crt", "upstream_tls_key": "tls.key", "upstream_tls_ca": "ca.crt"}
    if issubclass(SETTINGS[service], StoreSettings):
        fields |= {"redis_tls_certificate": "tls.crt", "redis_tls_key": "tls.key", "redis_tls_ca": "ca.crt"}
    return {variable(SETTINGS[service], field): f"{folder}/{file}" for field, file in fields.items()}


def test_labels_tell_what_belongs_to_the_homepage(rendered: Manifests):
    for each in rendered.objects:
        if each["kind"] not in {*CUSTOM, "ConfigMap"}:
            assert each["metadata"]["labels"][PART_OF] == "homepage"
    for each in rendered.all_workloads:
        assert each.labels == {NAME: each.service, PART_OF: "homepage"}


@cache
def _validate(text: str, version: str) -> None:
    """Raises ValidationError; each object once, since most are the same in all combinations."""
    kubernetes_validate.validate(json.loads(text), version, strict=True)
