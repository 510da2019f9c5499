"""How pods run: restricted, probed, with time to end, and with settings that the services know."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared import server
from shared.health import LIVENESS, READINESS
from shared.redis_server import objections
from shared.settings import load, variable
from shared.store_settings import StoreSettings
from tests.k8s.manifests import COMPONENTS, K8S, SETTINGS, Manifests, bases
from tests.k8s.restricted import violations

DNS_CACHE_S = 30
"""How long CoreDNS may keep an answer by default."""
MODEL_LOAD_S = 8.0
"""The ranker's start with the packaged model on one core, measured."""


def test_every_service_runs_once(manifests: Manifests):
    others = ["redis"] if "redis" in manifests.components else []
    assert sorted(each.service for each in manifests.all_workloads) == sorted([*SETTINGS, *others])


def test_pods_meet_the_restricted_profile_and_more(manifests: Manifests):
    found = {each.service: violations(each.pod) for each in manifests.all_workloads}
    assert not any(found.values()), found


@pytest.mark.parametrize(
    ("weaken", "named"),
    [
        (lambda pod: pod.update(hostNetwork=True), "hostNetwork"),
        (lambda pod: pod.update(automountServiceAccountToken=True), "token of the service account"),
        (lambda pod: pod.update(initContainers=[{"name": "x"}]), "containers that are not looked at here"),
        (lambda pod: pod["volumes"].append({"name": "host", "hostPath": {"path": "/"}}), "volume host"),
        (lambda pod: pod["securityContext"].pop("runAsNonRoot"), "runAsNonRoot"),
        (lambda pod: pod["securityContext"].update(runAsUser=0), "runAsUser"),
        (lambda pod: pod["securityContext"].pop("seccompProfile"), "seccompProfile"),
        (
            lambda pod: pod["containers"][0]["securityContext"].pop("allowPrivilegeEscalation"),
            "allowPrivilegeEscalation",
        ),
        (lambda pod: pod["containers"][0]["securityContext"].update(privileged=True), "privileged"),
        (lambda pod: pod["containers"][0]["securityContext"]["capabilities"].update(add=["SYS_ADMIN"]), "capabilities"),
        (lambda pod: pod["containers"][0]["securityContext"].pop("readOnlyRootFilesystem"), "readOnlyRootFilesystem"),
        (lambda pod: pod["containers"][0]["ports"].append({"hostPort": 1}), "hostPort"),
    ],
)
def test_a_pod_that_is_less_than_restricted_is_found_out(weaken: Callable[[dict[str, Any]], object], named: str):
    pod = copy.deepcopy(bases().workloads[0].pod)
    weaken(pod)
    assert named in violations(pod)


def test_a_read_only_root_leaves_tmp_writable(manifests: Manifests):
    for each in manifests.all_workloads:
        [mount] = [mount for mount in each.container["volumeMounts"] if mount["mountPath"] == "/tmp"]  # noqa: S108
        [volume] = [volume for volume in each.pod["volumes"] if volume["name"] == mount["name"]]
        assert "emptyDir" in volume


def test_pods_have_an_account_of_their_own_without_a_token(manifests: Manifests):
    for each in manifests.all_workloads:
        account = manifests.named("ServiceAccount", each.pod["serviceAccountName"])
        assert each.pod["serviceAccountName"] == each.service
        assert account["automountServiceAccountToken"] is False


def test_probes_ask_the_admin_port_by_names_that_health_knows(manifests: Manifests):
    for each in manifests.workloads:
        names = {"startupProbe": READINESS, "readinessProbe": READINESS, "livenessProbe": LIVENESS}
        for probe, name in names.items():
            if probe == "livenessProbe" and each.service == "ranker" and each.setting("device") == "cuda":
                name = READINESS  # noqa: PLW2901  # a GPU that has failed for good comes back with a new process only
                assert each.container[probe]["failureThreshold"] * each.container[probe]["periodSeconds"] >= 300
            assert each.container[probe]["grpc"] == {"port": each.port("admin_listen"), "service": name}
            assert each.container[probe]["timeoutSeconds"] <= each.container[probe]["periodSeconds"]


