"""Programs as data: `RequestGraph`, the rules it obeys, and its forms as text, JSON and drawings. Runs nothing."""

from .limits import Limits
from .request_graph import RequestGraph

__all__ = ["Limits", "RequestGraph"]
