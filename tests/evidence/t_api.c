// The interface misused: every function with each pointer NULL, lengths of zero and over the
// limit, structs of another size, unknown numbers, options at and past the ends of their ranges,
// calls in the wrong order, handles of another database. Each is a typed error with a sentence, and
// the database is as it was.
#include "lib/evidence.h"
#include "lib/test_lib.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (1u << 20)
#define KEY_MOST 65535u

static strata_slice slice(const void *data, size_t bytes)
{
    return (strata_slice){data, bytes};
}

static strata_db *open_new(const char *path)
{
    strata_options o = STRATA_OPTIONS_INIT;
    strata_db *db;
    o.flags = STRATA_OPEN_CREATE;
    o.memory_bytes = 8 * MIB;
    MUST(strata_open(path, &o, &db));
    return db;
}

static bool see_keyspace(void *ctx, const strata_keyspace_info *info)
{
    unsigned *count = ctx;
    (*count)++;
    return info->number != 0;
}

static bool see_table(void *ctx, const strata_table_info *info)
{
    unsigned *count = ctx;
    (*count)++;
    return info->entries != 0;
}

// ---- no database

static void without_a_database(void)
{
    strata_db *db = (strata_db *)&evidence_cases;
    strata_keyspace *space = (strata_keyspace *)&evidence_cases;
    strata_batch *batch;
    strata_iter *iter;
    strata_snapshot *snapshot;
    strata_history *history;
    strata_put_stream *stream = (strata_put_stream *)&evidence_cases;
    strata_value_reader *reader;
    strata_keyspace_options options = STRATA_KEYSPACE_OPTIONS_INIT;
    strata_space space_bytes;
    strata_value value = STRATA_VALUE_INIT;
    strata_slice k = strata_str("k");
    unsigned seen = 0;
    size_t count;
    uint64_t commit;
    int64_t time_us;
    CASE(strata_open(NULL, NULL, &db), STRATA_INVALID);
    TRUE(db == NULL);
    CASE(strata_open("", NULL, &db), STRATA_INVALID);
    CASE(strata_open("/tmp", NULL, NULL), STRATA_INVALID);
    CASE(strata_close(NULL), STRATA_INVALID);
    CASE(strata_keyspace_create(NULL, "a", NULL, &space), STRATA_INVALID);
    TRUE(space == NULL);
    CASE(strata_keyspace_open(NULL, "a", &space), STRATA_INVALID);
    CASE(strata_keyspace_drop(NULL, "a"), STRATA_INVALID);
    CASE(strata_keyspace_list(NULL, see_keyspace, &seen), STRATA_INVALID);
    CASE(strata_keyspace_alter(NULL, NULL, &options), STRATA_INVALID);
    CASE(strata_put(NULL, NULL, k, k), STRATA_INVALID);
    CASE(strata_put_begin(NULL, NULL, k, &stream), STRATA_INVALID);
    TRUE(stream == NULL);
    CASE(strata_value_open(NULL, NULL, k, &reader), STRATA_INVALID);
    CASE(strata_oldest_commit(NULL, NULL, &commit), STRATA_INVALID);
    CASE(strata_space_of(NULL, NULL, &space_bytes), STRATA_INVALID);
    CASE(strata_compact_values(NULL, NULL, NULL, NULL), STRATA_INVALID);
    CASE(strata_delete(NULL, NULL, k), STRATA_INVALID);
    CASE(strata_delete_range(NULL, NULL, k, strata_str("l")), STRATA_INVALID);
    CASE(strata_batch_new(NULL, &batch), STRATA_INVALID);
    CASE(strata_commit(NULL, NULL, NULL, &commit), STRATA_INVALID);
    CASE(strata_sync(NULL), STRATA_INVALID);
    CASE(strata_get(NULL, NULL, k, &value), STRATA_INVALID);
    CASE(strata_get_many(NULL, NULL, 0, NULL, NULL, NULL), STRATA_INVALID);
    CASE(strata_iter_open(NULL, NULL, &iter), STRATA_INVALID);
    CASE(strata_snapshot_take(NULL, &snapshot), STRATA_INVALID);
    TRUE(strata_newest_commit(NULL) == 0);
    CASE(strata_commit_at_time(NULL, 0, &commit), STRATA_INVALID);
    CASE(strata_commit_time(NULL, 1, &time_us), STRATA_INVALID);
    CASE(strata_history_open(NULL, NULL, &history), STRATA_INVALID);
    CASE(strata_history_open_key(NULL, NULL, k, &history), STRATA_INVALID);
    CASE(strata_flush(NULL), STRATA_INVALID);
    CASE(strata_compact(NULL, NULL, NULL, NULL), STRATA_INVALID);
    CASE(strata_wait_idle(NULL), STRATA_INVALID);
    CASE(strata_stats(NULL, NULL, 0, &count), STRATA_INVALID);
    CASE(strata_tree(NULL, see_table, &seen), STRATA_INVALID);
    CASE(strata_check(NULL), STRATA_INVALID);
    CASE(strata_verify(NULL, NULL, NULL, NULL), STRATA_INVALID);
    CASE(strata_verify("", NULL, NULL, NULL), STRATA_INVALID);
    TRUE(seen == 0 && strata_str(NULL).bytes == 0);
    TRUE(strlen(strata_rc_name((strata_rc)-1000)) > 0 && strlen(strata_version()) > 0);
}

