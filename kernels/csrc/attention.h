/* What attention's planning and its computation share. */
#ifndef RAMIFY_ATTENTION_H
#define RAMIFY_ATTENTION_H

#include "simd.h"

#define TILE PANEL         /* keys of a tile; tiles are aligned to positions of the sequence, never to chunks */
#define ITEM_QUERIES 48    /* query rows (tokens x heads of a group) that one item aims at */
#define TASK_ROWS 192      /* query rows, over its heads, that a task aims at: bounds a thread's memory to its L2 cache */

/* Some consecutive new tokens of one sequence. */
typedef struct {
    const int32_t *slots; /* of the sequence, by position */
    int64_t seq_len;
    int64_t token;    /* index of its first token in the batch */
    int64_t count;    /* tokens */
    int64_t position; /* of its first token */
    int64_t shared;   /* leading whole tiles whose slots equal those of the item before it */
} Item;

#endif
