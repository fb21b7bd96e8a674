"""Builds the images, runs the compose files as users do, tries their promises, and takes everything down again.

Needs a Docker engine (``DOCKER_HOST`` is respected) and Compose 2.24 or newer, as the plugin ``docker compose`` or as
the program ``docker-compose``. What cannot be had on this machine is left out, and said: where a pinned image is
neither here nor to be pulled, another tag of it that is here stands in; files whose images are missing are only parsed.

``SMOKE_HOST_NETWORK=1`` serves engines without a bridge network: builds and containers then share the host's network,
and builds find the wheels of the folder ``PIP_FIND_LINKS``. Free ports of 127.0.0.1 are needed: 8000, 3000, 9090, 9093,
8080 (and 6379, 5432, 8897 on the host's network).
"""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from make_secrets import make_secrets
from smoke_checks import Failure, step
from smoke_engine import HOST_NETWORK, WHEELS_PORT, Compose, find_image, has_devices, wheels_for_builds
from smoke_scale import try_replicas
from smoke_single import try_single

BASE = ["docker-compose.yml", "deploy/compose.local.yml"]
SCALE = ["docker-compose.yml", "deploy/compose.scale.yml"]
HOST = ["deploy/compose.host.yml"] if HOST_NETWORK else []
SCALE_HOST = [*HOST, "deploy/compose.scale.host.yml"] if HOST_NETWORK else []
PORTS = (8000, 3000, 9090, 9093, 8080, *((6379, 5432, WHEELS_PORT) if HOST_NETWORK else ()))
# What decides which image a service has; compose files and the Dockerfile take these variables.
VARIABLES = {
    "redis": "REDIS_IMAGE",
    "prometheus": "PROMETHEUS_IMAGE",
    "alertmanager": "ALERTMANAGER_IMAGE",
    "grafana": "GRAFANA_IMAGE",
    "postgres": "POSTGRES_IMAGE",
    "proxy": "NGINX_IMAGE",
}
Report = list[str]


def main() -> int:
    """Tries everything that can be had; returns 0 where all of it held."""
    for port in PORTS:
        if is_taken(port):
            print(f"FAIL: port {port} of 127.0.0.1 is taken by something else", file=sys.stderr)
            return 1
    report: Report = []
    with tempfile.TemporaryDirectory() as folder, wheels_for_builds() as wheels:
        secrets = Path(folder) / "secrets"
        make_secrets(secrets, database_host="127.0.0.1" if HOST_NETWORK else "postgres")
        try:
            held = run({**wheels, "SECRETS": str(secrets), "TAG": "smoke"}, report)
        except subprocess.CalledProcessError as exc:
            held = False
            report.append(f"failed: {exc}")
    print("\n".join(["", "What was which:", *(f"  {line}" for line in report), "PASS" if held else "FAIL"]))
    return 0 if held else 1


def run(environment: dict[str, str], report: Report) -> bool:
    """Parses all files, then runs the single service, then the replicas; whether all of it held."""
    project = f"i3rec-smoke-{os.getpid()}"
    for overlay in ("local", "keys", "alerts", "gpu", "scale", "host"):
        Compose(["docker-compose.yml", f"deploy/compose.{overlay}.yml"], project, environment)("config", "--quiet")
    report.append(
        "parsed: docker-compose.yml alone and with each of deploy/compose.{local,keys,alerts,gpu,scale,host}.yml"
    )
    devices = "there are devices, but this test does not use them" if has_devices() else "there is no NVIDIA device"
    report.append(f"parsed only: deploy/compose.gpu.yml ({devices})")

    images = choose_images(Compose([*SCALE, *SCALE_HOST], project, environment).services(), report)
    environment = {**environment, **{VARIABLES.get(name, "PYTHON_IMAGE"): image for name, image in images.items()}}
    if not {"build", "redis"} <= images.keys():
        report.append("nothing was run: it needs Python's and Redis's images")
        return False
    single = Compose([*BASE, *HOST], project, environment)
    monitors = {"prometheus", "alertmanager", "grafana"} & images.keys()
    if not tried(single, lambda: try_single(single, monitors, report)):
        return False
    if not {"postgres", "proxy"} <= images.keys():
        report.append("parsed only: deploy/compose.scale.yml (see the images above)")
        return True
    scale = Compose([*SCALE, *SCALE_HOST], project, environment)
    return tried(scale, lambda: try_replicas(scale, Path(environment["SECRETS"]), monitors, report))


def choose_images(services: dict[str, Any], report: Report) -> dict[str, str]:
    """The image of each service that can be had; that of ``build`` is what our own images are built on."""
    wanted = {name: service["image"] for name, service in services.items() if name in VARIABLES}
    wanted["build"] = services["api"]["build"]["args"]["PYTHON_IMAGE"]
    found = {name: find_image(image) for name, image in wanted.items()}
    for name, image in wanted.items():
        match found[name]:
            case None:
                report.append(f"not run: {name}, because {image} is neither here nor to be pulled")
            case same if same == image:
                report.append(f"image of {name}: {image}")
            case other:
                report.append(f"image of {name}: {other} of this machine stands in for {image}, which cannot be pulled")
    return {name: image for name, image in found.items() if image is not None}


def tried(compose: Compose, scenario: Callable[[], None]) -> bool:
    """Runs a scenario, shows the logs where it fails, and takes everything down; whether it held."""
    try:
        scenario()
    except (Failure, subprocess.CalledProcessError) as exc:
        print(f"FAIL: {exc}", file=sys.stderr)
        compose("logs", "--tail", "50", check=False)
        return False
    finally:
        step("take it down")
        compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5", check=False)
    return True


def is_taken(port: int) -> bool:
    """Whether something listens already; trying our scenario on a service in use would do harm."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    sys.exit(main())
