"""``python -m training``; see ``training.commands``."""

import os
import sys

# OpenMP's threads spin while they wait for each other. Beside any other busy process that made a training step 20 to
# 50 times slower (7.4 s in place of 0.15 to 0.4 s, two threads on two cores). The policy is read when torch is loaded,
# hence before its import.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from training.commands import main

if __name__ == "__main__":
    sys.exit(main())
