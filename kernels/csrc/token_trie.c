/* Which tokens may follow a state of a byte automaton: one pass over the vocabulary's trie in depth-first order.
 *
 * A node that the automaton cannot enter is left with its whole subtree. A subtree that every text may enter is not
 * walked either: where a state goes to one and the same state with every character of a bush (most of a vocabulary in
 * the middle of a string), and that one with the same characters to the next, all tokens of the bush are allowed.
 */
#include "kernels.h"

#define MIN_BUSH 12 /* tokens: smaller bushes cost more to test than to walk; 6 to 24 measure the same */
#define ILL_FORMED 255 /* stands in a bush's set for bytes that are no UTF-8; no text has the byte 255 itself */
#define SLOT_BITS 8 /* of the tables of states remembered during a walk */
#define SLOTS (1 << SLOT_BITS)

/* Parent's byte before child's; `skip` is the first node after the subtree. The bush of a node includes its own byte. */
typedef struct {
    int32_t skip, token, bush;
    uint16_t depth;
    uint8_t byte, unused;
} Node;

/* `bytes`: the set of bytes on the way from the bush's parent to its ends; tokens `first : last` of the list. */
typedef struct {
    uint64_t bytes[4];
    int32_t first, last, height, unused;
} Bush;

typedef struct {
    uint64_t bytes[4];
    int32_t height;
} Subtree;

/* Where in a character a text stands: at its start, 1 to 3 bytes before its end, or after a lead byte with a narrower
 * range of second bytes. -1: the bytes so far are no UTF-8. */
enum { BORDER, ONE_MORE, TWO_MORE, THREE_MORE, AFTER_E0, AFTER_ED, AFTER_F0, AFTER_F4 };

static int next_place(int place, int byte) {
    static const uint8_t low[] = {0, 0x80, 0x80, 0x80, 0xA0, 0x80, 0x90, 0x80};
    static const uint8_t high[] = {0, 0xBF, 0xBF, 0xBF, 0xBF, 0x9F, 0xBF, 0x8F};
    static const int8_t then[] = {0, BORDER, ONE_MORE, TWO_MORE, ONE_MORE, ONE_MORE, TWO_MORE, TWO_MORE};
    if (place < 0) return -1;
    if (place != BORDER) return byte >= low[place] && byte <= high[place] ? then[place] : -1;
    if (byte < 0x80) return BORDER;
    if (byte < 0xC2 || byte > 0xF4) return -1;
    if (byte < 0xE0) return ONE_MORE;
    if (byte < 0xF0) return byte == 0xE0 ? AFTER_E0 : byte == 0xED ? AFTER_ED : TWO_MORE;
    return byte == 0xF0 ? AFTER_F0 : byte == 0xF4 ? AFTER_F4 : THREE_MORE;
}

/* Fill in `skip` and `bush` of the nodes, the list of tokens in the order of nodes, and the bushes; return how many. */
EXPORT int64_t ramify_index_token_trie(
    void *node_array, int64_t count, int64_t max_depth, void *bush_array, int32_t *tokens, int64_t num_tokens
) {
    Node *nodes = node_array;
    Bush *bushes = bush_array;
    int8_t *place_of = malloc(count + 1); /* before the node's byte */
    int8_t *place_at = malloc(max_depth + 1);
    int32_t *first_token = malloc((count + 1) * sizeof *first_token);
    int64_t *next = malloc((max_depth + 2) * sizeof *next); /* by depth: the nearest later node not deeper than that */
    Subtree *below = calloc(max_depth + 2, sizeof *below); /* by depth: later siblings of that depth, with subtrees */
    int64_t num_bushes = 0;
    place_at[0] = BORDER;
    for (int64_t i = 0; i < count; i++) {
        place_of[i] = place_at[nodes[i].depth - 1];
        place_at[nodes[i].depth] = next_place(place_of[i], nodes[i].byte);
    }
    for (int64_t d = 0; d <= max_depth + 1; d++) next[d] = count;
    first_token[count] = (int32_t)num_tokens;
    for (int64_t i = count - 1; i >= 0; i--) {
        Node *node = nodes + i;
        const int depth = node->depth, before = i ? nodes[i - 1].depth : 0;
        const int byte = next_place(place_of[i], node->byte) < 0 ? ILL_FORMED : node->byte;
        Subtree *own = below + depth + 1;
        node->skip = (int32_t)next[depth];
        for (int d = depth; d <= (before > depth ? before : depth); d++) next[d] = i;
        first_token[i] = first_token[i + 1] - (node->token >= 0);
        if (node->token >= 0) tokens[first_token[i]] = node->token;
        own->bytes[byte >> 6] |= 1ull << (byte & 63);
        own->height++;
        node->bush = -1;
        if (place_of[i] == BORDER && first_token[node->skip] - first_token[i] >= MIN_BUSH && !(own->bytes[3] >> 63)) {
            Bush *bush = bushes + num_bushes;
            memcpy(bush->bytes, own->bytes, sizeof bush->bytes);
            bush->first = first_token[i];
            bush->last = first_token[node->skip];
            bush->height = own->height;
            node->bush = (int32_t)num_bushes++;
        }
        for (int k = 0; k < 4; k++) below[depth].bytes[k] |= own->bytes[k];
        if (below[depth].height < own->height) below[depth].height = own->height;
        memset(own, 0, sizeof *own);
    }
    free(place_of);
    free(place_at);
    free(first_token);
    free(next);
    free(below);
    return num_bushes;
}

/* What is known of one state: the bytes of the characters that all lead to one and the same state, and that state.
 * `length` characters of these bytes, whichever, lead to `stop`; more is found out when it is asked for. */
