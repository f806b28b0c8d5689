// Options of a keyspace: defaults, ranges, and their stored form.
//
// Stored form: fields, each a varint tag and a varint value, in any order, each at most once. The
// tag is number * 2, plus 1 when a reader that does not know the field must refuse the keyspace.
// A field that is not there has its default.
//
//   1 shape   2 compression   3 filter_bits   4 filter_off (0 or 1)   5 block_bytes
//   6 history_block_bytes   7 level0_runs_max   8 size_ratio   9 separation   10 separate_bytes
//   11 value_compression   12 retention   13 retention_versions   14 retention_seconds
//   15 expire_seconds (0: never)   16 space_bound_percent
//
// Fields from 9 on can be changed in a keyspace that is there (keyspace_options_alter).
#include "manifest/manifest.h"

#include "base/assert.h"
#include "base/fail.h"
#include "base/reader.h"

#include <inttypes.h>

struct option_range {
    const char *name;
    uint32_t standard; // what 0 stands for
    uint32_t least, greatest;
};

enum option_field {
    OPTION_SHAPE = 1,
    OPTION_COMPRESSION = 2,
    OPTION_FILTER_BITS = 3,
    OPTION_FILTER_OFF = 4,
    OPTION_BLOCK_BYTES = 5,
    OPTION_HISTORY_BLOCK_BYTES = 6,
    OPTION_LEVEL0_RUNS_MAX = 7,
    OPTION_SIZE_RATIO = 8,
    OPTION_SEPARATION = 9,
    OPTION_SEPARATE_BYTES = 10,
    OPTION_VALUE_COMPRESSION = 11,
    OPTION_RETENTION = 12,
    OPTION_RETENTION_VERSIONS = 13,
    OPTION_RETENTION_SECONDS = 14,
    OPTION_EXPIRE_SECONDS = 15,
    OPTION_SPACE_BOUND_PERCENT = 16,
    OPTION_FIELDS
};

#define OPTION_FIRST_LIVE OPTION_SEPARATION

static const struct option_range option_ranges[OPTION_FIELDS] = {
    [OPTION_SHAPE] = {"shape", STRATA_SHAPE_LAZY, STRATA_SHAPE_LAZY, STRATA_SHAPE_LEVELED},
    [OPTION_COMPRESSION] = {"compression", STRATA_COMPRESSION_DEFAULT, STRATA_COMPRESSION_DEFAULT,
                            STRATA_COMPRESSION_ZSTD},
    [OPTION_FILTER_BITS] = {"filter_bits", 10, 1, 32},
    [OPTION_FILTER_OFF] = {"filter_off", 0, 0, 1},
    [OPTION_BLOCK_BYTES] = {"block_bytes", 4096, 1024, 65536},
    [OPTION_HISTORY_BLOCK_BYTES] = {"history_block_bytes", 32768, 1024, 262144},
    [OPTION_LEVEL0_RUNS_MAX] = {"level0_runs_max", 20, 4, 256},
    [OPTION_SIZE_RATIO] = {"size_ratio", 8, 2, 64},
    [OPTION_SEPARATION] = {"separation", STRATA_SEPARATION_ON, STRATA_SEPARATION_ON,
                           STRATA_SEPARATION_OFF},
    [OPTION_SEPARATE_BYTES] = {"separate_bytes", 2048, 64, 1u << 20},
    [OPTION_VALUE_COMPRESSION] = {"value_compression", STRATA_COMPRESSION_NONE,
                                  STRATA_COMPRESSION_NONE, STRATA_COMPRESSION_ZSTD},
    [OPTION_RETENTION] = {"retention", STRATA_RETENTION_ALL, STRATA_RETENTION_ALL,
                          STRATA_RETENTION_NONE},
    [OPTION_RETENTION_VERSIONS] = {"retention_versions", 1, 1, UINT32_MAX},
    [OPTION_RETENTION_SECONDS] = {"retention_seconds", 86400, 1, UINT32_MAX},
    [OPTION_EXPIRE_SECONDS] = {"expire_seconds", 0, 0, UINT32_MAX - 1},
    [OPTION_SPACE_BOUND_PERCENT] = {"space_bound_percent", 150, 110, 1000},
};

