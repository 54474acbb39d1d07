"""`ResultProcessor`: applies what a forward produced to the requests of the batch that produced it. No torch.

Called by the scheduler after every forward; `output.py` says what a token does to its request.
"""

from __future__ import annotations

from ...lang.errors import RamifyError
from ..api import Finish, TokenLogprob
from .batch import BatchResult, ScheduleBatch
from .lifecycle import Lifecycle
from .output import push_forced, push_token, put_back
from .req import Req


class ResultProcessor:
    """Both parts of `process_batch_result`: prefill rows first, decode rows after them.

    `jump_forward`: tokens that a constraint forces are appended without sampling them.
    """

    def __init__(self, lifecycle: Lifecycle, *, jump_forward: bool = True) -> None:
        self.lifecycle = lifecycle
        self.jump_forward = jump_forward

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

    def process_decode(self, batch: ScheduleBatch, result: BatchResult, tokens: list[int]) -> dict[int, int]:
        """Rows from num_prefill on: one more token each, but for rows in the middle of forced tokens.

        Returns how many forced tokens follow the new one, by place among these rows.
        """
        logprobs, errors, first = result.logprobs, result.errors, batch.num_prefill
        samples, extend_lens = batch.samples.tolist(), batch.extend_lens.tolist()
        runs: dict[int, int] = {}
        for index in range(first, len(batch.reqs)):
            req = batch.reqs[index]
            req.prefix_len += extend_lens[index]
            if errors and index in errors:
                self.lifecycle.fail(req, errors[index])
            elif samples[index]:
                num_forced = self._add_token(req, tokens[index], logprobs[index] if logprobs else None)
                if num_forced:
                    runs[index - first] = num_forced
        return runs

    def _add_token(self, req: Req, token: int, logprob: TokenLogprob | None) -> int:
        """Append a token and those it forces, and end the request if one was its last; returns how many are forced."""
        try:
            healing = req.healing
            was_prompt = healing is not None and put_back(req, token)
            if logprob is not None and not was_prompt:
                req.output_logprobs.append(logprob)
            finish = None if was_prompt else push_token(req, token)
            num_sampled = len(req.output_ids)
            if healing is not None and finish is None:
                self._end_healing(req, free=healing.is_free, num_prompt=int(was_prompt))
            if finish is None and self.jump_forward and req.matcher is not None:
                finish = push_forced(req, room=self.lifecycle.kv.allocator.total - req.num_tokens)
        except RamifyError as error:  # the text or the constraint cannot go on
            self.lifecycle.fail(req, error)
            return 0
        num_forced = len(req.output_ids) - num_sampled
        self.lifecycle.counters.forced_tokens += num_forced
        if finish is not None:
            self.lifecycle.finish(req, finish)
        elif req.stream:
            self.lifecycle.progress(req)
        return num_forced

    def _end_healing(self, req: Req, *, free: bool, num_prompt: int) -> None:
        """The prompt's last token is replaced: the row's sampling state is that of the new prompt from here on."""
        if free:
            req.matcher = None
        self.lifecycle.counters.prompt_tokens += num_prompt
        self.lifecycle.worker.close_row(req.row)
        self.lifecycle.worker.open_row(req)

    def _add_input_logprobs(self, req: Req, span: range, entries: list[TokenLogprob]) -> None:
        """Append the entries for `span` that are new: a chunk computed again after retraction repeats some."""
        assert len(entries) == len(span), "prompt logprobs do not match their span"
        assert req.logprob_start_len is not None
        known = req.logprob_start_len + len(req.input_logprobs) - span.start if entries else 0
        req.input_logprobs.extend(entries[known:])
