"""``python -m service``; see ``service.commands``."""

import os
import sys

# All of these are read when numpy, FAISS and ONNX Runtime are loaded, hence before their import. Threads that spin
# while they wait for each other keep the event loop from its core; and one search has one thread, as requests are many.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# ONNX Runtime would tell its makers that it is used.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from service.commands import main

if __name__ == "__main__":
    sys.exit(main())
