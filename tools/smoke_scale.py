"""The scenario of ``deploy/compose.scale.yml``: two replicas on PostgreSQL behind a proxy, and one of them dies."""

import re
from collections.abc import Callable, Collection
from pathlib import Path

from smoke_checks import call, expect, step, wait_for
from smoke_engine import Compose

PROXY = "http://127.0.0.1:8080"


def try_replicas(compose: Compose, secrets: Path, monitors: Collection[str], report: list[str]) -> None:
    """Writes through the proxy, reads from both replicas, and kills one.

    Raises:
        Failure: a promise was not kept.
        CalledProcessError: a container did not do what it was told.
    """
    key = (secrets / "i3rec_write_keys").read_text(encoding="ascii").strip()
    ask = asker(key)
    step("start PostgreSQL, two replicas and the proxy")
    compose("up", "--detach", "--no-build", "--wait", "api", "api-2", "postgres", "proxy")
    expect("who has no key is refused", lambda: call("GET", "/items", base=PROXY)[0] == 401)
    step("train, through the same trainer")
    compose("--profile", "train", "run", "--rm", "-T", "trainer")
    wait_for("both replicas serve it", lambda: all(ask("GET", "/readyz") == 200 for _ in range(4)))
    step("write through the proxy")
    expect("POST /items is 201", lambda: ask("POST", "/items", {"item_id": "shared"}) == 201)
    wait_for("both replicas have it", lambda: all(ask("GET", "/items/shared") == 200 for _ in range(4)))
    step("collect from PostgreSQL what was written")
    journal = (secrets / "i3rec_journal_url").read_text(encoding="ascii").strip()
    directories = ("--base", "/data/datasets/movielens", "--out", "/data/datasets/next")
    job = ("run", "--rm", "--no-deps", "-T", "trainer")
    compose("--profile", "train", *job, "collect", "--journal", journal, *directories)
    step("kill -9 one replica")
    compose("kill", "--signal", "SIGKILL", "api")
    expect("reads go on", lambda: all(ask("GET", "/items/shared") == 200 for _ in range(4)))
    wait_for("writes go on", lambda: ask("POST", "/items", {"item_id": "alone"}) == 201)
    compose("up", "--detach", "--no-build", "--wait", "api")
    wait_for("the other has caught up", lambda: all(ask("GET", "/items/alone") == 200 for _ in range(4)))
    if "prometheus" in monitors:
        step("start Prometheus")
        compose("up", "--detach", "--no-build", "--no-deps", "--wait", "prometheus")
        wait_for("it finds both replicas", lambda: replicas_up(compose) == 2)
    report.append(f"run: api, api-2, postgres, proxy, redis, trainer (scale files: {PROXY})")


def replicas_up(compose: Compose) -> int:
    """How many replicas Prometheus reaches; asked inside its container, because its port is not published."""
    query = ("query", "instant", "http://127.0.0.1:9090", 'sum(up{job="i3rec"})')
    found = re.search(r"=> (\d+)", compose.output("exec", "-T", "prometheus", "promtool", *query))
    return int(found[1]) if found else 0


def asker(key: str) -> Callable[..., int]:
    """A function that asks the proxy with a key and gives the status."""

    def ask(method: str, path: str, body: object = None) -> int:
        return call(method, path, body, base=PROXY, headers={"Authorization": f"Bearer {key}"})[0]

    return ask
