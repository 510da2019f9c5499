"""The manifests as tests read them: as they are written (no tool needed), or rendered by kustomize.

Both give the same: a set of Kubernetes objects. What a base says is complete without rendering, so its tests run
everywhere; overlays and components are patches, which only kustomize can apply.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from services.orchestrator.settings import OrchestratorSettings
from services.profile.settings import ProfileSettings
from services.ranker.settings import RankerSettings
from services.retrieval.settings import RetrievalSettings
from shared.settings import ServiceSettings, load

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"
SETTINGS: Mapping[str, type[ServiceSettings]] = {
    "orchestrator": OrchestratorSettings,
    "profile": ProfileSettings,
    "retrieval": RetrievalSettings,
    "ranker": RankerSettings,
}
COMPONENTS = tuple(sorted(path.name for path in (K8S / "components").iterdir()))
NAME, PART_OF = "app.kubernetes.io/name", "app.kubernetes.io/part-of"

Object = dict[str, Any]

# The one written in C, where there is one, is ten times as fast.
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Manifests:
    """Kubernetes objects that are applied together."""

    objects: tuple[Object, ...]
    components: tuple[str, ...] = ()

    def of(self, kind: str) -> list[Object]:
        """All objects of a kind."""
        return [each for each in self.objects if each["kind"] == kind]

    def named(self, kind: str, name: str) -> Object:
        """The one object of a kind and name."""
        [found] = [each for each in self.of(kind) if each["metadata"]["name"] == name]
        return found

    @property
    def production(self) -> bool:
        """Whether it is the overlay for production, the only one that claims a volume for models."""
        return any(each["metadata"]["name"] == "models" for each in self.of("PersistentVolumeClaim"))

    @cached_property
    def all_workloads(self) -> tuple["Workload", ...]:
        """What runs pods."""
        return tuple(Workload(each, self) for kind in ("Deployment", "StatefulSet") for each in self.of(kind))

    @cached_property
    def workloads(self) -> tuple["Workload", ...]:
        """What runs the pods of the services."""
        return tuple(each for each in self.all_workloads if each.service in SETTINGS)


@dataclass(frozen=True)
class Workload:
    """A Deployment or StatefulSet, and what it is applied with."""

    object: Object
    manifests: Manifests

    @property
    def service(self) -> str:
        """Which of the services it runs, or another program."""
        return str(self.object["metadata"]["name"])

    @property
    def kind(self) -> str:
        return str(self.object["kind"])

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels of its pods."""
        labels: Mapping[str, str] = self.object["spec"]["template"]["metadata"]["labels"]
        return labels

    @property
    def pod(self) -> Object:
        """The pod's spec."""
        spec: Object = self.object["spec"]["template"]["spec"]
        return spec

    @property
    def container(self) -> Object:
        """Its only container."""
        [container] = self.pod["containers"]
        found: Object = container
        return found

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment as far as it stands in the manifests; what comes from Secrets is left out."""
        values: dict[str, str] = {}
        for source in self.container.get("envFrom", []):
            values |= self.manifests.named("ConfigMap", source["configMapRef"]["name"])["data"]
        return values | {each["name"]: each["value"] for each in self.container.get("env", []) if "value" in each}

    @property
    def variable_names(self) -> set[str]:
        """Names of all that is in the environment."""
        return {*self.variables, *(each["name"] for each in self.container.get("env", []))}

    def setting(self, field: str) -> Any:
        """What the service's setting comes out as."""
        return getattr(load(SETTINGS[self.service], self.variables), field)

    def port(self, field: str) -> int:
        """The port of a …listen setting."""
        return int(self.setting(field).rpartition(":")[2])


def read(path: Path) -> list[Object]:
    """The objects of a YAML file."""
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def written(folder: Path) -> Iterator[Object]:
    """What a folder without patches consists of: its files, and the ConfigMaps that it generates, unhashed."""
    [kustomization] = read(folder / "kustomization.yaml")
    assert not {"patches", "components", "replacements", "transformers"} & kustomization.keys(), "that needs rendering"
    for resource in kustomization["resources"]:
        yield from read(folder / resource)
    for generated in kustomization.get("configMapGenerator", []):
        data = dict(literal.split("=", 1) for literal in generated["literals"])
        yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generated["name"]}, "data": data}


def bases() -> Manifests:
    """All bases as they are written."""
    return Manifests(tuple(each for service in SETTINGS for each in written(K8S / "base" / service)))


def kustomize() -> list[str]:
    """The command that renders a folder, or nothing where there is none."""
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    return ["kubectl", "kustomize"] if shutil.which("kubectl") else []


def render(folder: Path) -> tuple[Object, ...]:
    """What `kubectl apply -k` would send."""
    done = subprocess.run([*kustomize(), folder], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # it warns of what is deprecated
    return tuple(each for each in yaml.load_all(done.stdout, _Loader) if each)


def render_with(folder: str, components: Sequence[str], room: Path) -> Manifests:
    """A folder of k8s/ with components, as one would add them to its kustomization; in a copy, in `room`."""
    copy = room / "k8s"
    shutil.copytree(K8S, copy)
    [kustomization] = read(copy / folder / "kustomization.yaml")
    paths = [os.path.relpath(copy / "components" / name, copy / folder) for name in components]
    kustomization["components"] = kustomization.get("components", []) + paths
    (copy / folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return Manifests(render(copy / folder), tuple(components))
