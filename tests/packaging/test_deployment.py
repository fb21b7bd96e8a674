"""The compose files: nothing reachable from outside, nothing privileged, nothing unbounded, nothing unpinned."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[2]
OVERLAYS = ("alerts", "gpu", "host", "keys", "local", "scale", "scale.host")
# The services that each file introduces; an overlay's others only change those of another file.
NEW = [
    *(
        ("docker-compose.yml", name)
        for name in ("alertmanager", "api", "dataset", "grafana", "prometheus", "redis", "trainer")
    ),
    *(("compose.scale.yml", name) for name in ("api-2", "postgres", "proxy")),
]
Files = dict[str, dict[str, Any]]


class ComposeLoader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML with the tags by which one compose file takes away or replaces what another has set."""


def _untagged(loader: yaml.SafeLoader, _tag: str, node: yaml.Node) -> Any:
    match node:
        case yaml.SequenceNode():
            return loader.construct_sequence(node, deep=True)
        case yaml.MappingNode():
            return loader.construct_mapping(node, deep=True)
        case _:
            return None


ComposeLoader.add_multi_constructor("!", _untagged)


@pytest.fixture(scope="session")
def compose_files() -> dict[str, dict[str, Any]]:
    """Every compose file by its name, tags left out."""
    paths = [ROOT / "docker-compose.yml", *sorted((ROOT / "deploy").glob("compose.*.yml"))]
    return {path.name: yaml.load(path.read_text(encoding="utf-8"), ComposeLoader) for path in paths}  # noqa: S506  a safe loader


def test_all_services_are_known(compose_files: Files) -> None:
    """The list above is complete: whatever has an image of its own is looked at."""
    introduced = {
        (file, name)
        for file, content in compose_files.items()
        for name, service in content["services"].items()
        if "restart" in service
    }

    assert introduced == set(NEW)
    assert {f"compose.{name}.yml" for name in OVERLAYS} == compose_files.keys() - {"docker-compose.yml"}


