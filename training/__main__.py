"""``python -m training``; see ``training.commands``."""

import os
import sys

# OpenMP's threads spin while they wait for each other. Beside any other busy process that made a training step 20 to
# 50 times slower (7.4 s in place of 0.15 to 0.4 s, two threads on two cores). The policy is read when torch is loaded,
# hence before its import.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# A step is small: one thread takes 15 ms for it, two beside a busy process up to a second. Set the variable for more.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# numpy's own threads (OpenBLAS) are worse: on many small systems two of them beside a busy process took 100 s for the
# 4 s of one. What is large goes through torch.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# ONNX Runtime, by which exported encoders are checked, would tell its makers that it is used.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

try:
    from training.commands import main
except ModuleNotFoundError as exc:
    sys.exit(f"python -m training: {exc.name} is not installed: pip install '.[cpu,train]'")

if __name__ == "__main__":
    sys.exit(main())