static void null_handles_of_parts(void)
{
    strata_slice k = strata_str("k");
    strata_version_info version;
    char byte;
    size_t got;
    CASE(strata_batch_put(NULL, NULL, k, k), STRATA_INVALID);
    CASE(strata_batch_put_expiring(NULL, NULL, k, k, 1), STRATA_INVALID);
    CASE(strata_put_append(NULL, &byte, 1), STRATA_INVALID);
    CASE(strata_put_finish(NULL), STRATA_INVALID);
    strata_put_abort(NULL);
    CASE(strata_value_read(NULL, 0, &byte, 1, &got), STRATA_INVALID);
    TRUE(strata_value_reader_bytes(NULL) == 0 && strata_value_reader_commit(NULL) == 0);
    strata_value_close(NULL);
    CASE(strata_iter_value_error(NULL), STRATA_INVALID);
    CASE(strata_batch_delete(NULL, NULL, k), STRATA_INVALID);
    CASE(strata_batch_delete_range(NULL, NULL, k, strata_str("l")), STRATA_INVALID);
    TRUE(strata_batch_count(NULL) == 0);
    strata_batch_reset(NULL);
    strata_batch_free(NULL);
    CASE(strata_iter_first(NULL), STRATA_INVALID);
    CASE(strata_iter_last(NULL), STRATA_INVALID);
    CASE(strata_iter_seek(NULL, k), STRATA_INVALID);
    CASE(strata_iter_seek_before(NULL, k), STRATA_INVALID);
    CASE(strata_iter_next(NULL), STRATA_INVALID);
    CASE(strata_iter_prev(NULL), STRATA_INVALID);
    CASE(strata_iter_resume(NULL), STRATA_INVALID);
    TRUE(strata_iter_key(NULL).data == NULL && strata_iter_value(NULL).data == NULL);
    TRUE(strata_iter_commit(NULL) == 0);
    strata_iter_close(NULL);
    TRUE(strata_snapshot_commit(NULL) == 0);
    strata_snapshot_release(NULL);
    CASE(strata_history_next(NULL, &version), STRATA_INVALID);
    strata_history_close(NULL);
    strata_value_release(NULL);
}

// ---- arguments

static void keyspace_arguments(strata_db *db)
{
    strata_keyspace *space;
    char name[300];
    unsigned seen = 0;
    strata_keyspace_options options = STRATA_KEYSPACE_OPTIONS_INIT;
    memset(name, 'n', sizeof name);
    name[256] = '\0';
    CASE(strata_keyspace_create(db, name, NULL, &space), STRATA_TOO_LARGE);
    CASE(strata_keyspace_open(db, name, &space), STRATA_TOO_LARGE);
    CASE(strata_keyspace_drop(db, name), STRATA_TOO_LARGE);
    CASE(strata_keyspace_create(db, NULL, NULL, &space), STRATA_INVALID);
    CASE(strata_keyspace_create(db, "", NULL, &space), STRATA_INVALID);
    CASE(strata_keyspace_create(db, "a", NULL, NULL), STRATA_INVALID);
    CASE(strata_keyspace_open(db, NULL, &space), STRATA_INVALID);
    CASE(strata_keyspace_open(db, "a", NULL), STRATA_INVALID);
    CASE(strata_keyspace_open(db, "a", &space), STRATA_NOT_FOUND);
    CASE(strata_keyspace_drop(db, NULL), STRATA_INVALID);
    CASE(strata_keyspace_drop(db, "a"), STRATA_NOT_FOUND);
    CASE(strata_keyspace_drop(db, "default"), STRATA_INVALID);
    CASE(strata_keyspace_create(db, "default", NULL, &space), STRATA_CONFLICT);
    CASE(strata_keyspace_list(db, NULL, NULL), STRATA_INVALID);
    options.struct_bytes = sizeof options + 1;
    CASE(strata_keyspace_create(db, "a", &options, &space), STRATA_INVALID);
    options.struct_bytes = 0;
    CASE(strata_keyspace_create(db, "a", &options, &space), STRATA_INVALID);
    CASE(strata_keyspace_list(db, see_keyspace, &seen), STRATA_OK);
    TRUE(seen == 1);
    name[255] = '\0';
    CASE(strata_keyspace_create(db, name, NULL, &space), STRATA_OK);
    CASE(strata_keyspace_drop(db, name), STRATA_OK);
}

