#include "compact/turn.h"

#include "base/alloc.h"
#include "base/assert.h"

#define TURN_READAHEAD_BYTES (32u << 10)
#define TURN_BACKOFF_MAX (1u << 16)

// ---- the other runs

static bool turn_is_input(const struct shape_job *job, const struct run *run)
{
    for (uint32_t i = 0; i < job->input_count; i++) {
        if (job->inputs[i]->number == run->number) {
            return true;
        }
    }
    return false;
}

strata_rc turn_init(struct turn *t, const struct tree *tree, const struct shape_job *job)
{
    t->enough = turn_enough(t->env);
    ASSERT(t->enough <= TURN_DELETES_MAX);
    t->runs = alloc_array(tree->run_count, sizeof *t->runs);
    if (t->runs == NULL) {
        return alloc_failed("the runs beside a merge", tree->run_count * sizeof *t->runs);
    }
    bool newer = true;
    for (uint32_t l = 0; l < tree->level_count; l++) {
        for (uint32_t r = 0; r < tree->levels[l].count; r++) {
            const struct run *run = tree->levels[l].runs[r];
            if (turn_is_input(job, run)) {
                newer = false;
            } else {
                t->runs[t->run_count++] = (struct turn_run){.run = run, .newer = newer};
            }
        }
    }
    return STRATA_OK;
}

void turn_release(struct turn *t)
{
    if (t->open) {
        os_memory_refund(t->env->tables.memory, OS_MEMORY_JOBS,
                         t->older.count * (size_t)TURN_READAHEAD_BYTES);
    }
    kv_merge_release(&t->older);
    buffer_release(&t->keys);
    buffer_release(&t->last);
    buffer_release(&t->bytes);
    free(t->runs);
    free(t->ranges);
    *t = (struct turn){0};
}

static strata_rc turn_open(struct turn *t)
{
    struct kv_cursor **cursors = alloc_array(t->run_count, sizeof(struct kv_cursor *));
    if (cursors == NULL) {
        return alloc_failed("cursors over older runs", t->run_count * sizeof *cursors);
    }
    uint32_t count = 0;
    strata_rc rc = STRATA_OK;
    for (size_t i = 0; i < t->run_count && rc == STRATA_OK; i++) {
        const struct run *run = t->runs[i].run;
        if (!t->runs[i].newer) {
            rc = run_cursor_open(t->env->tables.cache, run->tables, run->count, false,
                                 TURN_READAHEAD_BYTES, &cursors[count]);
            count += rc == STRATA_OK;
        }
    }
    if (rc == STRATA_OK) {
        rc = kv_merge_init(&t->older, cursors, count, 0);
        t->open = rc == STRATA_OK;
    } else {
        while (count > 0) {
            kv_cursor_close(cursors[--count]);
        }
    }
    if (t->open) {
        os_memory_charge(t->env->tables.memory, OS_MEMORY_JOBS,
                         count * (size_t)TURN_READAHEAD_BYTES);
    }
    free(cursors);
    return rc;
}

// ---- the rule

static void turn_see(struct turn *t, const struct turn_run *r, const struct table_meta *meta)
{
    if (r->newer) {
        t->newer_least = meta->commit_least < t->newer_least ? meta->commit_least : t->newer_least;
    } else if (meta->commit_greatest > t->older_greatest) {
        t->older_greatest = meta->commit_greatest;
    }
}

// Looks at the tables of the other runs up to `key`, from the last key on.
static void turn_reach(struct turn *t, struct slice key)
{
    for (size_t i = 0; i < t->run_count; i++) {
        struct turn_run *r = &t->runs[i];
        while (r->at < r->run->count &&
               slice_compare(table_meta(r->run->tables[r->at])->lower, key) <= 0) {
            turn_see(t, r, table_meta(r->run->tables[r->at++]));
        }
    }
}

static bool turn_holds(const struct turn *t)
{
    return t->older_greatest < t->least && t->least < t->newer_least &&
           !compact_trim_keeps(t->trim, t->least, t->greatest, 0);
}

// Goes on in the older runs up to `key`, included. False in *only_out when they hold a key before
// it.
static strata_rc turn_follow(struct turn *t, struct slice key, bool *only_out)
{
    strata_rc rc = STRATA_OK;
    int order = -1;
    *only_out = true;
    while (rc == STRATA_OK && t->older.entry != NULL && *only_out) {
        order = slice_compare(kv_key(t->older.entry), key);
        if (order > 0) {
            break;
        }
        *only_out = order == 0;
        rc = kv_merge_next(&t->older);
    }
    return rc == STRATA_END ? STRATA_OK : rc;
}

static struct slice turn_key(const struct turn *t, uint32_t i)
{
    return slice_of(t->keys.data + t->list[i].key_at, t->list[i].key_bytes);
}

// The list is full: is it all that there is?
static strata_rc turn_try(struct turn *t)
{
    bool only = true;
    strata_rc rc = t->open ? STRATA_OK : turn_open(t);
    if (rc == STRATA_OK) {
        rc = kv_merge_seek(&t->older, turn_key(t, 0), false);
    }
    for (uint32_t i = 0; i < t->count && rc == STRATA_OK && only; i++) {
        rc = turn_follow(t, turn_key(t, i), &only);
    }
    if (rc < 0) {
        return rc;
    }
    t->range = only;
    t->backoff = only || t->backoff == 0 ? t->enough : t->backoff * 2;
    t->backoff = t->backoff > TURN_BACKOFF_MAX ? TURN_BACKOFF_MAX : t->backoff;
    t->wait = only ? 0 : t->backoff;
    return STRATA_OK;
}

// ---- what came together

