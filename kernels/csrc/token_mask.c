/* Packed token masks over rows of logits: a token whose bit is 0 gets minus infinity. See token_mask.py. */
#include "kernels.h"

INLINE void forbid(float *row, uint32_t word, int64_t count) {
    for (int64_t token = 0; token < count; token++)
        if (!(word >> token & 1)) row[token] = -INFINITY;
}

/* Thirty-two tokens at once, without branches: what is legal and what is not alternates too wildly to predict. */
INLINE void forbid_word(float *row, int32_t word) {
    const vint lane = LANE_INDEX;
    UNROLL for (int first = 0; first < 32; first += LANES) {
        vint bits = (word >> (lane + first)) & 1;
        store(row + first, select_lanes(bits != 0, load(row + first), splat(-INFINITY)));
    }
}

/* `logits` float32 in rows `stride` apart; row `rows[i]` gets mask row i of `words` int32 each. */
EXPORT void ramify_token_mask(
    float *logits, int64_t stride, const int64_t *rows, const int32_t *mask, int64_t words, int64_t num_rows,
    int64_t num_tokens
) {
    int64_t whole = num_tokens / 32;
    for (int64_t i = 0; i < num_rows; i++) {
        float *row = logits + rows[i] * stride;
        const int32_t *bits = mask + i * words;
        for (int64_t j = 0; j < whole; j++)
            if (bits[j] != -1) forbid_word(row + 32 * j, bits[j]);
        forbid(row + 32 * whole, (uint32_t)(num_tokens % 32 ? bits[whole] : 0), num_tokens % 32);
    }
}