typedef struct {
    int32_t state, target, stop, length;
    uint64_t bytes[4];
} Uniform;

/* Where all bytes `low ... high` lead from `state`; 0 if they do not lead to one state. */
typedef struct {
    int32_t state, range, target;
} Step;

typedef struct {
    const int32_t *table; /* (states, classes) */
    const uint8_t *class_of_byte;
    int64_t num_classes;
    Uniform uniforms[SLOTS];
    Step steps[SLOTS];
} Walk;

/* Multiplicative hashing: the states of a counted repetition are numbered with a stride, which must not decide. */
static int slot_of(int32_t state) { return (int)((uint32_t)state * 2654435769u >> (32 - SLOT_BITS)); }

static int32_t common_target(Walk *walk, int32_t state, int low, int high) {
    if (!state) return 0;
    Step *step = walk->steps + slot_of(state ^ low << 20);
    if (step->state == state && step->range == (low << 8 | high)) return step->target;
    const int32_t *row = walk->table + state * walk->num_classes;
    int32_t target = row[walk->class_of_byte[low]];
    for (int byte = low + 1; byte <= high; byte++)
        if (row[walk->class_of_byte[byte]] != target) target = 0;
    *step = (Step){state, low << 8 | high, target};
    return target;
}

/* Where every character that begins with `lead` takes the automaton from `state`; 0 if there is no such state. */
static int32_t character_target(Walk *walk, int32_t state, int lead) {
    int32_t at = walk->table[state * walk->num_classes + walk->class_of_byte[lead]];
    if (lead >= 0xF0) at = common_target(walk, at, lead == 0xF0 ? 0x90 : 0x80, lead == 0xF4 ? 0x8F : 0xBF);
    if (lead == 0xE0 || lead == 0xED) at = common_target(walk, at, lead == 0xE0 ? 0xA0 : 0x80, lead == 0xED ? 0x9F : 0xBF);
    else if (lead >= 0xE0) at = common_target(walk, at, 0x80, 0xBF);
    return common_target(walk, at, 0x80, 0xBF);
}

static Uniform *uniform_of(Walk *walk, int32_t state) {
    Uniform *found = walk->uniforms + slot_of(state);
    if (found->state == state) return found;
    const int32_t *row = walk->table + state * walk->num_classes;
    /* any letter would be right: only how much is pruned depends on the choice */
    const int32_t target = row[walk->class_of_byte['e']];
    *found = (Uniform){state, target, target, target == state ? INT32_MAX : 1, {0}};
    if (!target) return found;
    for (int byte = 0; byte < 0x80; byte++)
        found->bytes[byte >> 6] |= (uint64_t)(row[walk->class_of_byte[byte]] == target) << (byte & 63);
    found->bytes[2] = ~0ull; /* 0x80 to 0xBF only follow lead bytes here */
    for (int lead = 0xC2; lead <= 0xF4; lead++)
        found->bytes[3] |= (uint64_t)(character_target(walk, state, lead) == target) << (lead & 63);
    return found;
}

static int contains(const uint64_t *set, const uint64_t *bytes) {
    return !((bytes[0] & ~set[0]) | (bytes[1] & ~set[1]) | (bytes[2] & ~set[2]) | (bytes[3] & ~set[3]));
}

/* Find out how far the bytes of `here` lead on, up to `height` characters. */
static void extend(Walk *walk, Uniform *here, int32_t height) {
    while (here->length < height) {
        const Uniform *next = uniform_of(walk, here->stop);
        if (!contains(next->bytes, here->bytes)) break;
        here->length = next->length == INT32_MAX ? INT32_MAX : here->length + next->length;
        here->stop = next->stop;
    }
}

/* Whether every text of at most `bush->height` characters made of the bush's bytes can follow `state`. */
static int covers(Walk *walk, int32_t state, const Bush *bush) {
    for (int32_t height = bush->height; height > 0;) {
        Uniform *found = uniform_of(walk, state);
        if (!contains(found->bytes, bush->bytes)) return 0;
        if (found->length >= height) return 1;
        Uniform here = *found; /* what lies there may be replaced while the next states are looked at */
        extend(walk, &here, height);
        walk->uniforms[slot_of(state)] = here;
        height -= here.length;
        state = here.stop;
    }
    return 1;
}

/* Set the bits of the allowed tokens in `mask` (zero before). Nodes without a token name one past the vocabulary. */
EXPORT void ramify_walk_token_trie(
    const void *node_array, int64_t count, int64_t max_depth, const void *bush_array, const int32_t *tokens,
    const int32_t *table, const uint8_t *class_of_byte, int64_t num_classes, int64_t start, uint32_t *mask
) {
    const Node *nodes = node_array;
    const Bush *bushes = bush_array;
    int32_t *states = malloc((max_depth + 1) * sizeof *states); /* by depth of the path to the current node */
    Walk walk = {.table = table, .class_of_byte = class_of_byte, .num_classes = num_classes};
    states[0] = (int32_t)start;
    for (int64_t i = 0; i < count;) {
        const Node *node = nodes + i;
        const int32_t from = states[node->depth - 1];
        const int32_t state = table[from * num_classes + class_of_byte[node->byte]];
        if (!state) {
            i = node->skip;
            continue;
        }
        if (node->bush >= 0 && covers(&walk, from, bushes + node->bush)) {
            const Bush *bush = bushes + node->bush;
            for (int64_t k = bush->first; k < bush->last; k++) mask[tokens[k] >> 5] |= 1u << (tokens[k] & 31);
            i = node->skip;
            continue;
        }
        mask[node->token >> 5] |= 1u << (node->token & 31); /* without a branch: half of the nodes have no token */
        states[node->depth] = state;
        i++;
    }
    free(states);
}
