// The bytes of an edit (numbers and words as at the head of manifest_format.c).
//
// An edit is a list of fields: varint tag, prefixed body. The tag is number * 2, plus 1 when a
// reader that does not know the field must refuse the file; other unknown fields are skipped. A
// body that is longer than its field is damage: later versions use new fields. Fields 1 to 8 stand
// at most once.
//
//    1 flushed_commit, 2 log_first_segment, 3 next_file, 4 next_run, 5 next_keyspace,
//    6 incarnation, 7 edits: a varint each
//    8 end of the snapshot: empty
//    9 keyspace created: number, commit (varints), name (prefixed), options (prefixed, see
//      keyspace_options.c)
//   10 keyspace dropped: number, commit (varints)
//   11 table removed: keyspace, history (0 or 1), file (varints)
//   12 table added: keyspace, history, level, run, file, bytes, entries, deletes, range_fragments,
//      commit_least, commit_greatest - commit_least, end_greatest, raw_bytes (varints),
//      time_least_us, time_greatest_us (zigzags), lower, upper (prefixed)
//   13 seconds: count (varint), then for each: first_commit less that of the one before (varint; 0
//      before the first), first_time_us less that of the one before (zigzag), last_time_us -
//      first_time_us (varint)
//   14 table added that has expiries or refers to value files: as 12, then expiring (varint), how
//      many value files it uses (varint), and for each, ascending: file less that of the one
//      before, records, bytes (varints)
//   15 value file removed: keyspace, file (varints)
//   16 value file added: keyspace, file, bytes, how many logical files are in it (varints), and for
//      each, ascending: file less that of the one before, records, raw_bytes (varints)
//   17 floor: keyspace, commit (varints)
//   18 keyspace altered: number (varint), options (prefixed)
//
// The order of an edit's fields says nothing of the order in which they are applied
// (catalog_apply).
#include "manifest/manifest.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "base/reader.h"

#include <inttypes.h>

enum edit_field {
    FIELD_FLUSHED_COMMIT = 1,
    FIELD_LOG_FIRST_SEGMENT = 2,
    FIELD_NEXT_FILE = 3,
    FIELD_NEXT_RUN = 4,
    FIELD_NEXT_KEYSPACE = 5,
    FIELD_INCARNATION = 6,
    FIELD_EDITS = 7,
    FIELD_SNAPSHOT_END = 8,
    FIELD_SPACE_CREATED = 9,
    FIELD_SPACE_DROPPED = 10,
    FIELD_TABLE_REMOVED = 11,
    FIELD_TABLE_ADDED = 12,
    FIELD_SECONDS = 13,
    FIELD_TABLE_ADDED_USES = 14,
    FIELD_VALUE_REMOVED = 15,
    FIELD_VALUE_ADDED = 16,
    FIELD_FLOOR = 17,
    FIELD_SPACE_ALTERED = 18,
};

#define NUMBER_FIELDS (FIELD_EDITS + 1)

static uint64_t zigzag_of(int64_t n)
{
    return ((uint64_t)n << 1) ^ (n < 0 ? UINT64_MAX : 0);
}

static int64_t zigzag_back(uint64_t v)
{
    uint64_t n = (v >> 1) ^ (0 - (v & 1));
    int64_t back;
    memcpy(&back, &n, sizeof back);
    return back;
}

// ---- edits to bytes

// Appends a field whose body is in `body`, and empties `body`.
static strata_rc put_field(struct buffer *to, enum edit_field field, struct buffer *body)
{
    strata_rc rc = buffer_append_varint(to, (uint64_t)field * 2 + 1);
    if (rc == STRATA_OK) {
        rc = buffer_append_prefixed(to, buffer_slice(body));
    }
    buffer_clear(body);
    return rc;
}

static strata_rc put_varints(struct buffer *body, const uint64_t *values, size_t count)
{
    strata_rc rc = STRATA_OK;
    for (size_t i = 0; rc == STRATA_OK && i < count; i++) {
        rc = buffer_append_varint(body, values[i]);
    }
    return rc;
}

