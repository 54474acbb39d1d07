"""What holds for every test: nothing but the installed package is imported, and a busy machine fails no test.

The checkout is kept off `sys.path`: its folders `kernels`, `lang`, `backend` must only be found inside `ramify`.
`python -m pytest` puts the working directory there, and transformers would take our `kernels` for a package it knows.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]

# Time limits of hypothesis judge the machine, not the code; its examples are the same in every run.
settings.register_profile("ramify", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ramify")

# A shell that runs the tests in the background lets them ignore Ctrl-C; the tests of Ctrl-C need what a terminal gives.
signal.signal(signal.SIGINT, signal.default_int_handler)
