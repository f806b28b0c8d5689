// What a merge costs an entry: the merge of cursors alone, and a whole merge job over tables.
//
//   merge_bench [DIRECTORY] [ENTRIES]
//
// 16-byte keys, 100-byte values that shrink to about half, 8 runs: that interleave key by key; that
// take turns every 64 keys, about a block; and every 4096. Without compression, with LZ4 and with
// Zstandard. One line each: nanoseconds of thread CPU time an entry.
#include "compact/compact.h"
#include "kv/merge.h"
#include "os/epoch.h"
#include "os/machine.h"

#include "base/fail.h"
#include "base/hash.h"
#include "base/prng.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define RUNS 8u
#define WINDOW 64u
#define VALUE_BYTES 100u
#define POOL_BYTES (64u << 10)

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void must(strata_rc rc, const char *what)
{
    if (rc != STRATA_OK) {
        fprintf(stderr, "merge_bench: %s: %s\n", what, fail_text());
        exit(1);
    }
}

static void *memory(size_t count, size_t bytes)
{
    void *p = calloc(count, bytes);
    if (p == NULL) {
        fprintf(stderr, "merge_bench: no memory\n");
        exit(1);
    }
    return p;
}

// ---- the merge of cursors alone

struct array_cursor {
    struct kv_cursor base;
    const struct kv_entry *entries;
    size_t count, next;
};

static strata_rc bench_refill(struct kv_cursor *c)
{
    struct array_cursor *a = (struct array_cursor *)c;
    size_t n = a->count - a->next < WINDOW ? a->count - a->next : WINDOW;
    c->at = a->entries + a->next;
    c->end = c->at + n;
    a->next += n;
    return n == 0 ? STRATA_END : STRATA_OK;
}

static strata_rc bench_seek(struct kv_cursor *c, struct slice key, bool backward)
{
    (void)key;
    (void)backward;
    ((struct array_cursor *)c)->next = 0;
    return bench_refill(c);
}

static void bench_close(struct kv_cursor *c)
{
    free(c);
}

static const struct kv_cursor_ops bench_ops = {bench_seek, bench_refill, bench_close};

struct data {
    uint8_t (*keys)[16];
    struct kv_entry *entries; // of all runs, one behind the other
    size_t counts[RUNS];
    size_t total;
};

// Key number n as 16 bytes, spread evenly.
static void fill_key(uint8_t to[16], uint64_t n)
{
    uint64_t word = __builtin_bswap64(n * 1000);
    memcpy(to, &word, 8);
    memset(to + 8, '0', 8);
}

static const uint8_t *value_pool(void)
{
    static uint8_t pool[POOL_BYTES + VALUE_BYTES];
    for (size_t i = 0; i < sizeof pool; i++) {
        pool[i] = (i / 8) % 2 == 0 ? (uint8_t)prng_mix(i) : 'v';
    }
    return pool;
}

// The runs take turns every `stretch` keys, in random order.
static void make_data(struct data *d, size_t total, size_t stretch)
{
    const uint8_t *pool = value_pool();
    d->total = total;
    d->keys = memory(total, 16);
    d->entries = memory(total, sizeof *d->entries);
    size_t at = 0;
    for (uint32_t r = 0; r < RUNS; r++) {
        size_t first = at;
        for (size_t n = 0; n < total; n++) {
            if (prng_mix(n / stretch) % RUNS != r) {
                continue;
            }
            fill_key(d->keys[at], n);
            d->entries[at] = (struct kv_entry){.head = slice_head(slice_of(d->keys[at], 16), 0),
                                               .key = d->keys[at],
                                               .key_bytes = 16,
                                               .value = pool + prng_mix(n + 1) % POOL_BYTES,
                                               .value_bytes = VALUE_BYTES,
                                               .commit = (RUNS - r) * total + n + 1,
                                               .kind = KV_PUT};
            at++;
        }
        d->counts[r] = at - first;
    }
}

static void free_data(struct data *d)
{
    free(d->keys);
    free(d->entries);
}

static void bench_cursors(const struct data *d, const char *name)
{
    struct kv_cursor *cursors[RUNS];
    size_t at = 0;
    for (uint32_t r = 0; r < RUNS; r++) {
        struct array_cursor *a = memory(1, sizeof *a);
        *a = (struct array_cursor){
            .base = {.ops = &bench_ops}, .entries = d->entries + at, .count = d->counts[r]};
        at += d->counts[r];
        cursors[r] = &a->base;
    }
    struct kv_merge m;
    must(kv_merge_init(&m, cursors, RUNS, 0), "init");
    double best = 1e9;
    uint64_t sum = 0;
    for (int round = 0; round < 5; round++) {
        double begin = cpu_seconds();
        strata_rc rc = kv_merge_seek(&m, slice_of(NULL, 0), false);
        while (rc == STRATA_OK) {
            sum += m.entry->key[7];
            rc = kv_merge_next(&m);
        }
        double took = cpu_seconds() - begin;
        best = took < best ? took : best;
    }
    printf("cursors %-12s %6.1f ns  (%llx)\n", name, best * 1e9 / (double)d->total,
           (unsigned long long)sum);
    kv_merge_release(&m);
}

// ---- the job

struct bench_db {
    struct os_dir *dir;
    struct os_memory memory;
    struct cache *cache;
    struct os_file_cache *files;
    struct catalog *catalog;
    struct compact_env env;
    uint64_t next_file, next_run;
};

static uint64_t bench_new_file(void *ctx)
{
    return ((struct bench_db *)ctx)->next_file++;
}

static uint64_t bench_new_run(void *ctx)
{
    return ((struct bench_db *)ctx)->next_run++;
}

