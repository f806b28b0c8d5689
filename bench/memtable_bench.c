// Measures write buffers behind one contract: the engine's memtable, a skip list and a B+-tree with
// 8-byte heads. docs/decisions/0003-memtable.md has the figures and what was chosen.
//
//   memtable_bench [count] [subject] [shape]
//
// Count: keys (default 1,000,000). Subject: memtable, skiplist, btree (default all). Shape: hashed
// or decimal (default both). All times are CPU time of one thread, in ns an operation.
//
// The rivals are as simple as a fair comparison allows: one version a key, heads taken after the
// prefix that the benchmark knows, memory from 2 MiB chunks. The skip list publishes by release
// stores as a concurrent one must; the B+-tree has no protection of its readers at all, so its
// figures are a floor.
#include "base/alloc.h"
#include "base/arena.h"
#include "base/hash.h"
#include "base/prng.h"
#include "memtable/memtable.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define KEY_BYTES 16u
#define VALUE_BYTES 100u
#define CHUNK_BYTES ((size_t)2 << 20)

struct subject {
    const char *name;
    void *(*new)(size_t skip);
    void (*free)(void *ctx);
    void (*add)(void *ctx, const uint8_t *key, const uint8_t *value, uint64_t commit);
    const uint8_t *(*get)(void *ctx, const uint8_t *key); // the value, or NULL
    // Visits `count` entries from the first with a key >= `key` (NULL: all); returns a checksum.
    uint64_t (*scan)(void *ctx, const uint8_t *key, size_t count);
    size_t (*bytes)(void *ctx);
};

static void bench_need(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "memtable_bench: %s\n", what);
        exit(1);
    }
}

static double bench_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// ---- the engine's memtable

static uint64_t bench_commit; // the newest

static void *bench_memtable_new(size_t skip)
{
    (void)skip;
    struct memtable *m;
    bench_need(memtable_new(NULL, &m) == STRATA_OK, "no memory");
    return m;
}

static void bench_memtable_free(void *ctx)
{
    memtable_free(ctx);
}

static void bench_memtable_add(void *ctx, const uint8_t *key, const uint8_t *value, uint64_t commit)
{
    bench_need(memtable_reserve(ctx, 1, KEY_BYTES + VALUE_BYTES) == STRATA_OK, "no memory");
    struct kv_entry e = {
        .key = key,
        .value = value,
        .key_bytes = KEY_BYTES,
        .value_bytes = VALUE_BYTES,
        .commit = commit,
        .kind = KV_PUT,
    };
    memtable_add(ctx, &e, hash_key(slice_of(key, KEY_BYTES)));
}

static const uint8_t *bench_memtable_get(void *ctx, const uint8_t *key)
{
    struct slice k = slice_of(key, KEY_BYTES);
    struct kv_lookup lookup = {.key = k, .hash = hash_key(k), .at = bench_commit};
    return memtable_get(ctx, &lookup) ? lookup.entry.value : NULL;
}

static uint64_t bench_memtable_scan(void *ctx, const uint8_t *key, size_t count)
{
    struct kv_cursor *c;
    bench_need(memtable_cursor_open(ctx, bench_commit, &c) == STRATA_OK, "no memory");
    uint64_t sum = 0;
    strata_rc rc = kv_cursor_seek(c, slice_of(key, key == NULL ? 0 : KEY_BYTES), false);
    for (; rc == STRATA_OK && count > 0; count--) {
        sum += c->at->key[9] + c->at->commit;
        rc = kv_cursor_next(c);
    }
    kv_cursor_close(c);
    return sum;
}

static size_t bench_memtable_bytes(void *ctx)
{
    return memtable_bytes(ctx);
}

// ---- a skip list (W. Pugh 1990), records behind the towers, one in four goes up a level

#define LIST_LEVELS 12u

struct list_node {
    uint64_t commit;
    uint8_t key[KEY_BYTES];
    uint8_t value[VALUE_BYTES];
    struct list_node *_Atomic next[]; // as many as its height
};

struct list {
    struct arena arena;
    struct list_node *head;
    unsigned height;
    struct prng prng;
};

static struct list_node *list_node_new(struct list *l, unsigned height)
{
    struct list_node *n =
        arena_alloc(&l->arena, sizeof *n + height * sizeof(struct list_node * _Atomic));
    bench_need(n != NULL, "no memory");
    for (unsigned i = 0; i < height; i++) {
        atomic_init(&n->next[i], NULL);
    }
    return n;
}

