"""`ResultProcessor`: applies what a forward produced to the requests of the batch that produced it. No torch.

Appends tokens, decides who has finished and why. Called by the scheduler after every forward.
"""

from __future__ import annotations

from ...lang.errors import BackendError, RamifyError
from ..api import Finish, TokenLogprob
from .batch import BatchResult, ScheduleBatch
from .lifecycle import Lifecycle
from .req import Req


class ResultProcessor:
    """Both parts of `process_batch_result`: prefill rows first, decode rows after them."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self.lifecycle = lifecycle

    def process_prefill(self, batch: ScheduleBatch, result: BatchResult, tokens: list[int]) -> None:
        """Rows [0, num_prefill): their KV is written; the last chunk of a prompt gives a first token or the end."""
        counters = self.lifecycle.counters
        for index in range(batch.num_prefill):
            req = batch.reqs[index]
            req.prefix_len += req.extend_len
            counters.computed_tokens += req.extend_len
            if index in result.input_logprobs:
                self._add_input_logprobs(req, batch.logprob_span(index), result.input_logprobs[index])
            if index in result.errors:
                self.lifecycle.fail(req, result.errors[index])
            elif batch.samples[index]:
                self._add_token(req, tokens[index], result.logprobs[index] if result.logprobs else None)
            elif req.prefix_len >= req.num_to_compute:
                finish = Finish("length")
                self.lifecycle.finish(req, finish if req.output_text is None else req.output_text.end(finish))

    def process_decode(self, batch: ScheduleBatch, result: BatchResult, tokens: list[int]) -> None:
        """Rows from num_prefill on: one more token each."""
        logprobs, errors = result.logprobs, result.errors
        for index in range(batch.num_prefill, len(batch.reqs)):
            req = batch.reqs[index]
            req.prefix_len += 1
            if errors and index in errors:
                self.lifecycle.fail(req, errors[index])
            else:
                self._add_token(req, tokens[index], logprobs[index] if logprobs else None)

    def _add_token(self, req: Req, token: int, logprob: TokenLogprob | None) -> None:
        """Append a token and end the request if that was its last; a stop token is no part of the text."""
        output_ids = req.output_ids
        output_ids.append(token)
        if logprob is not None:
            req.output_logprobs.append(logprob)
        try:
            finish = self._finish_of(req, token)
        except RamifyError as error:  # the text or the constraint cannot go on
            self.lifecycle.fail(req, error)
            return
        if finish is not None:
            self.lifecycle.finish(req, finish)
        elif req.stream:
            self.lifecycle.progress(req)

    def _finish_of(self, req: Req, token: int) -> Finish | None:
        """How `token`, the last of the output, ends the request, if it does."""
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

    def _add_input_logprobs(self, req: Req, span: range, entries: list[TokenLogprob]) -> None:
        """Append the entries for `span` that are new: a chunk computed again after retraction repeats some."""
        assert len(entries) == len(span), "prompt logprobs do not match their span"
        assert req.logprob_start_len is not None
        known = req.logprob_start_len + len(req.input_logprobs) - span.start if entries else 0
        req.input_logprobs.extend(entries[known:])