static strata_rc put_numbers(const struct edit *e, struct buffer *to, struct buffer *body)
{
    const uint64_t numbers[NUMBER_FIELDS] = {
        [FIELD_FLUSHED_COMMIT] = e->flushed_commit,
        [FIELD_LOG_FIRST_SEGMENT] = e->log_first_segment,
        [FIELD_NEXT_FILE] = e->next_file,
        [FIELD_NEXT_RUN] = e->next_run,
        [FIELD_NEXT_KEYSPACE] = e->next_keyspace,
        [FIELD_INCARNATION] = e->incarnation,
        [FIELD_EDITS] = e->edits,
    };
    strata_rc rc = STRATA_OK;
    for (int field = 1; rc == STRATA_OK && field < NUMBER_FIELDS; field++) {
        if (numbers[field] == 0) {
            continue;
        }
        rc = put_varints(body, &numbers[field], 1);
        if (rc == STRATA_OK) {
            rc = put_field(to, (enum edit_field)field, body);
        }
    }
    if (rc == STRATA_OK && e->snapshot_end) {
        rc = put_field(to, FIELD_SNAPSHOT_END, body);
    }
    return rc;
}

static strata_rc put_options(const strata_keyspace_options *o, struct buffer *body)
{
    struct buffer options = {0};
    strata_rc rc = keyspace_options_encode(o, &options);
    if (rc == STRATA_OK) {
        rc = buffer_append_prefixed(body, buffer_slice(&options));
    }
    buffer_release(&options);
    return rc;
}

static strata_rc put_space(const struct edit_space *s, struct buffer *to, struct buffer *body)
{
    enum edit_field field = s->drop    ? FIELD_SPACE_DROPPED
                            : s->alter ? FIELD_SPACE_ALTERED
                                       : FIELD_SPACE_CREATED;
    const uint64_t numbers[] = {s->number, s->commit};
    strata_rc rc = put_varints(body, numbers, s->alter ? 1 : 2);
    if (rc == STRATA_OK && field == FIELD_SPACE_CREATED) {
        rc = buffer_append_prefixed(body, slice_of(s->name, strlen(s->name)));
    }
    if (rc == STRATA_OK && field != FIELD_SPACE_DROPPED) {
        rc = put_options(&s->options, body);
    }
    return rc == STRATA_OK ? put_field(to, field, body) : rc;
}

static strata_rc put_value(const struct edit_value *v, struct buffer *to, struct buffer *body)
{
    const struct value_meta *m = &v->meta;
    const uint64_t numbers[] = {v->keyspace, v->file, m->bytes, m->logical_count};
    strata_rc rc = put_varints(body, numbers, v->add ? 4 : 2);
    uint64_t before = 0;
    for (uint32_t i = 0; rc == STRATA_OK && v->add && i < m->logical_count; i++) {
        const struct value_logical *l = &m->logicals[i];
        ASSERT(l->file > before);
        const uint64_t logical[] = {l->file - before, l->records, l->raw_bytes};
        rc = put_varints(body, logical, 3);
        before = l->file;
    }
    return rc == STRATA_OK ? put_field(to, v->add ? FIELD_VALUE_ADDED : FIELD_VALUE_REMOVED, body)
                           : rc;
}

static strata_rc put_uses(const struct table_meta *m, struct buffer *body)
{
    const uint64_t numbers[] = {m->expiring, m->use_count};
    strata_rc rc = put_varints(body, numbers, 2);
    uint64_t before = 0;
    for (uint32_t i = 0; rc == STRATA_OK && i < m->use_count; i++) {
        const struct table_value_use *u = &m->uses[i];
        ASSERT(u->file > before);
        const uint64_t use[] = {u->file - before, u->records, u->bytes};
        rc = put_varints(body, use, 3);
        before = u->file;
    }
    return rc;
}

static strata_rc put_table_removed(const struct edit_table *t, struct buffer *to,
                                   struct buffer *body)
{
    const uint64_t removed[] = {t->keyspace, t->history, t->file};
    strata_rc rc = put_varints(body, removed, 3);
    return rc == STRATA_OK ? put_field(to, FIELD_TABLE_REMOVED, body) : rc;
}

