"""The documents: links lead somewhere, commands exist, settings are real, examples run."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from model_store import Manifest
from model_store.manifest import FIXED_FILES
from service.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BUNDLE_FORMAT = ROOT / "docs" / "bundle-format.md"
GOLDEN = ROOT / "tests" / "data" / "bundle_v1"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text_of(path: Path) -> str:
    """A file as text."""
    return path.read_text(encoding="utf-8")


def prose_of(path: Path) -> str:
    """A document without its code blocks."""
    return FENCE.sub("", text_of(path))


def blocks_of(path: Path, *languages: str) -> list[str]:
    """A document's code blocks in some languages."""
    return [code for language, code in FENCE.findall(text_of(path)) if language in languages]


def anchors_of(path: Path) -> set[str]:
    """The fragments a document's headings can be reached by."""
    headings = re.findall(r"^#+ (.+)$", prose_of(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def relative_links(path: Path) -> Iterator[tuple[Path, str]]:
    """The files a document links to, with the fragment or an empty string."""
    for link in re.findall(r"\]\(([^)\s]+)\)", prose_of(path)):
        if not re.match(r"[a-z]+:", link):
            target, _, fragment = link.partition("#")
            yield (path.parent / target if target else path), fragment


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(path: Path) -> None:
    """Every relative link names a file that exists, and a heading in it where it has a fragment."""
    for target, fragment in relative_links(path):
        assert target.exists(), f"{path.name} links to {target}"
        assert not fragment or fragment in anchors_of(target), f"{path.name} links to #{fragment} of {target.name}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_make_targets_exist(path: Path) -> None:
    """Every ``make`` command a document names is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    code = [*re.findall(r"`([^`\n]+)`", prose_of(path)), *blocks_of(path, "sh", "bash", "console", "")]

    named = {name for text in code for name in re.findall(r"^(?:\$ )?make ([a-z][a-z-]*)", text, re.MULTILINE)}

    assert named <= targets


def test_make_targets_are_documented() -> None:
    """Every target has its line in ``make help``, and every phony target is one."""
    makefile = text_of(ROOT / "Makefile")
    documented = re.findall(r"^([a-z-]+):.*## .+", makefile, re.MULTILINE)
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)

    assert phony is not None
    assert sorted(documented) == sorted(phony[1].split())


@pytest.mark.parametrize(
    "path",
    [
        *DOCUMENTS,
        *(ROOT / name for name in ("docker-compose.yml", "Dockerfile", "Makefile")),
        *sorted((ROOT / "deploy").glob("compose.*.yml")),
        *sorted((ROOT / "deploy" / "helm").glob("*/templates/*")),
    ],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_settings_that_are_named_exist(path: Path) -> None:
    """Every variable with our prefix, wherever it is set or described, is a field of Settings."""
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}

    assert set(re.findall(rf"{PREFIX}[A-Z0-9_]*[A-Z0-9]", text_of(path))) <= known


def test_changelog_is_kept() -> None:
    """The newest section is Unreleased, and sections hold only the kinds of changes Keep a Changelog knows."""
    changelog = text_of(ROOT / "CHANGELOG.md")

    assert re.findall(r"^## (.+)$", changelog, re.MULTILINE)[0] == "[Unreleased]"
    assert set(re.findall(r"^### (.+)$", changelog, re.MULTILINE)) <= {
        "Added",
        "Changed",
        "Deprecated",
        "Removed",
        "Fixed",
        "Security",
    }


def test_bundle_format_names_every_field_and_file() -> None:
    """The description of the format is complete."""
    described = set(re.findall(r"`([^`\n]+)`", text_of(BUNDLE_FORMAT)))

    assert {field.name for field in fields(Manifest)} | {"checksum"} <= described
    further = {"history_embeddings.npy", "features_<modality>.npy", "featurizer_<modality>.onnx"}
    assert {*FIXED_FILES, *further} <= described


def test_bundle_format_example_prints_what_it_says() -> None:
    """The example that reads a bundle with numpy alone runs and gives the documented result."""
    (example,) = blocks_of(BUNDLE_FORMAT, "python")
    promised = re.search(r"^prints `(.+)`\.$", text_of(BUNDLE_FORMAT), re.MULTILINE)

    done = subprocess.run([sys.executable, "-c", example], check=True, capture_output=True, text=True, cwd=ROOT)

    assert promised is not None
    assert done.stdout == promised[1] + "\n"


def test_bundle_format_can_be_verified_by_hand() -> None:
    """The shell commands accept the golden bundle: every file OK, and the manifest too."""
    by_hand = [code for code in blocks_of(BUNDLE_FORMAT, "sh") if "python3" in code]

    outputs = [
        subprocess.run(["sh", "-c", code], check=True, capture_output=True, text=True, cwd=GOLDEN).stdout
        for code in by_hand
    ]

    assert len(outputs) == 2
    assert sorted(line.partition(":")[0] for line in outputs[0].splitlines()) == sorted(
        path.name for path in GOLDEN.iterdir() if path.name != "manifest.json"
    )
    assert outputs[1] == "manifest: OK\n"
