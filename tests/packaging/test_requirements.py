"""The requirements files of the images: complete, pinned, hash-checked, and silent about where packages come from."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "requirements"
FILES = sorted(path.name for path in FOLDER.glob("*.txt"))
PYTHONS = ("3.11", "3.12")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# What each image is to have, and the files that it is installed from.
IMAGES = {
    "service-cpu": (("cpu", "postgres", "trace"), ("service-cpu.txt",)),
    "service-gpu": (("gpu", "postgres", "trace"), ("service-gpu.txt",)),
    "training": (("cpu", "postgres", "train"), ("training.txt", "torch-cpu.txt")),
    "training with CUDA": (("cpu", "postgres", "train"), ("training.txt", "torch-cuda.txt")),
}


def entries(name: str) -> list[str]:
    """The requirements of a file, each with its hashes, comments left out."""
    lines = [
        line for line in (FOLDER / name).read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")
    ]
    return [entry for entry in "\n".join(lines).replace("\\\n", " ").splitlines() if entry.strip()]


def pins(name: str, python: str) -> dict[str, Version]:
    """What a file installs on Linux with a Python.

    Raises:
        ValueError: a requirement is no pin.
    """
    environment = {"python_version": python, "python_full_version": f"{python}.9", "sys_platform": "linux"}
    found: dict[str, Version] = {}
    for entry in entries(name):
        requirement = Requirement(entry.partition("--hash")[0])
        (pin,) = requirement.specifier
        if pin.operator != "==":
            raise ValueError(f"expected a pin, found {requirement}")
        if requirement.marker is None or requirement.marker.evaluate(environment):
            found[canonicalize_name(requirement.name)] = Version(pin.version)
    return found


@pytest.mark.parametrize("name", FILES)
def test_requirements_are_hashed(name: str) -> None:
    """Every entry is one release with at least one hash."""
    assert entries(name)
    for entry in entries(name):
        assert re.match(r"[\w.-]+==[\w.+!]+\s", entry)
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry)


@pytest.mark.parametrize("name", FILES)
def test_requirements_name_no_address(name: str) -> None:
    """Where packages come from is the business of whoever installs."""
    text = "\n".join(entries(name))

    assert "://" not in text
    assert not re.search(
        r"^\s*(-i|-f|--\w*index\w*|--find-links|--extra-index-url|--trusted-host)\b", text, re.MULTILINE
    )


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("image", IMAGES)
def test_requirements_satisfy_the_project(image: str, python: str) -> None:
    """What pyproject.toml asks for is pinned, to a release within its bounds. Otherwise: make requirements."""
    extras, files = IMAGES[image]
    asked = [*PROJECT["project"]["dependencies"]]
    asked += [line for extra in extras for line in PROJECT["project"]["optional-dependencies"][extra]]

    installed = {name: version for file in files for name, version in pins(file, python).items()}

    for requirement in map(Requirement, asked):
        version = installed.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not pinned for {image}"
        assert requirement.specifier.contains(version), f"expected {requirement}, found {version}"


def test_build_requirements_satisfy_the_project() -> None:
    """Our own wheel is built with what [build-system] asks for, and nothing else is asked for in build.in."""
    asked = PROJECT["build-system"]["requires"]
    named = [
        line for line in (FOLDER / "build.in").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]

    assert named == asked
    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(pins("build.txt", "3.11")[canonicalize_name(requirement.name)])


def test_both_torches_are_one_release() -> None:
    """A model trained on a device and one trained without come from the same torch, which pyproject.toml allows."""
    cpu, cuda = (pins(f"torch-{name}.txt", "3.11")["torch"] for name in ("cpu", "cuda"))
    (asked,) = (line for line in PROJECT["project"]["optional-dependencies"]["train"] if line.startswith("torch"))
    named = [
        line for line in (FOLDER / "torch.in").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]

    assert (cpu.public, cpu.local, cuda.local) == (cuda.public, "cpu", None)
    assert named == [asked]


def test_the_trainer_without_cuda_has_none_of_it() -> None:
    """What only torch for devices needs is left out of the image for processors."""
    cuda = {line for line in (FOLDER / "cuda-packages.in").read_text(encoding="utf-8").splitlines() if line[0] != "#"}

    assert cuda <= pins("torch-cuda.txt", "3.11").keys()
    assert not cuda & pins("training.txt", "3.11").keys()


def test_files_agree_on_shared_packages() -> None:
    """The trainer and what its torch needs are one environment: no package has two releases in it."""
    base = pins("training.txt", "3.11")

    assert not [name for name, version in pins("torch-cuda.txt", "3.11").items() if base.get(name, version) != version]
