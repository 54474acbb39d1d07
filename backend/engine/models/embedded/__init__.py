"""The demonstration model that ships inside the package: a Hugging Face folder of a small Llama decoder.

Knows no torch; the engine's loader reads `MODEL_DIR` when no model is named.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["MODEL_DIR"]

MODEL_DIR: Final[Path] = Path(__file__).parent
