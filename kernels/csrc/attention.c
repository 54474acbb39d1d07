/* Paged causal attention over a ragged batch: which tiles are read for which query rows, and by which thread.
 *
 * A tile is loaded once for all rows that share it: the heads of a group, the tokens of a chunk, and the sequences below
 * a node of the prefix tree, which the plan made neighbours.
 */
#include "attention_tile.h"
#include "kernels.h"

static void run_block(const Attention *a, Scratch *s, int64_t begin, int64_t rows, int64_t tile) {
    FOR_ROWS(rows, block_tile(ROWS, a, s, begin, tile))
}

static void load_tile_of(const Attention *a, Scratch *s, const Item *item, int64_t tile, int64_t head) {
    if (a->bfloat16) load_tile(a, s, item, tile, head, 1);
    else load_tile(a, s, item, tile, head, 0);
}

/* True when no row of the block sees a key of the tile. */
INLINE int sees_nothing(const Attention *a, const Scratch *s, int64_t begin, int64_t end, int64_t tile) {
    for (int64_t q = begin; q < end; q++) {
        int64_t position = s->position[q];
        if (position >= tile * TILE && (!a->window || position - a->window < tile * TILE + TILE - 1)) return 0;
    }
    return 1;
}

/* Rows are cut into equal blocks; block b of `blocks` begins here. */
INLINE int64_t block_at(int64_t begin, int64_t end, int64_t b, int64_t blocks) {
    return begin + b * (end - begin) / blocks;
}

static void pack_blocks(const Attention *a, Scratch *s, int64_t begin, int64_t end, int64_t blocks) {
    for (int64_t b = 0; b < blocks; b++) {
        int64_t first = block_at(begin, end, b, blocks), rows = block_at(begin, end, b + 1, blocks) - first;
        float *packed = s->packed + first * s->padded;
        for (int64_t d = 0; d < a->head_dim; d++)
            for (int64_t i = 0; i < rows; i++) packed[d * rows + i] = s->query[(first + i) * s->padded + d];
    }
}

/* Tiles [from, to) for the query rows [begin, end) of every head, all of which read them at the slots of `item`. */
static void run_tiles(
    const Attention *a, Scratch *s, const Item *item, int64_t begin, int64_t end, int64_t from, int64_t to
) {
    int64_t blocks = (end - begin + MAX_ROWS - 1) / MAX_ROWS;
    for (int64_t h = 0; h < s->span; h++) pack_blocks(a, s, h * s->total + begin, h * s->total + end, blocks);
    for (int64_t tile = from; tile < to; tile++) {
        if (sees_nothing(a, s, begin, end, tile)) continue;
        if (tile + 1 < to) prefetch_tile(a, s, item, tile + 1);
        for (int64_t h = 0; h < s->span; h++) {
            load_tile_of(a, s, item, tile, s->head + h);
            for (int64_t b = 0; b < blocks; b++) {
                int64_t first = h * s->total + block_at(begin, end, b, blocks);
                int64_t last = h * s->total + block_at(begin, end, b + 1, blocks);
                if (!sees_nothing(a, s, first, last, tile)) run_block(a, s, first, last - first, tile);
            }
        }
    }
}

INLINE int64_t num_tiles(const Item *item) { return (item->position + item->count - 1) / TILE + 1; }

/* Items [begin, end) of the task from tile `from` on: first what all share, then each part that shares more. */
static void run_items(const Attention *a, Scratch *s, const Item *items, int64_t begin, int64_t end, int64_t from) {
    if (end - begin == 1) {
        run_tiles(a, s, items + begin, s->first[begin], s->first[end], from, num_tiles(items + begin));
        return;
    }
    int64_t shared = items[begin + 1].shared;
    for (int64_t i = begin + 2; i < end; i++) shared = items[i].shared < shared ? items[i].shared : shared;
    if (shared > from) run_tiles(a, s, items + begin, s->first[begin], s->first[end], from, shared);
    else shared = from;
    for (int64_t i = begin; i < end;) {
        int64_t next = i + 1;
        while (next < end && items[next].shared > shared) next++;
        run_items(a, s, items, i, next, shared);
        i = next;
    }
}

static void start_task(const Attention *a, Scratch *s, const Item *items, int64_t count) {
    int64_t group = a->heads / a->kv_heads, q = 0;
    for (int64_t h = 0; h < s->span; h++) {
        for (int64_t i = 0; i < count; i++) {
            if (h == 0) s->first[i] = q;
            for (int64_t t = 0; t < items[i].count; t++)
                for (int64_t g = 0; g < group; g++, q++) {
                    int64_t index = ((items[i].token + t) * a->heads + (s->head + h) * group + g) * a->head_dim;
                    float *query = s->query + q * s->padded;
                    copy_row(query, element(a->query, index, a->bfloat16), a->head_dim, s->padded, a->bfloat16);
                    for (int64_t d = 0; d < s->padded; d += LANES) store(query + d, load(query + d) * a->scale);
                    s->position[q] = items[i].position + t;
                    s->max[q] = MIN_SCORE;
                }
        }
        if (h == 0) s->first[count] = s->total = q;
    }
    memset(s->output, 0, (size_t)(q * s->padded) * sizeof(float));
    memset(s->sum, 0, (size_t)(q * LANES) * sizeof(float));
}

