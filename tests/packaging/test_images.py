"""The Dockerfile: pinned bases, hash-checked packages, nobody's privileges, labels."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
STAGES = {
    match["name"]: match["body"]
    for match in re.finditer(
        r"^FROM \S+ AS (?P<name>\S+)\n(?P<body>.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL
    )
}
IMAGES = ("service-cpu", "service-gpu", "training")


def test_no_build_needs_a_frontend_download() -> None:
    """The Dockerfile builds with the builder at hand, offline but for its base image and packages."""
    assert "syntax=" not in DOCKERFILE


def test_bases_are_pinned() -> None:
    """Both base images are named by a release, in a variable that can name another registry's copy."""
    bases = dict(re.findall(r"^ARG (\w+_IMAGE)=(\S+)$", DOCKERFILE, re.MULTILINE))

    assert bases.keys() == {"PYTHON_IMAGE", "CUDA_IMAGE"}
    assert all(re.search(r":\d+\.\d+\.\d+-", image) for image in bases.values())


def test_every_package_is_hash_checked() -> None:
    """No pip command takes a package that no requirements file knows the hash of."""
    commands = re.findall(r"pip\b[^&\n]*? (?:install|download) [^&\n]*", DOCKERFILE)
    ours = [command for command in commands if "--no-index" in command]

    assert len(ours) == 1
    assert all("--require-hashes" in command and "--no-deps" in command for command in commands if command not in ours)
    assert not re.search(r"pip\b[^&\n]* wheel (?!.*--no-build-isolation)", DOCKERFILE)


@pytest.mark.parametrize("name", IMAGES)
def test_images_say_what_they_are(name: str) -> None:
    """Each image has the labels of the Open Container Initiative, with our version as a default."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', STAGES[name]))

    assert labels.keys() == {"title", "description", "licenses", "version", "revision"}
    assert labels["title"] == f"i3rec-{name}"
    assert f"ARG VERSION={version}" in STAGES[name]


@pytest.mark.parametrize("name", ["runtime", "service-gpu"])
def test_images_run_unprivileged(name: str) -> None:
    """The last user of an image is the same nobody in particular everywhere."""
    assert re.findall(r"^USER (\S+)", STAGES[name], re.MULTILINE) == ["10001:10001"]


@pytest.mark.parametrize("name", ["service-cpu", "service-gpu"])
def test_services_say_whether_they_live(name: str) -> None:
    """An orchestrator restarts what is dead, not what waits for its first model."""
    assert "/livez" in STAGES[name]
    assert "HEALTHCHECK" in STAGES[name]


def test_context_holds_only_what_is_built_from() -> None:
    """Everything is left out of the build context but what the Dockerfile copies."""
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = {
        source.split("/")[0]
        for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
        for source in sources.split()
    }

    assert "*" in ignored
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == copied


@pytest.mark.parametrize("name", ["runtime", "cuda-runtime"])
def test_nothing_reports_to_others(name: str) -> None:
    """ONNX Runtime would tell its maker of every session."""
    assert "ORT_DISABLE_TELEMETRY=1" in STAGES[name]