static void *list_new(size_t skip)
{
    (void)skip;
    struct list *l = alloc_zeroed(1, sizeof *l);
    bench_need(l != NULL, "no memory");
    arena_init(&l->arena, CHUNK_BYTES);
    l->head = list_node_new(l, LIST_LEVELS);
    l->height = 1;
    l->prng.state = 1;
    return l;
}

static void list_free(void *ctx)
{
    struct list *l = ctx;
    arena_release(&l->arena);
    free(l);
}

// The first node with a key >= `key`; previous_out, when not NULL, gets the nodes before it.
static struct list_node *list_find(const struct list *l, const uint8_t *key,
                                   struct list_node **previous_out)
{
    struct list_node *at = l->head;
    struct list_node *bound = NULL; // known not to be before the key
    for (unsigned level = l->height; level-- > 0;) {
        for (;;) {
            struct list_node *next = atomic_load_explicit(&at->next[level], memory_order_acquire);
            if (next == NULL || next == bound || memcmp(next->key, key, KEY_BYTES) >= 0) {
                bound = next;
                break;
            }
            __builtin_prefetch(atomic_load_explicit(&next->next[level], memory_order_relaxed));
            at = next;
        }
        if (previous_out != NULL) {
            previous_out[level] = at;
        }
    }
    return bound;
}

static void list_add(void *ctx, const uint8_t *key, const uint8_t *value, uint64_t commit)
{
    struct list *l = ctx;
    struct list_node *previous[LIST_LEVELS];
    list_find(l, key, previous);
    unsigned height = 1;
    while (height < LIST_LEVELS && prng_one_in(&l->prng, 4)) {
        height++;
    }
    for (; l->height < height; l->height++) {
        previous[l->height] = l->head;
    }
    struct list_node *n = list_node_new(l, height);
    n->commit = commit;
    memcpy(n->key, key, KEY_BYTES);
    memcpy(n->value, value, VALUE_BYTES);
    for (unsigned i = 0; i < height; i++) {
        atomic_init(&n->next[i], atomic_load_explicit(&previous[i]->next[i], memory_order_relaxed));
        // Pairs with the acquire in list_find.
        atomic_store_explicit(&previous[i]->next[i], n, memory_order_release);
    }
}

static const uint8_t *list_get(void *ctx, const uint8_t *key)
{
    const struct list_node *n = list_find(ctx, key, NULL);
    return n != NULL && memcmp(n->key, key, KEY_BYTES) == 0 ? n->value : NULL;
}

static uint64_t list_scan(void *ctx, const uint8_t *key, size_t count)
{
    const struct list *l = ctx;
    const struct list_node *n = key == NULL
                                    ? atomic_load_explicit(&l->head->next[0], memory_order_acquire)
                                    : list_find(l, key, NULL);
    uint64_t sum = 0;
    for (; n != NULL && count > 0; count--) {
        sum += n->key[9] + n->commit;
        n = atomic_load_explicit(&n->next[0], memory_order_acquire);
    }
    return sum;
}

static size_t list_bytes(void *ctx)
{
    return ((struct list *)ctx)->arena.reserved_bytes;
}

// ---- a B+-tree of 64 slots with 8-byte heads beside the pointers

#define TREE_SLOTS 64u
#define TREE_DEPTH_MOST 12u

struct tree_record {
    uint64_t commit;
    uint8_t key[KEY_BYTES];
    uint8_t value[VALUE_BYTES];
};

// In a leaf slot i is a record; in an inner node child i holds the keys from heads[i] on.
struct tree_node {
    unsigned count;
    struct tree_node *next; // leaf to the right
    uint64_t heads[TREE_SLOTS];
    struct tree_record *records[TREE_SLOTS]; // inner: the least record below, to break ties
    struct tree_node *children[];            // inner only
};

struct tree {
    struct arena arena;
    struct tree_node *root;
    unsigned depth; // of the leaves
    size_t skip;
};

static struct tree_node *tree_node_new(struct tree *t, bool inner)
{
    size_t bytes = sizeof(struct tree_node) + (inner ? TREE_SLOTS * sizeof(void *) : 0);
    struct tree_node *n = arena_alloc(&t->arena, bytes);
    bench_need(n != NULL, "no memory");
    n->count = 0;
    n->next = NULL;
    return n;
}

