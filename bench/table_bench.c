// Times the parts of a table by themselves: writing, lookups that hit and miss, cursors, cold
// loads.
//
//   table_bench DIRECTORY [ENTRIES] [decimal|hashed|prefixed] [none|lz4|zstd] [BLOCK_BYTES]
//
// Keys have 16 bytes (prefixed: 80, of which 64 are the same) and values 100. The table stays in
// the cache but for the cold loads. Each figure is the best of several rounds, in nanoseconds of
// the thread's time.
#include "base/alloc.h"
#include "base/fail.h"
#include "base/hash.h"
#include "base/prng.h"
#include "os/machine.h"
#include "table/search.h"
#include "table/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define VALUE_BYTES 100
#define ROUNDS 4

struct bench {
    struct os_dir *dir;
    struct os_memory memory;
    struct cache *cache;
    struct os_file_cache *files;
    struct table *table;
    struct table_meta meta;
    uint64_t entries;
    size_t key_bytes;
    uint8_t *keys;
    const char *style;
    uint64_t sum; // so that nothing is optimised away
};

static double thread_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void must(strata_rc rc)
{
    if (rc != STRATA_OK) {
        fprintf(stderr, "table_bench: %s\n", fail_text());
        exit(1);
    }
}

static struct slice key_at(const struct bench *b, uint64_t i)
{
    return slice_of(b->keys + i * b->key_bytes, b->key_bytes);
}

static size_t compared_bytes;

static int compare_keys(const void *a, const void *b)
{
    return memcmp(a, b, compared_bytes);
}

static void make_keys(struct bench *b)
{
    b->key_bytes = strcmp(b->style, "prefixed") == 0 ? 80 : 16;
    b->keys = alloc_array(b->entries + 1, b->key_bytes);
    for (uint64_t i = 0; i < b->entries; i++) {
        uint8_t *key = b->keys + i * b->key_bytes;
        memset(key, 'p', b->key_bytes);
        char text[32];
        uint64_t mixed = prng_mix(i + 7);
        if (strcmp(b->style, "decimal") == 0) {
            snprintf(text, sizeof text, "%016llu", (unsigned long long)(i * 7));
        } else {
            snprintf(text, sizeof text, "00000000%08u", 0);
            memcpy(text, &mixed, 8);
        }
        memcpy(key + b->key_bytes - 16, text, 16);
    }
    compared_bytes = b->key_bytes;
    qsort(b->keys, b->entries, b->key_bytes, compare_keys);
}

static void report(const char *what, double ns)
{
    printf("%-44s %9.1f ns\n", what, ns);
    fflush(stdout);
}

static void write_table(struct bench *b, strata_compression compression, uint32_t block_bytes)
{
    struct table_options o = {
        .keyspace = 1,
        .keyspace_name = "bench",
        .block_bytes = block_bytes,
        .compression = compression,
        .filter_bits = 10,
    };
    uint8_t value[VALUE_BYTES];
    memset(value, 'v', sizeof value);
    struct table_writer *w;
    must(table_writer_new(b->dir, 1, &o, &w));
    double start = thread_ns();
    for (uint64_t i = 0; i < b->entries; i++) {
        struct slice key = key_at(b, i);
        uint64_t noise = prng_mix(i);
        for (size_t at = 0; at < VALUE_BYTES / 2; at += 8) {
            memcpy(value + at, &noise, 8);
            noise = noise * 3 + 1;
        }
        struct kv_entry e = {
            .key = key.data,
            .key_bytes = (uint32_t)key.bytes,
            .value = value,
            .value_bytes = VALUE_BYTES,
            .commit = 1000 + i % 50000,
            .kind = KV_PUT,
        };
        must(table_writer_add(w, &e, hash_key(key)));
    }
    double added = thread_ns();
    must(table_writer_finish(w, &b->meta));
    report("write, an entry", (added - start) / (double)b->entries);
    report("finish (index, filter, sync), an entry", (thread_ns() - added) / (double)b->entries);
    printf("%-44s %9.2f bytes\n", "file, an entry", (double)b->meta.bytes / (double)b->entries);
}

// ---- lookups

static bool get_one(struct bench *b, struct slice key)
{
    struct table_stats_delta delta = {0};
    struct kv_lookup lookup = {.key = key, .hash = hash_key(key), .at = UINT64_MAX - 1};
    uint32_t cold;
    os_epoch_enter();
    enum table_answer answer = table_get(b->table, &lookup, &cold, &delta);
    if (answer == TABLE_FOUND) {
        b->sum += lookup.entry.value[lookup.entry.value_bytes - 1] + lookup.entry.commit;
    }
    os_epoch_leave();
    if (answer == TABLE_COLD) {
        struct cache_block *block;
        must(table_load(b->table, cold, true, &block));
        answer = table_get_in(b->table, block, &lookup);
        cache_unpin(b->cache, block);
    }
    return answer == TABLE_FOUND;
}

static void bench_gets(struct bench *b, const char *name, bool hit)
{
    double best = 1e18;
    uint8_t miss[128];
    uint64_t found = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct prng random = {99};
        double start = thread_ns();
        for (uint64_t i = 0; i < b->entries; i++) {
            struct slice key = key_at(b, prng_below(&random, b->entries));
            if (!hit) {
                memcpy(miss, key.data, key.bytes);
                miss[key.bytes - 1] ^= 0x40;
                key.data = miss;
            }
            found += get_one(b, key);
        }
        double ns = (thread_ns() - start) / (double)b->entries;
        best = ns < best ? ns : best;
    }
    if (found != (hit ? b->entries * ROUNDS : 0)) {
        fprintf(stderr, "table_bench: %llu found\n", (unsigned long long)found);
        exit(1);
    }
    report(name, best);
}