static strata_rc put_table_added(const struct edit_table *t, struct buffer *to, struct buffer *body)
{
    const struct table_meta *m = &t->meta;
    ASSERT(m->commit_least <= m->commit_greatest);
    const uint64_t added[] = {
        t->keyspace,
        t->history,
        t->level,
        t->run,
        m->file,
        m->bytes,
        m->entries,
        m->deletes,
        m->range_fragments,
        m->commit_least,
        m->commit_greatest - m->commit_least,
        m->end_greatest,
        m->raw_bytes,
        zigzag_of(m->time_least_us),
        zigzag_of(m->time_greatest_us),
    };
    strata_rc rc = put_varints(body, added, sizeof added / sizeof added[0]);
    if (rc == STRATA_OK) {
        rc = buffer_append_prefixed(body, m->lower);
    }
    if (rc == STRATA_OK) {
        rc = buffer_append_prefixed(body, m->upper);
    }
    bool plain = m->expiring == 0 && m->use_count == 0;
    if (rc == STRATA_OK && !plain) {
        rc = put_uses(m, body);
    }
    return rc == STRATA_OK ? put_field(to, plain ? FIELD_TABLE_ADDED : FIELD_TABLE_ADDED_USES, body)
                           : rc;
}

static strata_rc put_seconds(const struct edit *e, struct buffer *to, struct buffer *body)
{
    if (e->second_count == 0) {
        return STRATA_OK;
    }
    strata_rc rc = buffer_append_varint(body, e->second_count);
    struct commit_second before = {0};
    for (size_t i = 0; rc == STRATA_OK && i < e->second_count; i++) {
        const struct commit_second *s = &e->seconds[i];
        ASSERT(s->first_commit >= before.first_commit && s->last_time_us >= s->first_time_us);
        const uint64_t differences[] = {
            s->first_commit - before.first_commit,
            // Modulo 2^64, as the reader adds.
            zigzag_of((int64_t)((uint64_t)s->first_time_us - (uint64_t)before.first_time_us)),
            (uint64_t)s->last_time_us - (uint64_t)s->first_time_us,
        };
        rc = put_varints(body, differences, 3);
        before = *s;
    }
    return rc == STRATA_OK ? put_field(to, FIELD_SECONDS, body) : rc;
}

strata_rc edit_encode(const struct edit *e, struct buffer *to)
{
    size_t bytes_before = to->bytes;
    struct buffer body = {0};
    strata_rc rc = put_numbers(e, to, &body);
    for (size_t i = 0; rc == STRATA_OK && i < e->space_count; i++) {
        rc = put_space(&e->spaces[i], to, &body);
    }
    for (size_t i = 0; rc == STRATA_OK && i < e->value_count; i++) {
        rc = put_value(&e->values[i], to, &body);
    }
    for (size_t i = 0; rc == STRATA_OK && i < e->table_count; i++) {
        const struct edit_table *t = &e->tables[i];
        rc = t->add ? put_table_added(t, to, &body) : put_table_removed(t, to, &body);
    }
    for (size_t i = 0; rc == STRATA_OK && i < e->floor_count; i++) {
        const uint64_t numbers[] = {e->floors[i].keyspace, e->floors[i].floor};
        rc = put_varints(&body, numbers, 2);
        rc = rc == STRATA_OK ? put_field(to, FIELD_FLOOR, &body) : rc;
    }
    if (rc == STRATA_OK) {
        rc = put_seconds(e, to, &body);
    }
    if (rc != STRATA_OK) {
        to->bytes = bytes_before;
    }
    buffer_release(&body);
    return rc;
}

// ---- bytes to edits