// The members as numbers, by field.
static void options_to_values(const strata_keyspace_options *o, uint64_t values[OPTION_FIELDS])
{
    values[0] = 0;
    values[OPTION_SHAPE] = (uint64_t)o->shape;
    values[OPTION_COMPRESSION] = (uint64_t)o->compression;
    values[OPTION_FILTER_BITS] = o->filter_bits;
    values[OPTION_FILTER_OFF] = o->filter_off;
    values[OPTION_BLOCK_BYTES] = o->block_bytes;
    values[OPTION_HISTORY_BLOCK_BYTES] = o->history_block_bytes;
    values[OPTION_LEVEL0_RUNS_MAX] = o->level0_runs_max;
    values[OPTION_SIZE_RATIO] = o->size_ratio;
    values[OPTION_SEPARATION] = (uint64_t)o->separation;
    values[OPTION_SEPARATE_BYTES] = o->separate_bytes;
    values[OPTION_VALUE_COMPRESSION] = (uint64_t)o->value_compression;
    values[OPTION_RETENTION] = (uint64_t)o->retention;
    values[OPTION_RETENTION_VERSIONS] = o->retention_versions;
    values[OPTION_RETENTION_SECONDS] = o->retention_seconds;
    values[OPTION_EXPIRE_SECONDS] = o->expire_seconds;
    values[OPTION_SPACE_BOUND_PERCENT] = o->space_bound_percent;
}

// Values in range.
static void options_from_values(const uint64_t values[OPTION_FIELDS], strata_keyspace_options *o)
{
    *o = (strata_keyspace_options){
        .struct_bytes = sizeof *o,
        .shape = (strata_shape)values[OPTION_SHAPE],
        .compression = (strata_compression)values[OPTION_COMPRESSION],
        .filter_bits = (uint32_t)values[OPTION_FILTER_BITS],
        .filter_off = values[OPTION_FILTER_OFF] != 0,
        .block_bytes = (uint32_t)values[OPTION_BLOCK_BYTES],
        .history_block_bytes = (uint32_t)values[OPTION_HISTORY_BLOCK_BYTES],
        .level0_runs_max = (uint32_t)values[OPTION_LEVEL0_RUNS_MAX],
        .size_ratio = (uint32_t)values[OPTION_SIZE_RATIO],
        .separation = (strata_separation)values[OPTION_SEPARATION],
        .separate_bytes = (uint32_t)values[OPTION_SEPARATE_BYTES],
        .value_compression = (strata_compression)values[OPTION_VALUE_COMPRESSION],
        .retention = (strata_retention)values[OPTION_RETENTION],
        .retention_versions = (uint32_t)values[OPTION_RETENTION_VERSIONS],
        .retention_seconds = (uint32_t)values[OPTION_RETENTION_SECONDS],
        .expire_seconds = (uint32_t)values[OPTION_EXPIRE_SECONDS],
        .space_bound_percent = (uint32_t)values[OPTION_SPACE_BOUND_PERCENT],
    };
}

// Puts defaults for zeros; `rc` when a value is out of its range.
static strata_rc options_values_check(uint64_t values[OPTION_FIELDS], strata_rc rc)
{
    for (size_t i = 1; i < OPTION_FIELDS; i++) {
        const struct option_range *range = &option_ranges[i];
        if (values[i] == 0) {
            values[i] = range->standard;
        }
        if (values[i] < range->least || values[i] > range->greatest) {
            return fail(rc,
                        "keyspace option %s is %" PRIu64 ", allowed are %" PRIu32 " to %" PRIu32,
                        range->name, values[i], range->least, range->greatest);
        }
    }
    return STRATA_OK;
}

