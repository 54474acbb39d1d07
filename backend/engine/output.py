"""What one more output token does to its request: its constraint, its text, its stops, and the tokens it forces.

The one place where `output_ids` grow. No torch, no memory: rows and slots are the callers', `Intake` and
`ResultProcessor`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...lang.errors import BackendError
from ..api import Finish
from .req import Req

_BARRED = -1e30  # a bias at or below this forbids its token, or nearly so


def push_token(req: Req, token: int) -> Finish | None:
    """Append `token`; how that ends the request, if it does. A stop token is no part of the text.

    Raises what the text or the constraint raise when they cannot go on.
    """
    req.output_ids.append(token)
    text, matcher, num_tokens = req.output_text, req.matcher, len(req.output_ids)
    if token in req.stop_token_ids:
        finish = Finish("stop", token, num_tokens - 1)
        return finish if text is None else text.end(finish)
    if matcher is not None and not matcher.accept(token):
        raise BackendError(f"token {token} was sampled although the constraint forbids it")
    finish_of_text = None if text is None else text.push(token)
    if finish_of_text is not None:
        return finish_of_text
    if matcher is not None and matcher.is_terminated:
        finish = Finish("stop", None, num_tokens)
    elif num_tokens >= req.max_new_tokens:
        finish = Finish("length", None, num_tokens)
    else:
        return None
    return finish if text is None else text.end(finish)


def push_forced(req: Req, *, room: int) -> Finish | None:
    """Append the tokens that the constraint forces here, `room` at most; how they end the request, if they do.

    They are what sampling would give one by one, so the output is the same. A request that wants logprobs is left
    alone: each of its tokens needs the model's distribution.
    """
    if req.matcher is None or req.sampling.logprobs is not None:
        return None
    run = req.matcher.forced()
    for token in _safe_part(req, run)[: max(room, 0)] if run else ():
        finish = push_token(req, token)
        if finish is not None:
            return finish
    return None


def _safe_part(req: Req, run: Sequence[int]) -> Sequence[int]:
    """The run up to the first token that sampling might not give: a stop token, or one that `logit_bias` forbids."""
    barred = {token for token, bias in req.sampling.logit_bias if bias <= _BARRED} | req.stop_token_ids
    end = next((place for place, token in enumerate(run) if token in barred), len(run))
    return run[:end]
