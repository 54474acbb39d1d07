/* Linear layers over packed weights: y = x w^T + bias for any number of rows.
 *
 * A weight (outputs, inputs) is packed into panels of PANEL outputs: float32 (panels, inputs, PANEL), bfloat16
 * (panels, inputs / 2, PANEL, 2), padded with zeros. A panel is streamed once per block of rows.
 */
#include "kernels.h"

/* Below both, waking a second thread costs more than it gains: measured on a 5M-parameter model (1.3 to 2 times slower
 * with it up to 8 rows) and a 135M one, whose weights stream from memory and need both threads from the first row on. */
#define THREAD_WORK 4194304   /* multiply-adds */
#define THREAD_WEIGHTS 524288 /* weights */
#define WORTH_THREADS(rows, inputs, outputs) \
    ((rows) * (inputs) * (outputs) > THREAD_WORK || (inputs) * (outputs) > THREAD_WEIGHTS)

EXPORT int ramify_panel_width(void) { return PANEL; }

/* Rows are cut into equal blocks, so that 13 rows run as 7 + 6 and not as 12 + 1. */
INLINE int64_t num_blocks_of(int64_t rows) { return (rows + MAX_ROWS - 1) / MAX_ROWS; }

typedef struct {
    int64_t rows, inputs, outputs, blocks;
    const void *weight; /* packed */
    const float *bias;  /* (outputs,) or NULL */
    void *y;            /* (rows, outputs) */
} Linear;

INLINE int64_t block_begin(const Linear *l, int64_t block) { return block * l->rows / l->blocks; }

INLINE void write_float(const Linear *l, int64_t row, int64_t column, vfloat value) {
    float *target = (float *)l->y + row * l->outputs + column;
    int64_t left = l->outputs - column;
    if (left >= LANES) {
        store(target, l->bias ? value + load(l->bias + column) : value);
        return;
    }
    float lanes[LANES];
    store(lanes, value);
    for (int64_t i = 0; i < left; i++) target[i] = lanes[i] + (l->bias ? l->bias[column + i] : 0.0f);
}

INLINE void write_bfloat16(const Linear *l, int64_t row, int64_t column, vfloat value) {
    bfloat16 *target = (bfloat16 *)l->y + row * l->outputs + column;
    int64_t left = l->outputs - column;
    if (left >= LANES) {
        narrow(target, l->bias ? value + load(l->bias + column) : value);
        return;
    }
    float lanes[LANES];
    store(lanes, value);
    for (int64_t i = 0; i < left; i++) target[i] = narrow1(lanes[i] + (l->bias ? l->bias[column + i] : 0.0f));
}

/* One block of rows times one panel, float32. `a` is (inputs, rows of the block). */
INLINE void panel_float32(const int rows, const Linear *l, int64_t row, int64_t panel, const float *a) {
    Tile acc;
    UNROLL for (int i = 0; i < rows; i++) acc[i][0] = acc[i][1] = splat(0.0f);
    multiply_add(rows, l->inputs, a, (const float *)l->weight + panel * l->inputs * PANEL, PANEL, acc);
    UNROLL for (int i = 0; i < rows; i++) {
        write_float(l, row + i, panel * PANEL, acc[i][0]);
        if (panel * PANEL + LANES < l->outputs) write_float(l, row + i, panel * PANEL + LANES, acc[i][1]);
    }
}

/* acc += the products of a pair of bfloat16 inputs: `pair` holds both, `b` LANES pairs of weights. */
INLINE vfloat add_pair(vfloat acc, int32_t pair, vint b) {
#ifdef __AVX512BF16__
    return (vfloat)_mm512_dpbf16_ps((__m512)acc, (__m512bh)b, (__m512bh)_mm512_set1_epi32(pair));
#else
    float low = widen1((bfloat16)pair), high = widen1((bfloat16)((uint32_t)pair >> 16));
    acc += low * (vfloat)(b << 16);
    return acc + high * (vfloat)(b & (int32_t)0xffff0000);
#endif
}

/* The same in bfloat16. `a` is (inputs / 2, rows of the block) pairs. */
INLINE void panel_bfloat16(
    const int rows, const Linear *l, int64_t row, int64_t panel, const int32_t *a, const int wide
) {
    int64_t depth = (l->inputs + 1) / 2;
    const int32_t *b = (const int32_t *)l->weight + panel * depth * PANEL;
    Tile acc;
    UNROLL for (int i = 0; i < rows; i++) acc[i][0] = acc[i][1] = splat(0.0f);
    for (int64_t k = 0; k < depth; k++) {
        vint first = *(const vint_u *)(b + k * PANEL), second = *(const vint_u *)(b + k * PANEL + LANES);
        UNROLL for (int i = 0; i < rows; i++) {
            acc[i][0] = add_pair(acc[i][0], a[k * rows + i], first);
            acc[i][1] = add_pair(acc[i][1], a[k * rows + i], second);
        }
    }
    UNROLL for (int i = 0; i < rows; i++) {
        for (int v = 0; v < 2; v++) {
            int64_t column = panel * PANEL + v * LANES;
            if (column >= l->outputs) break;
            if (wide) write_float(l, row + i, column, acc[i][v]);
            else write_bfloat16(l, row + i, column, acc[i][v]);
        }
    }
}