@pytest.mark.parametrize(("file", "name"), NEW)
def test_containers_are_hardened(compose_files: Files, file: str, name: str) -> None:
    """Every container has a read-only root, no capabilities, no way to gain any, and logs that do not fill the disk."""
    service = compose_files[file]["services"][name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


@pytest.mark.parametrize(("file", "name"), NEW)
def test_containers_are_bounded(compose_files: Files, file: str, name: str) -> None:
    """No container takes all processors, memory or process ids of the machine."""
    limits = compose_files[file]["services"][name]["deploy"]["resources"]["limits"]

    assert limits.keys() == {"cpus", "memory", "pids"}


@pytest.mark.parametrize(("file", "name"), NEW)
def test_servers_come_back_and_jobs_do_not(compose_files: Files, file: str, name: str) -> None:
    """What serves is started again after a crash; what is run on demand ends with its result."""
    service = compose_files[file]["services"][name]

    assert service["restart"] == ("no" if service.get("profiles") == ["train"] else "unless-stopped")


@pytest.mark.parametrize(("file", "name"), NEW)
def test_images_are_pinned(compose_files: Files, file: str, name: str) -> None:
    """Each image has a tag that names a release, or is built here."""
    image = compose_files[file]["services"][name]["image"]
    default = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", image)

    _, colon, tag = default.rpartition(":")
    assert colon
    assert tag == "dev" if default.startswith("i3rec/") else re.match(r"v?\d+\.\d+", tag)


def test_only_the_service_is_published(compose_files: Files) -> None:
    """By default nothing but the service has a port outside, and with replicas nothing but the proxy."""
    published = {
        file: {name for name, service in content["services"].items() if service.get("ports")}
        for file, content in compose_files.items()
    }

    assert published.pop("docker-compose.yml") == {"api"}
    assert published.pop("compose.scale.yml") == {"proxy"}
    assert published.pop("compose.local.yml") == {"alertmanager", "grafana", "prometheus"}
    assert not any(published.values())


def test_ports_are_published_on_loopback_only(compose_files: Files) -> None:
    """Whoever wants the service on the network says so in an override of their own."""
    ports = [
        port
        for content in compose_files.values()
        for service in content["services"].values()
        for port in service.get("ports", [])
    ]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_cache_is_reached_by_the_service_only(compose_files: Files) -> None:
    """Redis has no password because its network leads nowhere and holds nobody else."""
    services = compose_files["docker-compose.yml"]["services"] | compose_files["compose.scale.yml"]["services"]
    networks = compose_files["docker-compose.yml"]["networks"]

    assert compose_files["docker-compose.yml"]["services"]["redis"]["networks"] == ["cache"]
    assert networks["cache"] == {"internal": True}
    base = compose_files["docker-compose.yml"]["services"]
    assert {name for name, service in {**services, **base}.items() if "cache" in service.get("networks", [])} == {
        "api",
        "api-2",
        "redis",
    }


def test_jobs_have_no_network(compose_files: Files) -> None:
    """The trainer reads and writes volumes, and talks to nobody."""
    services = compose_files["docker-compose.yml"]["services"]

    assert {services[name]["network_mode"] for name in ("dataset", "trainer")} == {"none"}


def test_secrets_are_files(compose_files: Files) -> None:
    """Every secret is a file in one directory that git does not see, and no variable holds a password."""
    for content in compose_files.values():
        for name, secret in content.get("secrets", {}).items():
            assert secret == {"file": f"${{SECRETS:-./deploy/secrets}}/{name}"}
        for service in content["services"].values():
            given = [name for name, value in service.get("environment", {}).items() if value is not None]
            assert not [name for name in given if re.search(r"PASSWORD$|_KEYS$|SECRET$|TOKEN$", name)]
    assert "/deploy/secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_prometheus_scrapes_every_replica(compose_files: Files) -> None:
    """The targets' names and ports are those of the compose files."""
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    further = yaml.safe_load((ROOT / "deploy" / "prometheus" / "targets.scale.yml").read_text(encoding="utf-8"))
    port = compose_files["docker-compose.yml"]["services"]["api"]["environment"]["I3REC_PORT"]
    (mounted,) = compose_files["compose.scale.yml"]["services"]["prometheus"]["volumes"]

    assert jobs["i3rec"]["static_configs"][0]["targets"] == [f"api:{port}"]
    assert further == [{"targets": [f"api-2:{port}"]}]
    assert f"/etc/prometheus/{jobs['i3rec']['file_sd_configs'][0]['files'][0]}" == mounted.split(":")[1]


def test_mounted_files_exist(compose_files: Files) -> None:
    """Docker makes a directory of a file that is missing, and the container then fails for no obvious reason."""
    mounts = [
        volume
        for content in compose_files.values()
        for service in content["services"].values()
        for volume in service.get("volumes", [])
        if volume.startswith("./")
    ]

    assert mounts
    assert not [mount for mount in mounts if not (ROOT / mount.split(":")[0]).exists()]


def test_replicas_are_alike(compose_files: Files) -> None:
    """Both replicas run the same image with the same secrets, volumes and time to finish."""
    base = compose_files["docker-compose.yml"]["services"]["api"]
    first, second = (compose_files["compose.scale.yml"]["services"][name] for name in ("api", "api-2"))

    assert second["secrets"] == first["secrets"]
    assert second["volumes"] == first["volumes"]
    for field in ("image", "stop_grace_period", "deploy"):
        assert second[field] == base[field]
    assert set(second["networks"]) == {*base["networks"], *first["networks"]}


def test_replicas_believe_the_proxy(compose_files: Files) -> None:
    """It stands in the network whose addresses they believe, and else nobody does."""
    scale, host = compose_files["compose.scale.yml"], compose_files["compose.scale.host.yml"]
    (subnet,) = scale["networks"]["front"]["ipam"]["config"]

    assert scale["services"]["proxy"]["networks"] == ["front"]
    for name in ("api", "api-2"):
        assert scale["services"][name]["environment"]["I3REC_TRUSTED_PROXIES"] == subnet["subnet"]
        assert host["services"][name]["environment"]["I3REC_TRUSTED_PROXIES"] == "127.0.0.1"


def test_the_proxy_listens_on_loopback_on_the_hosts_network(compose_files: Files) -> None:
    """There no port is published: what listens on all addresses is reached from outside."""
    within, without = (
        next(volume for volume in compose_files[file]["services"]["proxy"]["volumes"] if "listen" in volume)
        for file in ("compose.scale.yml", "compose.scale.host.yml")
    )
    (port,) = re.findall(r":(\d+)$", compose_files["compose.scale.yml"]["services"]["proxy"]["ports"][0])
    listening = (ROOT / without.split(":")[0]).read_text(encoding="utf-8")

    assert without.split(":")[1:] == within.split(":")[1:]
    assert re.findall(r"^listen (.+);$", listening, re.MULTILINE) == [f"127.0.0.1:{port}"]
