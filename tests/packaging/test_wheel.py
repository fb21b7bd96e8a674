"""The distribution: three packages, typed, and nothing else."""

import platform
import shutil
import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"model_store", "service", "training"}
KERNELS = "service/adapters/_kernels.abi3.so"
TRIED = sys.platform == "linux" and platform.machine() == "x86_64"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    """The wheel of the working tree, built from a copy so that earlier builds cannot leak into it."""
    sources = tmp_path_factory.mktemp("sources")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "out"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=sources)
    assert done.returncode == 0, done.stdout + done.stderr
    return zipfile.Path(next((sources / "out").glob("*.whl")))


def modules(directory: Path) -> set[str]:
    """All files of a package that belong into a wheel."""
    return {
        path.relative_to(ROOT).as_posix() for path in directory.rglob("*") if path.suffix in {".py", ".pyi", ".typed"}
    }


def test_wheel_holds_exactly_our_packages(wheel: zipfile.Path) -> None:
    """Tests, tools, benchmarks and deployment never get into an installation."""
    top = {path.name for path in wheel.iterdir()}

    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES
    assert len(top) == len(PACKAGES) + 1


def test_wheel_holds_every_module(wheel: zipfile.Path) -> None:
    """No subpackage is forgotten in the list of pyproject.toml."""
    names = {name for name in wheel.root.namelist() if not name.endswith("/") and ".dist-info/" not in name}

    assert names - {KERNELS} == set.union(*(modules(ROOT / package) for package in PACKAGES))


@pytest.mark.skipif(not shutil.which("cc") or not TRIED, reason="needs a compiler, and a processor it is written for")
def test_wheel_holds_the_kernels_for_every_python(wheel: zipfile.Path) -> None:
    """They are optional, so nothing else would tell that they no longer compile."""
    assert (wheel / KERNELS).is_file()
    assert str(wheel.root.filename).endswith("-cp311-abi3-linux_x86_64.whl")


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_every_package_is_typed(wheel: zipfile.Path, package: str) -> None:
    """Type checkers of others see our annotations."""
    assert (wheel / package / "py.typed").is_file()


def test_wheel_cannot_be_uploaded_by_accident(wheel: zipfile.Path) -> None:
    """Package indexes refuse classifiers that begin with Private; the licence comes along."""
    info = next(path for path in wheel.iterdir() if path.name.endswith(".dist-info"))
    metadata = HeaderParser().parsestr((info / "METADATA").read_text(encoding="utf-8"))

    assert "Private :: Do Not Upload" in metadata.get_all("Classifier", [])
    assert metadata["License-Expression"] == "Apache-2.0"
    assert (info / "licenses" / "LICENSE").is_file()


@pytest.mark.parametrize(
    ("module", "banned"),
    [
        ("service.app", {"torch", "training", "onnx", "scipy", "sklearn", "pyarrow"}),
        ("service.commands", {"torch", "training"}),
        ("model_store", {"torch", "service", "training", "faiss", "onnxruntime", "fastapi", "pydantic", "sqlalchemy"}),
        ("training.__main__", {"service", "fastapi", "sqlalchemy", "redis"}),
    ],
)
def test_importing_leaves_the_other_side_alone(module: str, banned: set[str]) -> None:
    """A fresh process that imports one half has loaded nothing of the other, whatever imports promise statically."""
    code = f"import sys, {module}; print(*sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)

    assert banned.isdisjoint(name.partition(".")[0] for name in done.stdout.split())