static void finish_task(const Attention *a, const Scratch *s, const Item *items, int64_t count) {
    int64_t group = a->heads / a->kv_heads, q = 0;
    for (int64_t h = 0; h < s->span; h++)
        for (int64_t i = 0; i < count; i++)
            for (int64_t t = 0; t < items[i].count; t++)
                for (int64_t g = 0; g < group; g++, q++) {
                    int64_t index = ((items[i].token + t) * a->heads + (s->head + h) * group + g) * a->head_dim;
                    const float *output = s->output + q * s->padded;
                    float inverse = 1.0f / sum_lanes(load(s->sum + q * LANES));
                    for (int64_t d = 0; d < a->head_dim; d++) {
                        if (a->bfloat16) ((bfloat16 *)a->output)[index + d] = narrow1(output[d] * inverse);
                        else ((float *)a->output)[index + d] = output[d] * inverse;
                    }
                }
}

/* Memory for `rows` query rows; `query` is what to free. */
static Scratch new_scratch(const Attention *a, int64_t rows) {
    int64_t padded = (a->head_dim + PANEL - 1) / PANEL * PANEL;
    size_t floats = (size_t)((3 * rows + TILE + 1) * padded + rows * (LANES + 1) + TILE * PANEL);
    char *memory = aligned_alloc(64, (floats * 4 + (size_t)(2 * rows + 1) * 8 + 127) / 64 * 64);
    float *f = (float *)memory;
    Scratch s = {.padded = padded};
    s.query = f, f += rows * padded;
    s.packed = f, f += rows * padded;
    s.output = f, f += rows * padded;
    s.key_tile = f, f += TILE * padded;
    s.tails = f, f += TILE * PANEL;
    s.sum = f, f += rows * LANES;
    s.zero = f, f += padded;
    s.max = f;
    memset(s.zero, 0, (size_t)padded * sizeof(float));
    s.position = (int64_t *)(memory + (floats * 4 + 7) / 8 * 8);
    s.first = s.position + rows;
    return s;
}

typedef struct {
    int64_t groups;   /* of neighbouring items that share a tile, at most `limit` query rows a head where possible */
    int64_t largest;  /* most query rows that one of them has, per head */
    int64_t *begins;  /* (groups + 1,) */
} Groups;

static Groups cut_groups(const Item *items, int64_t num_items, int64_t group, int64_t limit) {
    Groups g = {0, 0, malloc((size_t)(num_items + 1) * sizeof(int64_t))};
    int64_t rows = 0;
    for (int64_t i = 0; i < num_items; i++) {
        int64_t more = items[i].count * group;
        if (i == 0 || items[i].shared == 0 || rows + more > limit) g.begins[g.groups++] = i, rows = 0;
        rows += more;
        g.largest = rows > g.largest ? rows : g.largest;
    }
    g.begins[g.groups] = num_items;
    return g;
}

/* KV heads of one task: all where few rows need them, since a slot's heads lie side by side, but enough tasks for all. */
static int64_t choose_span(const Groups *g, int64_t kv_heads, int threads) {
    int64_t span = TASK_ROWS / g->largest;
    span = span < 1 ? 1 : span > kv_heads ? kv_heads : span;
    while (threads > 1 && span > 1 && g->groups * ((kv_heads + span - 1) / span) < 2 * threads) span = (span + 1) / 2;
    return span;
}

/* `query`, `output` (tokens, heads, head_dim); `keys`, `values` (slots, kv_heads, head_dim); items from the plan. */
EXPORT void ramify_attention(
    const void *query, const void *keys, const void *values, void *output, const Item *items, int64_t num_items,
    int64_t tokens, int64_t heads, int64_t kv_heads, int64_t head_dim, float scale, float softcap, int64_t window,
    int is_bfloat16, int threads
) {
    Attention a = {query, keys, values, output, heads, kv_heads, head_dim, scale, softcap, window, is_bfloat16};
    /* large groups load a shared tile less often, small ones keep every thread busy */
    int64_t fair = threads == 1 ? TASK_ROWS : tokens * heads / (2 * threads) + 1;
    Groups g = cut_groups(items, num_items, heads / kv_heads, fair < TASK_ROWS ? fair : TASK_ROWS);
    int64_t span = choose_span(&g, kv_heads, threads), parts = (kv_heads + span - 1) / span;
#pragma omp parallel num_threads(threads) if (threads > 1 && tokens * heads * head_dim > 2048)
    {
        Scratch s = new_scratch(&a, g.largest * span);
#pragma omp for schedule(dynamic, 1)
        for (int64_t task = 0; task < g.groups * parts; task++) {
            int64_t begin = g.begins[task / parts], count = g.begins[task / parts + 1] - begin;
            s.head = task % parts * span;
            s.span = s.head + span < kv_heads ? span : kv_heads - s.head;
            start_task(&a, &s, items + begin, count);
            run_items(&a, &s, items + begin, 0, count, 0);
            finish_task(&a, &s, items + begin, count);
        }
        free(s.query);
    }
    free(g.begins);
}
