"""What was acknowledged survives kill -9."""

import random
import subprocess
import sys
import time
from pathlib import Path

from service.adapters.sql_journal import SqlJournal
from service.domain import PutItem

WRITER = """
import sys, threading
import numpy as np
from service.adapters.sql_journal import SqlJournal
from service.domain import Item, PutItem

journal = SqlJournal(sys.argv[1])
lock = threading.Lock()

def write(name):
    n = 0
    while True:
        item = Item(f"{sys.argv[2]}-{name}-{n}", {"text": np.full(8, n, np.float32)})
        record = journal.append(PutItem(item)).result()
        with lock:
            print(record.seq, item.item_id, flush=True)
        n += 1

for name in range(4):
    threading.Thread(target=write, args=(name,)).start()
"""


def test_acknowledged_records_survive_being_killed(tmp_path: Path) -> None:
    """Over several rounds on one journal, each acknowledged record is there with its number and its contents."""
    url = f"sqlite:///{tmp_path}/journal.sqlite3"
    rng = random.Random(1)
    acknowledged: dict[int, str] = {}
    for turn in range(4):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, url, str(turn)], stdout=subprocess.PIPE, text=True)
        first = writer.stdout.readline()
        time.sleep(rng.uniform(0.02, 0.3))
        writer.kill()
        lines = [first, *writer.stdout.read().splitlines(keepends=True)]
        writer.wait()
        writer.stdout.close()
        acknowledged |= {int(line.split()[0]): line.split()[1] for line in lines if line.endswith("\n")}

    journal = SqlJournal(url)
    stored = {record.seq: record.entry for record in journal.read()}
    journal.close()

    assert len(acknowledged) > 40
    for seq, item_id in acknowledged.items():
        entry = stored[seq]
        assert isinstance(entry, PutItem)
        assert entry.item.item_id == item_id
        assert entry.item.modalities["text"].tolist() == [float(item_id.rpartition("-")[2])] * 8
