/* Paged causal attention: online softmax over tiles of keys (FlashAttention, Dao et al. 2022), read in place by slot.
 *
 * A tile's keys are transposed once to (head_dim, TILE) and then multiplied with all query rows of all items that share
 * it: the heads of a group, the tokens of a chunk, the sequences below a node of the prefix tree.
 */
#include "attention.h"

#define MIN_SCORE -1e30f /* below any score, yet finite: differences of two never give NaN */

typedef struct {
    const void *query, *keys, *values;
    void *output;
    const Item *items;
    int64_t heads, kv_heads, head_dim;
    float scale, softcap;
    int64_t window; /* 0: none */
    int bfloat16;   /* query, keys, values and output are bfloat16, else float32 */
} Attention;

/* One thread's memory; `padded` is head_dim rounded up to PANEL. Arrays of query rows are by index in the group. */
typedef struct {
    int64_t padded, queries;
    float *query;      /* (queries, padded), scaled */
    float *packed;     /* the same in blocks of at most MAX_ROWS rows, (padded, rows) each */
    float *output;     /* (queries, padded): sums weighted so far */
    float *max;        /* (queries,) largest score so far */
    float *sum;        /* (queries, LANES): sums of weights so far, by lane */
    float *key_tile;   /* (padded, TILE) */
    float *zero;       /* (padded,): the row of positions that do not exist */
    float *tails;      /* (TILE, PANEL): the last columns of the tile's values where head_dim is no multiple of PANEL */
    const char *value_rows[TILE];
    int64_t *position; /* (queries,) */
    int64_t *first;    /* (items of a group + 1,) first query row of each item */
} Scratch;

INLINE const char *element(const void *base, int64_t index, const int half) {
    return (const char *)base + index * (half ? 2 : 4);
}

/* Copy `count` elements to floats, zero up to `padded`. */
INLINE void copy_row(float *target, const void *source, int64_t count, int64_t padded, const int half) {
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        store(target + i, half ? widen((const bfloat16 *)source + i) : load((const float *)source + i));
    for (; i < count; i++) target[i] = half ? widen1(((const bfloat16 *)source)[i]) : ((const float *)source)[i];
    for (; i < padded; i++) target[i] = 0.0f;
}

/* Transpose LANES rows of LANES floats held in `r`: log2(LANES) rounds of exchanging blocks. */
#define EXCHANGE(step) \
    UNROLL for (int i = 0; i < LANES; i++) { \
        if (i & (step)) continue; \
        vfloat a = r[i], b = r[i + (step)]; \
        vint upper = (LANE_INDEX & (step)) != 0; \
        r[i] = __builtin_shuffle(a, b, LANE_INDEX + (upper & (LANES - (step)))); \
        r[i + (step)] = __builtin_shuffle(a, b, LANE_INDEX + (step) + (upper & (LANES - (step)))); \
    }

INLINE void transpose_lanes(vfloat r[LANES]) {
    EXCHANGE(1)
    EXCHANGE(2)
#if LANES >= 8
    EXCHANGE(4)
#endif
#if LANES >= 16
    EXCHANGE(8)
#endif
}

/* Where the tile's keys (or values) lie; positions beyond the sequence get the zero row. */
INLINE void find_rows(
    const Attention *a, const Scratch *s, const void *cache, const Item *item, int64_t tile, int64_t head,
    const char *rows[TILE], const int half
) {
    const int32_t *slots = item->slots + tile * TILE;
    int64_t valid = item->seq_len - tile * TILE, stride = a->kv_heads * a->head_dim;
    for (int j = 0; j < TILE; j++)
        rows[j] = j < valid ? element(cache, slots[j] * stride + head * a->head_dim, half) : (const char *)s->zero;
}

/* Slots are scattered, so the hardware cannot guess them: ask for the next tile's rows while this one is computed.
 * Heads of a slot are neighbours and heads of a group run one after the other, so the first asks for all of them. */
