"""Ragged causal attention over the paged KV pool: decode, extend and mixed batches in one call.

Knows slots and rows, never requests. Called by the models, once a layer. Paged KV: PagedAttention, Kwon et al. 2023.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from . import native


@dataclass(slots=True, eq=False)
class PagedLayout:
    """Where the keys of each row lie. Row i's queries are tokens `[query_starts[i], query_starts[i + 1])`.

    They are the last tokens of a sequence of `seq_lens[i]`; the slot of its position p is `req_to_token[rows[i], p]`.
    All tensors are contiguous and on the pool's device.
    """

    req_to_token: Tensor  # (max_rows, max_context) int32 slots
    rows: Tensor  # (batch,) int64
    query_starts: Tensor  # (batch + 1,) int64
    seq_lens: Tensor  # (batch,) int64, new tokens included
    max_query_len: int
    max_seq_len: int
    num_decode: int = 0  # the last so many rows have one query each; CUDA treats them by themselves
    order: Tensor | None = None  # (num_decode,) int64: these rows, with those that share slots next to each other
    # What ops work out once, for all layers: plans, by what made them.
    _items: Tensor | None = field(default=None, init=False, repr=False)
    _parts: tuple[PagedLayout | None, PagedLayout | None] | None = field(default=None, init=False, repr=False)
    tiles: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)  # extend
    whole_rows: tuple[Tensor, Tensor] | None = field(default=None, init=False, repr=False)  # decode
    levels: Tensor | None = field(default=None, init=False, repr=False)  # tree

    def items(self, library: native.Library, group: int) -> Tensor:
        """The kernels' plan for `group` query heads per KV head: (items, bytes), made once and kept for all layers."""
        if self._items is None:
            tokens = int(self.query_starts[-1])
            room = torch.empty((tokens, library.item_bytes), dtype=torch.uint8)
            count = library.plan_attention(
                self.req_to_token.data_ptr(), self.req_to_token.stride(0), self.rows.data_ptr(),
                self.query_starts.data_ptr(), self.seq_lens.data_ptr(), len(self.rows), group, room.data_ptr(), tokens,
            )  # fmt: skip
            self._items = room[:count]
        return self._items

    @property
    def parts(self) -> tuple[PagedLayout | None, PagedLayout | None]:
        """The rows that extend and those that decode, as layouts of their own."""
        if self._parts is None:
            split = len(self.rows) - self.num_decode
            extend = decode = None
            if split:
                bounds = (self.rows[:split], self.query_starts[: split + 1], self.seq_lens[:split])
                extend = PagedLayout(self.req_to_token, *bounds, self.max_query_len, self.max_seq_len)
            if self.num_decode:
                bounds = (self.rows[split:], self.query_starts[split:], self.seq_lens[split:])
                decode = PagedLayout(self.req_to_token, *bounds, 1, self.max_seq_len, self.num_decode, self.order)
            self._parts = extend, decode
        return self._parts


@dataclass(frozen=True, slots=True)
class AttentionSpec:
    """What does not change between steps: `window` 0 is no sliding window, `softcap` 0.0 no capping of the scores.

    A window of w lets a query at position p see the keys at (p - w, p].
    """

    scale: float
    window: int = 0
    softcap: float = 0.0