static void alter_arguments(strata_db *db)
{
    strata_keyspace *space;
    strata_keyspace_options o = STRATA_KEYSPACE_OPTIONS_INIT;
    strata_keyspace_options same = STRATA_KEYSPACE_OPTIONS_INIT;
    CASE(strata_keyspace_alter(db, NULL, NULL), STRATA_INVALID);
    o.struct_bytes = 0;
    CASE(strata_keyspace_alter(db, NULL, &o), STRATA_INVALID);
    o.struct_bytes = sizeof o + 8;
    CASE(strata_keyspace_alter(db, NULL, &o), STRATA_INVALID);
#define REFUSED(member, number)                                                                    \
    do {                                                                                           \
        o = same;                                                                                  \
        o.member = number;                                                                         \
        CASE(strata_keyspace_alter(db, NULL, &o), STRATA_INVALID);                                 \
    } while (0)
    REFUSED(shape, STRATA_SHAPE_LEVELED); // not live
    REFUSED(compression, STRATA_COMPRESSION_ZSTD);
    REFUSED(filter_bits, 12);
    REFUSED(filter_off, true);
    REFUSED(block_bytes, 8192);
    REFUSED(history_block_bytes, 8192);
    REFUSED(level0_runs_max, 8);
    REFUSED(size_ratio, 4);
    REFUSED(separation, (strata_separation)3); // live, out of range
    REFUSED(separation, (strata_separation)-1);
    REFUSED(separate_bytes, 63);
    REFUSED(separate_bytes, MIB + 1);
    REFUSED(value_compression, (strata_compression)4);
    REFUSED(retention, (strata_retention)5);
    REFUSED(retention, (strata_retention)-1);
    REFUSED(space_bound_percent, 109);
    REFUSED(space_bound_percent, 1001);
#undef REFUSED
    CASE(strata_keyspace_alter(db, NULL, &same), STRATA_OK); // nothing changes
    o = same;
    o.separate_bytes = 64;
    o.expire_seconds = STRATA_NEVER_SECONDS;
    CASE(strata_keyspace_alter(db, NULL, &o), STRATA_OK);
    o.separate_bytes = 2048;
    CASE(strata_keyspace_alter(db, NULL, &o), STRATA_OK);
    MUST(strata_keyspace_create(db, "dropped", NULL, &space));
    MUST(strata_keyspace_drop(db, "dropped"));
    CASE(strata_keyspace_alter(db, space, &same), STRATA_INVALID);
}

static void space_arguments(strata_db *db)
{
    strata_space space;
    CASE(strata_oldest_commit(db, NULL, NULL), STRATA_INVALID);
    CASE(strata_space_of(db, NULL, NULL), STRATA_INVALID);
    CASE(strata_space_of(db, NULL, &space), STRATA_OK);
    TRUE(space.disk_bytes >= space.log_bytes);
    CASE(strata_compact_values(db, NULL, NULL, NULL), STRATA_OK);
}

struct bad_slice {
    strata_slice slice;
    strata_rc rc;
};

static void write_arguments(strata_db *db, const char *big)
{
    const struct bad_slice keys[] = {
        {{NULL, 0}, STRATA_INVALID},         {{NULL, 5}, STRATA_INVALID},
        {{"", 0}, STRATA_INVALID},           {{big, KEY_MOST + 1}, STRATA_TOO_LARGE},
        {{big, SIZE_MAX}, STRATA_TOO_LARGE},
    };
    const struct bad_slice values[] = {
        {{NULL, 5}, STRATA_INVALID},
        {{big, (size_t)UINT32_MAX + 1}, STRATA_TOO_LARGE},
        {{big, SIZE_MAX}, STRATA_TOO_LARGE},
    };
    strata_slice k = strata_str("k");
    strata_batch *batch;
    strata_put_stream *stream;
    MUST(strata_batch_new(db, &batch));
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        CASE(strata_put(db, NULL, keys[i].slice, k), keys[i].rc);
        CASE(strata_delete(db, NULL, keys[i].slice), keys[i].rc);
        CASE(strata_delete_range(db, NULL, keys[i].slice, k), keys[i].rc);
        CASE(strata_delete_range(db, NULL, k, keys[i].slice), keys[i].rc);
        CASE(strata_batch_put(batch, NULL, keys[i].slice, k), keys[i].rc);
        CASE(strata_batch_put_expiring(batch, NULL, keys[i].slice, k, 0), keys[i].rc);
        CASE(strata_put_begin(db, NULL, keys[i].slice, &stream), keys[i].rc);
        TRUE(stream == NULL);
        CASE(strata_batch_delete(batch, NULL, keys[i].slice), keys[i].rc);
        CASE(strata_batch_delete_range(batch, NULL, keys[i].slice, k), keys[i].rc);
        CASE(strata_batch_delete_range(batch, NULL, k, keys[i].slice), keys[i].rc);
    }
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        CASE(strata_put(db, NULL, k, values[i].slice), values[i].rc);
        CASE(strata_batch_put(batch, NULL, k, values[i].slice), values[i].rc);
        CASE(strata_batch_put_expiring(batch, NULL, k, values[i].slice, 0), values[i].rc);
    }
    // Of a value that is not put by itself, a batch must hold all.
    CASE(strata_batch_put(batch, NULL, k, slice(big, 4 * MIB)), STRATA_TOO_LARGE);
    CASE(strata_batch_put(batch, NULL, k, slice(big, UINT32_MAX)), STRATA_TOO_LARGE);
    CASE(strata_batch_put_expiring(batch, NULL, k, k, -1), STRATA_INVALID);
    strata_write past = STRATA_WRITE_INIT;
    past.expires_unix_us = -1;
    CASE(strata_put(db, &past, k, k), STRATA_INVALID);
    CASE(strata_put_begin(db, &past, k, &stream), STRATA_INVALID);
    CASE(strata_put_begin(db, NULL, k, NULL), STRATA_INVALID);
    CASE(strata_delete_range(db, NULL, k, k), STRATA_INVALID);
    CASE(strata_delete_range(db, NULL, strata_str("l"), k), STRATA_INVALID);
    CASE(strata_batch_delete_range(batch, NULL, k, k), STRATA_INVALID);
    TRUE(strata_batch_count(batch) == 0);
    CASE(strata_commit(db, NULL, batch, NULL), STRATA_INVALID);
    CASE(strata_commit(db, NULL, NULL, NULL), STRATA_INVALID);
    CASE(strata_batch_new(db, NULL), STRATA_INVALID);
    strata_batch_free(batch);
}