INLINE void prefetch_tile(const Attention *a, const Item *item, int64_t tile, int64_t head, const int half) {
    const int32_t *slots = item->slots + tile * TILE;
    int64_t valid = item->seq_len - tile * TILE, stride = a->kv_heads * a->head_dim;
    int64_t bytes = (head ? a->head_dim : stride) * (half ? 2 : 4);
    for (int64_t j = 0; j < TILE && j < valid; j++) {
        int64_t index = slots[j] * stride + head * a->head_dim;
        const char *key = element(a->keys, index, half), *value = element(a->values, index, half);
        for (int64_t line = 0; line < bytes; line += 64) {
            __builtin_prefetch(key + line, 0, 2);
            __builtin_prefetch(value + line, 0, 2);
        }
    }
}

/* Transpose the tile's keys into `key_tile` and note where its values are. */
INLINE void load_tile(const Attention *a, Scratch *s, const Item *item, int64_t tile, int64_t head, const int half) {
    const char *rows[TILE];
    int64_t size = half ? 2 : 4, whole = a->head_dim / LANES * LANES;
    find_rows(a, s, a->keys, item, tile, head, rows, half);
    find_rows(a, s, a->values, item, tile, head, s->value_rows, half);
    for (int column = 0; column < TILE; column += LANES) {
        for (int64_t d = 0; d < whole; d += LANES) {
            vfloat r[LANES];
            UNROLL for (int j = 0; j < LANES; j++) {
                const char *source = rows[column + j] + d * size;
                r[j] = half ? widen((const bfloat16 *)source) : load((const float *)source);
            }
            transpose_lanes(r);
            UNROLL for (int i = 0; i < LANES; i++) store(s->key_tile + (d + i) * TILE + column, r[i]);
        }
        for (int64_t d = whole; d < a->head_dim; d++)
            for (int j = 0; j < LANES; j++) {
                const char *source = rows[column + j] + d * size;
                s->key_tile[d * TILE + column + j] = half ? widen1(*(const bfloat16 *)source) : *(const float *)source;
            }
    }
    int64_t tail = a->head_dim / PANEL * PANEL;
    if (tail < a->head_dim)
        for (int j = 0; j < TILE; j++)
            copy_row(s->tails + j * PANEL, s->value_rows[j] + tail * size, a->head_dim - tail, PANEL, half);
}

INLINE vfloat cap(vfloat x, float softcap) {
    vfloat bounded = x * (2.0f / softcap);
    bounded = select_lanes(bounded > 40.0f, splat(40.0f), bounded);
    vfloat power = exp_lanes(select_lanes(bounded < -40.0f, splat(-40.0f), bounded));
    return softcap - 2.0f * softcap / (power + 1.0f); /* softcap * tanh(x / softcap) */
}

/* -inf where key positions [start, start + LANES) are not in (position - window, position]. */
INLINE vfloat hide(vfloat scores, int64_t start, int64_t position, int64_t window) {
    vint lane;
    UNROLL for (int i = 0; i < LANES; i++) lane[i] = i;
    int64_t last = position - start, first = window ? last - window + 1 : 0;
    int32_t high = last < LANES ? (int32_t)last : LANES, low = first > -1 ? (first < LANES ? (int32_t)first : LANES) : 0;
    if (last < 0) high = -1;
    return select_lanes((lane <= high) & (lane >= low), scores, splat(-INFINITY));
}

