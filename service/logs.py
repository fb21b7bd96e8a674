"""The log: one JSON object a line, each with the request it belongs to."""

import json
import logging
from datetime import UTC, datetime

from service.request_context import model_version, request_id, trace_id

_LOG_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",  # uvicorn's own, with terminal codes
}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, event, request id, model version, and the event's own facts."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record."""
        facts = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
            "request_id": request_id.get(),
            "trace_id": trace_id.get(),
            "model_version": model_version.get(),
        }
        facts |= {name: value for name, value in vars(record).items() if name not in _LOG_FIELDS}
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        return json.dumps(facts, default=str)


def configure_logging(level: str, *, as_json: bool) -> None:
    """Sets up the root logger. Only command lines call this."""
    handler = logging.StreamHandler()
    plain = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if as_json else plain)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Each request is logged once, by RequestContext, with its template instead of its path.
    logging.getLogger("uvicorn.access").disabled = True