static strata_rc take_space_created(struct reader *r, struct edit *e)
{
    uint64_t number = reader_varint(r);
    uint64_t commit = reader_varint(r);
    struct slice name = reader_prefixed(r);
    struct slice options_bytes = reader_prefixed(r);
    if (r->bad || name.bytes == 0 || name.bytes > STRATA_KEYSPACE_NAME_BYTES_MAX ||
        memchr(name.data, 0, name.bytes) != NULL || number == UINT64_MAX) {
        return fail(STRATA_CORRUPT, "a created keyspace has a bad number or name");
    }
    char text[STRATA_KEYSPACE_NAME_BYTES_MAX + 1];
    memcpy(text, name.data, name.bytes);
    text[name.bytes] = '\0';
    strata_keyspace_options options;
    strata_rc rc = keyspace_options_decode(options_bytes, &options);
    if (rc != STRATA_OK) {
        return fail_in(rc, "keyspace '%s'", text);
    }
    return edit_create_space(e, number, text, &options, commit);
}

static strata_rc take_space_dropped(struct reader *r, struct edit *e)
{
    uint64_t number = reader_varint(r);
    uint64_t commit = reader_varint(r);
    if (r->bad || number == UINT64_MAX) {
        return fail(STRATA_CORRUPT, "a dropped keyspace has a bad number");
    }
    return edit_drop_space(e, number, commit);
}

static strata_rc take_space_altered(struct reader *r, struct edit *e)
{
    uint64_t number = reader_varint(r);
    struct slice options_bytes = reader_prefixed(r);
    if (r->bad || number == UINT64_MAX) {
        return fail(STRATA_CORRUPT, "an altered keyspace has a bad number");
    }
    strata_keyspace_options options;
    strata_rc rc = keyspace_options_decode(options_bytes, &options);
    if (rc != STRATA_OK) {
        return fail_in(rc, "keyspace %" PRIu64, number);
    }
    return edit_alter_space(e, number, &options);
}

static strata_rc take_floor(struct reader *r, struct edit *e)
{
    uint64_t keyspace = reader_varint(r);
    uint64_t floor = reader_varint(r);
    return r->bad ? fail(STRATA_CORRUPT, "a floor is malformed")
                  : edit_set_floor(e, keyspace, floor);
}

static strata_rc take_value_removed(struct reader *r, struct edit *e)
{
    uint64_t keyspace = reader_varint(r);
    uint64_t file = reader_varint(r);
    return r->bad ? fail(STRATA_CORRUPT, "a removed value file is malformed")
                  : edit_remove_value_file(e, keyspace, file);
}

// The numbers of a file and of what it holds, in lists where they ascend.
#define LISTED_FILE_BYTES_MIN 3u

// How many files follow in a list, checked against what is there before memory is taken for them.
static uint32_t take_list_count(struct reader *r)
{
    uint64_t count = reader_varint(r);
    if (count > reader_left(r) / LISTED_FILE_BYTES_MIN || count > UINT32_MAX) {
        r->bad = true;
    }
    return r->bad ? 0 : (uint32_t)count;
}

// The next number of an ascending list.
static uint64_t take_listed_file(struct reader *r, uint64_t before)
{
    uint64_t file = reader_varint(r);
    if (file == 0 || __builtin_add_overflow(file, before, &file) || file == UINT64_MAX) {
        r->bad = true;
    }
    return file;
}

static strata_rc take_value_added(struct reader *r, struct edit *e)
{
    struct value_meta m = {0};
    m.keyspace = reader_varint(r);
    m.file = reader_varint(r);
    m.bytes = reader_varint(r);
    m.logical_count = take_list_count(r);
    m.logicals = alloc_zeroed(m.logical_count, sizeof *m.logicals);
    if (m.logicals == NULL) {
        return alloc_failed("a value file", m.logical_count * sizeof *m.logicals);
    }
    uint64_t before = 0;
    for (uint32_t i = 0; i < m.logical_count; i++) {
        struct value_logical *l = &m.logicals[i];
        before = take_listed_file(r, before);
        l->file = before;
        l->records = reader_varint(r);
        l->raw_bytes = reader_varint(r);
    }
    strata_rc rc = r->bad || m.file == UINT64_MAX
                       ? fail(STRATA_CORRUPT, "added value file %" PRIu64 " is malformed", m.file)
                       : edit_add_value_file(e, &m, NULL);
    free(m.logicals);
    return rc;
}