/* Scores of the block's rows to weights[i][j] = exp(score - largest so far); returns what to scale earlier sums by. */
INLINE vfloat weigh(const int rows, const Attention *a, Scratch *s, int64_t begin, int64_t start, Tile scores, float *weights) {
    vfloat before = splat(0.0f), after = splat(0.0f);
    UNROLL for (int i = 0; i < rows; i++) {
        int64_t position = s->position[begin + i];
        vfloat x = scores[i][0], y = scores[i][1];
        if (a->softcap != 0.0f) x = cap(x, a->softcap), y = cap(y, a->softcap);
        if (position < start + TILE - 1 || (a->window && position - a->window >= start)) {
            x = hide(x, start, position, a->window);
            y = hide(y, start + LANES, position, a->window);
        }
        float known = s->max[begin + i], largest = max_lanes(larger(x, y));
        largest = largest > known ? largest : known;
        before[i] = known, after[i] = largest;
        s->max[begin + i] = largest;
        scores[i][0] = x, scores[i][1] = y;
    }
    vfloat decay = exp_lanes(before - after);
    UNROLL for (int i = 0; i < rows; i++) {
        vfloat x = exp_lanes(scores[i][0] - after[i]), y = exp_lanes(scores[i][1] - after[i]);
        float *sum = s->sum + (begin + i) * LANES;
        store(weights + i * TILE, x);
        store(weights + i * TILE + LANES, y);
        store(sum, load(sum) * decay[i] + (x + y));
    }
    return decay;
}

/* output[:, d : d + PANEL] = output * decay + weights x values of the tile, in the order of its keys. */
INLINE void add_values(
    const int rows, const Attention *a, Scratch *s, int64_t begin, int64_t d, const float *weights, const float *decay,
    const int half
) {
    Tile acc;
    int64_t size = half ? 2 : 4;
    UNROLL for (int i = 0; i < rows; i++) {
        const float *output = s->output + (begin + i) * s->padded + d;
        acc[i][0] = load(output) * decay[i];
        acc[i][1] = load(output + LANES) * decay[i];
    }
    if (d + PANEL <= a->head_dim) {
        for (int j = 0; j < TILE; j++) {
            const char *row = s->value_rows[j] + d * size;
            vfloat first = half ? widen((const bfloat16 *)row) : load((const float *)row);
            vfloat second = half ? widen((const bfloat16 *)row + LANES) : load((const float *)row + LANES);
            UNROLL for (int i = 0; i < rows; i++) {
                vfloat x = splat(weights[i * TILE + j]);
                acc[i][0] += x * first;
                acc[i][1] += x * second;
            }
        }
    } else {
        for (int j = 0; j < TILE; j++) {
            vfloat first = load(s->tails + j * PANEL), second = load(s->tails + j * PANEL + LANES);
            UNROLL for (int i = 0; i < rows; i++) {
                vfloat x = splat(weights[i * TILE + j]);
                acc[i][0] += x * first;
                acc[i][1] += x * second;
            }
        }
    }
    UNROLL for (int i = 0; i < rows; i++) {
        float *output = s->output + (begin + i) * s->padded + d;
        store(output, acc[i][0]);
        store(output + LANES, acc[i][1]);
    }
}

/* One block of query rows [begin, begin + rows) against the loaded tile. */
INLINE void block_tile(const int rows, const Attention *a, Scratch *s, int64_t begin, int64_t tile) {
    Tile scores;
    float weights[TILE * MAX_ROWS], decay[LANES];
    UNROLL for (int i = 0; i < rows; i++) scores[i][0] = scores[i][1] = splat(0.0f);
    multiply_add(rows, a->head_dim, s->packed + begin * s->padded, s->key_tile, TILE, scores);
    store(decay, weigh(rows, a, s, begin, tile * TILE, scores, weights));
    for (int64_t d = 0; d < s->padded; d += PANEL) {
        if (a->bfloat16) add_values(rows, a, s, begin, d, weights, decay, 1);
        else add_values(rows, a, s, begin, d, weights, decay, 0);
    }
}

static void run_block(const Attention *a, Scratch *s, int64_t begin, int64_t rows, int64_t tile) {
    FOR_ROWS(rows, block_tile(ROWS, a, s, begin, tile))
}

static void load_tile_of(const Attention *a, Scratch *s, const Item *item, int64_t tile, int64_t head) {
    if (a->bfloat16) load_tile(a, s, item, tile, head, 1);
    else load_tile(a, s, item, tile, head, 0);
}

static void prefetch_tile_of(const Attention *a, const Item *item, int64_t tile, int64_t head) {
    if (a->bfloat16) prefetch_tile(a, item, tile, head, 1);
    else prefetch_tile(a, item, tile, head, 0);
}