static void *tree_new(size_t skip)
{
    struct tree *t = alloc_zeroed(1, sizeof *t);
    bench_need(t != NULL, "no memory");
    arena_init(&t->arena, CHUNK_BYTES);
    t->root = tree_node_new(t, false);
    t->skip = skip;
    return t;
}

static void tree_free(void *ctx)
{
    struct tree *t = ctx;
    arena_release(&t->arena);
    free(t);
}

// How many slots of the node are before the key; with `through`, or are equal to it.
static unsigned tree_rank(const struct tree_node *n, uint64_t head, const uint8_t *key,
                          bool through)
{
    const uint64_t *base = n->heads;
    unsigned count = n->count;
    while (count > 1) {
        unsigned half = count / 2;
        base = base[half - 1] < head ? base + half : base;
        count -= half;
    }
    unsigned rank = (unsigned)(base - n->heads) + (count == 1 && *base < head ? 1u : 0u);
    while (rank < n->count && n->heads[rank] == head) {
        int order = memcmp(n->records[rank]->key, key, KEY_BYTES);
        if (order > 0 || (order == 0 && !through)) {
            break;
        }
        rank++;
    }
    return rank;
}

static void tree_prefetch(const struct tree_node *n)
{
    for (size_t line = 0; line < 8; line++) {
        __builtin_prefetch((const uint8_t *)n + 64 * line);
    }
}

static struct tree_node *tree_leaf(const struct tree *t, uint64_t head, const uint8_t *key)
{
    struct tree_node *n = t->root;
    for (unsigned level = 0; level < t->depth; level++) {
        unsigned rank = tree_rank(n, head, key, true);
        n = n->children[rank == 0 ? 0 : rank - 1];
        tree_prefetch(n);
    }
    return n;
}

// As tree_leaf, for an insert: keeps the way, and lowers the least keys on it.
static struct tree_node *tree_leaf_to_change(struct tree *t, uint64_t head,
                                             struct tree_record *record, struct tree_node **path,
                                             unsigned *slots)
{
    struct tree_node *n = t->root;
    for (unsigned level = 0; level < t->depth; level++) {
        unsigned rank = tree_rank(n, head, record->key, true);
        if (rank == 0) {
            n->heads[0] = head;
            n->records[0] = record;
        }
        path[level] = n;
        slots[level] = rank == 0 ? 0 : rank - 1;
        n = n->children[slots[level]];
        tree_prefetch(n);
    }
    return n;
}

static void tree_node_insert(struct tree_node *n, unsigned slot, uint64_t head,
                             struct tree_record *record, struct tree_node *child)
{
    unsigned moved = n->count - slot;
    memmove(n->heads + slot + 1, n->heads + slot, moved * sizeof *n->heads);
    memmove(n->records + slot + 1, n->records + slot, moved * sizeof *n->records);
    n->heads[slot] = head;
    n->records[slot] = record;
    if (child != NULL) {
        memmove(n->children + slot + 1, n->children + slot, moved * sizeof *n->children);
        n->children[slot] = child;
    }
    n->count++;
}

// Moves the upper half of a full node to a new one, which it returns.
static struct tree_node *tree_split(struct tree *t, struct tree_node *n, bool inner)
{
    struct tree_node *right = tree_node_new(t, inner);
    unsigned half = n->count / 2;
    right->count = n->count - half;
    n->count = half;
    memcpy(right->heads, n->heads + half, right->count * sizeof *n->heads);
    memcpy(right->records, n->records + half, right->count * sizeof *n->records);
    if (inner) {
        memcpy(right->children, n->children + half, right->count * sizeof *n->children);
    }
    right->next = n->next;
    n->next = right;
    return right;
}