static strata_rc take_table_removed(struct reader *r, struct edit *e)
{
    uint64_t keyspace = reader_varint(r);
    uint64_t history = reader_varint(r);
    uint64_t file = reader_varint(r);
    if (r->bad || history > 1) {
        return fail(STRATA_CORRUPT, "a removed table is malformed");
    }
    return edit_remove_table(e, keyspace, history != 0, file);
}

// What follows in a table that has expiries or uses. The caller frees m->uses.
static strata_rc take_uses(struct reader *r, struct table_meta *m)
{
    m->expiring = reader_varint(r);
    m->use_count = take_list_count(r);
    m->uses = alloc_zeroed(m->use_count, sizeof *m->uses);
    if (m->uses == NULL) {
        return alloc_failed("what a table refers to", m->use_count * sizeof *m->uses);
    }
    uint64_t before = 0;
    for (uint32_t i = 0; i < m->use_count; i++) {
        struct table_value_use *u = &m->uses[i];
        before = take_listed_file(r, before);
        u->file = before;
        u->records = reader_varint(r);
        u->bytes = reader_varint(r);
        if (__builtin_add_overflow(m->value_bytes, u->bytes, &m->value_bytes)) {
            r->bad = true;
        }
    }
    return STRATA_OK;
}

static strata_rc check_table_added(const struct reader *r, const struct table_meta *m)
{
    if (r->bad || m->file == UINT64_MAX || m->expiring > m->entries) {
        return fail(STRATA_CORRUPT, "added table %" PRIu64 " is malformed", m->file);
    }
    return slice_compare(m->lower, m->upper) < 0
               ? STRATA_OK
               : fail(STRATA_CORRUPT, "added table %" PRIu64 " has bounds that hold no key",
                      m->file);
}

static strata_rc take_table_added(struct reader *r, bool uses, struct edit *e)
{
    struct table_meta m = {0};
    m.keyspace = reader_varint(r);
    uint64_t history = reader_varint(r);
    uint64_t level = reader_varint(r);
    uint64_t run = reader_varint(r);
    m.file = reader_varint(r);
    m.bytes = reader_varint(r);
    m.entries = reader_varint(r);
    m.deletes = reader_varint(r);
    m.range_fragments = reader_varint(r);
    m.commit_least = reader_varint(r);
    uint64_t commit_span = reader_varint(r);
    m.end_greatest = reader_varint(r);
    m.raw_bytes = reader_varint(r);
    m.time_least_us = zigzag_back(reader_varint(r));
    m.time_greatest_us = zigzag_back(reader_varint(r));
    m.lower = reader_prefixed(r);
    m.upper = reader_prefixed(r);
    m.history = history != 0;
    if (history > 1 || level >= TREE_LEVELS_MAX || run == UINT64_MAX ||
        __builtin_add_overflow(m.commit_least, commit_span, &m.commit_greatest)) {
        r->bad = true;
    }
    strata_rc rc = uses ? take_uses(r, &m) : STRATA_OK;
    if (rc == STRATA_OK) {
        rc = check_table_added(r, &m);
    }
    if (rc == STRATA_OK) {
        rc = edit_add_table(e, m.keyspace, m.history, (uint32_t)level, run, &m, NULL);
    }
    free(m.uses);
    return rc;
}

