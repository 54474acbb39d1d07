/* The ops between the products: normalisation, gated activation, rotation and the write into the pool.
 *
 * Elements are float32 or bfloat16 (`half`), arithmetic is float32; a bfloat16 result is rounded once.
 */
#include "kernels.h"

#define THREAD_WORK 32768 /* elements below which a second thread costs more than it gains */

INLINE vfloat get(const void *p, int64_t i, const int half) {
    return half ? widen((const bfloat16 *)p + i) : load((const float *)p + i);
}

INLINE void put(void *p, int64_t i, vfloat v, const int half) {
    if (half) narrow((bfloat16 *)p + i, v);
    else store((float *)p + i, v);
}

INLINE float get1(const void *p, int64_t i, const int half) {
    return half ? widen1(((const bfloat16 *)p)[i]) : ((const float *)p)[i];
}

INLINE void put1(void *p, int64_t i, float v, const int half) {
    if (half) ((bfloat16 *)p)[i] = narrow1(v);
    else ((float *)p)[i] = v;
}

/* out = x / rms(x) * weight for one row; with `add`, residual += x first and the row is the residual. */
INLINE void norm_row(
    const void *x, void *residual, const void *weight, void *out, int64_t base, int64_t target, int64_t dim, float eps,
    const int half
) {
    vfloat squares = splat(0.0f);
    float rest = 0.0f;
    int64_t i = 0;
    for (; i + LANES <= dim; i += LANES) {
        vfloat v = get(x, base + i, half);
        if (residual) {
            v += get(residual, base + i, half);
            put(residual, base + i, v, half);
            v = get(residual, base + i, half);
        }
        squares += v * v;
    }
    for (; i < dim; i++) {
        float v = get1(x, base + i, half);
        if (residual) {
            put1(residual, base + i, v + get1(residual, base + i, half), half);
            v = get1(residual, base + i, half);
        }
        rest += v * v;
    }
    const void *row = residual ? residual : x;
    float scale = 1.0f / sqrtf((sum_lanes(squares) + rest) / (float)dim + eps);
    for (i = 0; i + LANES <= dim; i += LANES)
        put(out, target + i, get(row, base + i, half) * scale * get(weight, i, half), half);
    for (; i < dim; i++) put1(out, target + i, get1(row, base + i, half) * scale * get1(weight, i, half), half);
}

/* `x`, `out` (rows, dim), `weight` (dim,); `residual` (rows, dim) or NULL: `residual += x`, `out` is its norm. */
EXPORT void ramify_rms_norm(
    const void *x, void *residual, const void *weight, void *out, int64_t rows, int64_t dim, float eps, int half,
    int threads
) {
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && rows * dim > THREAD_WORK)
    for (int64_t row = 0; row < rows; row++) {
        if (half) norm_row(x, residual, weight, out, row * dim, row * dim, dim, eps, 1);
        else norm_row(x, residual, weight, out, row * dim, row * dim, dim, eps, 0);
    }
}

INLINE void gate_row(const void *gate_up, void *out, int64_t row, int64_t dim, const int half) {
    int64_t gate = row * 2 * dim, up = gate + dim, target = row * dim, i = 0;
    for (; i + LANES <= dim; i += LANES) {
        vfloat g = get(gate_up, gate + i, half);
        vfloat low = select_lanes(g < -87.0f, splat(-87.0f), g);
        put(out, target + i, g / (1.0f + exp_lanes(-low)) * get(gate_up, up + i, half), half);
    }
    for (; i < dim; i++) {
        float g = get1(gate_up, gate + i, half), low = g < -87.0f ? -87.0f : g;
        put1(out, target + i, g / (1.0f + expf(-low)) * get1(gate_up, up + i, half), half);
    }
}

/* `gate_up` (rows, 2 * dim) -> `out` (rows, dim): silu(gate) * up. */
EXPORT void ramify_silu_and_mul(const void *gate_up, void *out, int64_t rows, int64_t dim, int half, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && rows * dim > THREAD_WORK / 4)
    for (int64_t row = 0; row < rows; row++) {
        if (half) gate_row(gate_up, out, row, dim, 1);
        else gate_row(gate_up, out, row, dim, 0);
    }
}

