"""Lines of the log."""

import json
import logging
import sys

from service.logs import JsonFormatter
from service.request_context import model_version, request_id


def record(**facts: object) -> logging.LogRecord:
    """A log record with facts of its own."""
    made = logging.LogRecord("service.x", logging.INFO, __file__, 1, "item_added", (), None)
    vars(made).update(facts)
    return made


def test_json_lines_carry_event_facts_and_context() -> None:
    """A line has the event, its facts, the request id and the model version, and stays one line."""
    tokens = request_id.set("r1"), model_version.set("v1")
    try:
        line = JsonFormatter().format(record(seq=3, text="two\nlines", odd=object()))
    finally:
        request_id.reset(tokens[0])
        model_version.reset(tokens[1])

    facts = json.loads(line)
    assert "\n" not in line
    assert facts["time"].endswith("+00:00")
    assert {k: facts[k] for k in ("level", "logger", "event", "request_id", "model_version", "seq", "text")} == {
        "level": "INFO",
        "logger": "service.x",
        "event": "item_added",
        "request_id": "r1",
        "model_version": "v1",
        "seq": 3,
        "text": "two\nlines",
    }


def test_json_lines_carry_exceptions() -> None:
    """A traceback stands in the line."""
    try:
        raise ValueError("boom")
    except ValueError:
        line = JsonFormatter().format(record(exc_info=sys.exc_info()))

    assert "ValueError: boom" in json.loads(line)["exception"]
