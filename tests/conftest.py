"""Keep the checkout off `sys.path`: its folders `kernels`, `lang`, `backend` must only ever be found inside `ramify`.

`python -m pytest` puts the working directory there, and transformers would take our `kernels` for a package it knows.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
