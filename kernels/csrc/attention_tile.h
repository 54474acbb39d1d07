/* One tile of keys against one block of query rows: online softmax as in FlashAttention (Dao et al. 2022).
 *
 * A tile's keys are transposed once to (head_dim, TILE) and then multiplied with every block that reads it.
 */
#ifndef RAMIFY_ATTENTION_TILE_H
#define RAMIFY_ATTENTION_TILE_H

#include "attention.h"

#define MIN_SCORE -1e30f /* below any score, yet finite: differences of two never give NaN */

typedef struct {
    const void *query, *keys, *values;
    void *output;
    int64_t heads, kv_heads, head_dim;
    float scale, softcap;
    int64_t window; /* 0: none */
    int bfloat16;   /* query, keys, values and output are bfloat16, else float32 */
} Attention;

/* One thread's memory for one task: some items, and the KV heads [head, head + span). `padded` is head_dim rounded up to
 * PANEL. Query rows are numbered head by head, item by item, token by token. */
typedef struct {
    int64_t padded, head, span;
    int64_t total;     /* query rows of one head */
    float *query;      /* (rows, padded), scaled */
    float *packed;     /* the same in blocks of at most MAX_ROWS rows, (padded, rows) each */
    float *output;     /* (rows, padded): sums weighted so far */
    float *max;        /* (rows,) largest score so far */
    float *sum;        /* (rows, LANES): sums of weights so far, by lane */
    int64_t *position; /* (rows,) */
    int64_t *first;    /* (items + 1,) first query row of each item, in the first head */
    float *key_tile;   /* (padded, TILE) */
    float *zero;       /* (padded,): the row of positions that do not exist */
    float *tails;      /* (TILE, PANEL): the last columns of the tile's values where head_dim is no multiple of PANEL */
    const char *value_rows[TILE];
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

/* Slots are scattered, so the hardware cannot guess them: ask for the next tile's rows while this one is computed. The
 * task's heads of a slot lie side by side. */
INLINE void prefetch_tile(const Attention *a, const Scratch *s, const Item *item, int64_t tile) {
    const int32_t *slots = item->slots + tile * TILE;
    int64_t valid = item->seq_len - tile * TILE, stride = a->kv_heads * a->head_dim;
    int64_t bytes = s->span * a->head_dim * (a->bfloat16 ? 2 : 4);
    for (int64_t j = 0; j < TILE && j < valid; j++) {
        int64_t index = slots[j] * stride + s->head * a->head_dim;
        const char *key = element(a->keys, index, a->bfloat16), *value = element(a->values, index, a->bfloat16);
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

#endif
