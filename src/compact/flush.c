// A flush: one live pass over each memtable, with every run of its tree as an older run, then one
// edit for all keyspaces. Nothing is visible before that edit.
#include "compact/compact.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "compact/live_pass.h"

#define FLUSH_STEP_BYTES (1u << 20)

struct flush {
    struct compact_env env;
    struct compact_progress progress;
    struct compact_trim trim; // of source `at`, while it is open
    struct flush_source *sources;
    size_t count;
    size_t at; // the source in work
    uint64_t commit;
    uint64_t memtable_bytes;
    struct output_set set;
    bool open; // the members below are in use for source `at`
    struct eject_older older;
    struct output live;
    struct output history;
    struct live_pass pass;
};

// ---- what the caller's edit says beside the tables

static strata_rc flush_copy_spaces(struct edit *to, const struct edit *base)
{
    for (size_t i = 0; i < base->space_count; i++) {
        const struct edit_space *s = &base->spaces[i];
        strata_rc rc;
        if (s->drop) {
            rc = edit_drop_space(to, s->number, s->commit);
        } else if (s->alter) {
            rc = edit_alter_space(to, s->number, &s->options);
        } else {
            rc = edit_create_space(to, s->number, s->name, &s->options, s->commit);
        }
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    return STRATA_OK;
}

static strata_rc flush_copy_values(struct edit *to, const struct edit *base)
{
    for (size_t i = 0; i < base->value_count; i++) {
        const struct edit_value *v = &base->values[i];
        strata_rc rc = v->add ? edit_add_value_file(to, &v->meta, v->open)
                              : edit_remove_value_file(to, v->keyspace, v->file);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    for (size_t i = 0; i < base->floor_count; i++) {
        strata_rc rc = edit_set_floor(to, base->floors[i].keyspace, base->floors[i].floor);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    return STRATA_OK;
}

static strata_rc flush_copy_tables(struct edit *to, const struct edit *base)
{
    for (size_t i = 0; i < base->table_count; i++) {
        const struct edit_table *t = &base->tables[i];
        strata_rc rc = t->add ? edit_add_table(to, t->keyspace, t->history, t->level, t->run,
                                               &t->meta, t->table)
                              : edit_remove_table(to, t->keyspace, t->history, t->file);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    return STRATA_OK;
}

static strata_rc flush_copy_base(struct edit *to, const struct edit *base)
{
    to->log_first_segment = base->log_first_segment;
    to->next_file = base->next_file;
    to->next_run = base->next_run;
    to->next_keyspace = base->next_keyspace;
    to->incarnation = base->incarnation;
    for (size_t i = 0; i < base->second_count; i++) {
        strata_rc rc = edit_add_second(to, &base->seconds[i]);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    strata_rc rc = flush_copy_spaces(to, base);
    if (rc == STRATA_OK) {
        rc = flush_copy_values(to, base);
    }
    return rc == STRATA_OK ? flush_copy_tables(to, base) : rc;
}

// ---- one memtable

static strata_rc flush_note_older(struct eject_older *older, const struct tree *tree)
{
    for (uint32_t l = 0; l < tree->level_count; l++) {
        for (uint32_t r = 0; r < tree->levels[l].count; r++) {
            const struct run *run = tree->levels[l].runs[r];
            for (uint32_t t = 0; t < run->count; t++) {
                const struct table_meta *meta = table_meta(run->tables[t]);
                strata_rc rc = eject_older_add(older, meta->lower, meta->upper);
                if (rc != STRATA_OK) {
                    return rc;
                }
            }
        }
    }
    eject_older_seal(older);
    return STRATA_OK;
}

static void flush_place_outputs(struct flush *f, const struct catalog_space *space)
{
    struct shape live = shape_live(&space->options, f->memtable_bytes);
    struct shape history = shape_history(&space->options, f->memtable_bytes);
    uint32_t live_levels = space->live->level_count;
    uint32_t history_levels = space->history->level_count;
    struct output_place live_place = {
        .levels = live_levels == 0 ? 1 : live_levels,
        .table_bytes = live.table_bytes,
        .size_ratio = live.size_ratio,
    };
    struct output_place history_place = {
        .history = true,
        .levels = history_levels == 0 ? 1 : history_levels,
        .table_bytes = history.table_bytes,
        .size_ratio = history.size_ratio,
    };
    output_init(&f->live, &f->set, space, &live_place);
    output_init(&f->history, &f->set, space, &history_place);
}

static void flush_close_source(struct flush *f)
{
    live_pass_release(&f->pass);
    eject_older_release(&f->older);
    output_release(&f->live);
    output_release(&f->history);
    compact_trim_release(&f->trim);
    f->open = false;
}

static strata_rc flush_open_source(struct flush *f)
{
    const struct flush_source *source = &f->sources[f->at];
    struct kv_cursor *cursor = NULL;
    struct live_pass_ranges ranges = {0};
    const struct range_dels *dels = NULL;
    f->open = true;
    f->pass = (struct live_pass){.env = &f->env,
                                 .trim = &f->trim,
                                 .keyspace = source->space->number,
                                 .older = &f->older,
                                 .live = &f->live,
                                 .history = &f->history,
                                 .slice_bytes = UINT64_MAX};
    flush_place_outputs(f, source->space);
    strata_rc rc = f->env.trim(f->env.ctx, source->space->number, &f->trim);
    if (rc == STRATA_OK) {
        rc = flush_note_older(&f->older, source->space->live);
    }
    if (rc == STRATA_OK) {
        rc = memtable_range_dels(source->memtable, &dels);
    }
    if (rc == STRATA_OK) {
        rc = live_pass_collect(&ranges, dels, slice_of(NULL, 0), slice_of(NULL, 0));
    }
    if (rc == STRATA_OK) {
        rc = memtable_cursor_open(source->memtable, f->commit, &cursor);
    }
    if (rc == STRATA_OK) {
        rc = live_pass_begin(&f->pass, &cursor, 1, 0, ranges.list, ranges.count);
    }
    free(ranges.list);
    return rc;
}

static strata_rc flush_source_step(struct flush *f)
{
    if (!f->open) {
        strata_rc rc = flush_open_source(f);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    enum pass_stop stop;
    strata_rc rc = live_pass_run(&f->pass, FLUSH_STEP_BYTES, &stop);
    if (rc != STRATA_OK || stop != PASS_END) {
        return rc;
    }
    rc = output_cut(&f->live);
    if (rc == STRATA_OK) {
        rc = output_cut(&f->history);
    }
    flush_close_source(f);
    f->at++;
    return rc;
}

// ---- the job

// NOLINTNEXTLINE(readability-function-size): what a flush is, told once
strata_rc flush_new(const struct compact_env *env, const struct flush_source *sources, size_t count,
                    uint64_t commit, uint64_t memtable_bytes, const struct edit *base,
                    struct flush **flush_out)
{
    ASSERT(commit > 0);
    *flush_out = NULL;
    struct flush *f = alloc_zeroed(1, sizeof *f);
    if (f == NULL) {
        return alloc_failed("a flush", sizeof *f);
    }
    f->env = *env;
    f->count = count;
    f->commit = commit;
    f->memtable_bytes = memtable_bytes;
    output_set_init(&f->set, &f->env, &f->progress);
    strata_rc rc = STRATA_OK;
    f->sources = alloc_array(count, sizeof *sources);
    if (f->sources == NULL) {
        rc = alloc_failed("the sources of a flush", count * sizeof *sources);
        goto done;
    }
    if (count != 0) {
        memcpy(f->sources, sources, count * sizeof *sources);
    }
    if (base != NULL) {
        rc = flush_copy_base(&f->set.edit, base);
    }
    f->set.edit.flushed_commit = commit;
done:
    if (rc != STRATA_OK) {
        flush_free(f);
        return rc;
    }
    *flush_out = f;
    return STRATA_OK;
}

strata_rc flush_step(struct flush *f, bool *done_out)
{
    *done_out = false;
    if (f->env.stopping(f->env.ctx)) {
        return fail(STRATA_BUSY, "the flush up to commit %llu was stopped",
                    (unsigned long long)f->commit);
    }
    while (f->at < f->count && memtable_is_empty(f->sources[f->at].memtable)) {
        f->at++;
    }
    if (f->at < f->count) {
        return flush_source_step(f);
    }
    strata_rc rc = output_set_install(&f->set);
    *done_out = rc == STRATA_OK;
    return rc;
}

const struct compact_progress *flush_progress(const struct flush *f)
{
    return &f->progress;
}

void flush_free(struct flush *f)
{
    if (f == NULL) {
        return;
    }
    if (f->open) {
        flush_close_source(f);
    }
    output_set_release(&f->set);
    free(f->sources);
    free(f);
}
