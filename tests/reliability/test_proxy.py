"""The proxy as it is deployed, before the real process: it tells who asks, and shows not everything to everybody."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

DIRECTORY = Path(__file__).parents[2] / "deploy" / "proxy"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
INVENTED = [{"X-Forwarded-For": f"203.0.113.{n}", "X-API-Key": f"invented-key-{n:04}"} for n in range(3)]
StartProxy = Callable[[str], str]


def configured(directory: Path, replica: str, port: int) -> Path:
    """The proxy's configuration, with the names and paths of its containers replaced."""
    listen = directory / "listen.conf"
    listen.write_text((DIRECTORY / "listen.host.conf").read_text("utf-8").replace(":8080", f":{port}"))
    text = (DIRECTORY / "nginx.conf").read_text("utf-8").replace("/tmp/", f"{directory}/")  # noqa: S108 - not ours
    text = text.replace("/etc/nginx/listen.conf", str(listen))
    for name in ("api:8000", "api-2:8000"):
        text = text.replace(f"server {name}", f"server {replica}")
    user = (
        "user root;\n" if os.geteuid() == 0 else ""
    )  # else it gives up what it may, and the test's directory is closed
    config = directory / "nginx.conf"
    config.write_text(user + text)
    return config


@pytest.fixture
def start_proxy(tmp_path: Path) -> Iterator[StartProxy]:
    """Starts the proxy before a service at a URL; gives host and port of its own."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    started: list[subprocess.Popen[bytes]] = []

    def start(url: str) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        config = configured(tmp_path, url.removeprefix("http://"), port)
        started.append(subprocess.Popen([NGINX, "-e", "stderr", "-c", config, "-g", "daemon off;"]))
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return f"127.0.0.1:{port}"
            time.sleep(0.05)
        raise AssertionError("nginx does not listen")

    yield start
    for process in started:
        process.terminate()
        process.wait(30)


def ask(address: str, path: str, headers: Mapping[str, str] = {}, source: str = "127.0.0.1") -> tuple[int, bytes]:
    """Status and body of an answer to someone at another address of this machine."""
    connection = HTTPConnection(address, timeout=30, source_address=(source, 0))
    connection.putrequest("GET", path)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    with connection.getresponse() as answer:
        found = answer.status, answer.read()
    connection.close()
    return found


def test_metrics_are_for_insiders(start_service: Any, start_proxy: StartProxy) -> None:
    """However their path is written; all else is passed on."""
    service = start_service()
    address = start_proxy(service.url)
    paths = ["/metrics", "/metrics?a=b", "/%6Detrics", "//metrics", "/./metrics", "/x/../metrics", "/metrics/"]

    answers = [ask(address, path) for path in paths]

    assert [status for status, _ in answers] == [404] * len(paths)
    assert not [body for _, body in answers if b"i3rec_" in body]
    assert ask(address, "/recommend/u0")[0] == 200
    assert ask(service.url.removeprefix("http://"), "/metrics")[0] == 200


def test_callers_behind_the_proxy_are_told_apart(start_service: Any, start_proxy: StartProxy) -> None:
    """Each has an allowance, whatever it claims to be."""
    service = start_service(trusted_proxies="127.0.0.1", rate_per_s=0.001, rate_burst=2)
    address = start_proxy(service.url)

    one = [ask(address, "/recommend/u0", each, source="127.0.0.7")[0] for each in INVENTED]
    other = [ask(address, "/recommend/u0", source="127.0.0.8")[0] for _ in range(3)]

    assert one == other == [200, 200, 429]


def test_nobody_is_believed_unasked(start_service: Any) -> None:
    """Without a proxy that is trusted, callers are where they are, on this machine as well."""
    service = start_service(rate_per_s=0.001, rate_burst=2)

    statuses = [ask(service.url.removeprefix("http://"), "/recommend/u0", each)[0] for each in INVENTED]

    assert statuses == [200, 200, 429]
