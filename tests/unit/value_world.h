// What the tests of value files share: a simulated machine with what value files are made of, and
// values whose bytes follow from their number.
#ifndef UNIT_VALUE_WORLD_H
#define UNIT_VALUE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fail.h"
#undef fail // also a name of cmocka's
#include <cmocka.h>

#include "base/prng.h"
#include "sim/sim_machine.h"
#include "value/value_file.h"

#define WORLD_KEYSPACE 3
#define WORLD_INCARNATION 5

struct world {
    struct sim_disk *disk;
    struct sim_machine machine;
    struct os_memory memory;
    struct value_env env;
};

// What files are made of, over any directory.
static inline void world_env(struct world *w, struct os_dir *dir, size_t budget)
{
    os_memory_init(&w->memory, budget);
    w->env = (struct value_env){.dir = dir, .memory = &w->memory};
    assert_int_equal(cache_new(&w->memory, &w->env.cache), STRATA_OK);
    assert_int_equal(os_file_cache_new(dir, 8, &w->env.files), STRATA_OK);
}

static inline void world_begin_on(struct world *w, struct sim_disk *disk)
{
    struct os_dir *dir;
    w->disk = disk;
    sim_machine_init(&w->machine, disk, 1);
    assert_int_equal(w->machine.base.open_dir(&w->machine.base, "/db", true, &dir), STRATA_OK);
    world_env(w, dir, 64 << 20);
}

static inline void world_begin(struct world *w)
{
    world_begin_on(w, sim_disk_new());
}

static inline void world_env_release(struct world *w)
{
    os_epoch_drain();
    cache_free(w->env.cache);
    os_file_cache_free(w->env.files);
    assert_int_equal(os_memory_used(&w->memory), 0);
}

// Everything was closed before.
static inline void world_end(struct world *w)
{
    world_env_release(w);
    os_dir_close(w->env.dir);
    sim_machine_release(&w->machine);
    sim_disk_free(w->disk);
}

static inline struct value_file *world_new(struct world *w, uint64_t number)
{
    struct value_file *f;
    assert_int_equal(value_file_new(&w->env, number, WORLD_KEYSPACE, WORLD_INCARNATION, &f),
                     STRATA_OK);
    return f;
}

// The bytes of value `n`: every other one compressible, and every byte depends on n.
static inline uint8_t *value_bytes(uint64_t n, size_t bytes)
{
    uint8_t *v = malloc(bytes + 8);
    assert_non_null(v);
    struct prng rng = {n * 7919 + 1};
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t word = prng_next(&rng);
        word = (n & 1) != 0 ? word & 0xffffu : word;
        memcpy(v + i, &word, 8);
    }
    return v;
}

static inline strata_rc try_append(struct value_file *f, uint64_t n, size_t bytes,
                                   strata_compression how, struct value_place *place)
{
    uint8_t *v = value_bytes(n, bytes);
    strata_rc rc = value_file_append(f, slice_of(v, bytes), how, place);
    free(v);
    return rc;
}

static inline struct value_place append(struct value_file *f, uint64_t n, size_t bytes,
                                        strata_compression how)
{
    struct value_place place = {0};
    assert_int_equal(try_append(f, n, bytes, how, &place), STRATA_OK);
    assert_int_equal(place.ref.bytes, bytes);
    return place;
}

// Reads value n; what is read without an error must be right.
static inline strata_rc try_read(struct value_file *f, const struct kv_value_ref *ref, uint64_t n)
{
    uint8_t *got = malloc(ref->bytes);
    assert_non_null(got);
    memset(got, 0xee, ref->bytes);
    strata_rc rc = value_file_read(f, ref, 0, got, ref->bytes);
    if (rc == STRATA_OK) {
        uint8_t *v = value_bytes(n, ref->bytes);
        assert_memory_equal(got, v, ref->bytes);
        free(v);
    }
    free(got);
    return rc;
}

static inline void check(struct value_file *f, const struct kv_value_ref *ref, uint64_t n)
{
    assert_int_equal(try_read(f, ref, n), STRATA_OK);
}

// Closes a finished file and opens it again by its meta.
static inline struct value_file *world_reopen(struct world *w, struct value_file *f)
{
    struct value_meta meta;
    struct value_file *again;
    assert_int_equal(value_meta_copy(value_file_meta(f), &meta), STRATA_OK);
    value_file_unref(f);
    assert_int_equal(value_file_open(&w->env, &meta, &again), STRATA_OK);
    value_meta_release(&meta);
    return again;
}

struct faults {
    uint64_t count;
    uint64_t visited;
};

static inline void count_fault(void *ctx, const char *text)
{
    assert_true(text[0] != '\0');
    ((struct faults *)ctx)->count++;
}

static inline void count_visit(void *ctx, uint64_t logical, uint32_t ordinal)
{
    (void)logical;
    (void)ordinal;
    ((struct faults *)ctx)->visited++;
}

#endif
