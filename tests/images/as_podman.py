"""`kubectl kustomize … | python -m tests.images.as_podman`: the manifests as far as `podman kube play` knows them.

Podman has no Services, so a workload becomes one Pod that is named like its Service, and that name is what podman's
DNS resolves: the addresses in the ConfigMaps stay as they are. StatefulSets lose their claim templates to a claim each,
and volumes are named for their pod, since podman has one room for the names of all. Ports are left out, since it would
publish them on the host, and so is what it ignores or refuses: probes, preStop, topology, autoscalers, budgets, network
policies, volumes of Secrets. A variable that must come from a Secret gets a value made up for this run, the same
wherever that Secret's key is asked for: versions of podman want Secrets in different forms.
"""

import secrets
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import yaml

Object = dict[str, Any]
_IGNORED_OF_PODS = (
    "topologySpreadConstraints",
    "serviceAccountName",
    "automountServiceAccountToken",
    "enableServiceLinks",
)
_IGNORED_OF_CONTAINERS = ("ports", "startupProbe", "readinessProbe", "livenessProbe", "lifecycle")


def as_podman(objects: Iterable[Object]) -> Iterator[Object]:
    """What podman is to play, ConfigMaps first."""
    objects = list(objects)
    for each in objects:
        if each["kind"] == "ConfigMap":
            yield {**each, "metadata": {"name": each["metadata"]["name"]}}
    for each in objects:
        if each["kind"] in ("Deployment", "StatefulSet"):
            yield from _pod(each)


def _pod(workload: Object) -> Iterator[Object]:
    name, template = workload["metadata"]["name"], workload["spec"]["template"]
    spec = {key: value for key, value in template["spec"].items() if key not in _IGNORED_OF_PODS}
    of_secrets = {each["name"] for each in spec["volumes"] if "secret" in each}
    spec["containers"] = [_container(each, name, of_secrets) for each in spec["containers"]]
    kept = [each for each in spec["volumes"] if each["name"] not in of_secrets]
    spec["volumes"] = [{**each, "name": _volume(each["name"], name)} for each in kept]
    for claim in workload["spec"].get("volumeClaimTemplates", []):
        claimed = _volume(claim["metadata"]["name"], name)
        yield {**claim, "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": claimed}}
        spec["volumes"].append({"name": claimed, "persistentVolumeClaim": {"claimName": claimed}})
    yield {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": template["metadata"]["labels"]},
        "spec": spec,
    }


def _container(container: Object, pod: str, left_out: set[str]) -> Object:
    found = {key: value for key, value in container.items() if key not in _IGNORED_OF_CONTAINERS}
    kept = [each for each in container["volumeMounts"] if each["name"] not in left_out]
    mounts = [{**each, "name": _volume(each["name"], pod)} for each in kept]
    if "env" in container:
        found["env"] = [_variable(each) for each in container["env"]]
    return {**found, "volumeMounts": mounts}


def _variable(variable: Object) -> Object:
    asked = variable.get("valueFrom", {}).get("secretKeyRef")
    if asked is None or asked.get("optional"):
        return variable
    return {"name": variable["name"], "value": _made_up(asked["name"], asked["key"])}


@cache
def _made_up(_secret: str, _key: str) -> str:
    return secrets.token_hex()


def _volume(name: str, pod: str) -> str:
    return f"{name}-{pod}"


if __name__ == "__main__":
    yaml.safe_dump_all(as_podman(each for each in yaml.safe_load_all(sys.stdin) if each), sys.stdout)
