/* All layers of a dense decoder in one call: what dispatching some seventy small ops from Python costs a small model.
 *
 * Only calls the library's other functions, in the order of kernels/decoder_stack.py.
 */
#include "attention.h"
#include "kernels.h"

typedef struct {
    const void *weight; /* panels */
    const float *bias;  /* or NULL */
} Packed;

/* One layer's weights; norms of heads may be NULL. */
typedef struct {
    const void *input_norm, *query_norm, *key_norm, *mlp_norm;
    Packed qkv, output, gate_up, down;
    int64_t window;
} Layer;

typedef struct {
    int64_t num_layers, hidden, inner, heads, kv_heads, head_dim;
    const void *final_norm;
    float eps, head_eps, scale, softcap;
    int32_t half, threads;
} Shape;

typedef struct {
    int64_t tokens, num_items;
    const Item *items;
    const float *cosine, *sine; /* (tokens, head_dim / 2) */
    const int64_t *slots;       /* (tokens,) */
    char *cache;                /* (layers, 2, slots, kv_heads, head_dim) */
    int64_t cache_bytes;        /* of one layer's keys */
} Step;

static void linear(const Shape *s, const Packed *p, const void *x, void *y, int64_t rows, int64_t inputs, int64_t outputs) {
    if (s->half) ramify_linear_bfloat16(x, p->weight, p->bias, y, rows, inputs, outputs, 0, s->threads);
    else ramify_linear_float32(x, p->weight, p->bias, y, rows, inputs, outputs, s->threads);
}

/* `residual` (tokens, hidden) is the embedding and is changed; `normed` (tokens, hidden) is the result. Returns 0, or 1
 * when there is no memory. */
EXPORT int ramify_decoder_stack(const Shape *s, const Layer *layers, const Step *step, void *residual, void *normed) {
    int64_t tokens = step->tokens, width = s->heads * s->head_dim, kv_width = s->kv_heads * s->head_dim;
    int64_t qkv_width = width + 2 * kv_width, size = s->half ? 2 : 4;
    /* qkv and the attended heads are dead when the feed-forward block begins, so both halves share memory */
    int64_t first = qkv_width + 2 * width, second = 3 * s->inner;
    char *memory = malloc((size_t)(tokens * ((first > second ? first : second) + s->hidden) * size));
    if (!memory) return 1;
    char *hidden = memory, *qkv = hidden + tokens * s->hidden * size, *query = qkv + tokens * qkv_width * size;
    char *attended = query + tokens * width * size, *gate_up = qkv, *gated = gate_up + tokens * 2 * s->inner * size;
    ramify_rms_norm(residual, NULL, layers[0].input_norm, normed, tokens, s->hidden, s->eps, s->half, s->threads);
    for (int64_t i = 0; i < s->num_layers; i++) {
        const Layer *l = layers + i;
        char *keys = step->cache + 2 * i * step->cache_bytes, *values = keys + step->cache_bytes;
        linear(s, &l->qkv, normed, qkv, tokens, s->hidden, qkv_width);
        ramify_rotary_to_cache(
            qkv, step->cosine, step->sine, l->query_norm, l->key_norm, s->head_eps, query, keys, values, step->slots, tokens,
            s->heads, s->kv_heads, s->head_dim, s->half, s->threads
        );
        ramify_attention(
            query, keys, values, attended, step->items, step->num_items, tokens, s->heads, s->kv_heads, s->head_dim,
            s->scale, s->softcap, l->window, s->half, s->threads
        );
        linear(s, &l->output, attended, hidden, tokens, width, s->hidden);
        ramify_rms_norm(hidden, residual, l->mlp_norm, normed, tokens, s->hidden, s->eps, s->half, s->threads);
        linear(s, &l->gate_up, normed, gate_up, tokens, s->hidden, 2 * s->inner);
        ramify_silu_and_mul(gate_up, gated, tokens, s->inner, s->half, s->threads);
        linear(s, &l->down, gated, hidden, tokens, s->inner, s->hidden);
        const void *next = i + 1 < s->num_layers ? layers[i + 1].input_norm : s->final_norm;
        ramify_rms_norm(hidden, residual, next, normed, tokens, s->hidden, s->eps, s->half, s->threads);
    }
    free(memory);
    return 0;
}
