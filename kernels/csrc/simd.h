/* Vectors, conversions, exp and the one register-blocked product that linear layers and attention share.
 *
 * Compiled once per instruction set (see setup.py), so everything here is chosen by the compiler's own macros.
 * Invariant of the whole library: an output element is summed in one fixed order, whatever the number of rows, the
 * split into blocks or the threads. A row's result therefore never depends on what else is in the batch.
 */
#ifndef RAMIFY_SIMD_H
#define RAMIFY_SIMD_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __AVX2__
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#define MAX_ROWS 12 /* 12 rows x 2 vectors = 24 of 32 registers accumulate */
#elif defined(__AVX2__)
#define LANES 8
#define MAX_ROWS 6 /* 12 of 16 */
#else
#define LANES 4
#define MAX_ROWS 4 /* a row's factors fit one vector: at most LANES */
#endif
#define PANEL (2 * LANES) /* columns of a packed weight panel, keys of an attention tile */

#define EXPORT __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

typedef float vfloat __attribute__((vector_size(4 * LANES)));
typedef int32_t vint __attribute__((vector_size(4 * LANES)));
typedef float vfloat_u __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t vint_u __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint16_t vhalf_u __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
typedef uint16_t bfloat16;

INLINE vfloat load(const float *p) { return *(const vfloat_u *)p; }
INLINE void store(float *p, vfloat v) { *(vfloat_u *)p = v; }
INLINE vfloat splat(float x) { return x - (vfloat){0}; }

INLINE vfloat widen(const bfloat16 *p) {
    vint bits = __builtin_convertvector(*(const vhalf_u *)p, vint) << 16;
    return (vfloat)bits;
}

/* Round to nearest even; NaN stays NaN because its payload's upper bits are kept by hardware sources. */
INLINE void narrow(bfloat16 *p, vfloat v) {
    vint bits = (vint)v;
    bits = bits + 0x7fff + ((bits >> 16) & 1);
    *(vhalf_u *)p = __builtin_convertvector((bits >> 16) & 0xffff, vhalf_u);
}

INLINE float widen1(bfloat16 x) {
    uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

INLINE bfloat16 narrow1(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return (bfloat16)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/* Lane i of FOLD(step) is lane i + step (mod LANES): folding by halves leaves the result in every lane. */
#define LANE_INDEX ((vint)LANE_NUMBERS)
#if LANES == 16
#define LANE_NUMBERS {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
#elif LANES == 8
#define LANE_NUMBERS {0, 1, 2, 3, 4, 5, 6, 7}
#else
#define LANE_NUMBERS {0, 1, 2, 3}
#endif
#define FOLD(v, step) __builtin_shuffle(v, (LANE_INDEX + (step)) & (LANES - 1))

INLINE float sum_lanes(vfloat v) {
    UNROLL for (int step = LANES / 2; step > 0; step /= 2) v += FOLD(v, step);
    return v[0];
}

INLINE vfloat select_lanes(vint mask, vfloat yes, vfloat no) { return (vfloat)((mask & (vint)yes) | (~mask & (vint)no)); }

INLINE vfloat larger(vfloat a, vfloat b) {
#if defined(__AVX512F__)
    return (vfloat)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vfloat)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return select_lanes(a > b, a, b);
#endif
}

INLINE float max_lanes(vfloat v) {
    UNROLL for (int step = LANES / 2; step > 0; step /= 2) v = larger(v, FOLD(v, step));
    return v[0];
}

/* exp(x) for x <= 88, within 2 units in the last place; exactly 1 at 0 and exactly 0 below -87 (and at -inf).
 * Range reduction by ln 2 in two parts and a degree-6 polynomial, as in Cephes. */
INLINE vfloat exp_lanes(vfloat x) {
    vint normal = x > -87.0f;
    vfloat clamped = larger(x, splat(-87.0f));
    vfloat scaled = clamped * 1.44269504f;
    vfloat rounded = (scaled + 12582912.0f) - 12582912.0f; /* 1.5 * 2^23: rounds to an integer */
    vint exponent = __builtin_convertvector(rounded, vint);
    vfloat r = clamped - rounded * 0.693359375f;
    r = r + rounded * 2.12194440e-4f;
    vfloat p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    vfloat power = (vfloat)((exponent + 127) << 23);
    return (vfloat)(normal & (vint)(p * power));
}

typedef vfloat Tile[MAX_ROWS][2]; /* literal sizes: an array sized by a parameter would be kept in memory */

/* acc[i][v] += sum over k of a[k * rows + i] * b[k * stride + v * LANES ...], in the order of k. `rows` is a constant
 * at every call, so the loops unroll and acc stays in registers. */
INLINE void multiply_add(const int rows, int64_t depth, const float *a, const float *b, int64_t stride, Tile acc) {
    for (int64_t k = 0; k < depth; k++) {
        vfloat first = load(b + k * stride), second = load(b + k * stride + LANES);
        UNROLL for (int i = 0; i < rows; i++) {
            vfloat x = splat(a[k * rows + i]);
            acc[i][0] += x * first;
            acc[i][1] += x * second;
        }
    }
}

/* Runs STATEMENT with the constant ROWS = 1 .. MAX_ROWS equal to `count`. */
#define ROWS_CASE(n, STATEMENT) case n: { enum { ROWS = n }; STATEMENT; } break;
#if MAX_ROWS == 4
#define FOR_ROWS(count, S) switch (count) { ROWS_CASE(1, S) ROWS_CASE(2, S) ROWS_CASE(3, S) ROWS_CASE(4, S) }
#elif MAX_ROWS == 12
#define FOR_ROWS(count, S) switch (count) { \
    ROWS_CASE(1, S) ROWS_CASE(2, S) ROWS_CASE(3, S) ROWS_CASE(4, S) ROWS_CASE(5, S) ROWS_CASE(6, S) \
    ROWS_CASE(7, S) ROWS_CASE(8, S) ROWS_CASE(9, S) ROWS_CASE(10, S) ROWS_CASE(11, S) ROWS_CASE(12, S) }
#else
#define FOR_ROWS(count, S) switch (count) { \
    ROWS_CASE(1, S) ROWS_CASE(2, S) ROWS_CASE(3, S) ROWS_CASE(4, S) ROWS_CASE(5, S) ROWS_CASE(6, S) }
#endif

#endif
