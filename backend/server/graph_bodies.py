"""The body of `POST /v1/graphs/run`: a program as data, and the rows it is to be run for."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from .bodies import Body


class GraphBody(Body):
    """Run a program here: a request graph as JSON, or the text of a script, once or for many rows of inputs.

    `stream`: events while it runs: `{"row", "place", "asked"}` when a request begins, `{"row", "place", "chunk"}` or
    `{"row", "place", "scores"}` as it is answered, `{"row", "result"}` or `{"row", "error"}` at the end of each row.
    `growing=false`: a chunk is a whole sample, not what was added to its text. `name`: the program's, for messages and
    the server's counts.
    """

    graph: dict[str, Any] | None = None
    script: str | None = Field(None, max_length=256 << 10)
    name: str = Field("script", max_length=200)
    inputs: dict[str, Any] | None = None
    rows: list[dict[str, Any]] | None = None
    sampling: dict[str, Any] | None = None
    stream: bool = False
    growing: bool = True
    timeout: float | None = Field(None, ge=0)
    priority: int = Field(0, ge=-(2**31), lt=2**31)
    cache_salt: str = Field("", max_length=1024)