static void write_options(strata_db *db)
{
    strata_slice k = strata_str("k");
    strata_batch *batch;
    strata_put_stream *stream;
    MUST(strata_batch_new(db, &batch));
    MUST(strata_batch_put(batch, NULL, k, k));
    for (int i = 0; i < 7; i++) {
        uint64_t commit = 77;
        strata_write how = STRATA_WRITE_INIT;
        how.commit_out = &commit;
        switch (i) {
        case 0:
            how.struct_bytes = 0;
            break;
        case 1:
            how.struct_bytes--;
            break;
        case 2:
            how.struct_bytes = SIZE_MAX;
            break;
        case 3:
            how.durability = (strata_durability)3;
            break;
        case 4:
            how.durability = (strata_durability)-1;
            break;
        case 5:
            how.flags = 1u << 1;
            break;
        default:
            how.flags = 1u << 31;
            break;
        }
        CASE(strata_put(db, &how, k, k), STRATA_INVALID);
        CASE(strata_delete(db, &how, k), STRATA_INVALID);
        CASE(strata_delete_range(db, &how, k, strata_str("l")), STRATA_INVALID);
        CASE(strata_put_begin(db, &how, k, &stream), STRATA_INVALID);
        CASE(strata_commit(db, &how, batch, NULL), STRATA_INVALID);
        TRUE(stream == NULL && commit == 77 && strata_batch_count(batch) == 1);
    }
    strata_batch_free(batch);
}

static void read_arguments(strata_db *db, const char *big)
{
    const struct bad_slice keys[] = {
        {{NULL, 0}, STRATA_INVALID},
        {{NULL, 5}, STRATA_INVALID},
        {{"", 0}, STRATA_INVALID},
        {{big, KEY_MOST + 1}, STRATA_TOO_LARGE},
    };
    strata_slice k = strata_str("k");
    strata_value value = STRATA_VALUE_INIT;
    strata_rc rc = STRATA_OK;
    strata_iter *iter;
    strata_history *history;
    MUST(strata_iter_open(db, NULL, &iter));
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        CASE(strata_get(db, NULL, keys[i].slice, &value), keys[i].rc);
        CASE(strata_get_many(db, NULL, 1, &keys[i].slice, &value, &rc), keys[i].rc);
        CASE(strata_iter_seek(iter, keys[i].slice), keys[i].rc);
        CASE(strata_iter_seek_before(iter, keys[i].slice), keys[i].rc);
        CASE(strata_history_open_key(db, NULL, keys[i].slice, &history), keys[i].rc);
        TRUE(history == NULL);
    }
    strata_iter_close(iter);
    CASE(strata_get(db, NULL, k, NULL), STRATA_INVALID);
    CASE(strata_get_many(db, NULL, 1, NULL, &value, &rc), STRATA_INVALID);
    CASE(strata_get_many(db, NULL, 1, &k, NULL, &rc), STRATA_INVALID);
    CASE(strata_get_many(db, NULL, 1, &k, &value, NULL), STRATA_INVALID);
    CASE(strata_get_many(db, NULL, 0, NULL, NULL, NULL), STRATA_OK);
    CASE(strata_iter_open(db, NULL, NULL), STRATA_INVALID);
    CASE(strata_snapshot_take(db, NULL), STRATA_INVALID);
    CASE(strata_commit_at_time(db, 0, NULL), STRATA_INVALID);
    CASE(strata_commit_time(db, 1, NULL), STRATA_INVALID);
    int64_t time_us;
    CASE(strata_commit_time(db, 0, &time_us), STRATA_NOT_FOUND);
    CASE(strata_commit_time(db, strata_newest_commit(db) + 1, &time_us), STRATA_NOT_FOUND);
    CASE(strata_history_open(db, NULL, NULL), STRATA_INVALID);
    CASE(strata_history_open_key(db, NULL, k, NULL), STRATA_INVALID);
    MUST(strata_history_open(db, NULL, &history));
    CASE(strata_history_next(history, NULL), STRATA_INVALID);
    strata_history_close(history);
    CASE(strata_stats(db, NULL, 0, NULL), STRATA_INVALID);
    size_t count = 0;
    CASE(strata_stats(db, NULL, 1, &count), STRATA_INVALID);
    CASE(strata_stats(db, NULL, 0, &count), STRATA_OK);
    TRUE(count > 10);
    CASE(strata_tree(db, NULL, NULL), STRATA_INVALID);
    strata_value_release(&value);
}

