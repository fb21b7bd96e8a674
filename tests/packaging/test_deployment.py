"""The compose file: nothing reachable from outside, nothing privileged, no stray settings."""

from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES = sorted(COMPOSE["services"])


@pytest.mark.parametrize("name", SERVICES)
def test_containers_are_hardened(name: str) -> None:
    """Every container has a read-only root, no capabilities and no way to gain any, and comes back after a crash."""
    service = COMPOSE["services"][name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    """Whoever wants the service on the network says so in an override of their own."""
    assert all(port.startswith("127.0.0.1:") for port in COMPOSE["services"][name].get("ports", []))


def test_redis_is_not_published() -> None:
    """The cache has no password because only the compose network reaches it."""
    assert "ports" not in COMPOSE["services"]["redis"]


def test_prometheus_scrapes_the_service() -> None:
    """The target's name and port are those of the compose file."""
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}

    assert targets["i3rec"] == [f"api:{COMPOSE['services']['api']['environment']['I3REC_PORT']}"]


def test_no_build_needs_a_frontend_download() -> None:
    """The Dockerfile builds with the builder at hand, offline but for its base image and packages."""
    assert "syntax=" not in (ROOT / "Dockerfile").read_text(encoding="utf-8")
