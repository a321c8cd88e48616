"""The job scripts of docs/scaling.md: shells and parsers take them, and so does the command."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer
import yaml

import cli.featcache

PAGE = (Path(__file__).parents[1] / "docs" / "scaling.md").read_text("utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


def test_the_scripts_of_slurm_are_bash():
    scripts = blocks("bash")
    assert len(scripts) == 2
    for script in scripts:
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
        assert "#SBATCH" in script


def test_the_manifest_of_kubernetes():
    (text,) = blocks("yaml")
    job = yaml.safe_load(text)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    program, command, *rest = shlex.split(spec["entrypoint"])
    assert program == "featcache"
    app = typer.main.get_command(cli.featcache.app)
    given = app.commands[command].make_context(command, rest, resilient_parsing=True).params
    assert (given["engine"], given["address"]) == ("ray", "auto")
    cluster = spec["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        claims = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= claims
            assert container["image"]
    workers = cluster["workerGroupSpecs"][0]
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    # The head makes no shards: it holds the lock and the plan.
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_the_manifest_by_the_schema_of_kuberay():
    file = os.environ.get("FEATCACHE_KUBERAY")
    if not file:
        pytest.skip("FEATCACHE_KUBERAY names no ray.io_rayjobs.yaml of KubeRay's chart")
    jsonschema = pytest.importorskip("jsonschema")
    versions = yaml.load(Path(file).read_text("utf-8"), yaml.CSafeLoader)["spec"]["versions"]
    (schema,) = (v["schema"]["openAPIV3Schema"] for v in versions if v["name"] == "v1")
    schema["properties"]["metadata"] = {"type": "object"}  # Kubernetes checks it by itself
    validator = jsonschema.Draft202012Validator(_strict(schema))
    (text,) = blocks("yaml")
    job = yaml.safe_load(text)
    assert not [error.message for error in validator.iter_errors(job)]
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replica"] = 1
    assert len(list(validator.iter_errors(job))) == 1


def _strict(schema):
    """Refuse names that a schema does not know, as Kubernetes does."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {name: _strict(part) for name, part in schema.items()}
    if strict.get("x-kubernetes-int-or-string"):
        strict.pop("type", None)
    open_ended = strict.get("x-kubernetes-preserve-unknown-fields")
    if "properties" in strict and not open_ended:
        strict.setdefault("additionalProperties", False)
    return strict
