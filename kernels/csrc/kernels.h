/* The functions that Python calls, declared where decoder.c calls them too; each is explained where it is defined. */
#ifndef RAMIFY_KERNELS_H
#define RAMIFY_KERNELS_H

#include "attention.h"

EXPORT void ramify_linear_float32(
    const float *x, const float *weight, const float *bias, float *y,
    int64_t rows, int64_t inputs, int64_t outputs, int threads
);
EXPORT void ramify_linear_bfloat16(
    const bfloat16 *x, const void *weight, const float *bias, void *y,
    int64_t rows, int64_t inputs, int64_t outputs, int wide, int threads
);
EXPORT void ramify_rms_norm(
    const void *x, void *residual, const void *weight, void *out, int64_t rows, int64_t dim, float eps, int half,
    int threads
);
EXPORT void ramify_silu_and_mul(const void *gate_up, void *out, int64_t rows, int64_t dim, int half, int threads);
EXPORT void ramify_rotary_to_cache(
    const void *qkv, const float *cosine, const float *sine, const void *query_norm, const void *key_norm, float eps,
    void *query, void *keys, void *values, const int64_t *slots, int64_t tokens, int64_t heads, int64_t kv_heads,
    int64_t head_dim, int half, int threads
);
EXPORT void ramify_attention(
    const void *query, const void *keys, const void *values, void *output, const Item *items, int64_t num_items,
    int64_t tokens, int64_t heads, int64_t kv_heads, int64_t head_dim, float scale, float softcap, int64_t window,
    int is_bfloat16, int threads
);

#endif
