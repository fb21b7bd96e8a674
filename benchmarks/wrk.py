"""Load by wrk: who asks, how often, and what came of it.

A Lua script says who asks for a list next; where connections are to rest between requests, they do so for random times.
"""

import re
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PACE = """
function pace(mean_ms) if mean_ms > 0 then delay = function() return -mean_ms * math.log(1 - math.random()) end end end
"""
_USERS = """
function init(args) first = tonumber(args[1]); users = tonumber(args[2]); n = 0; pace(tonumber(args[3])) end
request = function() n = n + 1; return wrk.format("GET", "/recommend/user-" .. ((first + n) % users)) end
"""
_ZIPF = """
function init(args)
  users = tonumber(args[2]); math.randomseed(tonumber(args[1])); spread = math.log(users) + 0.5772
  pace(tonumber(args[3]))
end
request = function()
  local rank = math.floor(math.exp(math.random() * spread - 0.5772))
  if rank < 1 then rank = 1 end
  if rank > users then rank = users end
  return wrk.format("GET", "/recommend/user-" .. (rank - 1))
end
"""
_FIFTY = """
function init(args) n = 0; pace(tonumber(args[3])) end
request = function() n = n + 1; return wrk.format("GET", "/recommend/user-" .. (n % 50)) end
"""
SCRIPTS = {"each user once": _USERS, "users by Zipf's law": _ZIPF, "fifty users": _FIFTY}
CONNECTIONS = 32
_LATENCY = re.compile(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s|m)\b", re.MULTILINE)
_RATE = re.compile(r"^Requests/sec:\s+([\d.]+)$", re.MULTILINE)
_FAILED = re.compile(r"Non-2xx or 3xx responses: (\d+)")
_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw: answers a second, and milliseconds of the middle and the slowest of a hundred."""

    per_second: float
    p50_ms: float
    p99_ms: float


def medians(loads: Sequence[Load]) -> Load:
    """The median of each number over some loads."""

    def median(name: str) -> float:
        return float(statistics.median(getattr(load, name) for load in loads))

    return Load(median("per_second"), median("p50_ms"), median("p99_ms"))


def write_scripts(directory: Path) -> None:
    """Writes the scripts of all loads into a directory."""
    for label, script in SCRIPTS.items():
        script_of(directory, label).write_text(_PACE + script, encoding="utf-8")


def script_of(directory: Path, label: str) -> Path:
    """Where the script of a load is."""
    return directory / f"{list(SCRIPTS).index(label)}.lua"


def load(script: Path, url: str, *, seconds: int, first: int, users: int, mean_ms: float = 0.0) -> Load:
    """Loads an address.

    Args:
        script: who asks.
        url: whom.
        seconds: how long.
        first: number of the user who comes first.
        users: how many there are.
        mean_ms: how long a connection rests between requests, on average.

    Raises:
        RuntimeError: wrk says no rate, or requests failed.
    """
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", str(script), url, "--"]
    command += [str(first), str(users), f"{mean_ms:.3f}"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own command
    rate, failed = _RATE.search(said), _FAILED.search(said)
    if rate is None or failed:
        raise RuntimeError(f"expected a rate from wrk and no failures, found {said!r}")
    shares = {share: float(value) * _MS[unit] for share, value, unit in _LATENCY.findall(said)}
    return Load(float(rate[1]), shares["50"], shares["99"])
