"""A damaged byte anywhere in a bundle is noticed before the bundle serves, and what serves goes on serving."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_store import ModelStore

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

_SMALL = 4096
_FAILED = 'i3rec_model_swaps_total{result="failed"}'


def version_files(store: ModelStore, version: str) -> list[Path]:
    """The files of a version."""
    return sorted((store.root / "versions" / version).iterdir())


def places(size: int, *, every: bool) -> Iterator[int]:
    """Places in a file of this size: all of them where it is small, else the ends and some between."""
    return iter(range(size) if every and size <= _SMALL else sorted({0, size // 2, size - 1}))


def flipped(contents: bytes, place: int) -> bytes:
    """The contents with one byte changed, in one bit or in all."""
    return contents[:place] + bytes([contents[place] ^ (1 << place % 8 if place % 9 else 255)]) + contents[place + 1 :]


def serving(client: httpx.Client) -> str:
    """The version that serves and gives lists."""
    answer = client.get("/readyz")
    assert answer.status_code == 200, answer.text
    assert client.get("/recommend/u0").headers["X-Model-Version"] == answer.json()["model_version"]
    return str(answer.json()["model_version"])


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_damaged_version_is_not_activated(
    every: bool, start_service: Any, published_store: ModelStore, make_version: Any
) -> None:
    """Whichever byte is changed, cut off or added, activation answers 503, the old version serves on, CURRENT stays."""
    make_version(published_store, "v2", seed=1, promote=False)
    client, tried = start_service().client(), 0
    for path in version_files(published_store, "v2"):
        sound = path.read_bytes()
        changed = (flipped(sound, place) for place in places(len(sound), every=every))
        for contents in [sound[:-1], sound + b"\n", b"", *changed]:
            path.write_bytes(contents)

            answer = client.post("/models/v2/activate")

            assert answer.status_code == 503, (path.name, answer.text)
            assert published_store.current() == "v1"
            tried += 1
        assert serving(client) == "v1"
        path.write_bytes(sound)

    assert client.post("/models/v2/activate").json()["serving"] == serving(client) == "v2"
    print(f"{tried} damaged bundles")  # noqa: T201 - a figure


def damaged_versions(store: ModelStore, make_version: Any) -> list[str]:
    """Publishes one version for each file of a bundle, with one byte of that file changed afterwards."""
    names = [path.name for path in version_files(store, "v1")]
    versions = [f"bad{n}" for n in range(len(names))]
    for n, (version, name) in enumerate(zip(versions, names, strict=True)):
        make_version(store, version, promote=False)
        path = store.root / "versions" / version / name
        contents = path.read_bytes()
        path.write_bytes(flipped(contents, n * len(contents) // len(names)))
    return versions


def point(store: ModelStore, version: str) -> None:
    """Moves CURRENT by hand, past the checks of ``promote``."""
    (store.root / "CURRENT").write_text(f"{version}\n")


def test_damaged_version_that_is_promoted_does_not_serve(
    start_service: Any, published_store: ModelStore, make_version: Any
) -> None:
    """With no version before it /readyz is 503 with the reason; afterwards a sound one serves on over all of them."""
    damaged = damaged_versions(published_store, make_version)
    point(published_store, damaged[0])
    service = start_service(ready=False, model_poll_s=0.02)
    client = service.client()
    for version in damaged:
        point(published_store, version)
        service.wait_until(lambda version=version: version in client.get("/readyz").json()["detail"])
        answer = client.get("/readyz")
        assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
        assert (
            client.get("/recommend/u0").status_code == client.post("/items", json={"item_id": "a"}).status_code == 503
        )

    point(published_store, "v1")
    service.wait_until(lambda: client.get("/readyz").is_success)

    for version in damaged[::4]:
        before = service.metric(_FAILED)
        point(published_store, version)
        service.wait_until(lambda before=before: service.metric(_FAILED) > before)
        assert serving(client) == "v1"


def test_damaged_pointer_changes_nothing(start_service: Any, published_store: ModelStore) -> None:
    """Whatever stands in CURRENT that names no version: what serves goes on, and a sound pointer is followed again."""
    service = start_service()
    client, current = service.client(), published_store.root / "CURRENT"
    for pointer in (b"v9\n", b"../v1\n", b"\xff\xfe\n", b"v1\x00\n", b"\x00" * 3):
        before = service.metric(_FAILED)
        current.write_bytes(pointer)
        service.wait_until(lambda before=before: service.metric(_FAILED) > before)
        assert serving(client) == "v1"
        assert client.get("/models").status_code == 200
    for pointer in (b"", b"\n"):
        current.write_bytes(pointer)
        assert serving(client) == "v1"
        assert client.get("/models").json()["promoted"] is None

    assert client.post("/models/v1/activate").json()["serving"] == "v1"