static void bench_index_and_filter(struct bench *b)
{
    double best = 1e18;
    for (int round = 0; round < ROUNDS; round++) {
        struct prng random = {99};
        double start = thread_ns();
        for (uint64_t i = 0; i < b->entries; i++) {
            struct slice key = key_at(b, prng_below(&random, b->entries));
            b->sum += hash_key(key);
        }
        double ns = (thread_ns() - start) / (double)b->entries;
        best = ns < best ? ns : best;
    }
    report("  of that: choosing and hashing a key", best);
}

// ---- cursors

static void bench_scan(struct bench *b, const char *name, bool backward, bool keep, uint32_t ahead)
{
    double best = 1e18;
    for (int round = 0; round < ROUNDS; round++) {
        struct kv_cursor *c;
        must(run_cursor_open(b->cache, &b->table, 1, keep, ahead, &c));
        double start = thread_ns();
        uint64_t count = 0;
        uint64_t sum = 0;
        strata_rc rc = kv_cursor_seek(c, slice_of(NULL, 0), backward);
        while (rc == STRATA_OK) {
            sum += c->at->key[c->at->key_bytes - 1] + c->at->value[0] + c->at->commit;
            count++;
            rc = kv_cursor_next(c);
        }
        double ns = (thread_ns() - start) / (double)b->entries;
        best = ns < best ? ns : best;
        kv_cursor_close(c);
        b->sum += sum;
        if (rc != STRATA_END || count != b->entries) {
            must(rc == STRATA_END ? STRATA_CORRUPT : rc);
        }
    }
    report(name, best);
}

static void bench_seeks(struct bench *b)
{
    double best = 1e18;
    uint64_t seeks = b->entries / 4;
    struct kv_cursor *c;
    must(run_cursor_open(b->cache, &b->table, 1, true, 0, &c));
    for (int round = 0; round < ROUNDS; round++) {
        struct prng random = {99};
        double start = thread_ns();
        for (uint64_t i = 0; i < seeks; i++) {
            strata_rc rc = kv_cursor_seek(c, key_at(b, prng_below(&random, b->entries)), false);
            for (int step = 0; rc == STRATA_OK && step < 10; step++) {
                b->sum += c->at->value[0];
                rc = kv_cursor_next(c);
            }
        }
        double ns = (thread_ns() - start) / (double)seeks;
        best = ns < best ? ns : best;
    }
    kv_cursor_close(c);
    report("seek and 10 steps", best);
}

static strata_compression compression_named(const char *name)
{
    if (strcmp(name, "lz4") == 0) {
        return STRATA_COMPRESSION_LZ4;
    }
    return strcmp(name, "zstd") == 0 ? STRATA_COMPRESSION_ZSTD : STRATA_COMPRESSION_NONE;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "table_bench DIRECTORY [ENTRIES] [decimal|hashed|prefixed] "
                        "[none|lz4|zstd] [BLOCK_BYTES]\n");
        return 2;
    }
    static struct bench b;
    b.entries = argc > 2 ? strtoull(argv[2], NULL, 10) : 2000000;
    b.style = argc > 3 ? argv[3] : "decimal";
    const char *compression = argc > 4 ? argv[4] : "none";
    uint32_t block_bytes = argc > 5 ? (uint32_t)strtoul(argv[5], NULL, 10) : 4096;
    struct os_machine *machine = os_machine_posix();
    must(machine->open_dir(machine, argv[1], true, &b.dir));
    os_memory_init(&b.memory, (size_t)4 << 30);
    must(cache_new(&b.memory, &b.cache));
    make_keys(&b);
    printf("%llu entries, %s keys, %s, blocks of %u bytes, %s\n", (unsigned long long)b.entries,
           b.style, compression, block_bytes, search_choose()->name);
    write_table(&b, compression_named(compression), block_bytes);
    must(os_file_cache_new(b.dir, 16, &b.files));
    struct table_env env = {b.dir, b.cache, &b.memory, b.files};
    must(table_open(&env, &b.meta, &b.table));

    bench_scan(&b, "scan, cold, readahead 256 KiB", false, false, 256 << 10);
    bench_gets(&b, "get, hit", true); // the first round loads
    bench_index_and_filter(&b);
    bench_gets(&b, "get, miss", false);
    bench_scan(&b, "scan, cached", false, true, 0);
    bench_scan(&b, "scan backwards, cached", true, true, 0);
    bench_seeks(&b);
    for (int path = 0; path < SEARCH_PATHS; path++) {
        if (search_path((enum search_path)path) != NULL) {
            char name[64];
            search_use(search_path((enum search_path)path));
            snprintf(name, sizeof name, "get, hit, path %s",
                     search_path((enum search_path)path)->name);
            bench_gets(&b, name, true);
        }
    }
    printf("memory: blocks %zu, indexes and filters %zu bytes (%llu)\n",
           atomic_load(&b.memory.used[OS_MEMORY_BLOCKS]),
           atomic_load(&b.memory.used[OS_MEMORY_INDEXES]), (unsigned long long)(b.sum & 1));
    table_delete_at_close(b.table);
    table_unref(b.table);
    table_meta_release(&b.meta);
    os_epoch_drain();
    cache_free(b.cache);
    os_file_cache_free(b.files);
    os_dir_close(b.dir);
    free(b.keys);
    return 0;
}
