// LevelDB under the driver, through leveldb/c.h. It has one background thread whatever is asked
// for, no batched get and no way to ask whether it is busy.
#include "peer.h"

#include <inttypes.h>
#include <leveldb/c.h>
#include <stdlib.h>

#define LEVELDB_WRITE_BUFFERS 2

struct peer_db {
    leveldb_t *db;
    leveldb_options_t *options;
    leveldb_cache_t *cache;
    leveldb_filterpolicy_t *filter;
    leveldb_readoptions_t *read;
    leveldb_writeoptions_t *write;
};

static void level_must(char *error, const char *call)
{
    if (error != NULL) {
        die("leveldb: %s: %s", call, error);
    }
}

static uint64_t level_cache_bytes(const struct peer_setup *setup)
{
    return setup->memory_bytes - LEVELDB_WRITE_BUFFERS * setup->write_buffer_bytes;
}

static void level_describe(const struct peer_setup *setup, FILE *out)
{
    fprintf(out,
            "LevelDB %d.%d: cache=LRU %" PRIu64 " write_buffer_size=%" PRIu64
            " (there may be two) max_open_files=1000 compression=none filter_policy=bloom(%d)"
            " block_size=%zu sync=false, verify_checksums=true; everything else as by default (one"
            " background thread; indexes and filters outside the cache: beyond the memory budget)",
            leveldb_major_version(), leveldb_minor_version(), level_cache_bytes(setup),
            setup->write_buffer_bytes, setup->filter_bits, setup->block_bytes);
}

static struct peer_db *level_open(const char *dir, const struct peer_setup *setup)
{
    struct peer_db *db = calloc(1, sizeof(*db));
    if (db == NULL) {
        die("out of memory");
    }
    db->cache = leveldb_cache_create_lru(level_cache_bytes(setup));
    db->filter = leveldb_filterpolicy_create_bloom(setup->filter_bits);
    db->options = leveldb_options_create();
    leveldb_options_set_create_if_missing(db->options, 1);
    leveldb_options_set_error_if_exists(db->options, 1);
    leveldb_options_set_cache(db->options, db->cache);
    leveldb_options_set_filter_policy(db->options, db->filter);
    leveldb_options_set_write_buffer_size(db->options, setup->write_buffer_bytes);
    leveldb_options_set_block_size(db->options, setup->block_bytes);
    leveldb_options_set_compression(db->options, leveldb_no_compression);
    db->read = leveldb_readoptions_create();
    leveldb_readoptions_set_verify_checksums(db->read, 1);
    db->write = leveldb_writeoptions_create();
    char *error = NULL;
    db->db = leveldb_open(db->options, dir, &error);
    level_must(error, "open");
    return db;
}

static void level_close(struct peer_db *db)
{
    leveldb_close(db->db);
    leveldb_readoptions_destroy(db->read);
    leveldb_writeoptions_destroy(db->write);
    leveldb_options_destroy(db->options);
    leveldb_filterpolicy_destroy(db->filter);
    leveldb_cache_destroy(db->cache);
    free(db);
}

static void level_put(struct peer_db *db, const char *key, const char *value)
{
    char *error = NULL;
    leveldb_put(db->db, db->write, key, KEY_BYTES, value, VALUE_BYTES, &error);
    level_must(error, "put");
}

static bool level_get(struct peer_db *db, const char *key, uint64_t *stamp_out)
{
    char *error = NULL;
    size_t bytes;
    char *value = leveldb_get(db->db, db->read, key, KEY_BYTES, &bytes, &error);
    level_must(error, "get");
    if (value == NULL) {
        return false;
    }
    *stamp_out = peer_stamp(value, bytes);
    leveldb_free(value);
    return true;
}

static size_t level_get_many(struct peer_db *db, const char *keys, uint64_t *sum_out)
{
    size_t found = 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < GET_MANY; i++) {
        uint64_t stamp;
        if (level_get(db, keys + i * KEY_BYTES, &stamp)) {
            sum += stamp;
            found++;
        }
    }
    *sum_out = sum;
    return found;
}

static uint64_t level_scan(struct peer_db *db, const char *from, uint64_t limit, uint64_t *sum_out)
{
    leveldb_iterator_t *iter = leveldb_create_iterator(db->db, db->read);
    if (from == NULL) {
        leveldb_iter_seek_to_first(iter);
    } else {
        leveldb_iter_seek(iter, from, KEY_BYTES);
    }
    uint64_t sum = 0;
    uint64_t count = 0;
    while (leveldb_iter_valid(iter)) {
        size_t key_bytes;
        size_t value_bytes;
        (void)leveldb_iter_key(iter, &key_bytes);
        const char *value = leveldb_iter_value(iter, &value_bytes);
        sum += peer_stamp(value, value_bytes) + (key_bytes - KEY_BYTES);
        if (++count == limit) {
            break;
        }
        leveldb_iter_next(iter);
    }
    char *error = NULL;
    leveldb_iter_get_error(iter, &error);
    level_must(error, "iterate");
    leveldb_iter_destroy(iter);
    *sum_out = sum;
    return count;
}

// The driver waits until the process stops using the processor.
static void level_settle(struct peer_db *db)
{
    (void)db;
}

static void level_compact(struct peer_db *db)
{
    leveldb_compact_range(db->db, NULL, 0, NULL, 0);
}

const struct peer peer_leveldb = {
    "leveldb", level_describe, level_open, level_close,  level_put,
    level_get, level_get_many, level_scan, level_settle, level_compact,
};