static void refuse_read(strata_db *db, const strata_read *how, int line)
{
    strata_slice k = strata_str("k");
    strata_value value = STRATA_VALUE_INIT;
    strata_rc rc;
    strata_iter *iter;
    strata_history *history;
    evidence_case(strata_get(db, how, k, &value), STRATA_INVALID, "strata_get", __FILE__, line);
    evidence_case(strata_get_many(db, how, 1, &k, &value, &rc), STRATA_INVALID, "strata_get_many",
                  __FILE__, line);
    evidence_case(strata_iter_open(db, how, &iter), STRATA_INVALID, "strata_iter_open", __FILE__,
                  line);
    evidence_case(strata_history_open(db, how, &history), STRATA_INVALID, "strata_history_open",
                  __FILE__, line);
    evidence_case(strata_history_open_key(db, how, k, &history), STRATA_INVALID,
                  "strata_history_open_key", __FILE__, line);
    strata_value_reader *reader;
    evidence_case(strata_value_open(db, how, k, &reader), STRATA_INVALID, "strata_value_open",
                  __FILE__, line);
    EVIDENCE(reader == NULL, "a reader of a failed call");
    EVIDENCE(iter == NULL && history == NULL, "a handle of a failed call");
    strata_value_release(&value);
}

static void read_options(strata_db *db, strata_db *other)
{
    strata_snapshot *snapshot;
    strata_snapshot *foreign;
    strata_iter *iter;
    MUST(strata_snapshot_take(db, &snapshot));
    MUST(strata_snapshot_take(other, &foreign));
    strata_read how = STRATA_READ_INIT;
    how.struct_bytes--;
    refuse_read(db, &how, __LINE__);
    how = (strata_read)STRATA_READ_INIT;
    how.as_of = strata_newest_commit(db) + 1;
    refuse_read(db, &how, __LINE__);
    how.as_of = 1;
    how.as_of_zero = true;
    refuse_read(db, &how, __LINE__);
    how = (strata_read)STRATA_READ_INIT;
    how.snapshot = snapshot;
    how.as_of = 1;
    refuse_read(db, &how, __LINE__);
    how.as_of = 0;
    how.as_of_zero = true;
    refuse_read(db, &how, __LINE__);
    how = (strata_read)STRATA_READ_INIT;
    how.snapshot = foreign;
    refuse_read(db, &how, __LINE__);
    // Bounds that leave nothing are no misuse.
    how = (strata_read)STRATA_READ_INIT;
    how.lower = strata_str("z");
    how.upper = strata_str("a");
    CASE(strata_iter_open(db, &how, &iter), STRATA_OK);
    CASE(strata_iter_first(iter), STRATA_END);
    CASE(strata_iter_last(iter), STRATA_END);
    CASE(strata_iter_seek(iter, strata_str("k")), STRATA_END);
    strata_iter_close(iter);
    strata_snapshot_release(snapshot);
    strata_snapshot_release(foreign);
}

static void handles_of_others(strata_db *db, strata_db *other)
{
    strata_keyspace *foreign;
    strata_keyspace *dropped;
    strata_keyspace_options none = STRATA_KEYSPACE_OPTIONS_INIT;
    strata_batch *batch;
    strata_put_stream *stream;
    strata_space space;
    uint64_t commit;
    strata_slice k = strata_str("k");
    MUST(strata_keyspace_open(other, "default", &foreign));
    MUST(strata_keyspace_create(db, "dropped", NULL, &dropped));
    MUST(strata_keyspace_drop(db, "dropped"));
    MUST(strata_batch_new(db, &batch));
    strata_keyspace *bad[2] = {foreign, dropped};
    for (int i = 0; i < 2; i++) {
        strata_read read = STRATA_READ_INIT;
        strata_write write = STRATA_WRITE_INIT;
        read.keyspace = bad[i];
        write.keyspace = bad[i];
        refuse_read(db, &read, __LINE__);
        CASE(strata_put(db, &write, k, k), STRATA_INVALID);
        CASE(strata_delete(db, &write, k), STRATA_INVALID);
        CASE(strata_delete_range(db, &write, k, strata_str("l")), STRATA_INVALID);
        CASE(strata_batch_put(batch, bad[i], k, k), STRATA_INVALID);
        CASE(strata_batch_delete(batch, bad[i], k), STRATA_INVALID);
        CASE(strata_batch_delete_range(batch, bad[i], k, strata_str("l")), STRATA_INVALID);
        CASE(strata_compact(db, bad[i], NULL, NULL), STRATA_INVALID);
        CASE(strata_compact_values(db, bad[i], NULL, NULL), STRATA_INVALID);
        CASE(strata_batch_put_expiring(batch, bad[i], k, k, 1), STRATA_INVALID);
        CASE(strata_put_begin(db, &write, k, &stream), STRATA_INVALID);
        CASE(strata_keyspace_alter(db, bad[i], &none), STRATA_INVALID);
        CASE(strata_oldest_commit(db, bad[i], &commit), STRATA_INVALID);
        CASE(strata_space_of(db, bad[i], &space), STRATA_INVALID);
    }
    // A keyspace that is dropped between the filling and the commit of a batch.
    MUST(strata_keyspace_create(db, "dropped", NULL, &dropped));
    MUST(strata_batch_put(batch, dropped, k, k));
    MUST(strata_batch_put(batch, NULL, strata_str("half"), k));
    MUST(strata_keyspace_drop(db, "dropped"));
    CASE(strata_commit(db, NULL, batch, NULL), STRATA_INVALID);
    CASE(strata_commit(other, NULL, batch, NULL), STRATA_INVALID);
    strata_value value = STRATA_VALUE_INIT;
    CASE(strata_get(db, NULL, strata_str("half"), &value), STRATA_NOT_FOUND);
    strata_batch_free(batch);
}

// ---- order of calls

