#include "model/script.h"

#include "base/prng.h"
#include "lib/test_lib.h"
#include "sim/sim_disk.h"

#include <stdlib.h>
#include <string.h>

static const char *const names[SCRIPT_KINDS] = {
    "put",      "delete",  "range",   "batch",          "get",
    "get_many", "scan",    "walk",    "history",        "key_history",
    "snapshot", "iter",    "step",    "create",         "drop",
    "sync",     "flush",   "compact", "crank",          "idle",
    "check",    "compare", "reopen",  "crash",          "stream",
    "reader",   "alter",   "clock",   "compact_values",
};

const char *script_kind_name(enum script_kind kind)
{
    return kind < SCRIPT_KINDS ? names[kind] : "?";
}

static void add_op(struct script *s, struct script_op op)
{
    test_grow((void **)&s->ops, &s->capacity, s->count, sizeof op);
    s->ops[s->count++] = op;
}

static enum script_kind random_kind(struct prng *random, const uint64_t *weights)
{
    uint64_t sum = 0;
    for (int i = 0; i < SCRIPT_KINDS; i++) {
        sum += weights[i];
    }
    uint64_t x = prng_below(random, sum);
    int kind = 0;
    while (x >= weights[kind]) {
        x -= weights[kind++];
    }
    return (enum script_kind)kind;
}

static uint64_t random_when(struct prng *random)
{
    uint64_t x = prng_below(random, 10);
    if (x < 5) {
        return 0;
    }
    return x < 7 ? 1 + prng_below(random, SCRIPT_SLOTS)
                 : 1 + SCRIPT_SLOTS + prng_below(random, 1u << 20);
}

// Mostly small; now and then many blocks, and seldom more than a chunk of a value file.
static uint64_t random_bytes(struct prng *random, uint64_t value_max)
{
    if (prng_one_in(random, 2000)) {
        return (1 << 20) - 2 + prng_below(random, 400000);
    }
    if (prng_one_in(random, 300)) {
        return prng_below(random, 300000);
    }
    return prng_one_in(random, 40) ? prng_below(random, 20000) : prng_below(random, value_max);
}

static uint64_t random_expiry(struct prng *random)
{
    uint64_t x = prng_below(random, 20);
    return x < 16 ? 0 : x < 17 ? 1 + prng_below(random, 2) : 3 + prng_below(random, 2000);
}

static struct script_op random_op(struct prng *random, enum script_kind kind, uint64_t keys,
                                  uint64_t value_max)
{
    struct script_op op = {.kind = kind};
    op.a = prng_one_in(random, 3) ? prng_below(random, SCRIPT_SPACES) : 0;
    op.b = prng_below(random, keys);
    op.c = prng_below(random, 1u << 20);
    op.d = prng_below(random, 1u << 20);
    op.e = random_when(random);
    switch (kind) {
    case SCRIPT_PUT:
    case SCRIPT_STREAM:
        op.c = random_bytes(random, value_max);
        op.e = (prng_one_in(random, 5) ? prng_below(random, 2) : STRATA_SYNC_NONE) +
               3 * random_expiry(random);
        break;
    case SCRIPT_READER:
        op.e = op.a;
        op.a = prng_below(random, SCRIPT_SLOTS);
        break;
    case SCRIPT_ALTER:
        op.b = prng_below(random, 8);
        break;
    case SCRIPT_CLOCK:
        op.a = prng_one_in(random, 3) ? prng_below(random, 4000) : 1 + prng_below(random, 90);
        break;
    case SCRIPT_RANGE:
    case SCRIPT_SCAN:
    case SCRIPT_HISTORY:
        op.c = prng_below(random, keys);
        if (kind == SCRIPT_RANGE) {
            op.c = prng_one_in(random, 4) ? op.c : op.b + 1 + prng_below(random, 8);
            op.e = prng_one_in(random, 5) ? 0 : STRATA_SYNC_NONE;
        }
        break;
    case SCRIPT_BATCH:
    case SCRIPT_DELETE:
        op.b = kind == SCRIPT_BATCH ? 1 + prng_below(random, 14) : op.b;
        op.d = keys;
        op.e = prng_one_in(random, 5) ? 0 : STRATA_SYNC_NONE;
        break;
    case SCRIPT_GET_MANY:
    case SCRIPT_WALK:
        op.b = 1 + prng_below(random, 20);
        break;
    case SCRIPT_SNAPSHOT:
    case SCRIPT_ITER:
    case SCRIPT_STEP:
        op.e = op.a;
        op.a = prng_below(random, SCRIPT_SLOTS);
        break;
    case SCRIPT_COMPACT:
    case SCRIPT_COMPACT_VALUES:
        op.a = prng_below(random, SCRIPT_SPACES + 1);
        break;
    case SCRIPT_CREATE:
    case SCRIPT_DROP:
        op.a = 1 + prng_below(random, SCRIPT_SPACES - 1);
        break;
    case SCRIPT_CRASH:
        op.a = prng_below(random, SIM_SURVIVE_POLICIES);
        break;
    default:
        break;
    }
    return op;
}