static strata_rc bench_install(void *ctx, struct edit *e)
{
    struct bench_db *b = ctx;
    struct catalog *next;
    must(catalog_apply(b->catalog, e, &b->env.tables, &next), "edit");
    edit_committed(e, b->catalog);
    catalog_unref(b->catalog);
    b->catalog = next;
    return STRATA_OK;
}

static int64_t bench_time(void *ctx, uint64_t commit)
{
    (void)ctx;
    return (int64_t)commit;
}

static bool bench_keep(void *ctx, uint64_t keyspace, uint64_t begin, uint64_t end)
{
    (void)ctx;
    (void)keyspace;
    return begin <= end;
}

static bool bench_stopping(void *ctx)
{
    (void)ctx;
    return false;
}

static void open_db(struct bench_db *b, const char *path, strata_compression compression)
{
    *b = (struct bench_db){.next_file = 1, .next_run = 1};
    struct os_machine *machine = os_machine_posix();
    must(machine->open_dir(machine, path, true, &b->dir), "open");
    os_memory_init(&b->memory, 256u << 20);
    must(cache_new(&b->memory, &b->cache), "cache");
    must(os_file_cache_new(b->dir, 64, &b->files), "descriptors");
    b->env = (struct compact_env){.tables = {b->dir, b->cache, &b->memory, b->files},
                                  .incarnation = 1,
                                  .new_file_number = bench_new_file,
                                  .new_run_number = bench_new_run,
                                  .install = bench_install,
                                  .commit_time = bench_time,
                                  .keep = bench_keep,
                                  .stopping = bench_stopping,
                                  .ctx = b};
    must(catalog_new(&b->catalog), "catalog");
    strata_keyspace_options given = STRATA_KEYSPACE_OPTIONS_INIT;
    strata_keyspace_options options;
    given.compression = compression;
    must(keyspace_options_resolve(&given, &options), "options");
    struct edit e = {0};
    must(edit_create_space(&e, 1, "default", &options, 0), "keyspace");
    must(bench_install(b, &e), "keyspace");
    edit_release(&e);
}

static void close_db(struct bench_db *b)
{
    struct edit e = {0};
    must(edit_drop_space(&e, 1, 1), "drop");
    must(bench_install(b, &e), "drop");
    edit_release(&e);
    catalog_unref(b->catalog);
    os_epoch_drain();
    cache_free(b->cache);
    os_file_cache_free(b->files);
    os_dir_close(b->dir);
}

static double flush_run(struct bench_db *b, const struct kv_entry *entries, size_t count)
{
    struct memtable *memtable;
    must(memtable_new(NULL, &memtable), "memtable");
    for (size_t i = 0; i < count; i++) {
        must(memtable_reserve(memtable, 1, 128), "memtable");
        memtable_add(memtable, &entries[i], hash_key(kv_key(&entries[i])));
    }
    struct catalog *catalog = b->catalog;
    catalog_ref(catalog);
    struct flush_source source = {catalog_space_find(catalog, 1), memtable};
    struct flush *f;
    must(flush_new(&b->env, &source, 1, UINT64_MAX - 1, 64u << 20, NULL, &f), "flush");
    bool done = false;
    double begin = cpu_seconds();
    while (!done) {
        must(flush_step(f, &done), "flush");
    }
    double took = cpu_seconds() - begin;
    flush_free(f);
    catalog_unref(catalog);
    memtable_free(memtable);
    return took;
}

static void bench_job(const struct data *d, const char *path, const char *name,
                      strata_compression compression)
{
    static const char *const methods[] = {"default", "none", "lz4", "zstd"};
    struct bench_db b;
    open_db(&b, path, compression);
    double flushing = 0;
    size_t end = d->total;
    for (uint32_t r = RUNS; r-- > 0;) { // the oldest run first
        end -= d->counts[r];
        flushing += flush_run(&b, d->entries + end, d->counts[r]);
    }
    const struct catalog_space *space = catalog_space_find(b.catalog, 1);
    struct shape shape = shape_live(&space->options, 64u << 20);
    struct shape_job job;
    if (!shape_pick_full(space->live, &shape, NULL, true, &job)) {
        fprintf(stderr, "merge_bench: nothing to merge\n");
        exit(1);
    }
    struct merge *m;
    must(merge_new(&b.env, space, false, space->live, &job, &shape, 256u << 20, &m), "merge");
    bool done = false;
    double slowest = 0;
    double begin = cpu_seconds();
    while (!done) {
        double step = cpu_seconds();
        must(merge_step(m, &done), "merge");
        step = cpu_seconds() - step;
        slowest = step > slowest ? step : slowest;
    }
    double took = cpu_seconds() - begin;
    const struct compact_progress *p = merge_progress(m);
    printf("job     %-12s %-8s %6.1f ns  (flush %.1f ns; %llu entries, %llu MiB, slowest step %.1f "
           "ms)\n",
           name, methods[compression], took * 1e9 / (double)d->total,
           flushing * 1e9 / (double)d->total, (unsigned long long)p->entries_out,
           (unsigned long long)p->bytes_written >> 20, slowest * 1e3);
    merge_free(m);
    close_db(&b);
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "merge_bench_data";
    size_t total = argc > 2 ? (size_t)strtoull(argv[2], NULL, 10) : 1000000;
    static const struct {
        const char *name;
        size_t stretch;
    } shapes[] = {{"interleaved", 1}, {"clustered", 64}, {"stretches", 4096}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct data d;
        make_data(&d, total, shapes[i].stretch);
        bench_cursors(&d, shapes[i].name);
        bench_job(&d, path, shapes[i].name, STRATA_COMPRESSION_NONE);
        bench_job(&d, path, shapes[i].name, STRATA_COMPRESSION_LZ4);
        bench_job(&d, path, shapes[i].name, STRATA_COMPRESSION_ZSTD);
        free_data(&d);
    }
    return 0;
}
