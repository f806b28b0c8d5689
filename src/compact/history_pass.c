#include "compact/history_pass.h"

#include "base/assert.h"

strata_rc history_pass_begin(struct history_pass *p, struct kv_cursor *const *cursors,
                             uint32_t count, size_t head_skip)
{
    ASSERT(p->out != NULL);
    p->any = false;
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

// A key is never cut in two: tables of a run do not overlap.
static strata_rc history_pass_begin_key(struct history_pass *p, struct slice key, bool *slice_out)
{
    if (output_is_full(p->out, key)) {
        strata_rc rc = output_cut(p->out);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    if (p->out->set->bytes >= p->slice_bytes) {
        *slice_out = true;
        return output_cut(p->out);
    }
    p->any = true;
    p->rule = (struct eject_interval){0};
    buffer_clear(&p->key);
    return buffer_append(&p->key, key.data, key.bytes);
}

static strata_rc history_pass_entry(struct history_pass *p, const struct kv_entry *e)
{
    struct compact_progress *progress = p->out->set->progress;
    struct kv_entry version = *e;
    progress->entries_in++;
    if (!eject_interval(&p->rule, &version) ||
        !compact_trim_keeps(p->trim, version.commit, version.end, version.expiry)) {
        progress->dropped++;
        return STRATA_OK;
    }
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
    return STRATA_OK;
}