static void order_of_batches(strata_db *db)
{
    strata_batch *batch;
    strata_slice k = strata_str("order");
    uint64_t commit = 0;
    MUST(strata_batch_new(db, &batch));
    CASE(strata_batch_put(batch, NULL, k, k), STRATA_OK);
    CASE(strata_commit(db, NULL, batch, &commit), STRATA_OK);
    TRUE(commit == strata_newest_commit(db));
    CASE(strata_commit(db, NULL, batch, &commit), STRATA_INVALID);
    TRUE(commit == 0);
    CASE(strata_batch_put(batch, NULL, k, k), STRATA_INVALID);
    strata_batch_reset(batch);
    TRUE(strata_batch_count(batch) == 0);
    CASE(strata_commit(db, NULL, batch, NULL), STRATA_INVALID);
    CASE(strata_batch_delete(batch, NULL, k), STRATA_OK);
    CASE(strata_commit(db, NULL, batch, NULL), STRATA_OK);
    strata_batch_free(batch);
}

static void order_of_streams(strata_db *db, const char *big)
{
    strata_put_stream *stream;
    strata_value_reader *reader;
    strata_value value = STRATA_VALUE_INIT;
    strata_slice k = strata_str("stream");
    char bytes[8];
    size_t got = 99;
    CASE(strata_put_begin(db, NULL, k, &stream), STRATA_OK);
    CASE(strata_put_append(stream, NULL, 1), STRATA_INVALID);
    CASE(strata_put_append(stream, NULL, 0), STRATA_OK);
    CASE(strata_put_append(stream, big, 3 * MIB), STRATA_OK);
    CASE(strata_value_open(db, NULL, k, &reader), STRATA_NOT_FOUND);
    TRUE(reader == NULL);
    CASE(strata_put_append(stream, big, UINT32_MAX - 3 * MIB + (size_t)1), STRATA_TOO_LARGE);
    CASE(strata_put_append(stream, big, 1), STRATA_INVALID); // it can only be aborted
    CASE(strata_put_finish(stream), STRATA_INVALID);
    CASE(strata_get(db, NULL, k, &value), STRATA_NOT_FOUND);
    CASE(strata_put_begin(db, NULL, k, &stream), STRATA_OK);
    CASE(strata_put_append(stream, big, 2 * MIB + 3), STRATA_OK);
    CASE(strata_put_finish(stream), STRATA_OK);
    CASE(strata_put_begin(db, NULL, k, &stream), STRATA_OK);
    CASE(strata_put_append(stream, big, 2 * MIB), STRATA_OK);
    strata_put_abort(stream);
    CASE(strata_value_open(db, NULL, k, NULL), STRATA_INVALID);
    CASE(strata_value_open(db, NULL, k, &reader), STRATA_OK);
    TRUE(strata_value_reader_bytes(reader) == 2 * MIB + 3);
    TRUE(strata_value_reader_commit(reader) == strata_newest_commit(db));
    CASE(strata_value_read(reader, 0, NULL, 8, &got), STRATA_INVALID);
    CASE(strata_value_read(reader, 0, bytes, 8, NULL), STRATA_INVALID);
    CASE(strata_value_read(reader, 2 * MIB, bytes, 8, &got), STRATA_OK);
    TRUE(got == 3);
    CASE(strata_value_read(reader, 2 * MIB + 3, bytes, 8, &got), STRATA_OK);
    TRUE(got == 0);
    strata_value_close(reader);
    strata_value_release(&value);
}

static void order_of_iterators(strata_db *db)
{
    strata_iter *iter;
    strata_read how = STRATA_READ_INIT;
    for (int i = 0; i < 4; i++) {
        char key[8];
        snprintf(key, sizeof key, "i%d", i);
        MUST(strata_put(db, NULL, strata_str(key), strata_str("v")));
    }
    how.lower = strata_str("i");
    how.upper = strata_str("j");
    MUST(strata_iter_open(db, &how, &iter));
    CASE(strata_iter_next(iter), STRATA_INVALID);
    CASE(strata_iter_prev(iter), STRATA_INVALID);
    CASE(strata_iter_resume(iter), STRATA_INVALID);
    TRUE(strata_iter_key(iter).data == NULL && strata_iter_commit(iter) == 0);
    CASE(strata_iter_last(iter), STRATA_OK);
    CASE(strata_iter_resume(iter), STRATA_OK);
    CASE(strata_iter_next(iter), STRATA_END);
    CASE(strata_iter_next(iter), STRATA_END);
    TRUE(strata_iter_key(iter).data == NULL && strata_iter_value(iter).bytes == 0);
    CASE(strata_iter_prev(iter), STRATA_OK);
    TRUE(memcmp(strata_iter_key(iter).data, "i3", 2) == 0);
    CASE(strata_iter_first(iter), STRATA_OK);
    CASE(strata_iter_prev(iter), STRATA_END);
    CASE(strata_iter_prev(iter), STRATA_END);
    CASE(strata_iter_next(iter), STRATA_OK);
    TRUE(memcmp(strata_iter_key(iter).data, "i0", 2) == 0);
    CASE(strata_iter_seek_before(iter, strata_str("i")), STRATA_END);
    CASE(strata_iter_seek(iter, strata_str("k")), STRATA_END);
    strata_iter_close(iter);
}