void script_make(struct script *s, uint64_t seed, uint64_t count)
{
    static const uint64_t base[SCRIPT_KINDS] = {
        [SCRIPT_PUT] = 300,        [SCRIPT_DELETE] = 60,        [SCRIPT_RANGE] = 20,
        [SCRIPT_BATCH] = 60,       [SCRIPT_GET] = 100,          [SCRIPT_GET_MANY] = 30,
        [SCRIPT_SCAN] = 40,        [SCRIPT_WALK] = 30,          [SCRIPT_HISTORY] = 10,
        [SCRIPT_KEY_HISTORY] = 20, [SCRIPT_SNAPSHOT] = 8,       [SCRIPT_ITER] = 8,
        [SCRIPT_STEP] = 30,        [SCRIPT_CREATE] = 4,         [SCRIPT_DROP] = 2,
        [SCRIPT_SYNC] = 4,         [SCRIPT_FLUSH] = 8,          [SCRIPT_COMPACT] = 3,
        [SCRIPT_CRANK] = 40,       [SCRIPT_IDLE] = 3,           [SCRIPT_CHECK] = 2,
        [SCRIPT_COMPARE] = 4,      [SCRIPT_REOPEN] = 3,         [SCRIPT_CRASH] = 3,
        [SCRIPT_STREAM] = 8,       [SCRIPT_READER] = 12,        [SCRIPT_ALTER] = 3,
        [SCRIPT_CLOCK] = 10,       [SCRIPT_COMPACT_VALUES] = 2,
    };
    static const uint64_t value_maxes[] = {12, 100, 600, 2000};
    struct prng random = {prng_mix(seed)};
    uint64_t weights[SCRIPT_KINDS];
    for (int i = 0; i < SCRIPT_KINDS; i++) {
        static const uint64_t scales[] = {0, 1, 1, 2, 5};
        weights[i] = base[i] * (i == SCRIPT_PUT ? 1 : scales[prng_below(&random, 5)]);
    }
    uint64_t keys = 5 + prng_below(&random, SCRIPT_KEYS - 5);
    uint64_t value_max = value_maxes[prng_below(&random, 4)];
    for (uint64_t i = 0; i < count; i++) {
        add_op(s, random_op(&random, random_kind(&random, weights), keys, value_max));
    }
}

void script_release(struct script *s)
{
    free(s->ops);
    *s = (struct script){.ops = NULL};
}

void script_print(const struct script *s, FILE *to)
{
    for (size_t i = 0; i < s->count; i++) {
        const struct script_op *op = &s->ops[i];
        fprintf(to, "%s %llu %llu %llu %llu %llu\n", names[op->kind], (unsigned long long)op->a,
                (unsigned long long)op->b, (unsigned long long)op->c, (unsigned long long)op->d,
                (unsigned long long)op->e);
    }
}

void script_read(struct script *s, FILE *from)
{
    char line[300];
    while (fgets(line, sizeof line, from) != NULL) {
        char name[32];
        unsigned long long n[5];
        if (line[0] == '#' || line[0] == '\n') {
            continue;
        }
        int kind = 0;
        if (sscanf(line, "%31s %llu %llu %llu %llu %llu", name, &n[0], &n[1], &n[2], &n[3],
                   &n[4]) != 6) {
            test_fatal("not an operation: %s", line);
        }
        while (kind < SCRIPT_KINDS && strcmp(names[kind], name) != 0) {
            kind++;
        }
        if (kind == SCRIPT_KINDS) {
            test_fatal("not an operation: %s", line);
        }
        add_op(s, (struct script_op){(enum script_kind)kind, n[0], n[1], n[2], n[3], n[4]});
    }
}