/* True when no row of the block sees a key of the tile. */
INLINE int sees_nothing(const Attention *a, const Scratch *s, int64_t begin, int64_t end, int64_t tile) {
    for (int64_t q = begin; q < end; q++) {
        int64_t position = s->position[q];
        if (position >= tile * TILE && (!a->window || position - a->window < tile * TILE + TILE - 1)) return 0;
    }
    return 1;
}

/* Tiles [from, to) for the query rows [begin, end), all of which read them at the slots of `item`. */
static void run_tiles(
    const Attention *a, Scratch *s, const Item *item, int64_t head, int64_t begin, int64_t end, int64_t from, int64_t to
) {
    int64_t blocks = (end - begin + MAX_ROWS - 1) / MAX_ROWS;
    for (int64_t b = 0; b < blocks; b++) {
        int64_t first = begin + b * (end - begin) / blocks, rows = begin + (b + 1) * (end - begin) / blocks - first;
        float *packed = s->packed + first * s->padded;
        for (int64_t d = 0; d < a->head_dim; d++)
            for (int64_t i = 0; i < rows; i++) packed[d * rows + i] = s->query[(first + i) * s->padded + d];
    }
    for (int64_t tile = from; tile < to; tile++) {
        if (sees_nothing(a, s, begin, end, tile)) continue;
        if (tile + 1 < to) prefetch_tile_of(a, item, tile + 1, head);
        load_tile_of(a, s, item, tile, head);
        for (int64_t b = 0; b < blocks; b++) {
            int64_t first = begin + b * (end - begin) / blocks, last = begin + (b + 1) * (end - begin) / blocks;
            if (!sees_nothing(a, s, first, last, tile)) run_block(a, s, first, last - first, tile);
        }
    }
}

INLINE int64_t num_tiles(const Item *item) { return (item->position + item->count - 1) / TILE + 1; }

/* Items [begin, end) of the group from tile `from` on: first what all share, then each part that shares more. */
static void run_items(
    const Attention *a, Scratch *s, const Item *items, int64_t head, int64_t begin, int64_t end, int64_t from
) {
    if (end - begin == 1) {
        run_tiles(a, s, items + begin, head, s->first[begin], s->first[end], from, num_tiles(items + begin));
        return;
    }
    int64_t shared = items[begin + 1].shared;
    for (int64_t i = begin + 2; i < end; i++) shared = items[i].shared < shared ? items[i].shared : shared;
    if (shared > from) run_tiles(a, s, items + begin, head, s->first[begin], s->first[end], from, shared);
    else shared = from;
    for (int64_t i = begin; i < end;) {
        int64_t next = i + 1;
        while (next < end && items[next].shared > shared) next++;
        run_items(a, s, items, head, i, next, shared);
        i = next;
    }
}

static void start_group(const Attention *a, Scratch *s, const Item *items, int64_t count, int64_t head) {
    int64_t group = a->heads / a->kv_heads, q = 0;
    for (int64_t i = 0; i < count; i++) {
        s->first[i] = q;
        for (int64_t t = 0; t < items[i].count; t++)
            for (int64_t g = 0; g < group; g++, q++) {
                int64_t index = ((items[i].token + t) * a->heads + head * group + g) * a->head_dim;
                float *query = s->query + q * s->padded;
                copy_row(query, element(a->query, index, a->bfloat16), a->head_dim, s->padded, a->bfloat16);
                for (int64_t d = 0; d < a->head_dim; d++) query[d] *= a->scale;
                s->position[q] = items[i].position + t;
                s->max[q] = MIN_SCORE;
            }
    }
    s->first[count] = q;
    memset(s->output, 0, (size_t)(q * s->padded) * sizeof(float));
    memset(s->sum, 0, (size_t)(q * LANES) * sizeof(float));
}

