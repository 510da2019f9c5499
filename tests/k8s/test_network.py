"""Who may call whom is who calls whom."""

import re
from typing import Any

import pytest

from shared.settings import variable
from shared.store_settings import StoreSettings
from tests.k8s.manifests import NAME, PART_OF, ROOT, SETTINGS, Manifests, Workload

FRONT_DOOR = "orchestrator"
ANYBODY = "any pod of the cluster"


def _calls() -> set[tuple[str, str]]:
    """(caller, called) as the code has it: whoever makes a stub calls the service that adds that servicer."""
    sources = {
        folder.name: "\n".join(path.read_text() for path in folder.glob("*.py"))
        for folder in (ROOT / "services").iterdir()
        if folder.is_dir()
    }
    answers = {
        rpc: name for name, text in sources.items() for rpc in re.findall(r"\badd_(\w+)Servicer_to_server\(", text)
    }
    return {
        (name, answers[rpc])
        for name, text in sources.items()
        for rpc in re.findall(r"_pb2_grpc\.(\w+)Stub\(", text)
        if rpc in answers
    }


CALLS = _calls()
REDIS_PORT = 6379


def calls(manifests: Manifests) -> set[tuple[str, str]]:
    """With those to Redis, where there is one."""
    stores = {name for name, kind in SETTINGS.items() if issubclass(kind, StoreSettings)}
    return CALLS | {(name, "redis") for name in stores if "redis" in manifests.components}


def test_the_calls_of_the_code_are_found():
    assert {called for _, called in CALLS} == set(SETTINGS)
    assert {("orchestrator", "ranker"), ("retrieval", "profile"), ("cli", "orchestrator")} <= CALLS


@pytest.mark.parametrize("service", SETTINGS)
def test_a_service_has_an_address_for_each_service_it_calls(service: str):
    addressed = {name.removesuffix("_address") for name in SETTINGS[service].model_fields if name.endswith("_address")}
    assert addressed == {called for caller, called in CALLS if caller == service}


def test_addresses_lead_to_headless_services_of_that_name_and_port(manifests: Manifests):
    ports = {each.service: each.port("listen") for each in manifests.workloads}
    for each in manifests.workloads:
        for called in (called for caller, called in CALLS if caller == each.service):
            address = each.variables[variable(SETTINGS[each.service], f"{called}_address")]
            assert address == f"dns:///{called}:{ports[called]}"
        service = manifests.named("Service", each.service)["spec"]
        assert service["clusterIP"] == "None"
        assert service["selector"].items() <= each.labels.items()
        wanted = {("grpc", ports[each.service], "grpc"), ("metrics", each.port("metrics_listen"), "metrics")}
        assert {(port["name"], port["port"], port["targetPort"]) for port in service["ports"]} == wanted


def test_redis_is_found_by_its_name_and_port(manifests: Manifests):
    if "redis" not in manifests.components:
        return
    service = manifests.named("Service", "redis")["spec"]
    [port] = service["ports"]
    [redis] = [each for each in manifests.all_workloads if each.service == "redis"]
    [container_port] = redis.container["ports"]
    assert service["selector"].items() <= redis.labels.items()
    assert (port["port"], port["targetPort"]) == (REDIS_PORT, container_port["name"])
    assert container_port["containerPort"] == REDIS_PORT
    for caller in (caller for caller, called in calls(manifests) if called == "redis"):
        [workload] = [each for each in manifests.workloads if each.service == caller]
        assert workload.setting("redis_url") == f"redis://redis:{REDIS_PORT}/0"


def test_every_pod_is_under_a_policy_of_both_directions(manifests: Manifests):
    for each in manifests.all_workloads:
        spec = manifests.named("NetworkPolicy", each.service)["spec"]
        assert spec["podSelector"]["matchLabels"].items() <= each.labels.items()
        assert set(spec["policyTypes"]) == {"Ingress", "Egress"}


def test_policies_admit_exactly_the_calls_of_the_code(manifests: Manifests):
    admitted = {call for each in manifests.all_workloads for call in _admitted(each)}
    assert admitted == {call for call in calls(manifests) if call[1] != FRONT_DOOR} | {(ANYBODY, FRONT_DOOR)}


def test_policies_let_out_exactly_the_calls_of_the_code(manifests: Manifests):
    ports = {each.service: _port(each) for each in manifests.all_workloads}
    let_out = {call for each in manifests.all_workloads for call in _let_out(each, ports)}
    assert let_out == {call for call in calls(manifests) if call[0] in SETTINGS}


def test_only_who_calls_by_name_may_ask_dns(manifests: Manifests):
    callers = {caller for caller, _ in calls(manifests)}
    for each in manifests.all_workloads:
        rules = [rule for rule in _policy(each)["egress"] if 53 in _ports(rule)]
        assert len(rules) == (1 if each.service in callers else 0)
        for rule in rules:
            assert sorted((port["protocol"], port["port"]) for port in rule["ports"]) == [("TCP", 53), ("UDP", 53)]
            peer, cache = rule["to"]
            assert cache == {"ipBlock": {"cidr": "169.254.20.10/32"}}
            assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "kube-system"}
            assert peer["podSelector"]["matchLabels"] == {"k8s-app": "kube-dns"}


def test_nothing_else_is_admitted_but_scraping_where_there_is_monitoring(rendered: Manifests):
    known = {each.service for each in rendered.all_workloads}
    others = [each for each in rendered.of("NetworkPolicy") if each["metadata"]["name"] not in known]
    if "monitoring" not in rendered.components:
        assert others == []
        return
    [policy] = others
    spec = policy["spec"]
    assert spec["policyTypes"] == ["Ingress"]
    assert all(spec["podSelector"]["matchLabels"].items() <= each.labels.items() for each in rendered.all_workloads)
    [rule] = spec["ingress"]
    assert _ports(rule) == ["metrics"]
    [peer] = rule["from"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
    assert peer["podSelector"]["matchLabels"] == {NAME: "prometheus"}


def _policy(workload: Workload) -> dict[str, Any]:
    spec: dict[str, Any] = workload.manifests.named("NetworkPolicy", workload.service)["spec"]
    return spec


def _admitted(workload: Workload) -> set[tuple[str, str]]:
    found = set()
    for rule in _policy(workload)["ingress"]:
        assert _ports(rule) == [_port(workload)]
        found |= {(_peer(peer), workload.service) for peer in rule["from"]}
    return found


def _let_out(workload: Workload, ports: dict[str, int]) -> set[tuple[str, str]]:
    found = set()
    for rule in _policy(workload)["egress"]:
        if 53 in _ports(rule):
            continue
        [peer] = rule["to"]
        called = _peer(peer)
        assert _ports(rule) == [ports[called]]
        found.add((workload.service, called))
    return found


def _port(workload: Workload) -> int:
    """Where it is called."""
    return REDIS_PORT if workload.service == "redis" else workload.port("listen")


def _peer(peer: dict[str, Any]) -> str:
    if peer == {"namespaceSelector": {}}:
        return ANYBODY
    assert peer.keys() == {"podSelector"}, "who is meant is said by labels, within the namespace"
    labels = peer["podSelector"]["matchLabels"]
    assert labels.keys() == {NAME, PART_OF}
    assert labels[PART_OF] == "homepage"
    return str(labels[NAME])


def _ports(rule: dict[str, Any]) -> list[object]:
    return [port["port"] for port in rule["ports"]]
