#!/usr/bin/env python3
"""Holds what the packaging folder says to the schemas of those who will read it. Offline.

    lint.py AGENT        (make lint-packaging, with the Python of the peers)

Kubernetes manifests against the schemas of Kubernetes, strictly; the ECS task definition against
the model of RegisterTaskDefinition in botocore; each action of the IAM policies against the
operations of its service there; the agent's configurations by `AGENT check`. Also what no schema
knows: that the parts fit together. It prints every mistake, and ends with 1 if there is one.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

import botocore.session
import botocore.validate
import kubernetes_validate
import yaml

HERE = pathlib.Path(__file__).parent
MISTAKES = []


def expect(holds, mistake):
    if not holds:
        MISTAKES.append(mistake)


def kubernetes():
    """All objects of the kustomization, by kind."""
    folder = HERE / "kubernetes"
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    used = {"kustomization.yaml", *kustomization["resources"]}
    used.update(file for generator in kustomization["configMapGenerator"] for file in generator["files"])
    there = {path.name for path in folder.iterdir()}
    expect(used == there, f"kustomization.yaml uses {sorted(used)}, the folder has {sorted(there)}")
    objects = {}
    for name in kustomization["resources"]:
        for value in yaml.safe_load_all((folder / name).read_text()):
            try:
                kubernetes_validate.validate(value, kubernetes_validate.latest_version(), strict=True)
            except kubernetes_validate.ValidationError as error:
                expect(False, f"kubernetes/{name}: {'.'.join(map(str, error.path))}: {error.message}")
            except kubernetes_validate.SchemaNotFoundError as error:
                expect(False, f"kubernetes/{name}: Kubernetes knows no {value['kind']}: {error}")
            objects[value["kind"]] = value
    pod_fits(objects, kustomization, yaml.safe_load((folder / "config.yaml").read_text()))


def pod_fits(objects, kustomization, config):
    pod = objects["DaemonSet"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    expect(volumes == mounted, f"volumes {sorted(volumes)} are not what is mounted: {sorted(mounted)}")
    maps = {generator["name"] for generator in kustomization["configMapGenerator"]}
    expect({v["configMap"]["name"] for v in pod["volumes"] if "configMap" in v} == maps, "no such ConfigMap")
    images = {image["name"] for image in kustomization["images"]}
    expect(container["image"] in images, f"kustomization.yaml does not name the image {container['image']}")
    account = objects["ServiceAccount"]["metadata"]["name"]
    expect(pod["serviceAccountName"] == account, f"no account {pod['serviceAccountName']}")
    port = config["status"]["listen"].rpartition(":")[2]
    expect([str(p["containerPort"]) for p in container["ports"]] == [port], f"the agent listens on {port}")
    annotations = objects["DaemonSet"]["spec"]["template"]["metadata"]["annotations"]
    expect(annotations["prometheus.io/port"] == port, "Prometheus asks another port")
    trust = json.loads((HERE / "iam/eks-trust-policy.json").read_text())
    subject = f"system:serviceaccount:{kustomization['namespace']}:{account}"
    conditions = trust["Statement"][0]["Condition"]["StringEquals"].values()
    expect(subject in conditions, f"iam/eks-trust-policy.json does not trust {subject}")


def ecs(session):
    task = json.loads((HERE / "ecs/task-definition.json").read_text())
    shape = session.get_service_model("ecs").operation_model("RegisterTaskDefinition").input_shape
    report = botocore.validate.ParamValidator().validate(task, shape)
    expect(not report.has_errors(), f"ecs/task-definition.json: {report.generate_report()}")
    volumes = {volume["name"] for volume in task["volumes"]}
    names = {container["name"] for container in task["containerDefinitions"]}
    for container in task["containerDefinitions"]:
        for mount in container["mountPoints"]:
            expect(mount["sourceVolume"] in volumes, f"ecs: no volume {mount['sourceVolume']}")
        for other in container.get("dependsOn", []):
            expect(other["containerName"] in names, f"ecs: no container {other['containerName']}")
    return {entry["name"]: entry["value"] for c in task["containerDefinitions"] for entry in c.get("environment", [])}




def iam(session):
    for path in sorted((HERE / "iam").glob("*.json")):
        policy = json.loads(path.read_text())
        expect(policy.keys() == {"Version", "Statement"} and policy["Version"] == "2012-10-17",
               f"{path.name}: {sorted(policy)}")
        for statement in policy["Statement"]:
            trust = path.name.endswith("-trust-policy.json")
            needed = {"Sid", "Effect", "Action", "Principal" if trust else "Resource"}
            expect(statement.keys() - {"Condition"} == needed, f"{path.name}: {sorted(statement)}")
            expect(statement["Effect"] == "Allow", f"{path.name}: {statement['Effect']}")
            expect(re.fullmatch(r"[A-Za-z0-9]+", statement["Sid"]), f"{path.name}: IAM refuses Sid {statement['Sid']}")
            actions = statement["Action"]
            for action in [actions] if isinstance(actions, str) else actions:
                service, _, operation = action.partition(":")
                known = session.get_service_model(service).operation_names
                expect(operation in known, f"{path.name}: there is no action {action}")


def configurations(agent, environment):
    for path in (HERE / "kubernetes/config.yaml", HERE / "ecs/config.yaml"):
        done = subprocess.run([agent, "check", "--config", path], capture_output=True, text=True,
                              env={**os.environ, **environment, "AWS_REGION": "eu-west-1"})
        expect(done.returncode == 0, f"{path.relative_to(HERE)}: {done.stdout}{done.stderr}")


def main():
    session = botocore.session.Session()
    kubernetes()
    environment = ecs(session)
    iam(session)
    configurations(sys.argv[1], environment)
    for mistake in MISTAKES:
        print(f"packaging: {mistake}", file=sys.stderr)
    return 1 if MISTAKES else 0


if __name__ == "__main__":
    sys.exit(main())