def test_the_ranker_may_take_many_times_as_long_to_load_as_it_does(manifests: Manifests):
    [ranker] = [each for each in manifests.workloads if each.service == "ranker"]
    probe = ranker.container["startupProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] >= 20 * MODEL_LOAD_S


def test_the_termination_grace_outlasts_pre_stop_and_drain(manifests: Manifests):
    for each in manifests.workloads:
        pre_stop = each.container["lifecycle"]["preStop"]["sleep"]["seconds"]
        grace_s = each.setting("grace_s")
        calls_s = each.setting("drain_delay_s") + grace_s + server._CANCELLED_CALLS_S
        # The service's own stop: the ranker's queue has the grace once more, the others need less.
        rest_s = grace_s + server._LAST_SPANS_S
        assert pre_stop > 0
        assert each.setting("drain_delay_s") > 0
        assert each.pod["terminationGracePeriodSeconds"] > pre_stop + calls_s + rest_s


def test_a_rollout_waits_until_callers_know_the_new_pod(manifests: Manifests):
    for each in manifests.workloads:
        if each.kind == "Deployment" or each.setting("store") == "redis":
            assert each.object["spec"]["minReadySeconds"] >= DNS_CACHE_S


def test_variables_are_settings_of_the_service_with_values_it_takes(manifests: Manifests):
    for each in manifests.workloads:
        kind = SETTINGS[each.service]
        own = {name for name in each.variable_names if name.startswith("HOMEPAGE_")}
        assert own <= {variable(kind, field) for field in kind.model_fields}
        assert each.variable_names - own <= {"LD_LIBRARY_PATH"}
        load(kind, each.variables)


def test_services_listen_on_all_addresses_and_name_their_ports(manifests: Manifests):
    for each in manifests.workloads:
        fields = {"grpc": "listen", "admin": "admin_listen", "metrics": "metrics_listen"}
        named = {port["name"]: port["containerPort"] for port in each.container["ports"]}
        assert named == {name: each.port(field) for name, field in fields.items()}
        for field in fields.values():
            default = SETTINGS[each.service].model_fields[field].default
            assert each.setting(field) == default.replace("127.0.0.1", "0.0.0.0")  # noqa: S104


def test_every_pod_has_requests_and_limits(manifests: Manifests):
    for each in manifests.all_workloads:
        resources = each.container["resources"]
        assert {"cpu", "memory"} <= resources["requests"].keys()
        assert {"cpu", "memory"} <= resources["limits"].keys()


def test_a_service_with_a_file_is_one_pod_that_keeps_its_volume_and_with_redis_it_scales(manifests: Manifests):
    """Its file has one writer; see k8s/base/profile/statefulset.yaml."""
    scaled = {each["spec"]["scaleTargetRef"]["name"] for each in manifests.of("HorizontalPodAutoscaler")}
    for each in manifests.workloads:
        if not issubclass(SETTINGS[each.service], StoreSettings):
            assert each.kind == "Deployment"
            continue
        assert each.kind == "StatefulSet"
        spec = each.object["spec"]
        assert (each.setting("store") == "redis") is ("redis" in manifests.components)
        if each.setting("store") == "redis":
            assert not {"replicas", "volumeClaimTemplates"} & spec.keys()
            assert not any("persistentVolumeClaim" in volume for volume in each.pod["volumes"])
            assert each.service in scaled or not manifests.production
            continue
        assert spec["replicas"] == 1
        assert each.service not in scaled
        [claim] = spec["volumeClaimTemplates"]
        [mount] = [one for one in each.container["volumeMounts"] if one["name"] == claim["metadata"]["name"]]
        assert Path(each.variables[variable(SETTINGS[each.service], "database")]).parent == Path(mount["mountPath"])


def test_redis_keeps_what_it_acknowledges_on_a_volume_and_asks_for_a_password(rendered: Manifests):
    if "redis" not in rendered.components:
        assert not any("REDIS_PASSWORD" in name for each in rendered.workloads for name in each.variable_names)
        return
    [redis] = [each for each in rendered.all_workloads if each.service == "redis"]
    [claim] = redis.object["spec"]["volumeClaimTemplates"]
    volumes = {each["name"]: each for each in redis.pod["volumes"]}
    mounts = {each["name"]: each["mountPath"] for each in redis.container["volumeMounts"]}
    files = rendered.named("ConfigMap", volumes["redis"]["configMap"]["name"])["data"]
    config = dict(line.split(" ", 1) for line in files["redis.conf"].splitlines() if line and not line.startswith("#"))
    assert config["dir"] == mounts[claim["metadata"]["name"]]
    info = {"redis_version": "7.0.0", "maxmemory_policy": config["maxmemory-policy"]}
    assert objections(info, config, must_be_durable=True) == []
    limit = redis.container["resources"]["limits"]["memory"]
    assert int(limit.removesuffix("Gi")) >= 2 * int(config["maxmemory"].removesuffix("gb"))
    probes = ("startupProbe", "readinessProbe", "livenessProbe")
    for script in (redis.container["command"][1], *(redis.container[each]["exec"]["command"][1] for each in probes)):
        assert str(Path(script).parent) == mounts["redis"]
        assert Path(script).name in files
    [password] = [each["valueFrom"]["secretKeyRef"] for each in redis.container["env"]]
    assert not password.get("optional", False)
    for each in rendered.workloads:
        name = variable(SETTINGS[each.service], "redis_password")
        asked = [one["valueFrom"]["secretKeyRef"] for one in each.container.get("env", []) if one["name"] == name]
        assert asked == ([password] if issubclass(SETTINGS[each.service], StoreSettings) else [])


def test_secrets_that_replicas_share_are_required_where_there_are_replicas(rendered: Manifests):
    [orchestrator] = [each for each in rendered.workloads if each.service == "orchestrator"]
    name = variable(SETTINGS["orchestrator"], "token_keys")
    [keys] = [each["valueFrom"]["secretKeyRef"] for each in orchestrator.container["env"] if each["name"] == name]
    replicated = any(each["metadata"]["name"] == "orchestrator" for each in rendered.of("HorizontalPodAutoscaler"))
    assert replicated is not keys.get("optional", False)


def test_variables_written_anywhere_are_settings():
    """Without rendering: what overlays and components patch in too."""
    known = {variable(kind, field) for kind in SETTINGS.values() for field in kind.model_fields}
    files = list(K8S.rglob("*.yaml"))
    assert {path.parent.name for path in files} >= {*COMPONENTS, *SETTINGS, "dev", "production"}
    for path in files:
        for text in _texts(list(yaml.safe_load_all(path.read_text()))):
            name = text.split("=", 1)[0]
            assert not name.startswith("HOMEPAGE_") or name in known, f"{path}: {name}"


def _texts(node: object) -> list[str]:
    """All texts of a document; patches that stand in it as a text are read too."""
    if isinstance(node, dict):
        return [text for value in node.values() for text in _texts(value)]
    if isinstance(node, list):
        return [text for value in node for text in _texts(value)]
    if isinstance(node, str) and "\n" in node:
        return _texts(list(yaml.safe_load_all(node)))
    return [node] if isinstance(node, str) else []