static void tree_add(void *ctx, const uint8_t *key, const uint8_t *value, uint64_t commit)
{
    struct tree *t = ctx;
    struct tree_node *path[TREE_DEPTH_MOST];
    unsigned slots[TREE_DEPTH_MOST];
    uint64_t head = slice_head(slice_of(key, KEY_BYTES), t->skip);
    struct tree_record *record = arena_alloc(&t->arena, sizeof *record);
    bench_need(record != NULL, "no memory");
    record->commit = commit;
    memcpy(record->key, key, KEY_BYTES);
    memcpy(record->value, value, VALUE_BYTES);
    struct tree_node *n = tree_leaf_to_change(t, head, record, path, slots);
    struct tree_node *child = NULL;
    unsigned slot = tree_rank(n, head, key, false);
    for (unsigned level = t->depth;; level--) {
        if (n->count < TREE_SLOTS) {
            tree_node_insert(n, slot, head, record, child);
            return;
        }
        struct tree_node *right = tree_split(t, n, child != NULL);
        if (slot > n->count) {
            tree_node_insert(right, slot - n->count, head, record, child);
        } else {
            tree_node_insert(n, slot, head, record, child);
        }
        head = right->heads[0];
        record = right->records[0];
        child = right;
        if (level == 0) {
            struct tree_node *root = tree_node_new(t, true);
            tree_node_insert(root, 0, n->heads[0], n->records[0], n);
            tree_node_insert(root, 1, head, record, child);
            t->root = root;
            t->depth++;
            return;
        }
        n = path[level - 1];
        slot = slots[level - 1] + 1;
    }
}

static const uint8_t *tree_get(void *ctx, const uint8_t *key)
{
    const struct tree *t = ctx;
    uint64_t head = slice_head(slice_of(key, KEY_BYTES), t->skip);
    const struct tree_node *n = tree_leaf(t, head, key);
    unsigned slot = tree_rank(n, head, key, false);
    bool found = slot < n->count && memcmp(n->records[slot]->key, key, KEY_BYTES) == 0;
    return found ? n->records[slot]->value : NULL;
}

static uint64_t tree_scan(void *ctx, const uint8_t *key, size_t count)
{
    static const uint8_t least[KEY_BYTES];
    const struct tree *t = ctx;
    const uint8_t *from = key == NULL ? least : key;
    uint64_t head = key == NULL ? 0 : slice_head(slice_of(from, KEY_BYTES), t->skip);
    const struct tree_node *n = tree_leaf(t, head, from);
    uint64_t sum = 0;
    for (unsigned slot = tree_rank(n, head, from, false); n != NULL; n = n->next, slot = 0) {
        for (; slot < n->count && count > 0; slot++, count--) {
            if (slot + 8 < n->count) {
                __builtin_prefetch(n->records[slot + 8]);
            }
            sum += n->records[slot]->key[9] + n->records[slot]->commit;
        }
        if (count == 0) {
            break;
        }
    }
    return sum;
}

static size_t tree_bytes(void *ctx)
{
    return ((struct tree *)ctx)->arena.reserved_bytes;
}

// ---- the workload

struct bench_shape {
    const char *name;
    size_t skip; // bytes that all keys share
};

static void bench_key(const struct bench_shape *shape, uint64_t n, uint8_t key[KEY_BYTES])
{
    if (shape->skip == 0) {
        uint64_t mixed = prng_mix(n + 7);
        memcpy(key, &mixed, 8);
        memset(key + 8, '0', KEY_BYTES - 8);
        return;
    }
    for (size_t i = KEY_BYTES; i-- > 0; n /= 10) {
        key[i] = (uint8_t)('0' + n % 10);
    }
}

struct bench_result {
    double insert, hit, miss, first_scan, scan, seek, mixed;
    double bytes;
};

static double bench_least(double a, double b)
{
    return a == 0 || b < a ? b : a;
}