/* One head (head_dim,) turned by the angles of its token: halves (a, b) -> (a cos - b sin, b cos + a sin). */
INLINE void rotate(
    const void *x, int64_t from, void *out, int64_t to, const float *cosine, const float *sine, int64_t head_dim,
    const int half
) {
    int64_t middle = head_dim / 2, i = 0;
    for (; i + LANES <= middle; i += LANES) {
        vfloat a = get(x, from + i, half), b = get(x, from + middle + i, half);
        vfloat c = load(cosine + i), s = load(sine + i);
        put(out, to + i, a * c - b * s, half);
        put(out, to + middle + i, b * c + a * s, half);
    }
    for (; i < middle; i++) {
        float a = get1(x, from + i, half), b = get1(x, from + middle + i, half);
        put1(out, to + i, a * cosine[i] - b * sine[i], half);
        put1(out, to + middle + i, b * cosine[i] + a * sine[i], half);
    }
}

typedef struct {
    const void *qkv;
    const float *cosine, *sine;
    const void *query_norm, *key_norm; /* (head_dim,) or NULL */
    float eps;
    void *query, *keys, *values;
    const int64_t *slots;
    int64_t heads, kv_heads, head_dim;
} Rotary;

INLINE void rotary_token(const Rotary *r, int64_t token, const int half) {
    int64_t dim = r->head_dim, base = token * (r->heads + 2 * r->kv_heads) * dim;
    int64_t slot = r->slots[token] * r->kv_heads * dim, query = token * r->heads * dim;
    const float *cosine = r->cosine + token * (dim / 2), *sine = r->sine + token * (dim / 2);
    float normed[1024];
    for (int64_t h = 0; h < r->heads + r->kv_heads; h++) {
        const void *norm = h < r->heads ? r->query_norm : r->key_norm, *source = r->qkv;
        void *target = h < r->heads ? r->query : r->keys;
        int64_t from = base + h * dim, to = h < r->heads ? query + h * dim : slot + (h - r->heads) * dim;
        if (norm) {
            norm_row(r->qkv, NULL, norm, normed, from, 0, dim, r->eps, half);
            source = normed, from = 0;
        }
        rotate(source, from, target, to, cosine, sine, dim, half);
    }
    size_t size = half ? 2 : 4;
    memcpy(
        (char *)r->values + (size_t)slot * size, (const char *)r->qkv + (size_t)(base + (r->heads + r->kv_heads) * dim) * size,
        (size_t)(r->kv_heads * dim) * size
    );
}

/* `qkv` (tokens, (heads + 2 kv_heads) * head_dim); writes `query` (tokens, heads, head_dim) and the caches at `slots`.
 * head_dim <= 1024. */
EXPORT void ramify_rotary_to_cache(
    const void *qkv, const float *cosine, const float *sine, const void *query_norm, const void *key_norm, float eps,
    void *query, void *keys, void *values, const int64_t *slots, int64_t tokens, int64_t heads, int64_t kv_heads,
    int64_t head_dim, int half, int threads
) {
    Rotary r = {
        qkv, cosine, sine, query_norm, key_norm, eps, query, keys, values, slots, heads, kv_heads, head_dim,
    };
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && tokens * heads * head_dim > THREAD_WORK)
    for (int64_t token = 0; token < tokens; token++) {
        if (half) rotary_token(&r, token, 1);
        else rotary_token(&r, token, 0);
    }
}

/* 0: baseline, 1: AVX2, 2: AVX-512, 3: AVX-512 with bfloat16 products. Which build of this library the machine can run. */
EXPORT int ramify_cpu_level(void) {
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl")
        || !__builtin_cpu_supports("avx512dq"))
        return 1;
    return __builtin_cpu_supports("avx512bf16") ? 3 : 2;
#else
    return 0;
#endif
}