def paged_attention(
    query: Tensor, key_cache: Tensor, value_cache: Tensor, layout: PagedLayout, spec: AttentionSpec
) -> Tensor:
    """Attend every query to its own row's keys at its own and all earlier positions.

    `query` (tokens, heads, head_dim); `key_cache`, `value_cache` (slots, kv_heads, head_dim) of one layer, in which the
    batch's own tokens are already written. Returns (tokens, heads, head_dim) in the query's dtype.
    """
    if query.device.type == "cuda":
        return _on_cuda(query, key_cache, value_cache, layout, spec)
    library = native.library_for(query)
    if library is None or key_cache.dtype != query.dtype:
        return paged_attention_reference(query, key_cache, value_cache, layout, spec)
    tokens, num_heads, head_dim = query.shape
    num_kv_heads = key_cache.shape[1]
    items = layout.items(library, num_heads // num_kv_heads)
    output = torch.empty_like(query)
    library.attention(
        query.data_ptr(), key_cache.data_ptr(), value_cache.data_ptr(), output.data_ptr(),
        items.data_ptr(), len(items), tokens, num_heads, num_kv_heads, head_dim,
        spec.scale, spec.softcap, spec.window, native.is_half(query), torch.get_num_threads(),
    )  # fmt: skip
    return output


def _on_cuda(query: Tensor, key_cache: Tensor, value_cache: Tensor, layout: PagedLayout, spec: AttentionSpec) -> Tensor:
    from .decode_attention_triton import decode_attention  # loading Triton takes a third of a second
    from .extend_attention_triton import extend_attention
    from .tree_attention_triton import tree_attention

    split = len(query) - layout.num_decode
    extend, decode = layout.parts
    done = []
    if extend is not None:
        done.append(extend_attention(query[:split], key_cache, value_cache, extend, spec))
    if decode is not None:
        attend = decode_attention if decode.order is None else tree_attention
        done.append(attend(query[split:], key_cache, value_cache, decode, spec))
    return done[0] if len(done) == 1 else torch.cat(done)


def paged_attention_reference(
    query: Tensor, key_cache: Tensor, value_cache: Tensor, layout: PagedLayout, spec: AttentionSpec
) -> Tensor:
    """The same in plain torch: one padded gather for decode, a loop over rows otherwise."""
    if layout.max_query_len == 1:
        slots = layout.req_to_token[layout.rows, : layout.max_seq_len].long()  # (batch, keys)
        positions = torch.arange(layout.max_seq_len, device=query.device)
        # beyond a row's end its table holds old slots, masked here but multiplied by zero: they must be finite
        slots = slots.masked_fill(positions >= layout.seq_lens[:, None], 0)
        return _attend(
            query[:, None], key_cache[slots], value_cache[slots], layout.seq_lens[:, None] - 1, spec
        ).squeeze(1)
    output = torch.empty_like(query)
    starts = layout.query_starts.tolist()
    for index, (row, seq_len) in enumerate(zip(layout.rows.tolist(), layout.seq_lens.tolist(), strict=True)):
        begin, end = starts[index], starts[index + 1]
        slots = layout.req_to_token[row, :seq_len].long()
        positions = torch.arange(seq_len - (end - begin), seq_len, device=query.device)
        output[begin:end] = _attend(
            query[None, begin:end], key_cache[slots][None], value_cache[slots][None], positions[None], spec
        )[0]
    return output


def _attend(query: Tensor, keys: Tensor, values: Tensor, positions: Tensor, spec: AttentionSpec) -> Tensor:
    """`query` (batch, queries, heads, dim) at `positions` (batch, queries); keys (batch, keys, kv_heads, dim)."""
    batch, num_queries, num_heads, head_dim = query.shape
    num_keys, num_kv_heads = keys.shape[1], keys.shape[2]
    group = num_heads // num_kv_heads
    # (batch, kv_heads, queries * group, dim): the group's heads are more rows of one product, keys are never repeated
    grouped = query.view(batch, num_queries, num_kv_heads, group, head_dim).transpose(1, 2).float()
    grouped = grouped.reshape(batch, num_kv_heads, num_queries * group, head_dim)
    scores = torch.matmul(grouped, keys.permute(0, 2, 3, 1).float()).mul_(spec.scale)
    if spec.softcap:
        scores = torch.tanh(scores / spec.softcap) * spec.softcap
    key_positions = torch.arange(num_keys, device=query.device)
    hidden = key_positions > positions[:, :, None]  # (batch, queries, keys)
    if spec.window:
        hidden |= key_positions <= positions[:, :, None] - spec.window
    scores = scores.view(batch, num_kv_heads, num_queries, group, num_keys)
    scores.masked_fill_(hidden[:, None, :, None, :], float("-inf"))
    weights = torch.softmax(scores, dim=-1).view(batch, num_kv_heads, num_queries * group, num_keys)
    output = torch.matmul(weights, values.transpose(1, 2).float())
    output = output.view(batch, num_kv_heads, num_queries, group, head_dim).transpose(1, 2)
    return output.reshape(batch, num_queries, num_heads, head_dim).to(query.dtype)
