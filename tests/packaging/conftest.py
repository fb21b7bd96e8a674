"""The compose files as Python sees them."""

from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[2]


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
