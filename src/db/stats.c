// What there is to see: the metrics and the tables of the trees.
#include "db/db.h"

#include "base/assert.h"
#include "base/fail.h"

struct metric_text {
    const char *name, *unit, *help;
    strata_metric_kind kind;
};

static const struct metric_text metric_texts[METRIC_COUNT] = {
#define COUNTER(name, unit, help) {#name, unit, help, STRATA_METRIC_COUNTER},
#define GAUGE(name, unit, help) {#name, unit, help, STRATA_METRIC_GAUGE},
#define EVENT(name, value1, value2, value3, help)
#include "db/metrics.def"
#undef COUNTER
#undef GAUGE
#undef EVENT
};

static void gauge_tree(const struct tree *t, uint64_t *values, enum metric bytes,
                       enum metric entries, enum metric runs)
{
    values[bytes] += t->bytes;
    values[runs] += t->run_count;
    for (uint32_t l = 0; l < t->level_count; l++) {
        for (uint32_t r = 0; r < t->levels[l].count; r++) {
            values[entries] += t->levels[l].runs[r]->entries;
        }
    }
}

static void gauge_log(const strata_db *db, uint64_t *values)
{
    if (db->wal == NULL) {
        values[METRIC_log_held_bytes] = db->log_bytes_found;
        return;
    }
    struct wal_stats log;
    wal_stats(db->wal, &log);
    values[METRIC_synced_commit] = wal_synced_commit(db->wal);
    values[METRIC_log_live_bytes] = log.live_bytes;
    values[METRIC_log_held_bytes] = log.held_bytes;
    values[METRIC_log_mapped] = log.mapped;
    values[METRIC_log_records] = log.records;
    values[METRIC_log_syncs] = log.syncs;
    values[METRIC_log_sync_us] = log.sync_ns / 1000;
}

static void gauge_values(strata_db *db, uint64_t *values)
{
    strata_space s;
    space_total(db, NULL, &s);
    values[METRIC_value_bytes] = s.value_bytes;
    values[METRIC_dead_value_bytes] = s.dead_value_bytes;
    values[METRIC_superseded_bytes] = s.superseded_bytes;
    values[METRIC_delete_bytes] = s.delete_bytes;
    values[METRIC_disk_bytes] = s.disk_bytes;
    values[METRIC_bound_bytes] = s.bound_bytes;
    values[METRIC_space_debt_bytes] = s.debt_bytes;
    values[METRIC_seal_value_bytes] =
        atomic_load_explicit(&db->seal_value_bytes, memory_order_relaxed);
    os_mutex_lock(&db->mu.lock);
    const struct catalog *c = db->edit.catalog;
    values[METRIC_value_files] = c->value_file_count;
    for (uint32_t i = 0; i < c->value_count; i++) {
        values[METRIC_value_live_bytes] += c->values[i].live_bytes;
        values[METRIC_value_history_bytes] += c->values[i].history_bytes;
    }
    if (db->commit.active != NULL) {
        values[METRIC_value_files] +=
            atomic_load_explicit(&db->commit.active->value_file_count, memory_order_relaxed);
    }
    for (uint32_t i = 0; i < db->mu.sealed_count; i++) {
        values[METRIC_value_files] +=
            atomic_load_explicit(&db->mu.sealed[i]->value_file_count, memory_order_relaxed);
    }
    os_mutex_unlock(&db->mu.lock);
}