// Even numbers are written in random order; odd ones are never there.
static void bench_run(const struct subject *s, const struct bench_shape *shape, uint64_t count,
                      struct bench_result *r)
{
    uint8_t key[KEY_BYTES];
    static const uint8_t value[VALUE_BYTES] = {'v'};
    const uint64_t seeks = count / 10;
    // Multiplication by an odd number permutes the numbers below a power of two.
    uint64_t range = 1;
    while (range < count) {
        range *= 2;
    }
    uint8_t *keys = alloc_array(count, KEY_BYTES);
    bench_need(keys != NULL, "no memory");
    uint64_t made = 0;
    for (uint64_t i = 0; made < count; i++) {
        uint64_t n = (i * 0x9e3779b97f4a7c15u + 12345) & (range - 1);
        if (n < count) {
            bench_key(shape, 2 * n, keys + made * KEY_BYTES);
            made++;
        }
    }
    struct prng p = {42};
    void *ctx = s->new (shape->skip);
    double t = bench_seconds();
    for (uint64_t i = 0; i < count; i++) {
        s->add(ctx, keys + i * KEY_BYTES, value, i + 1);
    }
    r->insert = bench_least(r->insert, bench_seconds() - t);
    bench_commit = count;
    uint64_t hits = 0;
    t = bench_seconds();
    for (uint64_t i = 0; i < count; i++) {
        const uint8_t *found = s->get(ctx, keys + prng_below(&p, count) * KEY_BYTES);
        hits += found != NULL && found[0] == 'v';
    }
    r->hit = bench_least(r->hit, bench_seconds() - t);
    bench_need(hits == count, "a key is missing");
    t = bench_seconds();
    for (uint64_t i = 0; i < count; i++) {
        bench_key(shape, 2 * prng_below(&p, count) + 1, key);
        hits += s->get(ctx, key) != NULL;
    }
    r->miss = bench_least(r->miss, bench_seconds() - t);
    bench_need(hits == count, "a key is there that was not written");
    t = bench_seconds();
    uint64_t sum = s->scan(ctx, NULL, count);
    r->first_scan = bench_least(r->first_scan, bench_seconds() - t);
    t = bench_seconds();
    bench_need(sum == s->scan(ctx, NULL, count), "two scans differ");
    r->scan = bench_least(r->scan, bench_seconds() - t);
    t = bench_seconds();
    for (uint64_t i = 0; i < seeks; i++) {
        sum += s->scan(ctx, keys + prng_below(&p, count) * KEY_BYTES, 10);
    }
    r->seek = bench_least(r->seek, bench_seconds() - t);
    t = bench_seconds();
    for (uint64_t i = 0; i < seeks; i++) {
        bench_key(shape, 2 * i + 1, key);
        bench_commit = count + i + 1;
        s->add(ctx, key, value, bench_commit);
        sum += s->scan(ctx, keys + prng_below(&p, count) * KEY_BYTES, 10);
    }
    r->mixed = bench_least(r->mixed, bench_seconds() - t);
    r->bytes = (double)s->bytes(ctx);
    if (sum == 1) {
        puts(""); // the sum is used
    }
    s->free(ctx);
    free(keys);
}

int main(int argc, char **argv)
{
    static const struct subject subjects[] = {
        {"memtable", bench_memtable_new, bench_memtable_free, bench_memtable_add,
         bench_memtable_get, bench_memtable_scan, bench_memtable_bytes},
        {"btree", tree_new, tree_free, tree_add, tree_get, tree_scan, tree_bytes},
        {"skiplist", list_new, list_free, list_add, list_get, list_scan, list_bytes},
    };
    static const struct bench_shape shapes[] = {{"hashed", 0}, {"decimal", 8}};
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    bench_need(count >= 10, "the count must be 10 or more");
    printf("%-9s %-8s %7s %7s %7s %10s %7s %8s %12s %8s\n", "subject", "keys", "insert", "hit",
           "miss", "first scan", "scan", "seek+10", "put+seek+10", "B/key");
    for (size_t i = 0; i < sizeof subjects / sizeof subjects[0]; i++) {
        for (size_t j = 0; j < sizeof shapes / sizeof shapes[0]; j++) {
            if ((argc > 2 && strcmp(argv[2], "all") != 0 &&
                 strcmp(argv[2], subjects[i].name) != 0) ||
                (argc > 3 && strcmp(argv[3], shapes[j].name) != 0)) {
                continue;
            }
            struct bench_result r = {0};
            for (int repeat = 0; repeat < 3; repeat++) {
                bench_run(&subjects[i], &shapes[j], count, &r);
            }
            double ns = 1e9 / (double)count;
            double seek_ns = 1e9 / (double)(count / 10);
            printf("%-9s %-8s %7.0f %7.0f %7.0f %10.1f %7.1f %8.0f %12.0f %8.0f\n",
                   subjects[i].name, shapes[j].name, r.insert * ns, r.hit * ns, r.miss * ns,
                   r.first_scan * ns, r.scan * ns, r.seek * seek_ns, r.mixed * seek_ns,
                   r.bytes / (double)(count + count / 10));
            fflush(stdout);
        }
    }
    return 0;
}
