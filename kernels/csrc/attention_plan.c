/* Cuts a ragged batch into items and orders them so that items with equal leading slots are neighbours.
 *
 * Made once per forward, used by every layer. Neighbours load and transpose the tiles they share once, which is what a
 * radix tree of prefixes gives: tree attention as in DeFT (Yao et al. 2024), with the tree read off the slots.
 */
#include "attention.h"

static int64_t common_tiles(const Item *a, const Item *b) {
    int64_t tiles = (a->seq_len < b->seq_len ? a->seq_len : b->seq_len) / TILE;
    if (a->slots == b->slots) return tiles;
    for (int64_t t = 0; t < tiles; t++)
        if (memcmp(a->slots + t * TILE, b->slots + t * TILE, TILE * sizeof(int32_t))) return t;
    return tiles;
}

/* A total order in which items that share more leading tiles are nearer. */
static int compare(const void *left, const void *right) {
    const Item *a = left, *b = right;
    if (a->slots != b->slots) {
        int64_t tile = common_tiles(a, b), tiles = (a->seq_len < b->seq_len ? a->seq_len : b->seq_len) / TILE;
        if (tile < tiles) return memcmp(a->slots + tile * TILE, b->slots + tile * TILE, TILE * sizeof(int32_t));
        if (a->seq_len / TILE != b->seq_len / TILE) return a->seq_len / TILE < b->seq_len / TILE ? -1 : 1;
    }
    return a->token < b->token ? -1 : a->token > b->token;
}

EXPORT int64_t ramify_item_size(void) { return sizeof(Item); }

/* Writes at most `capacity` items and returns their number (`capacity` >= tokens is always enough).
 * `table` (max_rows, table_stride) slots; `rows`, `seq_lens` (batch,); `starts` (batch + 1,); `group` heads per KV head. */
EXPORT int64_t ramify_plan_attention(
    const int32_t *table, int64_t table_stride, const int64_t *rows, const int64_t *starts, const int64_t *seq_lens,
    int64_t batch, int64_t group, Item *items, int64_t capacity
) {
    int64_t per_item = group < ITEM_QUERIES ? ITEM_QUERIES / group : 1, total = 0;
    for (int64_t row = 0; row < batch; row++) {
        const int32_t *slots = table + rows[row] * table_stride;
        int64_t tokens = starts[row + 1] - starts[row], first = seq_lens[row] - tokens;
        for (int64_t done = 0; done < tokens && total < capacity; done += per_item) {
            int64_t count = tokens - done < per_item ? tokens - done : per_item;
            items[total++] = (Item){slots, seq_lens[row], starts[row] + done, count, first + done, 0};
        }
    }
    if (total > 1) qsort(items, (size_t)total, sizeof(Item), compare);
    for (int64_t i = 1; i < total; i++) items[i].shared = common_tiles(items + i - 1, items + i);
    return total;
}
