"""The chart as Helm renders it, and what can be read from that."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.places import CHART

HELM = Path(sys.executable).with_name("helm")
NAMESPACE = "prod"
RELEASE = "shop"
VERSIONS = ("1.30", "1.33", "1.37")
"""Of Kubernetes: the oldest that the chart takes, one between, the newest whose schemas there are."""

Manifest = dict[str, Any]


class Refused(Exception):
    """Helm's words."""


def helm(*words: str, values: dict[str, Any], folder: Path) -> str:
    """What Helm prints. Raises Refused."""
    file = folder / "values.json"
    file.write_text(json.dumps(values))
    # an empty home, because what this user has set up for Helm is no part of the chart
    homes = {f"HELM_{name}_HOME": str(folder / name) for name in ("CACHE", "CONFIG", "DATA")}
    command = [str(HELM), *words, f"--values={file}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=homes)
    if done.returncode != 0:
        raise Refused(done.stdout + done.stderr)
    return done.stdout


def rendered(values: dict[str, Any], folder: Path, *, version: str = VERSIONS[0]) -> list[Manifest]:
    """The manifests for a set of values. Raises Refused."""
    words = ("template", RELEASE, str(CHART), f"--namespace={NAMESPACE}", f"--kube-version={version}")
    documents = yaml.safe_load_all(helm(*words, values=values, folder=folder))
    return [document for document in documents if document is not None]


def one(manifests: list[Manifest], kind: str) -> Manifest:
    """The only manifest of a kind."""
    (found,) = (manifest for manifest in manifests if manifest["kind"] == kind)
    return found


def pod(manifests: list[Manifest]) -> dict[str, Any]:
    spec: dict[str, Any] = one(manifests, "Deployment")["spec"]["template"]["spec"]
    return spec


def container(manifests: list[Manifest]) -> dict[str, Any]:
    (only,) = pod(manifests)["containers"]
    found: dict[str, Any] = only
    return found


def option(manifests: list[Manifest], name: str) -> str:
    """The value of an option among the container's arguments."""
    (word,) = (word for word in container(manifests)["args"] if word.startswith(f"--{name}="))
    return str(word.partition("=")[2])


def variables(manifests: list[Manifest], secrets: dict[str, dict[str, str]]) -> dict[str, str]:
    """The container's environment, with the values of secrets. Raises KeyError for one that is not given."""
    found = {}
    for each in container(manifests).get("env", []):
        if "value" in each:
            found[each["name"]] = each["value"]
        else:
            reference = each["valueFrom"]["secretKeyRef"]
            found[each["name"]] = secrets[reference["name"]][reference["key"]]
    return found


def lay_out(manifests: list[Manifest], secrets: dict[str, dict[str, str]]) -> None:
    """Write the files of secrets where the container finds them. Raises KeyError for one that is not given."""
    volumes = {volume["name"]: volume for volume in pod(manifests)["volumes"]}
    for mount in container(manifests)["volumeMounts"]:
        source = volumes[mount["name"]].get("secret")
        if source is None:
            continue
        folder = Path(mount["mountPath"])
        folder.mkdir(parents=True)
        for item in source["items"]:
            (folder / item["path"]).write_text(secrets[source["secretName"]][item["key"]])


def selected_labels(manifests: list[Manifest]) -> Iterator[tuple[str, dict[str, str]]]:
    """Kinds that choose pods, with the labels by which they do."""
    for manifest in manifests:
        spec = manifest.get("spec", {})
        match manifest["kind"]:
            case "Service":
                yield "Service", spec["selector"]
            case "Deployment" | "PodDisruptionBudget":
                yield manifest["kind"], spec["selector"]["matchLabels"]
            case "NetworkPolicy":
                yield "NetworkPolicy", spec["podSelector"]["matchLabels"]
