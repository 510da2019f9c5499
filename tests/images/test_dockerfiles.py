"""What images are built from agrees with the settings, the manifests and pyproject.toml; building them is `./run`."""

import re
import tomllib
from pathlib import Path

import pytest

from shared.settings import load, variable
from tests.images.as_podman import as_podman
from tests.k8s.manifests import K8S, SETTINGS, bases, kustomize, render

ROOT = Path(__file__).resolve().parents[2]
STAGES = 3


def dockerfile(service: str) -> str:
    return (ROOT / "Dockerfiles" / f"{service}.Dockerfile").read_text().replace("\\\n", " ")


@pytest.mark.parametrize("service", SETTINGS)
def test_an_image_runs_its_service_as_the_user_of_the_manifests(service: str) -> None:
    text = dockerfile(service)
    [workload] = [each for each in bases().workloads if each.service == service]
    context = workload.pod["securityContext"]
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == [f"{context['runAsUser']}:{context['runAsGroup']}"]
    assert re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE) == [f'["python", "-m", "services.{service}"]']
    assert len(re.findall(r"^FROM \$\{BASE\}", text, re.MULTILINE)) == STAGES


@pytest.mark.parametrize("service", SETTINGS)
def test_an_images_variables_and_ports_are_the_manifests(service: str) -> None:
    text = dockerfile(service)
    kind = SETTINGS[service]
    variables = dict(re.findall(r"(HOMEPAGE_\w+)=(\S+)", text.partition("ENV PATH")[2]))
    assert variables.keys() <= {variable(kind, field) for field in kind.model_fields}
    load(kind, variables)
    [workload] = [each for each in bases().workloads if each.service == service]
    assert variables.items() <= workload.variables.items()
    [exposed] = re.findall(r"^EXPOSE (.*)$", text, re.MULTILINE)
    assert [int(port) for port in exposed.split()] == [
        workload.port(field) for field in ("listen", "admin_listen", "metrics_listen")
    ]


@pytest.mark.parametrize("service", SETTINGS)
def test_an_image_installs_the_extra_of_its_service_alone(service: str) -> None:
    assert re.findall(r"requirements\.py (\w+)", dockerfile(service)) == [service]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert any(each.startswith("torch") for each in extras[service]) is (service == "ranker")


@pytest.mark.skipif(not kustomize(), reason="neither kustomize nor kubectl is installed")
def test_what_podman_plays_keeps_settings_users_and_volumes_of_the_manifests() -> None:
    rendered = render(K8S / "overlays" / "dev")
    played = list(as_podman(rendered))
    pods = {each["metadata"]["name"]: each["spec"] for each in played if each["kind"] == "Pod"}
    assert sorted(pods) == sorted(SETTINGS)
    configs = {each["metadata"]["name"] for each in played if each["kind"] == "ConfigMap"}
    claims = {each["metadata"]["name"] for each in played if each["kind"] == "PersistentVolumeClaim"}
    assert claims == {"data-profile", "data-retrieval"}
    for spec in pods.values():
        [container] = spec["containers"]
        assert container["envFrom"][0]["configMapRef"]["name"] in configs
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        mounted = {each["name"] for each in container["volumeMounts"]}
        assert mounted == {each["name"] for each in spec["volumes"]}