static void finish_group(const Attention *a, const Scratch *s, const Item *items, int64_t count, int64_t head) {
    int64_t group = a->heads / a->kv_heads, q = 0;
    for (int64_t i = 0; i < count; i++)
        for (int64_t t = 0; t < items[i].count; t++)
            for (int64_t g = 0; g < group; g++, q++) {
                int64_t index = ((items[i].token + t) * a->heads + head * group + g) * a->head_dim;
                const float *output = s->output + q * s->padded;
                float inverse = 1.0f / sum_lanes(load(s->sum + q * LANES));
                for (int64_t d = 0; d < a->head_dim; d++) {
                    if (a->bfloat16) ((bfloat16 *)a->output)[index + d] = narrow1(output[d] * inverse);
                    else ((float *)a->output)[index + d] = output[d] * inverse;
                }
            }
}

static Scratch new_scratch(const Attention *a, int64_t queries) {
    int64_t padded = (a->head_dim + PANEL - 1) / PANEL * PANEL;
    size_t floats = (size_t)((3 * queries + TILE + 1) * padded + queries * (LANES + 1) + TILE * PANEL);
    char *memory = aligned_alloc(64, (floats * 4 + (size_t)(2 * queries + 1) * 8 + 127) / 64 * 64);
    float *f = (float *)memory;
    Scratch s = {.padded = padded, .queries = queries};
    s.query = f, f += queries * padded;
    s.packed = f, f += queries * padded;
    s.output = f, f += queries * padded;
    s.key_tile = f, f += TILE * padded;
    s.tails = f, f += TILE * PANEL;
    s.sum = f, f += queries * LANES;
    s.zero = f, f += padded;
    s.max = f;
    memset(s.zero, 0, (size_t)padded * sizeof(float));
    s.position = (int64_t *)(memory + (floats * 4 + 7) / 8 * 8);
    s.first = s.position + queries;
    return s;
}

/* Item index of each group's begin, (groups + 1,): neighbours that share a tile, up to `limit` query rows. */
static int64_t cut_groups(const Attention *a, int64_t num_items, int64_t limit, int64_t *begins) {
    int64_t group = a->heads / a->kv_heads, groups = 0, queries = 0;
    for (int64_t i = 0; i < num_items; i++) {
        int64_t more = a->items[i].count * group;
        if (i == 0 || a->items[i].shared == 0 || queries + more > limit) begins[groups++] = i, queries = 0;
        queries += more;
    }
    begins[groups] = num_items;
    return groups;
}

/* `query`, `output` (tokens, heads, head_dim); `keys`, `values` (slots, kv_heads, head_dim); items from the plan. */
EXPORT void ramify_attention(
    const void *query, const void *keys, const void *values, void *output, const Item *items, int64_t num_items,
    int64_t tokens, int64_t heads, int64_t kv_heads, int64_t head_dim, float scale, float softcap, int64_t window,
    int is_bfloat16, int threads
) {
    Attention a = {query, keys, values, output, items, heads, kv_heads, head_dim, scale, softcap, window, is_bfloat16};
    int64_t group = heads / kv_heads, largest = group < ITEM_QUERIES ? ITEM_QUERIES / group * group : group;
    /* enough groups for the threads, but as large as that allows: a group loads a shared tile once */
    int64_t limit = tokens * heads / (2 * threads) + 1;
    limit = threads == 1 || limit > GROUP_QUERIES ? GROUP_QUERIES : limit;
    limit = limit < largest ? largest : limit;
    int64_t *begins = malloc((size_t)(num_items + 1) * sizeof(int64_t));
    int64_t groups = cut_groups(&a, num_items, limit, begins);
#pragma omp parallel num_threads(threads) if (threads > 1 && tokens * heads * head_dim > 2048)
    {
        Scratch s = new_scratch(&a, limit);
#pragma omp for schedule(dynamic, 1)
        for (int64_t task = 0; task < groups * kv_heads; task++) {
            int64_t part = task / kv_heads, head = task % kv_heads, count = begins[part + 1] - begins[part];
            const Item *own = items + begins[part];
            start_group(&a, &s, own, count, head);
            run_items(&a, &s, own, head, 0, count, 0);
            finish_group(&a, &s, own, count, head);
        }
        free(s.query);
    }
    free(begins);
}
