"""The Helm chart: rendered by Helm's own engine, checked against Kubernetes' schemas, of the same shape as compose.

Both come with two large packages that ``make check-chart`` installs; without them what needs them is skipped.
"""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "i3rec"
MISSING = "is not installed: make check-chart"
OLDEST, NEWEST = "1.25", "1.37"
SINGLE: dict[str, Any] = {"allowWithoutKeys": True}
MANY: dict[str, Any] = {
    "secretName": "i3rec-secrets",
    "journal": {"kind": "postgresql"},
    "replicas": 3,
    "store": {"accessModes": ["ReadWriteMany"]},
    "settings": {"log_level": "DEBUG", "max_k": 50},
}
EVERYTHING: dict[str, Any] = {
    **MANY,
    "autoscaling": {"enabled": True},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "trainer": {"enabled": True, "datasetClaim": "films"},
    "networkPolicy": {
        "monitoring": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "database": [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
        "egress": [{"ports": [{"port": 6380}]}],
    },
}
KEPT: dict[str, Any] = {
    "secretName": "2026",
    "journal": {"kind": "sqlite", "storageClass": "-"},
    "store": {"storageClass": "-"},
    "networkPolicy": {"clients": [], "monitoring": []},
    "serviceMonitor": {"enabled": True},
}
SHAPES = {"single": SINGLE, "many": MANY, "everything": EVERYTHING, "kept to itself": KEPT}
REFUSED = {
    "neither keys nor consent": {},
    "replicas on SQLite": {**SINGLE, "replicas": 2},
    "scaling on SQLite": {**SINGLE, "autoscaling": {"enabled": True}},
    "PostgreSQL without a Secret": {**MANY, "secretName": "", "allowWithoutKeys": True},
    "replicas on a volume of one node": {**MANY, "store": {"accessModes": ["ReadWriteOnce"]}},
    "a password among the settings": {**SINGLE, "settings": {"journal_url": "postgresql+psycopg://a:b@c/d"}},
    "a value that nobody reads": {**SINGLE, "replica": 2},
    "no release": {**SINGLE, "image": {"tag": "latest"}},
    "a trainer without data": {**SINGLE, "trainer": {"enabled": True}},
    "a port that no probe asks": {**SINGLE, "settings": {"port": 9000}},
    "an address that no probe asks": {**SINGLE, "settings": {"host": "127.0.0.1"}},
    "a store that is no volume": {**SINGLE, "settings": {"model_store": "/data/other"}},
    "consent among the settings": {**KEPT, "settings": {"allow_public": True}},
    "two caches": {**SINGLE, "settings": {"redis_url": "redis://cache:6379/0"}},
    "an end before open requests are answered": {**SINGLE, "settings": {"shutdown_timeout_s": 25}},
    "the same of the default": {**SINGLE, "terminationGracePeriodSeconds": 15},
    "more replicas at least than at most": {**MANY, "autoscaling": {"enabled": True, "minReplicas": 7}},
}
TAKEN = {
    "a cache of one's own": {**SINGLE, "redis": {"enabled": False}, "settings": {"redis_url": "redis://cache:6379/0"}},
    "just time enough": {**SINGLE, "settings": {"shutdown_timeout_s": 24}},
    "no time for open requests": {**SINGLE, "terminationGracePeriodSeconds": 16, "settings": {"shutdown_timeout_s": 0}},
    "as many replicas at least as at most": {**MANY, "autoscaling": {"enabled": True, "minReplicas": 6}},
    "bounds of a scaling that is off": {**SINGLE, "autoscaling": {"minReplicas": 7}},
    "settings taken away": {**SINGLE, "settings": None},
}
Objects = dict[tuple[str, str], dict[str, Any]]


def texts(values: Mapping[str, Any], release: str = "shop") -> dict[str, str]:
    """What Helm makes of the templates, by their paths."""
    helm = pytest.importorskip("helm_python", reason=f"Helm's engine {MISSING}")
    with helm.Chart.load(str(CHART)) as chart:
        chart.validate_schema(dict(values))
        rendered: dict[str, str] = chart.render(dict(values), name=release, namespace="films")
    return rendered


def render(values: Mapping[str, Any], release: str = "shop") -> Objects:
    """What Helm would install: every object by kind and name."""
    documents = [text for name, text in texts(values, release).items() if name.endswith(".yaml")]
    objects = [found for text in documents for found in yaml.safe_load_all(text) if found]
    return {(found["kind"], found["metadata"]["name"]): found for found in objects}


def pods(objects: Objects) -> dict[str, dict[str, Any]]:
    """The pod templates among the objects, by the name of their owner."""
    found = {}
    for (kind, name), each in objects.items():
        if kind in {"Deployment", "StatefulSet"}:
            found[name] = each["spec"]["template"]
        elif kind == "CronJob":
            found[name] = each["spec"]["jobTemplate"]["spec"]["template"]
    return found


def variables(values: Mapping[str, Any]) -> dict[str, str]:
    """The environment of the service, in which no name comes twice."""
    (container,) = pods(render(values))["shop-i3rec"]["spec"]["containers"]
    found = [(variable["name"], variable["value"]) for variable in container["env"]]
    assert len(dict(found)) == len(found)
    return dict(found)


def secret_volume(values: Mapping[str, Any]) -> dict[str, Any]:
    """The volume of secrets of the service."""
    volumes = pods(render(values))["shop-i3rec"]["spec"]["volumes"]
    (found,) = (volume["secret"] for volume in volumes if "secret" in volume)
    return dict(found)


def claims(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What is asked for of volumes, the store's and the journal's."""
    objects = render(values)
    (journal,) = objects["StatefulSet", "shop-i3rec"]["spec"]["volumeClaimTemplates"]
    return {"store": objects["PersistentVolumeClaim", "shop-i3rec-store"]["spec"], "journal": journal["spec"]}


def test_chart_is_of_the_project() -> None:
    """The application's version is the project's, and the cache is the one of the compose file."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))

    assert chart["appVersion"] == project["version"]
    assert values["redis"]["image"] in (ROOT / "docker-compose.yml").read_text(encoding="utf-8")


def test_schema_knows_every_value() -> None:
    """Whatever values.yaml has is in the schema, which refuses everything else."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))

    assert schema["properties"].keys() - {"global"} == values.keys()
    assert schema["additionalProperties"] is False


def test_chart_passes_lint() -> None:
    """Helm's own lint has no error and no warning."""
    helm = pytest.importorskip("helm_python", reason=f"Helm's engine {MISSING}")

    found = helm.lint(str(CHART), values=SINGLE)

    assert not found["errors"]
    assert [message["error"] for message in found["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("shape", SHAPES)
def test_objects_are_valid(shape: str, version: str) -> None:
    """Kubernetes knows every field of every object, in the oldest version that the chart admits and in a new one."""
    schemas = pytest.importorskip("kubernetes_validate", reason=f"kubernetes-validate {MISSING}")

    for (kind, _), each in render(SHAPES[shape]).items():
        if kind != "ServiceMonitor":  # Prometheus Operator's, in no schema of Kubernetes
            schemas.validate(each, version, strict=True)


@pytest.mark.parametrize("values", REFUSED.values(), ids=REFUSED.keys())
def test_what_would_go_wrong_is_refused(values: dict[str, Any]) -> None:
    """Values that would lose writes, open the service or do nothing are refused before anything is installed."""
    helm = pytest.importorskip("helm_python", reason=f"Helm's engine {MISSING}")

    with pytest.raises(helm.HelmError):
        render(values)


@pytest.mark.parametrize("values", TAKEN.values(), ids=TAKEN.keys())
def test_what_would_go_well_is_not_refused(values: dict[str, Any]) -> None:
    """What is just inside the bounds of the above is rendered."""
    assert render(values)


@pytest.mark.parametrize(
    ("given", "read"),
    [(4194304, "4194304"), (1000000, "1000000"), (0, "0"), (-1, "-1"), (0.5, "0.5"), (True, "true"), ("text", "text")],
)
def test_settings_arrive_as_they_were_given(given: object, read: str) -> None:
    """Helm takes every number for a float, and would write a million as 1e+06."""
    assert variables({**SINGLE, "settings": {"max_body_bytes": given}})["I3REC_MAX_BODY_BYTES"] == read


def test_checkpoints_are_kept_on_postgresql() -> None:
    """In the store's volume unless another place is named; on SQLite they lie beside the journal by themselves."""
    elsewhere = {**MANY, "settings": {"checkpoints": "/data/journal/checkpoints"}}

    assert variables(MANY)["I3REC_CHECKPOINTS"] == "/data/store/checkpoints"
    assert variables(elsewhere)["I3REC_CHECKPOINTS"] == "/data/journal/checkpoints"
    assert "I3REC_CHECKPOINTS" not in variables(SINGLE)


def test_sqlite_takes_no_address_of_postgresql_from_the_secret() -> None:
    """A file counts before a variable, so of a Secret with all that `make secrets` makes only some keys are taken."""
    single, many = secret_volume({"secretName": "i3rec"}), secret_volume(MANY)

    names = {"i3rec_read_keys", "i3rec_write_keys", "i3rec_admin_keys", "i3rec_redis_url", "i3rec_trace_endpoint"}
    assert {item["key"] for item in single["items"]} == {item["path"] for item in single["items"]} == names
    assert single["optional"] is True  # else a pod would wait for the key that is not there
    assert "items" not in many
    assert "optional" not in many
    assert single["defaultMode"] == many["defaultMode"] == 0o440


@pytest.mark.parametrize(
    "policy",
    [{"clients": []}, {"clients": None}, {"clients": [], "monitoring": None}, {"clients": None, "monitoring": None}],
)
def test_nobody_is_let_in_where_nobody_is_named(policy: dict[str, Any]) -> None:
    """To Kubernetes a rule that names nobody means everybody."""
    found = render({**SINGLE, "networkPolicy": policy})["NetworkPolicy", "shop-i3rec"]["spec"]

    assert found["ingress"] == []
    assert "Ingress" in found["policyTypes"]


def test_whoever_is_named_is_let_in() -> None:
    """Callers and what scrapes are one list, and either will do."""
    peer = {"podSelector": {"matchLabels": {"app": "shop"}}}

    for policy in ({"clients": [peer]}, {"clients": [], "monitoring": [peer]}, {"clients": None, "monitoring": [peer]}):
        (rule,) = render({**SINGLE, "networkPolicy": policy})["NetworkPolicy", "shop-i3rec"]["spec"]["ingress"]
        assert rule["from"] == [peer]


@pytest.mark.parametrize("release", ["a" * 53, "i3rec" + "a" * 48, "a" * 43 + "-" + "b" * 9])
def test_names_of_long_releases_fit(release: str) -> None:
    """A CronJob's name may have 52 characters, others 63; Helm takes releases of up to 53."""
    names = list(render(EVERYTHING, release))

    assert all(len(name) <= (52 if kind == "CronJob" else 63) for kind, name in names)
    assert not any("--" in name for _, name in names)
    assert len({name for kind, name in names if kind == "NetworkPolicy"}) == 3


def test_names_that_look_like_numbers_stay_names() -> None:
    """Names of digits alone are names to Kubernetes, and numbers to YAML."""
    numbered = {**EVERYTHING, "secretName": "2026", "store": {"existingClaim": "1"}}
    found = pods(render({**numbered, "trainer": {"enabled": True, "datasetClaim": "2"}}, "10"))

    volumes = [volume for pod in found.values() for volume in pod["spec"]["volumes"]]
    claimed = [volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume]
    assert sorted(claimed) == ["1", "1", "2"]
    assert [volume["secret"]["secretName"] for volume in volumes if "secret" in volume] == ["2026"]
    assert {pod["metadata"]["labels"]["app.kubernetes.io/instance"] for pod in found.values()} == {"10"}


@pytest.mark.parametrize(
    ("given", "asked"), [("", {}), (None, {}), ("-", {"storageClassName": ""}), ("7", {"storageClassName": "7"})]
)
def test_storage_classes_are_those_of_other_charts(given: str | None, asked: dict[str, str]) -> None:
    """Nothing is the cluster's default, "-" is no class at all, and the rest is a name."""
    found = claims({**SINGLE, "journal": {"kind": "sqlite", "storageClass": given}, "store": {"storageClass": given}})

    for claim in found.values():
        assert {name: value for name, value in claim.items() if name == "storageClassName"} == asked


def test_notes_say_who_may_scrape() -> None:
    """A monitor whose Prometheus is kept out by the policy is no error: it may be among the callers."""

    def warned(values: Mapping[str, Any]) -> bool:
        return "networkPolicy.monitoring is empty" in texts(values)["i3rec/templates/NOTES.txt"]

    watched = {**SINGLE, "serviceMonitor": {"enabled": True}}
    assert warned(watched)
    assert warned({**watched, "networkPolicy": {"monitoring": None}})
    assert not warned({**watched, "networkPolicy": {"enabled": False}})
    assert not warned(EVERYTHING)
    assert not warned(SINGLE)


def test_one_replica_keeps_its_journal() -> None:
    """On SQLite there is one pod, a volume of its own, and nothing that would start a second."""
    objects = render(SINGLE)

    api = objects["StatefulSet", "shop-i3rec"]["spec"]
    assert api["replicas"] == 1
    assert [claim["metadata"]["name"] for claim in api["volumeClaimTemplates"]] == ["journal"]
    assert not {kind for kind, _ in objects} & {"HorizontalPodAutoscaler", "PodDisruptionBudget"}


def test_many_replicas_share_postgresql() -> None:
    """On PostgreSQL the address comes from the Secret, no pod has a journal, and drains leave replicas serving."""
    objects = render(MANY)

    pod = objects["Deployment", "shop-i3rec"]["spec"]["template"]["spec"]
    names = {variable["name"] for variable in pod["containers"][0]["env"]}
    assert "I3REC_JOURNAL_URL" not in names
    assert {"I3REC_LOG_LEVEL", "I3REC_MAX_K"} <= names
    assert [volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume] == ["i3rec-secrets"]
    assert objects["PodDisruptionBudget", "shop-i3rec"]["spec"]["maxUnavailable"] == 1


def test_the_autoscaler_owns_the_number_of_replicas() -> None:
    """With an autoscaler an upgrade does not set the replicas back."""
    objects = render(EVERYTHING)

    target = objects["HorizontalPodAutoscaler", "shop-i3rec"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", "shop-i3rec")
    assert "replicas" not in objects["Deployment", "shop-i3rec"]["spec"]


def test_pods_are_hardened() -> None:
    """As in compose: no root, no capabilities, a read-only root file system, limits, and no token of the cluster."""
    found = pods(render(EVERYTHING))

    assert found.keys() == {"shop-i3rec", "shop-i3rec-redis", "shop-i3rec-trainer"}
    for pod in (each["spec"] for each in found.values()):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]


def test_probes_ask_what_they_should() -> None:
    """A pod without a model is not restarted, only left out; it gets no variables from Services of the same name."""
    pod = pods(render(SINGLE))["shop-i3rec"]["spec"]
    (container,) = pod["containers"]

    paths = {
        probe: container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert paths == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    assert pod["enableServiceLinks"] is False


def test_every_selector_finds_its_pods() -> None:
    """Services, policies, budgets and monitors select labels that pods, or for a monitor Services, have."""
    objects = render(EVERYTHING)
    labelled = [pod["metadata"]["labels"] for pod in pods(objects).values()]
    services = [each["metadata"]["labels"] for (kind, _), each in objects.items() if kind == "Service"]

    selected = {
        key: spec.get("podSelector", spec.get("selector"))
        for key, each in objects.items()
        if key[0] in {"Service", "NetworkPolicy", "PodDisruptionBudget", "ServiceMonitor"}
        for spec in [each["spec"]]
    }

    assert len(selected) == 7
    for (kind, name), selector in selected.items():
        labels = selector.get("matchLabels", selector)
        among = services if kind == "ServiceMonitor" else labelled
        assert sum(labels.items() <= each.items() for each in among) == 1, f"{kind} {name}"


def test_the_monitor_names_the_job_as_rules_and_dashboards_do() -> None:
    """Whatever the release is called; by itself Prometheus Operator calls the job after the Service."""
    objects = render(EVERYTHING)

    label = objects["ServiceMonitor", "shop-i3rec"]["spec"]["jobLabel"]

    assert objects["Service", "shop-i3rec"]["metadata"]["labels"][label] == "i3rec"


def test_only_the_service_reaches_redis() -> None:
    """Redis and the trainer may call nobody, and Redis is called by the service alone."""
    objects = render(EVERYTHING)

    redis = objects["NetworkPolicy", "shop-i3rec-redis"]["spec"]
    trainer = objects["NetworkPolicy", "shop-i3rec-trainer"]["spec"]
    (peer,) = redis["ingress"][0]["from"]
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "api"
    assert not redis.get("egress")
    assert trainer["policyTypes"] == ["Ingress", "Egress"]
    assert not trainer.get("egress")
    assert not trainer.get("ingress")
