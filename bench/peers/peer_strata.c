// The engine of this repository under the driver, through strata.h and the shared library.
#include "peer.h"

#include <inttypes.h>
#include <stdlib.h>

#include <strata.h>

struct peer_db {
    strata_db *db;
    strata_write write;
    strata_value value;
    strata_value values[GET_MANY];
};

static void strata_must(strata_rc rc, const char *call)
{
    if (rc < 0) {
        die("strata: %s: %s", call, strata_error_text());
    }
}

static strata_options strata_setup(const struct peer_setup *setup)
{
    strata_options options = STRATA_OPTIONS_INIT;
    options.flags = STRATA_OPEN_CREATE | STRATA_OPEN_NEW;
    options.memory_bytes = setup->memory_bytes;
    options.memtable_bytes = setup->write_buffer_bytes;
    options.background_threads = (uint32_t)setup->background_threads;
    options.keyspace.compression = STRATA_COMPRESSION_NONE;
    options.keyspace.filter_bits = (uint32_t)setup->filter_bits;
    options.keyspace.block_bytes = (uint32_t)setup->block_bytes;
    return options;
}

static void strata_describe(const struct peer_setup *setup, FILE *out)
{
    strata_options options = strata_setup(setup);
    fprintf(out,
            "strata %s: memory_bytes=%" PRIu64 " memtable_bytes=%" PRIu64
            " background_threads=%u compression=none filter_bits=%u block_bytes=%u"
            " durability=STRATA_SYNC_NONE; everything else as by default, checksums verified on"
            " every load, every version kept",
            strata_version(), options.memory_bytes, options.memtable_bytes,
            options.background_threads, options.keyspace.filter_bits, options.keyspace.block_bytes);
}

static struct peer_db *strata_open_dir(const char *dir, const struct peer_setup *setup)
{
    struct peer_db *db = calloc(1, sizeof(*db));
    if (db == NULL) {
        die("out of memory");
    }
    strata_options options = strata_setup(setup);
    strata_must(strata_open(dir, &options, &db->db), "open");
    db->write = (strata_write)STRATA_WRITE_INIT;
    db->write.durability = STRATA_SYNC_NONE;
    return db;
}

static void strata_close_dir(struct peer_db *db)
{
    strata_value_release(&db->value);
    for (size_t i = 0; i < GET_MANY; i++) {
        strata_value_release(&db->values[i]);
    }
    strata_must(strata_close(db->db), "close");
    free(db);
}

static strata_slice strata_key(const char *key)
{
    return (strata_slice){key, KEY_BYTES};
}

static void strata_do_put(struct peer_db *db, const char *key, const char *value)
{
    strata_slice bytes = {value, VALUE_BYTES};
    strata_must(strata_put(db->db, &db->write, strata_key(key), bytes), "put");
}

static bool strata_do_get(struct peer_db *db, const char *key, uint64_t *stamp_out)
{
    strata_rc rc = strata_get(db->db, NULL, strata_key(key), &db->value);
    if (rc == STRATA_NOT_FOUND) {
        return false;
    }
    strata_must(rc, "get");
    *stamp_out = peer_stamp(db->value.data, db->value.bytes);
    return true;
}

static size_t strata_do_get_many(struct peer_db *db, const char *keys, uint64_t *sum_out)
{
    strata_slice slices[GET_MANY];
    strata_rc rcs[GET_MANY];
    for (size_t i = 0; i < GET_MANY; i++) {
        slices[i] = strata_key(keys + i * KEY_BYTES);
    }
    strata_must(strata_get_many(db->db, NULL, GET_MANY, slices, db->values, rcs), "get_many");
    size_t found = 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < GET_MANY; i++) {
        if (rcs[i] == STRATA_OK) {
            sum += peer_stamp(db->values[i].data, db->values[i].bytes);
            found++;
        }
    }
    *sum_out = sum;
    return found;
}

static uint64_t strata_do_scan(struct peer_db *db, const char *from, uint64_t limit,
                               uint64_t *sum_out)
{
    strata_iter *iter;
    strata_must(strata_iter_open(db->db, NULL, &iter), "iter_open");
    uint64_t sum = 0;
    uint64_t count = 0;
    strata_rc rc =
        from == NULL ? strata_iter_first(iter) : strata_iter_seek(iter, strata_key(from));
    while (rc == STRATA_OK) {
        strata_slice key = strata_iter_key(iter);
        strata_slice value = strata_iter_value(iter);
        sum += peer_stamp(value.data, value.bytes) + (key.bytes - KEY_BYTES);
        if (++count == limit) {
            break;
        }
        rc = strata_iter_next(iter);
    }
    strata_must(rc, "iter_next");
    strata_iter_close(iter);
    *sum_out = sum;
    return count;
}

static void strata_settle(struct peer_db *db)
{
    strata_must(strata_wait_idle(db->db), "wait_idle");
}

static void strata_do_compact(struct peer_db *db)
{
    strata_must(strata_compact(db->db, NULL, NULL, NULL), "compact");
}

const struct peer peer_strata = {
    "strata",      strata_describe,    strata_open_dir, strata_close_dir, strata_do_put,
    strata_do_get, strata_do_get_many, strata_do_scan,  strata_settle,    strata_do_compact,
};