static void lengths_at_the_limit(strata_db *db, const char *big)
{
    const size_t lengths[] = {1, 2, 255, 256, KEY_MOST - 1, KEY_MOST};
    strata_value value = STRATA_VALUE_INIT;
    strata_batch *batch;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        CASE(strata_put(db, NULL, slice(big, lengths[i]), slice(NULL, 0)), STRATA_OK);
        CASE(strata_get(db, NULL, slice(big, lengths[i]), &value), STRATA_OK);
        TRUE(value.bytes == 0);
    }
    // Beside its key a value has its place in memory; a separated one does not need any.
    strata_keyspace_options off = STRATA_KEYSPACE_OPTIONS_INIT;
    off.separation = STRATA_SEPARATION_OFF;
    MUST(strata_keyspace_alter(db, NULL, &off));
    CASE(strata_put(db, NULL, strata_str("v"), slice(big, 2 * MIB - 100)), STRATA_OK);
    CASE(strata_put(db, NULL, strata_str("v2"), slice(big, 2 * MIB)), STRATA_TOO_LARGE);
    off.separation = STRATA_SEPARATION_ON;
    MUST(strata_keyspace_alter(db, NULL, &off));
    CASE(strata_put(db, NULL, strata_str("v2"), slice(big, 4 * MIB)), STRATA_OK);
    CASE(strata_get(db, NULL, strata_str("v2"), &value), STRATA_OK);
    TRUE(value.bytes == 4 * MIB && memcmp(value.data, big, value.bytes) == 0);
    MUST(strata_batch_new(db, &batch));
    CASE(strata_batch_put(batch, NULL, strata_str("w"), slice(big, MIB)), STRATA_OK);
    CASE(strata_batch_put(batch, NULL, strata_str("x"), slice(big, MIB)), STRATA_TOO_LARGE);
    TRUE(strata_batch_count(batch) == 1);
    CASE(strata_commit(db, NULL, batch, NULL), STRATA_OK);
    CASE(strata_get(db, NULL, strata_str("x"), &value), STRATA_NOT_FOUND);
    TRUE(value.bytes == 0);
    CASE(strata_flush(db), STRATA_OK);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        CASE(strata_get(db, NULL, slice(big, lengths[i]), &value), STRATA_OK);
    }
    CASE(strata_get(db, NULL, strata_str("v"), &value), STRATA_OK);
    TRUE(value.bytes == 2 * MIB - 100 && memcmp(value.data, big, value.bytes) == 0);
    strata_value_release(&value);
    strata_batch_free(batch);
}

static void close_waits_for_readers(strata_db **db)
{
    strata_iter *iter;
    strata_snapshot *snapshot;
    strata_history *history;
    strata_value value = STRATA_VALUE_INIT;
    MUST(strata_iter_open(*db, NULL, &iter));
    CASE(strata_close(*db), STRATA_BUSY);
    CASE(strata_iter_first(iter), STRATA_OK);
    MUST(strata_snapshot_take(*db, &snapshot));
    strata_iter_close(iter);
    CASE(strata_close(*db), STRATA_BUSY);
    MUST(strata_history_open(*db, NULL, &history));
    strata_snapshot_release(snapshot);
    CASE(strata_close(*db), STRATA_BUSY);
    strata_put_stream *stream;
    strata_value_reader *reader;
    MUST(strata_put_begin(*db, NULL, strata_str("s"), &stream));
    strata_history_close(history);
    CASE(strata_close(*db), STRATA_BUSY);
    MUST(strata_value_open(*db, NULL, strata_str("v2"), &reader));
    strata_put_abort(stream);
    CASE(strata_close(*db), STRATA_BUSY);
    MUST(strata_history_open(*db, NULL, &history));
    strata_value_close(reader);
    CASE(strata_close(*db), STRATA_BUSY);
    CASE(strata_put(*db, NULL, strata_str("busy"), strata_str("v")), STRATA_OK);
    CASE(strata_get(*db, NULL, strata_str("busy"), &value), STRATA_OK);
    CASE(strata_flush(*db), STRATA_OK);
    strata_history_close(history);
    strata_value_release(&value);
    CASE(strata_close(*db), STRATA_OK);
    *db = NULL;
}

static void arguments(const char *path, const char *other_path)
{
    char *big = test_alloc(4, MIB);
    memset(big, 'b', 4 * (size_t)MIB);
    strata_db *db = open_new(path);
    strata_db *other = open_new(other_path);
    MUST(strata_put(db, NULL, strata_str("k"), strata_str("v")));
    keyspace_arguments(db);
    uint64_t newest = strata_newest_commit(db);
    alter_arguments(db);
    space_arguments(db);
    newest = strata_newest_commit(db);
    write_arguments(db, big);
    write_options(db);
    read_arguments(db, big);
    read_options(db, other);
    TRUE(strata_newest_commit(db) == newest);
    handles_of_others(db, other);
    order_of_batches(db);
    order_of_streams(db, big);
    order_of_iterators(db);
    lengths_at_the_limit(db, big);
    MUST(strata_check(db));
    close_waits_for_readers(&db);
    MUST(strata_close(other));
    scratch_empty(path);
    scratch_empty(other_path);
    free(big);
}

// ---- options

struct range {
    size_t offset;
    bool wide; // uint64_t, else uint32_t
    uint64_t least, greatest;
};

