// A database on a simulated machine, for tests of its readers.
#ifndef UNIT_DB_WORLD_H
#define UNIT_DB_WORLD_H

#include "db/db.h"
#include "os/epoch.h"
#include "sim/sim_machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SECOND INT64_C(1000000)

struct world {
    struct sim_disk *disk;
    struct sim_machine machine;
    strata_db *db;
};

static inline strata_keyspace_options world_options(uint32_t separate_bytes)
{
    strata_keyspace_options o = STRATA_KEYSPACE_OPTIONS_INIT;
    o.separate_bytes = separate_bytes;
    return o;
}

static inline void world_open(struct world *w, const strata_keyspace_options *keyspace)
{
    strata_options options = STRATA_OPTIONS_INIT;
    options.flags = STRATA_OPEN_CREATE;
    options.memory_bytes = 8u << 20;
    if (keyspace != NULL) {
        options.keyspace = *keyspace;
    }
    w->disk = sim_disk_new();
    sim_machine_init(&w->machine, w->disk, 1);
    assert_int_equal(db_open(&w->machine.base, "db", &options, &w->db), STRATA_OK);
    if (keyspace != NULL && keyspace->separate_bytes != 0) {
        atomic_store(&w->db->default_space->separate_bytes, keyspace->separate_bytes);
    }
}

static inline void world_close(struct world *w)
{
    assert_int_equal(strata_close(w->db), STRATA_OK);
    sim_machine_release(&w->machine);
    sim_disk_free(w->disk);
}

static inline void put_bytes(struct world *w, const char *key, const void *value, size_t bytes)
{
    assert_int_equal(strata_put(w->db, NULL, strata_str(key), (strata_slice){value, bytes}),
                     STRATA_OK);
}

static inline void put(struct world *w, const char *key, const char *value)
{
    put_bytes(w, key, value, strlen(value));
}

static inline void delete_key(struct world *w, const char *key)
{
    assert_int_equal(strata_delete(w->db, NULL, strata_str(key)), STRATA_OK);
}

// A value that says for which key and version it was made, of `bytes` bytes. Static memory.
static inline strata_slice big_value(int key, int version, size_t bytes)
{
    static uint8_t buffer[3u << 20];
    assert_true(bytes <= sizeof buffer);
    uint32_t x = (uint32_t)key * 2654435761u + (uint32_t)version * 40503u + 1;
    for (size_t i = 0; i < bytes; i++) {
        x = x * 1664525u + 1013904223u;
        buffer[i] = (uint8_t)(x >> 24);
    }
    return (strata_slice){buffer, bytes};
}

static inline void expect_bytes(strata_slice got, strata_slice expected)
{
    assert_int_equal(got.bytes, expected.bytes);
    if (expected.bytes > 0) {
        assert_memory_equal(got.data, expected.data, expected.bytes);
    }
}

// strata_get as of a commit, or now: the outcome, with the text of the value when it is OK.
static inline void expect_get(struct world *w, const strata_read *how, const char *key,
                              const char *expected)
{
    strata_value v = STRATA_VALUE_INIT;
    strata_rc rc = strata_get(w->db, how, strata_str(key), &v);
    if (expected == NULL) {
        assert_int_equal(rc, STRATA_NOT_FOUND);
        assert_int_equal(v.bytes, 0);
    } else {
        assert_int_equal(rc, STRATA_OK);
        expect_bytes((strata_slice){v.data, v.bytes}, strata_str(expected));
    }
    strata_value_release(&v);
}

static inline strata_read read_as_of(uint64_t commit)
{
    strata_read how = STRATA_READ_INIT;
    how.as_of = commit;
    return how;
}

#endif