static void run_float32(const Linear *l, int64_t block, int64_t panel, const float *a) {
    int64_t row = block_begin(l, block);
    FOR_ROWS(block_begin(l, block + 1) - row, panel_float32(ROWS, l, row, panel, a + row * l->inputs))
}

static void run_bfloat16(const Linear *l, int64_t block, int64_t panel, const int32_t *a) {
    int64_t row = block_begin(l, block);
    FOR_ROWS(block_begin(l, block + 1) - row, panel_bfloat16(ROWS, l, row, panel, a + row * ((l->inputs + 1) / 2), 0))
}

static void run_bfloat16_wide(const Linear *l, int64_t block, int64_t panel, const int32_t *a) {
    int64_t row = block_begin(l, block);
    FOR_ROWS(block_begin(l, block + 1) - row, panel_bfloat16(ROWS, l, row, panel, a + row * ((l->inputs + 1) / 2), 1))
}

static void pack_float32(const Linear *l, int64_t block, const float *x, float *a) {
    int64_t begin = block_begin(l, block), rows = block_begin(l, block + 1) - begin;
    float *target = a + begin * l->inputs;
    for (int64_t k = 0; k < l->inputs; k++)
        for (int64_t i = 0; i < rows; i++) target[k * rows + i] = x[(begin + i) * l->inputs + k];
}

static void pack_bfloat16(const Linear *l, int64_t block, const bfloat16 *x, int32_t *a) {
    int64_t begin = block_begin(l, block), rows = block_begin(l, block + 1) - begin, depth = (l->inputs + 1) / 2;
    int32_t *target = a + begin * depth;
    for (int64_t k = 0; k < depth; k++)
        for (int64_t i = 0; i < rows; i++) {
            const bfloat16 *pair = x + (begin + i) * l->inputs + 2 * k;
            uint32_t high = 2 * k + 1 < l->inputs ? pair[1] : 0;
            target[k * rows + i] = (int32_t)(pair[0] | high << 16);
        }
}

/* `x` (rows, inputs) float32 -> `y` (rows, outputs) float32. */
EXPORT void ramify_linear_float32(
    const float *x, const float *weight, const float *bias, float *y,
    int64_t rows, int64_t inputs, int64_t outputs, int threads
) {
    Linear l = {rows, inputs, outputs, num_blocks_of(rows), weight, bias, y};
    int64_t panels = (outputs + PANEL - 1) / PANEL;
    float *packed = rows == 1 ? NULL : malloc((size_t)(rows * inputs) * sizeof(float));
    const float *a = packed ? packed : x;
#pragma omp parallel num_threads(threads) if (threads > 1 && WORTH_THREADS(rows, inputs, outputs))
    {
        if (packed) {
#pragma omp for schedule(static)
            for (int64_t block = 0; block < l.blocks; block++) pack_float32(&l, block, x, packed);
        }
#pragma omp for schedule(static)
        for (int64_t panel = 0; panel < panels; panel++)
            for (int64_t block = 0; block < l.blocks; block++) run_float32(&l, block, panel, a);
    }
    free(packed);
}

/* `x` (rows, inputs) bfloat16 -> `y` (rows, outputs) bfloat16, or float32 where `wide`. Sums are float32. */
EXPORT void ramify_linear_bfloat16(
    const bfloat16 *x, const void *weight, const float *bias, void *y,
    int64_t rows, int64_t inputs, int64_t outputs, int wide, int threads
) {
    Linear l = {rows, inputs, outputs, num_blocks_of(rows), weight, bias, y};
    int64_t panels = (outputs + PANEL - 1) / PANEL;
    int32_t *packed = malloc((size_t)(rows * ((inputs + 1) / 2)) * sizeof(int32_t));
#pragma omp parallel num_threads(threads) if (threads > 1 && WORTH_THREADS(rows, inputs, outputs))
    {
#pragma omp for schedule(static)
        for (int64_t block = 0; block < l.blocks; block++) pack_bfloat16(&l, block, x, packed);
#pragma omp for schedule(static)
        for (int64_t panel = 0; panel < panels; panel++)
            for (int64_t block = 0; block < l.blocks; block++) {
                if (wide) run_bfloat16_wide(&l, block, panel, packed);
                else run_bfloat16(&l, block, panel, packed);
            }
    }
    free(packed);
}
