"""Requests and answers as examples for the OpenAPI document: films of the demo, with vectors and lists cut short."""

from typing import Any

_MODEL = "20261121T204639034471Z-i3mrec"
_NEXT = "20261122T001010300864Z-i3mrec"
_ID = "7bedb6c099d9496cabe6314436f73909"
_JSON = "application/json"

_FILM = {
    "item_id": "dune-2",
    "modalities": {"release": {"embedding_b64": "AACAPwAAAEA="}, "text": [0.12, -0.03, 0.4]},
    "title": "Dune: Part Two",
    "categories": ["sci-fi"],
    "attributes": {"year": 2024, "dubbed": False},
}
_INCOMPLETE = {"item_id": "dune-2", "title": "Dune: Part Two", "categories": ["sci-fi"]}
_AS_TEXT = {"item_id": "dune-2", "modalities": {"text": {"text": "A duke's son leads desert warriors."}}}
_ENCODING = {
    "present": ["release", "text"],
    "missing": ["genres"],
    "confidence": 0.34593477845191956,
    "model_version": _MODEL,
}
_WRITTEN = {"item_id": "dune-2", "index_seq": 47, "encoding": _ENCODING}
_ITEM = {
    "item_id": "dune-2",
    "title": "Dune: Part Two",
    "categories": ["sci-fi"],
    "attributes": {"year": 2024, "dubbed": False},
    "available": True,
    "hidden": False,
    "expires_at": None,
    "index_seq": 47,
    "encoding": _ENCODING,
}
_FAULT = {
    "type": "urn:i3rec:problem:invalid-request",
    "title": "The request is not valid",
    "status": 422,
    "detail": "/modalities/text: expected 3 numbers, found 2",
    "errors": [{"pointer": "/modalities/text", "detail": "expected 3 numbers, found 2"}],
}
_LIST = {
    "user_id": "ann",
    "strategy": "personal",
    "model_version": _MODEL,
    "index_seq": 47,
    "degraded": [],
    "items": [
        {"item_id": "181", "score": 0.322517631262988, "rank": 1, "title": "Return of the Jedi"},
        {"item_id": "dune-2", "score": 0.24921793835789954, "rank": 2, "title": "Dune: Part Two"},
    ],
    "next_cursor": "ASS4vn2WraoHOIY",
}
_SESSION = {"request_id": _ID, **_LIST, "user_id": None, "strategy": "session"}
_OPTIONS = {"k": 2, "category": ["sci-fi"], "attributes": {"year": {"gte": 2000}}, "diversity": 0.3}
_PROMOTED = {"promoted": _NEXT, "before": _MODEL, "serving": _NEXT}

REQUESTS: dict[tuple[str, str], dict[str, Any]] = {
    ("post", "/items"): {"complete": _FILM, "without any modality": _INCOMPLETE, "a text as it is": _AS_TEXT},
    ("patch", "/items/{item_id}"): {
        "a late modality": {"modalities": {"genres": [0.0, 1.0]}},
        "sold out": {"available": False},
        "a price, and a modality taken away": {"attributes": {"price": 7.5}, "modalities": {"text": None}},
    },
    ("post", "/items/batch"): {"two items": [_FILM, {"item_id": "50", "hidden": True}]},
    ("post", "/interactions"): {
        "one": {"user_id": "ann", "item_id": "50"},
        "several, each with a name": [
            {"user_id": "ann", "item_id": "50", "kind": "watched", "event_id": "a-1"},
            {"user_id": "bob", "item_id": "172", "at": "2026-11-21T20:46:39Z", "event_id": "b-1"},
        ],
    },
    ("post", "/recommend"): {"a session": {"history": ["50", "172"], **_OPTIONS}},
    ("post", "/recommend/batch"): {"two users": {"users": ["ann", "bob"], **_OPTIONS}},
}
"""By method and path: bodies by what they show."""

ANSWERS: dict[tuple[str, str, str], Any] = {
    ("get", "/items", "200"): {"items": [_ITEM], "next_cursor": "dzQ3"},
    ("post", "/items", "200"): _WRITTEN,
    ("post", "/items", "201"): _WRITTEN,
    ("post", "/items", "422"): {**_FAULT, "instance": _ID},
    ("patch", "/items/{item_id}", "200"): _WRITTEN,
    ("get", "/items/{item_id}", "200"): _ITEM,
    ("post", "/items/batch", "207"): {
        "results": [
            {"status": 201, **_WRITTEN},
            {"item_id": "short", "status": 422, "error": _FAULT},
        ],
        "written": 1,
        "failed": 1,
    },
    ("get", "/items/{item_id}/similar", "200"): _SESSION,
    ("get", "/recommend/{user_id}", "200"): {"request_id": _ID, **_LIST},
    ("post", "/recommend", "200"): _SESSION,
    ("post", "/recommend/batch", "200"): {"request_id": _ID, "results": [_LIST]},
    ("post", "/interactions", "202"): {"accepted": 2, "repeated": 0, "seq": 49},
    ("get", "/models", "200"): {
        "versions": [_MODEL, _NEXT],
        "promoted": _MODEL,
        "serving": _MODEL,
        "challenger": {"version": _NEXT, "share": 0.1, "mode": "split", "live": True},
        "failed": None,
        "trial_failed": None,
    },
    ("post", "/models/{version}/activate", "200"): _PROMOTED,
    ("post", "/models/{version}/activate", "202"): {**_PROMOTED, "serving": _MODEL},
    ("post", "/models/rollback", "202"): {"promoted": _MODEL, "before": _NEXT, "serving": _NEXT},
    ("post", "/models/rollback", "200"): {"promoted": _MODEL, "before": _NEXT, "serving": _MODEL},
    ("get", "/readyz", "200"): {"status": "ready", "model_version": _MODEL, "degraded": []},
    ("get", "/livez", "200"): {"status": "alive"},
}
"""By method, path and status."""


def add_examples(document: dict[str, Any]) -> None:
    """Adds the examples to an OpenAPI document."""
    for (method, path), bodies in REQUESTS.items():
        content = document["paths"][path][method]["requestBody"]["content"]
        content[_JSON]["examples"] = {name: {"value": body} for name, body in bodies.items()}
    for (method, path, status), answer in ANSWERS.items():
        content = document["paths"][path][method]["responses"][status]["content"]
        next(iter(content.values()))["example"] = answer
