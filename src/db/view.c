// Views: what a reader sees, built from the lists under mu.lock, published by one store, freed when
// the epoch of the last reader that could have loaded it is over and no reference is left.
#include "db/db.h"

#include "base/alloc.h"
#include "base/assert.h"

strata_rc generation_new(uint32_t slots, struct generation **generation_out)
{
    *generation_out = NULL;
    struct generation *g =
        alloc_zeroed(1, sizeof *g + (size_t)slots * sizeof(_Atomic(struct memtable *)));
    if (g == NULL) {
        return alloc_failed("a generation of memtables", slots * sizeof(void *));
    }
    atomic_init(&g->refs, 1);
    atomic_init(&g->holds, 1);
    g->capacity = slots;
    *generation_out = g;
    return STRATA_OK;
}

void generation_ref(struct generation *g)
{
    atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
}

void generation_unref(struct generation *g, struct os_memory *memory)
{
    // The last release makes every use of the generation happen before its end.
    if (g != NULL && atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) == 1) {
        generation_release_values(g);
        generation_drop(g, memory);
    }
}

void generation_hold(struct generation *g)
{
    atomic_fetch_add_explicit(&g->holds, 1, memory_order_relaxed);
}

void generation_drop(struct generation *g, struct os_memory *memory)
{
    if (atomic_fetch_sub_explicit(&g->holds, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (uint32_t i = 0; i < g->capacity; i++) {
        memtable_free(atomic_load_explicit(&g->memtables[i], memory_order_relaxed));
    }
    os_memory_refund(memory, OS_MEMORY_MEMTABLES,
                     atomic_load_explicit(&g->bytes, memory_order_relaxed));
    free(g);
}

strata_rc view_build_locked(strata_db *db, struct catalog *catalog, struct view **view_out)
{
    *view_out = NULL;
    uint32_t slots = atomic_load_explicit(&db->space_count, memory_order_acquire);
    struct view *v = alloc_zeroed(1, sizeof *v + slots * sizeof(struct view_space));
    if (v == NULL) {
        return alloc_failed("a view", slots * sizeof(struct view_space));
    }
    atomic_init(&v->refs, 1);
    v->catalog = catalog;
    catalog_ref(catalog);
    v->space_count = slots;
    if (db->commit.active != NULL) {
        v->generations[v->generation_count++] = db->commit.active;
    }
    for (uint32_t i = db->mu.sealed_count; i > 0; i--) {
        v->generations[v->generation_count++] = db->mu.sealed[i - 1];
    }
    for (uint32_t i = 0; i < v->generation_count; i++) {
        generation_ref(v->generations[i]);
    }
    for (uint32_t i = 0; i < slots; i++) {
        struct strata_keyspace *space = db->spaces[i];
        const struct catalog_space *in = atomic_load_explicit(&space->dropped, memory_order_relaxed)
                                             ? NULL
                                             : catalog_space_find(catalog, space->number);
        if (in != NULL) {
            v->spaces[i] = (struct view_space){space, in->live, in->history, in->floor};
        }
    }
    *view_out = v;
    return STRATA_OK;
}

static void view_free(strata_db *db, struct view *v)
{
    for (uint32_t i = 0; i < v->generation_count; i++) {
        generation_unref(v->generations[i], &db->memory);
    }
    catalog_unref(v->catalog);
    free(v);
}

void view_ref(struct view *v)
{
    uint64_t before = atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    ASSERT(before > 0);
    (void)before;
}

void view_unref(strata_db *db, struct view *v)
{
    if (v != NULL && atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) == 1) {
        view_free(db, v);
    }
}

// An unpublished view and its database, until its readers' epochs are over.
static void view_retired(struct os_retired *retired)
{
    struct view *v = (struct view *)((char *)retired - offsetof(struct view, retired));
    view_unref(v->db, v);
}

struct view *view_publish_locked(strata_db *db, struct view *view)
{
    view->db = db;
    // Release: pairs with the acquire loads in view_load().
    return atomic_exchange_explicit(&db->view, view, memory_order_acq_rel);
}

void view_retire(struct view *before)
{
    if (before != NULL) {
        os_epoch_retire(&before->retired, view_retired);
    }
}

struct view *view_load(strata_db *db, uint64_t *visible_out)
{
    struct view *v = atomic_load_explicit(&db->view, memory_order_acquire);
    for (;;) {
        // A commit that is visible now is in the view that stands now: if the view moved meanwhile,
        // the commit may be in memtables that the first one does not have.
        // Acquire: pairs with the release store in db_commit().
        *visible_out = atomic_load_explicit(&db->visible, memory_order_acquire);
        struct view *again = atomic_load_explicit(&db->view, memory_order_acquire);
        if (again == v) {
            return v;
        }
        v = again;
    }
}

struct view *view_pin(strata_db *db, uint64_t *visible_out)
{
    os_epoch_enter();
    struct view *v = view_load(db, visible_out);
    view_ref(v);
    os_epoch_leave();
    return v;
}
