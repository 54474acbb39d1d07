"""What one more output token does to its request: its constraint, its text, its stops, and the tokens it forces.

The one place where `output_ids` grow. No torch, no memory: rows and slots are the callers', `Intake` and
`ResultProcessor`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...lang.errors import BackendError
from ..api import Finish
from .grammar.api import Matcher
from .req import Req
from .vocabulary import Vocabulary

_BARRED = -1e30  # a bias at or below this forbids its token, or nearly so


def push_token(req: Req, token: int) -> Finish | None:
    """Append `token`; how that ends the request, if it does. A stop token is no part of the text.

    Under a constraint a stop token stops only where the text is whole; elsewhere it is a token like any other. Raises
    what the text or the constraint raise when they cannot go on.
    """
    req.output_ids.append(token)
    text, matcher, num_tokens = req.output_text, req.matcher, len(req.output_ids)
    if token in req.stop_token_ids and (matcher is None or matcher.can_stop):
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
        finish = Finish("length", None, num_tokens, is_partial=matcher is not None and not matcher.can_stop)
    else:
        return None
    return finish if text is None else text.end(finish)


def put_back(req: Req, token: int) -> bool:
    """Take the token that replaces the prompt's last one; returns whether it has the same text.

    If so it goes back to the prompt, and the request is as it would be without healing. A longer one is the first of
    the output, still to be pushed; what the prompt has of it is no part of the text.
    """
    healing = req.healing
    assert healing is not None
    req.healing = None
    if not healing.is_same(token):
        if req.output_text is not None:
            req.output_text.skip(len(healing.prefix))
        return False
    if not healing.accept(token):
        raise BackendError(f"token {token} was sampled although it does not go on from the prompt")
    req.extend_prompt(token)
    return True


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


def may_end(matcher: Matcher, vocabulary: Vocabulary, num_back: int, tail: str) -> bool:
    """Whether the text of `matcher` without its last `num_back` tokens, but with `tail` after these, is whole.

    The answer is no where that cannot be told: a stop that would end the text there is let pass.
    """
    probe = matcher.fork()
    probe.rollback(num_back)
    if tail:
        pieces = vocabulary.tokenize(tail) if vocabulary.tokenize is not None else ()
        spelled = b"".join(vocabulary.token_bytes[token] for token in pieces)  # some tokenisers put a space before text
        if spelled != tail.encode("utf-8", "replace") or not all(probe.accept(token) for token in pieces):
            return False
    return probe.can_stop


def _safe_part(req: Req, run: Sequence[int]) -> Sequence[int]:
    """The run up to the first token that sampling might not give: a stop token, or one that `logit_bias` forbids."""
    barred = {token for token, bias in req.sampling.logit_bias if bias <= _BARRED} | req.stop_token_ids
    end = next((place for place, token in enumerate(run) if token in barred), len(run))
    return run[:end]
