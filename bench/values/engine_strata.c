// The engine of this repository under the driver, through strata.h and the shared library.
#include "engine.h"

#include <inttypes.h>
#include <stdlib.h>

#include <strata.h>

struct engine_db {
    strata_db *db;
    strata_write write;
    strata_value value;
};

static void strata_must(strata_rc rc, const char *call)
{
    if (rc < 0) {
        die("strata: %s: %s", call, strata_error_text());
    }
}

static strata_options strata_setup(const struct engine_setup *setup)
{
    strata_options options = STRATA_OPTIONS_INIT;
    options.flags = STRATA_OPEN_CREATE;
    options.memory_bytes = setup->memory_bytes;
    options.memtable_bytes = setup->write_buffer_bytes;
    options.background_threads = (uint32_t)setup->background_threads;
    options.keyspace.compression = STRATA_COMPRESSION_NONE;
    options.keyspace.value_compression = STRATA_COMPRESSION_NONE;
    options.keyspace.separation =
        setup->separate_bytes > 0 ? STRATA_SEPARATION_ON : STRATA_SEPARATION_OFF;
    options.keyspace.separate_bytes = setup->separate_bytes;
    options.keyspace.retention = setup->present_only ? STRATA_RETENTION_NONE : STRATA_RETENTION_ALL;
    return options;
}

static void strata_describe(const struct engine_setup *setup, FILE *out)
{
    fprintf(out,
            "strata %s: memory_bytes=%" PRIu64 " memtable_bytes=%" PRIu64
            " background_threads=%d compression=none separation=%s separate_bytes=%u retention=%s"
            " durability=STRATA_SYNC_NONE; everything else as by default",
            strata_version(), setup->memory_bytes, setup->write_buffer_bytes,
            setup->background_threads, setup->separate_bytes > 0 ? "on" : "off",
            setup->separate_bytes, setup->present_only ? "none" : "all");
}

static struct engine_db *strata_open_dir(const char *dir, const struct engine_setup *setup)
{
    struct engine_db *db = calloc(1, sizeof(*db));
    if (db == NULL) {
        die("out of memory");
    }
    strata_options options = strata_setup(setup);
    strata_must(strata_open(dir, &options, &db->db), "open");
    db->write = (strata_write)STRATA_WRITE_INIT;
    db->write.durability = STRATA_SYNC_NONE;
    return db;
}

static void strata_close_dir(struct engine_db *db)
{
    strata_value_release(&db->value);
    strata_must(strata_close(db->db), "close");
    free(db);
}

static void strata_do_put(struct engine_db *db, const char *key, const char *value, size_t bytes)
{
    strata_must(strata_put(db->db, &db->write, (strata_slice){key, KEY_BYTES},
                           (strata_slice){value, bytes}),
                "put");
}

static bool strata_do_get(struct engine_db *db, const char *key, uint64_t *stamp_out,
                          size_t *bytes_out)
{
    strata_rc rc = strata_get(db->db, NULL, (strata_slice){key, KEY_BYTES}, &db->value);
    if (rc == STRATA_NOT_FOUND) {
        return false;
    }
    strata_must(rc, "get");
    *stamp_out = engine_stamp(db->value.data);
    *bytes_out = db->value.bytes;
    return true;
}

static uint64_t strata_do_scan(struct engine_db *db, const char *from, uint64_t limit,
                               uint64_t *sum_out)
{
    strata_read how = STRATA_READ_INIT;
    how.cache_bypass = true;
    strata_iter *iter;
    strata_must(strata_iter_open(db->db, &how, &iter), "iter_open");
    uint64_t sum = 0;
    uint64_t count = 0;
    strata_rc rc = from == NULL ? strata_iter_first(iter)
                                : strata_iter_seek(iter, (strata_slice){from, KEY_BYTES});
    while (rc == STRATA_OK) {
        strata_slice value = strata_iter_value(iter);
        strata_must(strata_iter_value_error(iter), "iter_value");
        sum += engine_stamp(value.data);
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

static void strata_settle(struct engine_db *db)
{
    strata_must(strata_wait_idle(db->db), "wait_idle");
}

static void strata_do_sync(struct engine_db *db)
{
    strata_must(strata_sync(db->db), "sync");
}

static void strata_gather(struct engine_db *db)
{
    strata_must(strata_compact_values(db->db, NULL, NULL, NULL), "compact_values");
}

static struct engine_space strata_do_space(struct engine_db *db)
{
    strata_space space;
    strata_must(strata_space_of(db->db, NULL, &space), "space_of");
    return (struct engine_space){space.disk_bytes, space.bound_bytes};
}

const struct engine engine_strata = {
    "strata",       strata_describe, strata_open_dir, strata_close_dir,
    strata_do_put,  strata_do_get,   strata_do_scan,  strata_settle,
    strata_do_sync, strata_gather,   strata_do_space,
};
