#include "db/seat.h"

#include "base/assert.h"
#include "base/fail.h"

void seat_wait(struct seat *s)
{
    // Whoever takes views holds the lock from entering a seat to leaving it.
    do {
        os_mutex_lock(&s->db->readers.lock);
        os_mutex_unlock(&s->db->readers.lock);
    } while (!seat_try_enter(s));
}

// Takes the view of an idle reader (registration.give_back).
static struct view *give_back(struct registration *r, const struct catalog *present)
{
    struct seat *s = (struct seat *)(void *)((char *)r - offsetof(struct seat, registration));
    if (!seat_try_enter(s)) {
        return NULL;
    }
    struct view *v = s->view;
    if (v != NULL && v->catalog != present) {
        ASSERT(s->held_count == 0);
        for (uint32_t i = 0; i < v->generation_count; i++) {
            if (generation_memtable(v->generations[i], s->at.space->slot) != NULL) {
                generation_hold(v->generations[i]);
                s->held[s->held_count++] = v->generations[i];
            }
        }
        s->view = NULL;
    } else {
        v = NULL;
    }
    seat_leave(s);
    return v;
}

static strata_rc pin_view(struct seat *s)
{
    uint64_t visible;
    uint32_t slot = s->at.space->slot;
    s->view = view_pin(s->db, &visible);
    if (slot < s->view->space_count && s->view->spaces[slot].keyspace != NULL) {
        return STRATA_OK;
    }
    view_unref(s->db, s->view);
    s->view = NULL;
    return fail(STRATA_INVALID, "keyspace \"%s\" was dropped", s->at.space->name);
}

strata_rc seat_open(strata_db *db, const struct read_at *at, struct seat *s)
{
    s->db = db;
    s->at = *at;
    s->registration.give_back = give_back;
    atomic_init(&s->busy, 1);
    strata_rc rc = read_register(db, at, &s->registration);
    if (rc != STRATA_OK) {
        return rc;
    }
    s->at.commit = s->registration.commit;
    s->at.registered = true;
    // The commit is registered, so every view from now on holds it whole.
    rc = pin_view(s);
    if (rc != STRATA_OK) {
        unregister_commit(db, &s->registration);
    }
    return rc;
}

static void drop_held(struct seat *s)
{
    while (s->held_count > 0) {
        generation_drop(s->held[--s->held_count], &s->db->memory);
    }
}

void seat_close(struct seat *s)
{
    // From here nobody finds it any more.
    unregister_commit(s->db, &s->registration);
    drop_held(s);
    view_unref(s->db, s->view);
}

strata_rc seat_again(struct seat *s)
{
    ASSERT(s->view == NULL);
    drop_held(s);
    return pin_view(s);
}
