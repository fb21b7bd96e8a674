"""The scenario of ``docker-compose.yml``: a model comes, items are written, containers die, and nothing is lost."""

from collections.abc import Collection

from smoke_checks import API, Failure, OpenRequest, Writer, call, expect, recommended, step, wait_for
from smoke_engine import Compose

PROMETHEUS = "http://127.0.0.1:9090"
BARE = """
import importlib.util, shutil, service.app
found = [name for name in ("torch", "pip", "setuptools") if importlib.util.find_spec(name)]
found += [name for name in ("pip", "gcc", "cc", "make", "g++") if shutil.which(name)]
assert not found, f"expected no torch and nothing to build with, found {found}"
"""
UNPRIVILEGED = """
import os
assert os.getuid() == 10001, f"runs as {os.getuid()}"
try:
    open("/opt/venv/written", "w")
except OSError:
    pass
else:
    raise SystemExit("the root file system can be written")
"""
GENRES = [0.0, 0.0, 1.0, 1.0, 1.0, *[0.0] * 13]  # Animation, Children's, Comedy


def try_single(compose: Compose, monitors: Collection[str], report: list[str]) -> None:
    """All of it, in the order of a first day.

    Raises:
        Failure: a promise was not kept.
        CalledProcessError: a container did not do what it was told.
    """
    start_without_a_model(compose)
    train(compose)
    post_and_recommend()
    drain(compose)
    die_while_writing(compose)
    live_without_redis(compose)
    go_back(compose)
    watch(compose, monitors)
    report.append(f"run: api, redis, dataset, trainer, {', '.join(sorted(monitors))} (host and local files: {API})")


def start_without_a_model(compose: Compose) -> None:
    """The service's image is bare, and the service alive, unprivileged and not ready."""
    step("build the images of service and trainer")
    compose("--profile", "train", "build", "--quiet")
    step("no torch and no build tools in the service's")
    compose("run", "--rm", "--no-deps", "-T", "api", "python", "-c", BARE)
    step("start without a model: alive, unprivileged, not ready")
    compose("up", "--detach", "--no-build", "--wait", "api")
    compose("exec", "-T", "api", "python", "-c", UNPRIVILEGED)
    expect("/readyz is 503", lambda: call("GET", "/readyz")[0] == 503)


def train(compose: Compose) -> None:
    """The trainer publishes a model, and the running service takes it."""
    step("docker compose --profile train run --rm trainer")
    compose("--profile", "train", "run", "--rm", "-T", "trainer")
    wait_for("the running service takes the model: /readyz is 200", lambda: call("GET", "/readyz")[0] == 200)
    expect("a user of MovieLens gets 20 films", lambda: len(recommended("471")) == 20)


def post_and_recommend() -> None:
    """An incomplete item is taken and shown."""
    step("add an item that has genres, and no text and no release")
    item = {"item_id": "smoke-1", "title": "A short", "modalities": {"genres": GENRES}}
    expect("POST /items is 201", lambda: call("POST", "/items", item)[0] == 201)
    expect("somebody unknown gets it among popular films", lambda: "smoke-1" in recommended("somebody"))


def drain(compose: Compose) -> None:
    """Who is being served at ``docker stop`` gets an answer."""
    step("docker stop while a request is open")
    request = OpenRequest({"item_id": "drained", "title": "Half of it came before the signal"})
    stopping = compose.start("stop", "api")
    wait_for("nobody new is served", lambda: call("GET", "/livez")[0] == 0)
    expect("the open request is answered with 201", lambda: request.finish() == 201)
    expect("the container stops by itself", lambda: stopping.wait() == 0)
    restart(compose)
    expect("what it wrote is there", lambda: call("GET", "/items/drained")[0] == 200)


def die_while_writing(compose: Compose) -> None:
    """``kill -9`` in the middle of writing loses nothing that was acknowledged."""
    step("kill -9 while a client writes")
    with Writer() as writer:
        wait_for("it has written 50 items", lambda: len(writer.acknowledged) >= 50)
        compose("kill", "--signal", "SIGKILL", "api")
    restart(compose)
    expect(f"all {len(writer.acknowledged)} acknowledged items are there", lambda: not writer.lost())
    expect("so is the first one", lambda: call("GET", "/items/smoke-1")[0] == 200)


def live_without_redis(compose: Compose) -> None:
    """The cache is only a cache."""
    step("take Redis away")
    compose("stop", "--timeout", "1", "redis")
    expect("lists go on", lambda: len(recommended("471")) == 20)
    expect("a new item is taken", lambda: call("POST", "/items", {"item_id": "smoke-2"})[0] == 201)
    compose("start", "redis")


def go_back(compose: Compose) -> None:
    """A copy of the journal, made while it runs, can be put back."""
    step("back up, write, restore")
    compose("exec", "-T", "api", "python", "-m", "service", "backup", "/data/backups/smoke.db")
    expect("a further item is taken", lambda: call("POST", "/items", {"item_id": "after-the-backup"})[0] == 201)
    compose("stop", "api")
    arguments = ("python", "-m", "service", "restore", "/data/backups/smoke.db", "--replace")
    compose("run", "--rm", "--no-deps", "-T", "api", *arguments)
    restart(compose)
    expect("what was copied is there", lambda: call("GET", "/items/smoke-2")[0] == 200)
    expect("what came later is not", lambda: call("GET", "/items/after-the-backup")[0] == 404)


def watch(compose: Compose, monitors: Collection[str]) -> None:
    """What watches the service finds it."""
    if not monitors:
        return
    step(f"start {', '.join(sorted(monitors))}")
    compose("up", "--detach", "--no-build", "--no-deps", "--wait", *sorted(monitors))
    if "prometheus" in monitors:
        wait_for("Prometheus finds the service", lambda: target_health("i3rec") == ["up"])
        expect("its rules are loaded", lambda: rule_groups() > 0)
    if "alertmanager" in monitors:
        wait_for("Alertmanager is ready", lambda: call("GET", "/-/ready", base="http://127.0.0.1:9093")[0] == 200)
    if "grafana" in monitors:
        wait_for("Grafana is healthy", lambda: call("GET", "/api/health", base="http://127.0.0.1:3000")[0] == 200)
        expect(
            "it has dashboards", lambda: bool(call("GET", "/api/search?type=dash-db", base="http://127.0.0.1:3000")[1])
        )


def restart(compose: Compose) -> None:
    """Starts the service again and waits until it serves."""
    compose("up", "--detach", "--no-build", "--wait", "api")
    wait_for("/readyz is 200", lambda: call("GET", "/readyz")[0] == 200)


def target_health(job: str) -> list[str]:
    """What Prometheus says of each target of a job."""
    _, answer = call("GET", "/api/v1/targets", base=PROMETHEUS)
    targets = answer["data"]["activeTargets"] if isinstance(answer, dict) else []
    return [target["health"] for target in targets if target["labels"]["job"] == job]


def rule_groups() -> int:
    """How many groups of rules Prometheus has loaded."""
    status, answer = call("GET", "/api/v1/rules", base=PROMETHEUS)
    if status != 200:
        raise Failure(f"GET /api/v1/rules: {status} {answer}")
    return len(answer["data"]["groups"])
