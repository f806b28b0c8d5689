// RocksDB under the driver, through rocksdb/c.h: pinned gets and the batched MultiGet, which are
// the fastest ways it has.
#include "peer.h"

#include <inttypes.h>
#include <rocksdb/c.h>
#include <stdlib.h>
#include <time.h>

#define ROCKSDB_WRITE_BUFFERS 2

struct peer_db {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_cache_t *cache;
    rocksdb_column_family_handle_t *family;
    rocksdb_readoptions_t *read;
    rocksdb_writeoptions_t *write;
};

static void rocks_must(char *error, const char *call)
{
    if (error != NULL) {
        die("rocksdb: %s: %s", call, error);
    }
}

static uint64_t rocks_cache_bytes(const struct peer_setup *setup)
{
    return setup->memory_bytes - ROCKSDB_WRITE_BUFFERS * setup->write_buffer_bytes;
}

static void rocks_describe(const struct peer_setup *setup, FILE *out)
{
    fprintf(out,
            "RocksDB %s: block_cache=LRU %" PRIu64 " write_buffer_size=%" PRIu64
            " max_write_buffer_number=%d increase_parallelism(%d) max_open_files=-1"
            " compression=none filter_policy=bloom_full(%d) block_size=%zu"
            " WAL on, sync=false, verify_checksums=true; everything else as by default"
            " (leveled; indexes and filters outside the block cache: beyond the memory budget)",
            ROCKSDB_VERSION, rocks_cache_bytes(setup), setup->write_buffer_bytes,
            ROCKSDB_WRITE_BUFFERS, setup->background_threads, setup->filter_bits,
            setup->block_bytes);
}

static struct peer_db *rocks_open(const char *dir, const struct peer_setup *setup)
{
    struct peer_db *db = calloc(1, sizeof(*db));
    if (db == NULL) {
        die("out of memory");
    }
    db->cache = rocksdb_cache_create_lru(rocks_cache_bytes(setup));
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(table, db->cache);
    rocksdb_block_based_options_set_block_size(table, setup->block_bytes);
    rocksdb_block_based_options_set_filter_policy(
        table, rocksdb_filterpolicy_create_bloom_full(setup->filter_bits));
    db->options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(db->options, 1);
    rocksdb_options_set_error_if_exists(db->options, 1);
    rocksdb_options_set_block_based_table_factory(db->options, table);
    rocksdb_options_set_compression(db->options, rocksdb_no_compression);
    rocksdb_options_set_write_buffer_size(db->options, setup->write_buffer_bytes);
    rocksdb_options_set_max_write_buffer_number(db->options, ROCKSDB_WRITE_BUFFERS);
    rocksdb_options_increase_parallelism(db->options, setup->background_threads);
    rocksdb_block_based_options_destroy(table);
    db->read = rocksdb_readoptions_create();
    db->write = rocksdb_writeoptions_create();
    // Opened with its one column family named: MultiGet needs the handle.
    const char *family = "default";
    const rocksdb_options_t *family_options = db->options;
    char *error = NULL;
    db->db = rocksdb_open_column_families(db->options, dir, 1, &family, &family_options,
                                          &db->family, &error);
    rocks_must(error, "open");
    return db;
}

static void rocks_close(struct peer_db *db)
{
    rocksdb_column_family_handle_destroy(db->family);
    rocksdb_close(db->db);
    rocksdb_readoptions_destroy(db->read);
    rocksdb_writeoptions_destroy(db->write);
    rocksdb_options_destroy(db->options);
    rocksdb_cache_destroy(db->cache);
    free(db);
}

static void rocks_put(struct peer_db *db, const char *key, const char *value)
{
    char *error = NULL;
    rocksdb_put(db->db, db->write, key, KEY_BYTES, value, VALUE_BYTES, &error);
    rocks_must(error, "put");
}

static bool rocks_get(struct peer_db *db, const char *key, uint64_t *stamp_out)
{
    char *error = NULL;
    rocksdb_pinnableslice_t *slice = rocksdb_get_pinned(db->db, db->read, key, KEY_BYTES, &error);
    rocks_must(error, "get");
    if (slice == NULL) {
        return false;
    }
    size_t bytes;
    const char *value = rocksdb_pinnableslice_value(slice, &bytes);
    *stamp_out = peer_stamp(value, bytes);
    rocksdb_pinnableslice_destroy(slice);
    return true;
}

static size_t rocks_get_many(struct peer_db *db, const char *keys, uint64_t *sum_out)
{
    const char *each[GET_MANY];
    size_t sizes[GET_MANY];
    rocksdb_pinnableslice_t *slices[GET_MANY];
    char *errors[GET_MANY];
    for (size_t i = 0; i < GET_MANY; i++) {
        each[i] = keys + i * KEY_BYTES;
        sizes[i] = KEY_BYTES;
    }
    rocksdb_batched_multi_get_cf(db->db, db->read, db->family, GET_MANY, each, sizes, slices,
                                 errors, false);
    size_t found = 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < GET_MANY; i++) {
        rocks_must(errors[i], "multi_get");
        if (slices[i] != NULL) {
            size_t bytes;
            const char *value = rocksdb_pinnableslice_value(slices[i], &bytes);
            sum += peer_stamp(value, bytes);
            rocksdb_pinnableslice_destroy(slices[i]);
            found++;
        }
    }
    *sum_out = sum;
    return found;
}

static uint64_t rocks_scan(struct peer_db *db, const char *from, uint64_t limit, uint64_t *sum_out)
{
    rocksdb_iterator_t *iter = rocksdb_create_iterator(db->db, db->read);
    if (from == NULL) {
        rocksdb_iter_seek_to_first(iter);
    } else {
        rocksdb_iter_seek(iter, from, KEY_BYTES);
    }
    uint64_t sum = 0;
    uint64_t count = 0;
    while (rocksdb_iter_valid(iter)) {
        size_t key_bytes;
        size_t value_bytes;
        (void)rocksdb_iter_key(iter, &key_bytes);
        const char *value = rocksdb_iter_value(iter, &value_bytes);
        sum += peer_stamp(value, value_bytes) + (key_bytes - KEY_BYTES);
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

static void rocks_settle(struct peer_db *db)
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

static void rocks_compact(struct peer_db *db)
{
    rocksdb_compact_range(db->db, NULL, 0, NULL, 0);
}

const struct peer peer_rocksdb = {
    "rocksdb", rocks_describe, rocks_open, rocks_close,  rocks_put,
    rocks_get, rocks_get_many, rocks_scan, rocks_settle, rocks_compact,
};
