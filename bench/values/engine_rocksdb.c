// RocksDB under the driver, through rocksdb/c.h, with and without blob files.
#include "engine.h"

#include <inttypes.h>
#include <rocksdb/c.h>
#include <stdlib.h>
#include <time.h>

#define ROCKSDB_WRITE_BUFFERS 2
#define ROCKSDB_FILTER_BITS 10

struct engine_db {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *read;
    rocksdb_readoptions_t *scan;
    rocksdb_writeoptions_t *write;
};

static void rocks_must(char *error, const char *call)
{
    if (error != NULL) {
        die("rocksdb: %s: %s", call, error);
    }
}

static uint64_t rocks_cache_bytes(const struct engine_setup *setup)
{
    return setup->memory_bytes - ROCKSDB_WRITE_BUFFERS * setup->write_buffer_bytes;
}

static void rocks_describe(const struct engine_setup *setup, FILE *out)
{
    fprintf(out,
            "RocksDB %s: block_cache=LRU %" PRIu64 " write_buffer_size=%" PRIu64
            " max_write_buffer_number=%d increase_parallelism(%d) max_open_files=-1"
            " compression=none filter_policy=bloom_full(%d) WAL on, sync=false;"
            " everything else as by default",
            ROCKSDB_VERSION, rocks_cache_bytes(setup), setup->write_buffer_bytes,
            ROCKSDB_WRITE_BUFFERS, setup->background_threads, ROCKSDB_FILTER_BITS);
}

static void blob_describe(const struct engine_setup *setup, FILE *out)
{
    rocks_describe(setup, out);
    fprintf(out,
            "; BlobDB: enable_blob_files min_blob_size=%u blob_compression=none"
            " enable_blob_gc=true, cutoffs as by default, no blob cache",
            setup->separate_bytes);
}

static struct engine_db *rocks_open_with(const char *dir, const struct engine_setup *setup,
                                         bool blobs)
{
    struct engine_db *db = calloc(1, sizeof(*db));
    if (db == NULL) {
        die("out of memory");
    }
    db->cache = rocksdb_cache_create_lru(rocks_cache_bytes(setup));
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(table, db->cache);
    rocksdb_block_based_options_set_filter_policy(
        table, rocksdb_filterpolicy_create_bloom_full(ROCKSDB_FILTER_BITS));
    db->options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(db->options, 1);
    rocksdb_options_set_block_based_table_factory(db->options, table);
    rocksdb_options_set_compression(db->options, rocksdb_no_compression);
    rocksdb_options_set_write_buffer_size(db->options, setup->write_buffer_bytes);
    rocksdb_options_set_max_write_buffer_number(db->options, ROCKSDB_WRITE_BUFFERS);
    rocksdb_options_increase_parallelism(db->options, setup->background_threads);
    if (blobs) {
        rocksdb_options_set_enable_blob_files(db->options, 1);
        rocksdb_options_set_min_blob_size(db->options, setup->separate_bytes);
        rocksdb_options_set_blob_compression_type(db->options, rocksdb_no_compression);
        rocksdb_options_set_enable_blob_gc(db->options, 1);
    }
    rocksdb_block_based_options_destroy(table);
    db->read = rocksdb_readoptions_create();
    db->scan = rocksdb_readoptions_create();
    rocksdb_readoptions_set_fill_cache(db->scan, 0);
    db->write = rocksdb_writeoptions_create();
    char *error = NULL;
    db->db = rocksdb_open(db->options, dir, &error);
    rocks_must(error, "open");
    return db;
}

static struct engine_db *rocks_open(const char *dir, const struct engine_setup *setup)
{
    return rocks_open_with(dir, setup, false);
}

static struct engine_db *blob_open(const char *dir, const struct engine_setup *setup)
{
    return rocks_open_with(dir, setup, true);
}

static void rocks_close(struct engine_db *db)
{
    rocksdb_close(db->db);
    rocksdb_readoptions_destroy(db->read);
    rocksdb_readoptions_destroy(db->scan);
    rocksdb_writeoptions_destroy(db->write);
    rocksdb_options_destroy(db->options);
    rocksdb_cache_destroy(db->cache);
    free(db);
}

static void rocks_put(struct engine_db *db, const char *key, const char *value, size_t bytes)
{
    char *error = NULL;
    rocksdb_put(db->db, db->write, key, KEY_BYTES, value, bytes, &error);
    rocks_must(error, "put");
}

static bool rocks_get(struct engine_db *db, const char *key, uint64_t *stamp_out, size_t *bytes_out)
{
    char *error = NULL;
    rocksdb_pinnableslice_t *slice = rocksdb_get_pinned(db->db, db->read, key, KEY_BYTES, &error);
    rocks_must(error, "get");
    if (slice == NULL) {
        return false;
    }
    const char *value = rocksdb_pinnableslice_value(slice, bytes_out);
    *stamp_out = engine_stamp(value);
    rocksdb_pinnableslice_destroy(slice);
    return true;
}

static uint64_t rocks_scan(struct engine_db *db, const char *from, uint64_t limit,
                           uint64_t *sum_out)
{
    rocksdb_iterator_t *iter = rocksdb_create_iterator(db->db, db->scan);
    if (from == NULL) {
        rocksdb_iter_seek_to_first(iter);
    } else {
        rocksdb_iter_seek(iter, from, KEY_BYTES);
    }
    uint64_t sum = 0;
    uint64_t count = 0;
    while (rocksdb_iter_valid(iter)) {
        size_t bytes;
        sum += engine_stamp(rocksdb_iter_value(iter, &bytes));
        if (++count == limit) {
            break;
        }
        rocksdb_iter_next(iter);
    }
    char *error = NULL;
    rocksdb_iter_get_error(iter, &error);
    rocks_must(error, "iterate");
    rocksdb_iter_destroy(iter);
    *sum_out = sum;
    return count;
}

static void rocks_settle(struct engine_db *db)
{
    static const char *const properties[] = {
        "rocksdb.mem-table-flush-pending", "rocksdb.num-running-flushes",
        "rocksdb.compaction-pending", "rocksdb.num-running-compactions"};
    bool busy = true;
    while (busy) {
        busy = false;
        for (size_t i = 0; i < sizeof(properties) / sizeof(properties[0]); i++) {
            uint64_t value = 0;
            if (rocksdb_property_int(db->db, properties[i], &value) != 0) {
                die("rocksdb: no property %s", properties[i]);
            }
            busy = busy || value != 0;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    }
}

static void rocks_sync(struct engine_db *db)
{
    char *error = NULL;
    rocksdb_flush_wal(db->db, 1, &error);
    rocks_must(error, "flush_wal");
}

static struct engine_space rocks_space(struct engine_db *db)
{
    (void)db;
    return (struct engine_space){0};
}

const struct engine engine_rocksdb = {
    "rocksdb",  rocks_describe, rocks_open, rocks_close, rocks_put,   rocks_get,
    rocks_scan, rocks_settle,   rocks_sync, NULL,        rocks_space,
};
const struct engine engine_blobdb = {
    "blobdb",   blob_describe, blob_open,  rocks_close, rocks_put,   rocks_get,
    rocks_scan, rocks_settle,  rocks_sync, NULL,        rocks_space,
};
