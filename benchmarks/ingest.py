"""How fast partial items get into a running service, and whether it keeps answering meanwhile.

    python -m benchmarks.ingest --items 100000

Trains a small model of two modalities of 128 numbers, starts the service, streams items as NDJSON to POST /items/batch
(a third of them complete, a third with one modality, a third with none), and asks for lists all the while. The
reference, measured before on the same disk: SQLite alone, the same rows, as many to a commit, each commit flushed.

Then the service is started again, the same items are sent once more (their features are what they were), and it is
started a third time: the journal is twice as long then, the catalogue is not. Both starts find the checkpoint that was
written at the end before; a fourth one has to do without.
"""

import argparse
import base64
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console

from benchmarks.processes import computing_s, free_port, resident_mib, wait_ready

DIM, MODALITIES = 128, ("image", "text")
_CHUNK = 256
_TRAIN = ("--epochs", "1", "--evaluate-every", "1", "--d", "64", "--hidden", "32", "--unobserved", "70")

console = Console()


def main() -> int:
    """Runs the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--items", type=int, default=100_000, help="default 100000")
    parser.add_argument("--directory", type=Path, help="on the disk to be measured; default: the temporary directory")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="i3rec-ingest-", dir=args.directory) as directory:
        reference = _reference(Path(directory), min(args.items, 20_000))
        console.print(f"reference: SQLite alone takes {reference:,.0f} rows a second")
        found = _measure(Path(directory), args.items)
    for name in ("new", "the same again"):
        _show(name, args.items, found[name], reference)
    for name, (start, computing, stop) in found["starts"].items():
        console.print(f"start {name}: {start:.1f} s, {computing:.1f} s of them computing; stop: {stop:.1f} s")
    return 0 if found["new"]["written"] == found["the same again"]["written"] == args.items else 1


def _show(name: str, n: int, load: dict[str, Any], reference: float) -> None:
    rate = n / load["seconds"]
    speed = f"{rate:,.0f} a second, {rate / reference:.2f} × reference"
    console.print(f"{n:,} items, {name}, in {load['seconds']:.1f} s: {speed}")
    console.print(f"  resident memory: {load['mib_before']:.0f} MiB before, {load['mib_after']:.0f} MiB after")
    reads = sorted(load["reads"])
    tail = reads[int(0.99 * len(reads))] if reads else float("nan")
    median = statistics.median(reads) if reads else float("nan")
    console.print(
        f"  meanwhile {len(reads):,} lists: median {1000 * median:.1f} ms, 99th percentile {1000 * tail:.1f} ms"
    )


def _measure(directory: Path, n: int) -> dict[str, Any]:
    environment = {
        **os.environ,
        "I3REC_MODEL_STORE": str(_train(directory)),
        "I3REC_JOURNAL_URL": f"sqlite:///{directory}/journal.sqlite3",
        "I3REC_PORT": str(free_port()),
        "I3REC_LOG_LEVEL": "WARNING",
    }
    url = f"http://127.0.0.1:{environment['I3REC_PORT']}"
    found: dict[str, Any] = {"starts": {}}
    for name, load, checkpoint_every_s in (
        ("with an empty journal", "new", 300),
        ("with all items in a checkpoint", "the same again", 300),
        ("the same, the journal twice as long", None, 300),
        ("the same without a checkpoint", None, 0),
    ):
        environment["I3REC_CHECKPOINT_EVERY_S"] = str(checkpoint_every_s)
        started = time.perf_counter()
        service = subprocess.Popen([sys.executable, "-m", "service"], env=environment, stdout=subprocess.DEVNULL)
        try:
            wait_ready(url)
            start, computing = time.perf_counter() - started, computing_s(service.pid)
            if load:
                found[load] = _load(url, service.pid, n)
        finally:
            stopped = time.perf_counter()
            service.terminate()
            service.wait(60)
        found["starts"][name] = start, computing, time.perf_counter() - stopped
    return found


def _load(url: str, pid: int, n: int) -> dict[str, Any]:
    reads: list[float] = []
    over = threading.Event()
    reader = threading.Thread(target=_read, args=(url, over, reads))
    before = resident_mib(pid)
    reader.start()
    started = time.perf_counter()
    headers = {"Content-Type": "application/x-ndjson"}
    written = 0
    with httpx.Client(base_url=url, timeout=600) as client:
        for start in range(0, n, 10_000):  # a client that reads only after it has sent must not send for ever
            lines = _lines(start, min(n, start + 10_000))
            answer = client.post("/items/batch", content=lines, headers=headers)
            written += json.loads(answer.text.splitlines()[-1])["written"]
    seconds = time.perf_counter() - started
    over.set()
    reader.join()
    return {
        "seconds": seconds,
        "written": written,
        "reads": reads,
        "mib_before": before,
        "mib_after": resident_mib(pid),
    }


def _read(url: str, over: threading.Event, reads: list[float]) -> None:
    with httpx.Client(base_url=url, timeout=60) as client:
        user = 0
        while not over.is_set():
            user += 1
            started = time.perf_counter()
            client.get(f"/recommend/{user % 500}").raise_for_status()
            reads.append(time.perf_counter() - started)
            over.wait(0.01)


def _lines(start: int, end: int) -> Iterator[bytes]:
    rng = np.random.default_rng(start)
    for number in range(start, end):
        names = MODALITIES[: 2 - number % 3] if number % 3 < len(MODALITIES) else ()
        vectors = {name: {"embedding_b64": _packed(rng)} for name in names}
        yield json.dumps({"item_id": f"new-{number}", "modalities": vectors}).encode() + b"\n"


def _packed(rng: np.random.Generator) -> str:
    return base64.b64encode(rng.normal(size=DIM).astype("<f4").tobytes()).decode()


def _reference(directory: Path, n: int) -> float:
    """Rows a second of SQLite alone."""
    connection = sqlite3.connect(directory / "reference.sqlite3", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE journal (seq INTEGER PRIMARY KEY AUTOINCREMENT, item_id TEXT, payload TEXT)")
    rows = [(str(number), line.decode()) for number, line in enumerate(_lines(0, n))]
    started = time.perf_counter()
    for start in range(0, n, _CHUNK):
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO journal (item_id, payload) VALUES (?, ?)", rows[start : start + _CHUNK])
        connection.execute("COMMIT")
    seconds = time.perf_counter() - started
    connection.close()
    return n / seconds


def _train(directory: Path) -> Path:
    """A store with a small model, promoted."""
    data, store, rng = directory / "data", directory / "store", np.random.default_rng(0)
    data.mkdir()
    pairs = np.unique(np.stack([rng.integers(500, size=8000), rng.integers(400, size=8000)], axis=1), axis=0)
    lines = "".join(f"{user}\t{item}\n" for user, item in pairs.tolist())
    (data / "interactions.tsv").write_text("user\titem\n" + lines, encoding="utf-8")
    for name in MODALITIES:
        np.save(data / f"features_{name}.npy", rng.normal(size=(400, DIM)).astype(np.float32))
    command = [sys.executable, "-m", "training", "train", "--data", str(data), "--store", str(store), "--promote"]
    subprocess.run([*command, *_TRAIN], check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own trainer
    return store


if __name__ == "__main__":
    raise SystemExit(main())