static void gauge_all(strata_db *db, uint64_t *values)
{
    uint64_t visible;
    struct cache_stats cache;
    struct view *v = view_pin(db, &visible);
    values[METRIC_newest_commit] = visible;
    values[METRIC_flushed_commit] = v->catalog->flushed_commit;
    values[METRIC_keyspaces] = v->catalog->space_count;
    for (uint32_t i = 0; i < v->catalog->space_count; i++) {
        const struct catalog_space *s = &v->catalog->spaces[i];
        gauge_tree(s->live, values, METRIC_live_bytes, METRIC_live_entries, METRIC_live_runs);
        gauge_tree(s->history, values, METRIC_history_bytes, METRIC_history_entries,
                   METRIC_history_runs);
        uint64_t runs = s->live->levels[0].count;
        values[METRIC_level0_runs] =
            runs > values[METRIC_level0_runs] ? runs : values[METRIC_level0_runs];
    }
    view_unref(db, v);
    cache_stats(db->cache, &cache);
    values[METRIC_cache_bytes] = cache.bytes;
    values[METRIC_cache_blocks] = cache.blocks;
    values[METRIC_memtable_bytes] = atomic_load(&db->memory.used[OS_MEMORY_MEMTABLES]);
    values[METRIC_index_bytes] = atomic_load(&db->memory.used[OS_MEMORY_INDEXES]);
    values[METRIC_memory_budget] = db->memory.budget_bytes;
    values[METRIC_memory_used] = os_memory_used(&db->memory);
    gauge_log(db, values);
    gauge_values(db, values);
    values[METRIC_debt_bytes] = atomic_load(&db->admission_debt);
    os_mutex_lock(&db->mu.lock);
    values[METRIC_memtables_sealed] = db->mu.sealed_count;
    os_mutex_unlock(&db->mu.lock);
    values[METRIC_readers] = registered_count(db);
    if (!db->read_only) {
        os_mutex_lock(&db->edit.lock);
        values[METRIC_manifest_bytes] = manifest_bytes(db->edit.manifest);
        os_mutex_unlock(&db->edit.lock);
    }
}

strata_rc db_stats(strata_db *db, strata_metric *out, size_t capacity, size_t *count_out)
{
    uint64_t values[METRIC_COUNT] = {0};
    *count_out = METRIC_COUNT;
    if (capacity == 0) {
        return STRATA_OK;
    }
    for (unsigned i = 0; i < METRIC_COUNT; i++) {
        values[i] = metrics_sum(&db->metrics, (enum metric)i);
    }
    gauge_all(db, values);
    for (unsigned i = 0; i < METRIC_COUNT && i < capacity; i++) {
        const struct metric_text *t = &metric_texts[i];
        out[i] = (strata_metric){t->name, t->unit, t->help, t->kind, values[i]};
    }
    return STRATA_OK;
}

static bool visit_tree(const struct catalog_space *space, const struct tree *t, bool history,
                       bool (*visit)(void *ctx, const strata_table_info *info), void *ctx)
{
    for (uint32_t l = 0; l < t->level_count; l++) {
        for (uint32_t r = 0; r < t->levels[l].count; r++) {
            const struct run *run = t->levels[l].runs[r];
            for (uint32_t i = 0; i < run->count; i++) {
                const struct table_meta *m = table_meta(run->tables[i]);
                struct slice greatest = m->upper;
                // An upper bound that ends in a zero byte is the successor of the greatest key.
                if (greatest.bytes > 1 && greatest.data[greatest.bytes - 1] == 0) {
                    greatest.bytes--;
                }
                strata_table_info info = {.keyspace = space->name,
                                          .history = history,
                                          .level = l,
                                          .run = r,
                                          .file = m->file,
                                          .bytes = m->bytes,
                                          .entries = m->entries,
                                          .range_deletes = m->range_fragments,
                                          .commit_least = m->commit_least,
                                          .commit_greatest = m->commit_greatest,
                                          .key_least = {m->lower.data, m->lower.bytes},
                                          .key_greatest = {greatest.data, greatest.bytes}};
                if (!visit(ctx, &info)) {
                    return false;
                }
            }
        }
    }
    return true;
}

strata_rc db_tree(strata_db *db, bool (*visit)(void *ctx, const strata_table_info *info), void *ctx)
{
    uint64_t visible;
    struct view *v = view_pin(db, &visible);
    for (uint32_t i = 0; i < v->catalog->space_count; i++) {
        const struct catalog_space *s = &v->catalog->spaces[i];
        if (!visit_tree(s, s->live, false, visit, ctx) ||
            !visit_tree(s, s->history, true, visit, ctx)) {
            break;
        }
    }
    view_unref(db, v);
    return STRATA_OK;
}
