"""Raw texts and images on their way out."""

import base64
import json
from typing import Any

import httpx
import pytest

from i3rec_client import Image, Item, Text

PNG = bytes(range(256))
SENT = {"text": {"text": "Für zwei, drei\n"}, "image": {"image_b64": base64.b64encode(PNG).decode()}, "audio": [1.0]}
MODALITIES = {"text": Text("Für zwei, drei\n"), "image": Image(PNG), "audio": [1.0]}
ENCODING = {"present": [], "missing": [], "confidence": None, "model_version": "v1"}
WRITTEN = {"item_id": "a", "index_seq": 1, "encoding": ENCODING}


def test_raw_modalities_are_sent_wherever_items_are(scripted: Any) -> None:
    """Beside vectors, in a single item, a patch, an array and a stream of lines."""
    service = scripted(httpx.Response(200, json=WRITTEN))
    batch = scripted(httpx.Response(207, json={"results": [], "written": 0, "failed": 0}))
    lines = scripted(httpx.Response(207, text='{"line":1,"status":201,"item_id":"a"}\n{"written":1,"failed":0}\n'))

    with service.client() as client:
        client.put_item(Item("a", MODALITIES))
        client.patch_item("a", {"modalities": MODALITIES | {"gone": None}})
    with batch.client() as client:
        client.put_items([{"item_id": "a", "modalities": MODALITIES}])
    with lines.client() as client:
        list(client.load_items([Item("a", MODALITIES)]))

    bodies = [json.loads(each.requests[n].content) for each, n in ((service, 0), (service, 1), (batch, 0), (lines, 0))]
    put, patch, (in_batch,), line = bodies
    assert put["modalities"] == in_batch["modalities"] == line["modalities"] == SENT
    assert patch == {"modalities": SENT | {"gone": None}}


@pytest.mark.parametrize("raw", [Text(b"x"), Text(None), Image("x"), Image([1])])  # type: ignore[arg-type]
def test_other_things_are_neither(raw: Any) -> None:
    """Bytes are no text and text is no image: it shows before anything is sent."""
    with pytest.raises(TypeError, match="expected"):
        raw.content()


def test_images_are_not_shown() -> None:
    """An image in a log would be the log."""
    assert repr(Image(PNG)) == "Image()"
    assert repr(Text("t")) == "Text(text='t')"