// The caller's options as values, whatever the length of its struct. STRATA_NEVER_SECONDS stays.
static strata_rc options_take(const strata_keyspace_options *given, uint64_t values[OPTION_FIELDS])
{
    strata_keyspace_options own = STRATA_KEYSPACE_OPTIONS_INIT;
    if (given != NULL) {
        size_t bytes = given->struct_bytes;
        if (bytes < sizeof bytes || bytes > sizeof own) {
            return fail(STRATA_INVALID,
                        "keyspace options have struct_bytes %zu, expected %zu: begin with "
                        "STRATA_KEYSPACE_OPTIONS_INIT",
                        bytes, sizeof own);
        }
        // An older caller's struct is shorter: what it lacks stays zero.
        memcpy(&own, given, bytes);
    }
    options_to_values(&own, values);
    return STRATA_OK;
}

strata_rc keyspace_options_resolve(const strata_keyspace_options *given,
                                   strata_keyspace_options *resolved_out)
{
    uint64_t values[OPTION_FIELDS];
    strata_rc rc = options_take(given, values);
    if (rc == STRATA_OK) {
        if (values[OPTION_EXPIRE_SECONDS] == STRATA_NEVER_SECONDS) {
            values[OPTION_EXPIRE_SECONDS] = 0;
        }
        rc = options_values_check(values, STRATA_INVALID);
    }
    if (rc == STRATA_OK) {
        options_from_values(values, resolved_out);
    }
    return rc;
}

strata_rc keyspace_options_alter(const strata_keyspace_options *from,
                                 const strata_keyspace_options *change,
                                 strata_keyspace_options *altered_out)
{
    ASSERT(from->struct_bytes == sizeof *from);
    uint64_t values[OPTION_FIELDS], changed[OPTION_FIELDS];
    options_to_values(from, values);
    strata_rc rc = options_take(change, changed);
    for (size_t i = 1; rc == STRATA_OK && i < OPTION_FIELDS; i++) {
        if (changed[i] == 0) {
            continue;
        }
        if (i < OPTION_FIRST_LIVE) {
            return fail(STRATA_INVALID,
                        "keyspace option %s cannot be changed in a keyspace that is there: leave "
                        "it zero",
                        option_ranges[i].name);
        }
        bool never = i == OPTION_EXPIRE_SECONDS && changed[i] == STRATA_NEVER_SECONDS;
        values[i] = never ? 0 : changed[i];
    }
    if (rc == STRATA_OK) {
        rc = options_values_check(values, STRATA_INVALID);
    }
    if (rc == STRATA_OK) {
        options_from_values(values, altered_out);
    }
    return rc;
}

strata_rc keyspace_options_encode(const strata_keyspace_options *o, struct buffer *to)
{
    ASSERT(o->struct_bytes == sizeof *o);
    size_t bytes_before = to->bytes;
    uint64_t values[OPTION_FIELDS];
    options_to_values(o, values);
    for (uint64_t i = 1; i < OPTION_FIELDS; i++) {
        strata_rc rc = buffer_append_varint(to, i * 2 + 1);
        if (rc == STRATA_OK) {
            rc = buffer_append_varint(to, values[i]);
        }
        if (rc != STRATA_OK) {
            to->bytes = bytes_before;
            return rc;
        }
    }
    return STRATA_OK;
}

strata_rc keyspace_options_decode(struct slice bytes, strata_keyspace_options *out)
{
    struct reader r = reader_of(bytes);
    uint64_t values[OPTION_FIELDS] = {0};
    bool seen[OPTION_FIELDS] = {false};
    while (reader_left(&r) > 0 && !r.bad) {
        uint64_t tag = reader_varint(&r);
        uint64_t value = reader_varint(&r);
        uint64_t field = tag / 2;
        if (r.bad) {
            break;
        }
        if (field == 0 || field >= OPTION_FIELDS) {
            if (tag % 2 == 1) {
                return fail(STRATA_VERSION, "keyspace option %" PRIu64 " is of a later version",
                            field);
            }
            continue;
        }
        if (seen[field]) {
            return fail(STRATA_CORRUPT, "keyspace option %s stands twice",
                        option_ranges[field].name);
        }
        seen[field] = true;
        values[field] = value;
    }
    if (r.bad) {
        return fail(STRATA_CORRUPT, "keyspace options end inside a field");
    }
    strata_rc rc = options_values_check(values, STRATA_CORRUPT);
    if (rc == STRATA_OK) {
        options_from_values(values, out);
    }
    return rc;
}