static strata_rc turn_write_points(struct turn *t)
{
    for (uint32_t i = 0; i < t->count; i++) {
        struct slice key = turn_key(t, i);
        struct kv_entry e = {.key = key.data,
                             .key_bytes = (uint32_t)key.bytes,
                             .commit = t->list[i].commit,
                             .kind = KV_DELETE};
        strata_rc rc = output_add(t->out, &e);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    return STRATA_OK;
}

static strata_rc turn_keep_range(struct turn *t)
{
    if (t->range_count == t->range_capacity) {
        size_t capacity = t->range_capacity == 0 ? 16 : t->range_capacity * 2;
        struct turn_range *ranges = alloc_resize(t->ranges, capacity, sizeof *ranges);
        if (ranges == NULL) {
            return alloc_failed("range deletes of a merge", capacity * sizeof *ranges);
        }
        t->ranges = ranges;
        t->range_capacity = capacity;
    }
    struct slice first = turn_key(t, 0);
    struct turn_range r = {.begin_at = t->bytes.bytes,
                           .begin_bytes = first.bytes,
                           .end_at = t->bytes.bytes + first.bytes,
                           .end_bytes = t->last.bytes + 1,
                           .commit = t->least};
    strata_rc rc = buffer_append(&t->bytes, first.data, first.bytes);
    if (rc == STRATA_OK) {
        rc = buffer_append(&t->bytes, t->last.data, t->last.bytes);
    }
    if (rc == STRATA_OK) {
        rc = buffer_append_u8(&t->bytes, 0); // behind the last key
    }
    if (rc == STRATA_OK) {
        t->ranges[t->range_count++] = r;
        rc = output_set_trimmed(t->out->set, t->keyspace, t->trim);
    }
    return rc;
}

strata_rc turn_close(struct turn *t)
{
    if (t->count == 0) {
        return STRATA_OK;
    }
    strata_rc rc = t->range ? turn_keep_range(t) : turn_write_points(t);
    t->count = 0;
    t->range = false;
    buffer_clear(&t->keys);
    buffer_clear(&t->last);
    return rc;
}

static void turn_begin(struct turn *t, const struct kv_entry *e, size_t cover_at)
{
    t->least = t->greatest = e->commit;
    t->older_greatest = 0;
    t->newer_least = UINT64_MAX;
    t->cover_at = cover_at;
    for (size_t i = 0; i < t->run_count; i++) {
        t->runs[i].at = run_find_from(t->runs[i].run, kv_key(e));
    }
    turn_reach(t, kv_key(e));
}

// Does the delete go on with those before?
static strata_rc turn_extend(struct turn *t, const struct kv_entry *e, size_t cover_at,
                             bool *extends_out)
{
    uint64_t least = t->least;
    uint64_t greatest = t->greatest;
    *extends_out = false;
    if (cover_at != t->cover_at) {
        return STRATA_OK;
    }
    t->least = e->commit < least ? e->commit : least;
    t->greatest = e->commit > greatest ? e->commit : greatest;
    turn_reach(t, kv_key(e));
    *extends_out = turn_holds(t);
    strata_rc rc = STRATA_OK;
    if (*extends_out && t->range) {
        rc = turn_follow(t, kv_key(e), extends_out);
    }
    if (!*extends_out) {
        t->least = least;
        t->greatest = greatest;
    }
    return rc;
}

static strata_rc turn_push(struct turn *t, const struct kv_entry *e)
{
    if (t->range) {
        t->out->set->progress->turned++;
        buffer_clear(&t->last);
        return buffer_append(&t->last, e->key, e->key_bytes);
    }
    t->list[t->count++] = (struct turn_delete){t->keys.bytes, e->key_bytes, e->commit};
    strata_rc rc = buffer_append(&t->keys, e->key, e->key_bytes);
    if (rc != STRATA_OK || t->count < t->enough) {
        return rc;
    }
    rc = turn_try(t);
    if (rc != STRATA_OK || !t->range) {
        return rc == STRATA_OK ? turn_close(t) : rc;
    }
    t->out->set->progress->turned += t->count;
    return buffer_append(&t->last, e->key, e->key_bytes);
}

strata_rc turn_add(struct turn *t, const struct kv_entry *e, size_t cover_at)
{
    if (t->wait > 0) {
        ASSERT(t->count == 0);
        t->wait--;
        return output_add(t->out, e);
    }
    bool extends = false;
    strata_rc rc = STRATA_OK;
    if (t->count != 0) {
        rc = turn_extend(t, e, cover_at, &extends);
    }
    if (rc == STRATA_OK && !extends) {
        rc = turn_close(t);
        turn_begin(t, e, cover_at);
    }
    if (rc == STRATA_OK && !turn_holds(t)) {
        return output_add(t->out, e); // by itself already not
    }
    return rc == STRATA_OK ? turn_push(t, e) : rc;
}

strata_rc turn_write(struct turn *t, struct slice limit)
{
    while (t->range_at < t->range_count) {
        const struct turn_range *r = &t->ranges[t->range_at];
        struct range_fragment f = {.begin = slice_of(t->bytes.data + r->begin_at, r->begin_bytes),
                                   .end = slice_of(t->bytes.data + r->end_at, r->end_bytes),
                                   .commits = &r->commit,
                                   .count = 1};
        if (limit.data != NULL && slice_compare(f.begin, limit) >= 0) {
            return STRATA_OK;
        }
        strata_rc rc = output_add_range(t->out, &f);
        if (rc != STRATA_OK) {
            return rc;
        }
        t->range_at++;
    }
    t->range_at = t->range_count = 0;
    buffer_clear(&t->bytes);
    return STRATA_OK;
}