static strata_rc take_seconds(struct reader *r, struct edit *e)
{
    uint64_t count = reader_varint(r);
    struct commit_second s = {0};
    for (uint64_t i = 0; i < count; i++) {
        uint64_t commits = reader_varint(r);
        int64_t later = zigzag_back(reader_varint(r));
        uint64_t span = reader_varint(r);
        if (r->bad || __builtin_add_overflow(s.first_commit, commits, &s.first_commit) ||
            __builtin_add_overflow(s.first_time_us, later, &s.first_time_us) ||
            span > (uint64_t)INT64_MAX ||
            __builtin_add_overflow(s.first_time_us, (int64_t)span, &s.last_time_us)) {
            return fail(STRATA_CORRUPT, "the times of commits are malformed");
        }
        strata_rc rc = edit_add_second(e, &s);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    return STRATA_OK;
}

// A number that stands at most once.
static strata_rc take_number(uint64_t field, struct reader *r, uint64_t numbers[NUMBER_FIELDS])
{
    if (numbers[field] != 0) {
        return fail(STRATA_CORRUPT, "field %" PRIu64 " stands twice", field);
    }
    numbers[field] = reader_varint(r);
    return STRATA_OK;
}

static strata_rc take_field(uint64_t tag, struct reader *r, struct edit *e,
                            uint64_t numbers[NUMBER_FIELDS])
{
    uint64_t field = tag / 2;
    switch (field) {
    case FIELD_FLUSHED_COMMIT:
    case FIELD_LOG_FIRST_SEGMENT:
    case FIELD_NEXT_FILE:
    case FIELD_NEXT_RUN:
    case FIELD_NEXT_KEYSPACE:
    case FIELD_INCARNATION:
    case FIELD_EDITS:
        return take_number(field, r, numbers);
    case FIELD_SNAPSHOT_END:
        e->snapshot_end = true;
        return STRATA_OK;
    case FIELD_SPACE_CREATED:
        return take_space_created(r, e);
    case FIELD_SPACE_DROPPED:
        return take_space_dropped(r, e);
    case FIELD_SPACE_ALTERED:
        return take_space_altered(r, e);
    case FIELD_TABLE_REMOVED:
        return take_table_removed(r, e);
    case FIELD_TABLE_ADDED:
    case FIELD_TABLE_ADDED_USES:
        return take_table_added(r, field == FIELD_TABLE_ADDED_USES, e);
    case FIELD_SECONDS:
        return e->second_count > 0 ? fail(STRATA_CORRUPT, "field %" PRIu64 " stands twice", field)
                                   : take_seconds(r, e);
    case FIELD_VALUE_REMOVED:
        return take_value_removed(r, e);
    case FIELD_VALUE_ADDED:
        return take_value_added(r, e);
    case FIELD_FLOOR:
        return take_floor(r, e);
    default:
        if (tag % 2 == 1) {
            return fail(STRATA_VERSION, "field %" PRIu64 " is of a later version", field);
        }
        r->at = r->end;
        return STRATA_OK;
    }
}

strata_rc edit_decode(struct slice bytes, struct edit *edit_out)
{
    struct edit e = {0};
    uint64_t numbers[NUMBER_FIELDS] = {0};
    struct reader r = reader_of(bytes);
    strata_rc rc = STRATA_OK;
    while (rc == STRATA_OK && !r.bad && reader_left(&r) > 0) {
        size_t at = (size_t)(r.at - bytes.data);
        uint64_t tag = reader_varint(&r);
        struct reader body = reader_of(reader_prefixed(&r));
        if (r.bad) {
            break;
        }
        rc = take_field(tag, &body, &e, numbers);
        if (rc == STRATA_OK && (body.bad || reader_left(&body) > 0)) {
            rc = fail(STRATA_CORRUPT, "field %" PRIu64 " at byte %zu of an edit has a wrong length",
                      tag / 2, at);
        }
    }
    if (rc == STRATA_OK && r.bad) {
        rc = fail(STRATA_CORRUPT, "an edit of %zu bytes ends inside a field", bytes.bytes);
    }
    if (rc != STRATA_OK) {
        edit_release(&e);
        *edit_out = (struct edit){0};
        return rc;
    }
    e.flushed_commit = numbers[FIELD_FLUSHED_COMMIT];
    e.log_first_segment = numbers[FIELD_LOG_FIRST_SEGMENT];
    e.next_file = numbers[FIELD_NEXT_FILE];
    e.next_run = numbers[FIELD_NEXT_RUN];
    e.next_keyspace = numbers[FIELD_NEXT_KEYSPACE];
    e.incarnation = numbers[FIELD_INCARNATION];
    e.edits = numbers[FIELD_EDITS];
    *edit_out = e;
    return STRATA_OK;
}
