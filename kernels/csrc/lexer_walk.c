/* What becomes of the tokens below some nodes of a vocabulary's trie from one state of a lexer. See lexer_walk.py. */
#include "kernels.h"

/* Nodes in depth-first order, parent before child; `skip` is the first node after the subtree. */
typedef struct {
    int32_t skip, token;
    uint16_t depth;
    uint8_t byte, unused;
} Node;

/* A token that ends in state s sets its bit in row `slots[reach[s]]` of `rows`; a row is taken when it is first needed.
 * A node before whose byte a terminal can end is put into `end_nodes`, with the kind of the end. Returns the number of
 * such nodes, which may exceed the room for them; -1 when there are too few rows. */
EXPORT int64_t ramify_walk_lexer(
    const void *node_array, int64_t max_depth, const int32_t *frontier, int64_t num_frontier, const int32_t *table,
    const int32_t *ends, const uint8_t *class_of_byte, int64_t num_classes, const int32_t *reach, int64_t start,
    int32_t *slots, uint32_t *rows, int64_t num_words, int64_t num_rows, int32_t *end_nodes, int32_t *end_kinds,
    int64_t room
) {
    const Node *nodes = node_array;
    int32_t *states = malloc((max_depth + 1) * sizeof *states); /* by depth of the path to the current node */
    int64_t num_ends = 0, taken = 0;
    for (int64_t f = 0; f < num_frontier && num_ends >= 0; f++) {
        int64_t i = frontier[f];
        const int64_t last = nodes[i].skip;
        states[nodes[i].depth - 1] = (int32_t)start;
        while (i < last) {
            const Node *node = nodes + i;
            const int64_t place = states[node->depth - 1] * num_classes + class_of_byte[node->byte];
            if (ends[place] >= 0) {
                if (num_ends < room) {
                    end_nodes[num_ends] = (int32_t)i;
                    end_kinds[num_ends] = ends[place];
                }
                num_ends++;
            }
            const int32_t state = table[place];
            if (!state) {
                i = node->skip;
                continue;
            }
            states[node->depth] = state;
            if (node->token >= 0) {
                int32_t *slot = slots + reach[state];
                if (*slot < 0) {
                    if (taken == num_rows) {
                        num_ends = -1;
                        break;
                    }
                    *slot = (int32_t)taken++;
                }
                rows[*slot * num_words + (node->token >> 5)] |= 1u << (node->token & 31);
            }
            i++;
        }
    }
    free(states);
    return num_ends;
}