#define WIDE(member, least, greatest)                                                              \
    {                                                                                              \
        offsetof(strata_options, member), true, least, greatest                                    \
    }
#define NARROW(member, least, greatest)                                                            \
    {                                                                                              \
        offsetof(strata_options, member), false, least, greatest                                   \
    }

static const struct range ranges[] = {
    WIDE(memory_bytes, 8 * MIB, 0),
    WIDE(memtable_bytes, 64 * 1024, 8 * MIB),
    NARROW(background_threads, 1, 64),
    NARROW(open_files_max, 16, 0),
    WIDE(log_bytes_max, 128 * 1024, 0),
    NARROW(keyspace.shape, 1, 2),
    NARROW(keyspace.compression, 1, 3),
    NARROW(keyspace.filter_bits, 1, 32),
    NARROW(keyspace.block_bytes, 1024, 64 * 1024),
    NARROW(keyspace.history_block_bytes, 1024, 256 * 1024),
    NARROW(keyspace.level0_runs_max, 4, 256),
    NARROW(keyspace.size_ratio, 2, 64),
    NARROW(keyspace.separation, 1, 2),
    NARROW(keyspace.separate_bytes, 64, MIB),
    NARROW(keyspace.value_compression, 1, 3),
    NARROW(keyspace.retention, 1, 4),
    NARROW(keyspace.space_bound_percent, 110, 1000),
};

static void try_option(const char *path, const struct range *r, uint64_t value, strata_rc want)
{
    strata_options o = STRATA_OPTIONS_INIT;
    strata_db *db;
    o.flags = STRATA_OPEN_CREATE;
    o.memory_bytes = 16 * MIB;
    o.log_segment_bytes = 128 * 1024;
    uint32_t narrow = (uint32_t)value;
    memcpy((char *)&o + r->offset, r->wide ? (const void *)&value : (const void *)&narrow,
           r->wide ? 8 : 4);
    CASE(strata_open(path, &o, &db), want);
    if (want == STRATA_OK) {
        CASE(strata_put(db, NULL, strata_str("k"), strata_str("v")), STRATA_OK);
        CASE(strata_close(db), STRATA_OK);
        scratch_empty(path);
    } else {
        TRUE(db == NULL && rmdir(path) == 0 && mkdir(path, 0700) == 0); // nothing was made
    }
}

static void option_ranges(const char *path)
{
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        const struct range *r = &ranges[i];
        try_option(path, r, 0, STRATA_OK);
        try_option(path, r, r->least, STRATA_OK);
        if (r->least > 1) {
            try_option(path, r, r->least - 1, STRATA_INVALID);
        }
        if (r->greatest != 0) {
            try_option(path, r, r->greatest, STRATA_OK);
            try_option(path, r, r->greatest + 1, STRATA_INVALID);
        }
        if (r->greatest != 0 || r->wide) {
            try_option(path, r, r->wide ? UINT64_MAX : UINT32_MAX, STRATA_INVALID);
        }
    }
}

static void option_numbers(const char *path)
{
    const struct {
        strata_options o;
        strata_rc rc;
    } all[] = {
        {{.struct_bytes = 0}, STRATA_INVALID},
        {{.struct_bytes = sizeof(strata_options) - 1}, STRATA_INVALID},
        {{.struct_bytes = SIZE_MAX}, STRATA_INVALID},
        {{.struct_bytes = sizeof(strata_options), .flags = 1u << 3}, STRATA_INVALID},
        {{.struct_bytes = sizeof(strata_options), .flags = STRATA_OPEN_NEW}, STRATA_INVALID},
        {{.struct_bytes = sizeof(strata_options),
          .flags = STRATA_OPEN_READ_ONLY | STRATA_OPEN_CREATE},
         STRATA_INVALID},
        {{.struct_bytes = sizeof(strata_options),
          .flags = STRATA_OPEN_CREATE,
          .log_append = (strata_log_append)3},
         STRATA_INVALID},
        {{.struct_bytes = sizeof(strata_options),
          .flags = STRATA_OPEN_CREATE,
          .log_append = (strata_log_append)-1},
         STRATA_INVALID},
        {{.struct_bytes = sizeof(strata_options),
          .flags = STRATA_OPEN_CREATE,
          .log_segment_bytes = 100000},
         STRATA_INVALID},
        {{.struct_bytes = sizeof(strata_options),
          .flags = STRATA_OPEN_CREATE,
          .log_segment_bytes = 2048ull * MIB},
         STRATA_INVALID},
        {{.struct_bytes = sizeof(strata_options),
          .flags = STRATA_OPEN_CREATE,
          .keyspace = {.struct_bytes = SIZE_MAX}},
         STRATA_INVALID},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        strata_db *db;
        CASE(strata_open(path, &all[i].o, &db), all[i].rc);
        TRUE(db == NULL && rmdir(path) == 0 && mkdir(path, 0700) == 0);
    }
}

int main(int argc, char **argv)
{
    struct test_options o;
    test_options_parse(&o, argc, argv);
    test_watchdog(100);
    char *path = scratch_new(NULL);
    char *other = scratch_new(NULL);
    without_a_database();
    null_handles_of_parts();
    arguments(path, other);
    option_ranges(path);
    option_numbers(path);
    scratch_remove(path);
    scratch_remove(other);
    printf("cases: %llu\n", (unsigned long long)evidence_cases);
    return 0;
}
