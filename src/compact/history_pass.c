#include "compact/history_pass.h"

#include "base/assert.h"
#include "base/mutant.h"

strata_rc history_pass_begin(struct history_pass *p, struct kv_cursor *const *cursors,
                             uint32_t count, size_t head_skip)
{
    ASSERT(p->out != NULL && p->tree != NULL && p->job != NULL);
    p->any = false;
    p->floor = false;
    strata_rc rc = kv_merge_init(&p->merge, cursors, count, head_skip);
    if (rc != STRATA_OK) {
        return rc;
    }
    p->merge.by_commit = true;
    rc = kv_merge_seek(&p->merge, slice_of(NULL, 0), false);
    return rc == STRATA_END ? STRATA_OK : rc;
}

void history_pass_release(struct history_pass *p)
{
    kv_merge_release(&p->merge);
    buffer_release(&p->key);
    p->any = false;
}

struct slice history_pass_next_key(const struct history_pass *p)
{
    ASSERT(p->merge.entry != NULL);
    return kv_key(p->merge.entry);
}

// ---- floors

// May a table of the tree that the pass does not read hold a version of the key that began in
// (begin, end)?
static bool history_pass_others_hold(const struct history_pass *p, uint64_t begin, uint64_t end)
{
    for (uint32_t l = 0; l < p->tree->level_count; l++) {
        const struct level *level = &p->tree->levels[l];
        for (uint32_t r = 0; r < level->count; r++) {
            const struct run *run = level->runs[r];
            bool read = false;
            for (uint32_t i = 0; i < p->job->input_count && !read; i++) {
                read = p->job->inputs[i]->number == run->number;
            }
            const struct table *t = read ? NULL : run_find(run, buffer_slice(&p->key));
            if (t != NULL && table_meta(t)->commit_least < end &&
                table_meta(t)->commit_greatest > begin) {
                return true;
            }
        }
    }
    return false;
}

static strata_rc history_pass_write_floor(struct history_pass *p)
{
    if (!p->floor) {
        return STRATA_OK;
    }
    p->floor = false;
    struct kv_entry e = {.key = p->key.data,
                         .key_bytes = (uint32_t)p->key.bytes,
                         .commit = p->floor_begin,
                         .end = p->floor_end,
                         .kind = KV_FLOOR};
    p->out->set->progress->entries_out++;
    return output_add(p->out, &e);
}

static strata_rc history_pass_floor(struct history_pass *p, uint64_t begin, uint64_t end)
{
    if (p->floor && (p->floor_begin == end || MUTANT(76)) &&
        !history_pass_others_hold(p, begin, p->floor_end)) {
        p->floor_begin = begin;
        return STRATA_OK;
    }
    strata_rc rc = history_pass_write_floor(p);
    p->floor = true;
    p->floor_begin = begin;
    p->floor_end = end;
    return rc;
}

// ---- entries

// A key is never cut in two: tables of a run do not overlap.
static strata_rc history_pass_begin_key(struct history_pass *p, struct slice key, bool *slice_out)
{
    strata_rc rc = history_pass_write_floor(p);
    if (rc == STRATA_OK && output_is_full(p->out, key)) {
        rc = output_cut(p->out);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    if (p->out->set->bytes >= p->slice_bytes) {
        *slice_out = true;
        return output_cut(p->out);
    }
    p->any = true;
    p->values = 0;
    p->rule = (struct eject_interval){0};
    buffer_clear(&p->key);
    return buffer_append(&p->key, key.data, key.bytes);
}

// Is the version one of the last of its key, or needed by a registered commit?
static bool history_pass_counts(const struct history_pass *p, const struct kv_entry *e)
{
    return p->trim->versions == 0 || p->values + 1 < p->trim->versions ||
           compact_trim_registered(p->trim, e->commit, e->end);
}

static strata_rc history_pass_entry(struct history_pass *p, const struct kv_entry *e)
{
    struct output_set *set = p->out->set;
    struct compact_progress *progress = set->progress;
    struct kv_entry version = *e;
    progress->entries_in++;
    if (!eject_interval(&p->rule, &version)) {
        progress->dropped++;
        return STRATA_OK;
    }
    if (!compact_trim_keeps(p->trim, version.commit, version.end, 0)) {
        progress->dropped++;
        return output_set_trimmed(set, p->keyspace, p->trim);
    }
    if (version.kind == KV_FLOOR) {
        return history_pass_floor(p, version.commit, version.end);
    }
    if (!history_pass_counts(p, &version)) {
        progress->floors++;
        return version.commit == version.end ? STRATA_OK
                                             : history_pass_floor(p, version.commit, version.end);
    }
    strata_rc rc = MUTANT(76) ? STRATA_OK : history_pass_write_floor(p);
    if (rc == STRATA_OK &&
        !compact_trim_keeps(p->trim, version.commit, version.end, version.expiry)) {
        rc = pass_expire(set, p->keyspace, p->trim, &version);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    p->values += version.kind != KV_DELETE;
    progress->entries_out++;
    return output_add(p->out, &version);
}

strata_rc history_pass_run(struct history_pass *p, uint64_t budget_bytes, enum pass_stop *stop_out)
{
    uint64_t used = 0;
    const struct kv_entry *e;
    while ((e = p->merge.entry) != NULL) {
        if (used >= budget_bytes) {
            *stop_out = PASS_BUDGET;
            return STRATA_OK;
        }
        strata_rc rc = STRATA_OK;
        if (!p->any || !slice_equal(kv_key(e), buffer_slice(&p->key))) {
            bool slice = false;
            rc = history_pass_begin_key(p, kv_key(e), &slice);
            if (rc == STRATA_OK && slice) {
                *stop_out = PASS_SLICE;
                return STRATA_OK;
            }
        }
        if (rc == STRATA_OK) {
            used += pass_entry_bytes(e);
            rc = history_pass_entry(p, e);
        }
        if (rc == STRATA_OK) {
            rc = kv_merge_next(&p->merge);
        }
        if (rc < 0) {
            return rc;
        }
    }
    *stop_out = PASS_END;
    return history_pass_write_floor(p);
}
