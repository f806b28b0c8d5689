// The versions of keys: every point of every source for a key, newest first, with the commit that
// ended each. Nothing is collected: for each key the sources are merged by commit as they stream.
//
// A version that a range delete ended says so by its end; when no version of the key begins at that
// commit, the range delete itself is shown there. Range deletes that are still in live sources are
// shown too.
//
// Versions that ended at or before the floor may be gone in part, so they are not shown, nor are
// deletes from there: the oldest version of a key that is shown is the one that stood at the floor.
// What was trimmed above it is passed over. Expiry hides nothing here.
//
// Between calls the reader needs no view: it has bytes of its own, and its place is the key under
// way and the commit shown last.
#include "db/iter_sources.h"
#include "db/seat.h"

#include "base/alloc.h"
#include "base/fail.h"
#include "base/mutant.h"

struct strata_history {
    strata_db *db;
    struct seat seat;
    struct sources sources;
    uint64_t at;
    uint64_t floor; // of the view, at most `at`
    struct buffer lower, upper;
    bool has_upper;
    bool begun;          // the sources stand where they should
    bool any;            // `key` is the last key that was begun
    bool in_key;         // `key` has versions left
    struct buffer key;   // the key under way
    uint64_t newer;      // the commit shown last for it, 0: none
    struct buffer value; // of the version shown
    bool held;           // a version waits behind the range delete that ended it
    struct kv_entry held_entry;
};

static strata_rc set_bounds(strata_history *h, const strata_read *how, const strata_slice *key)
{
    strata_rc rc = STRATA_OK;
    if (key != NULL) {
        h->has_upper = true;
        rc = buffer_append(&h->lower, key->data, key->bytes);
        if (rc == STRATA_OK) {
            rc = buffer_append(&h->upper, key->data, key->bytes);
        }
        return rc == STRATA_OK ? buffer_append_u8(&h->upper, 0) : rc;
    }
    if (how != NULL && how->lower.data != NULL) {
        rc = buffer_append(&h->lower, how->lower.data, how->lower.bytes);
    }
    if (rc == STRATA_OK && how != NULL && how->upper.data != NULL) {
        h->has_upper = true;
        rc = buffer_append(&h->upper, how->upper.data, how->upper.bytes);
    }
    return rc;
}

static strata_rc open_sources(strata_history *h)
{
    const struct seat *seat = &h->seat;
    uint64_t floor = seat->view->spaces[seat->at.space->slot].floor;
    h->floor = floor < h->at ? floor : h->at;
    h->begun = false;
    return sources_open(h->db, seat->view, &seat->at, true, &h->sources);
}

strata_rc history_open(strata_db *db, const strata_read *how, const strata_slice *key,
                       strata_history **history_out)
{
    struct read_at at;
    *history_out = NULL;
    strata_rc rc = read_resolve(db, how, &at);
    if (rc != STRATA_OK) {
        return rc;
    }
    strata_history *h = alloc_zeroed(1, sizeof *h);
    if (h == NULL) {
        return alloc_failed("a history reader", sizeof *h);
    }
    h->db = db;
    rc = seat_open(db, &at, &h->seat);
    if (rc != STRATA_OK) {
        free(h);
        return rc;
    }
    seat_leave(&h->seat);
    h->at = h->seat.at.commit;
    rc = set_bounds(h, how, key);
    if (rc != STRATA_OK) {
        history_close(h);
        return rc;
    }
    *history_out = h;
    return STRATA_OK;
}

void history_close(strata_history *h)
{
    sources_release(&h->sources, true);
    seat_close(&h->seat);
    buffer_release(&h->lower);
    buffer_release(&h->upper);
    buffer_release(&h->key);
    buffer_release(&h->value);
    free(h);
}

strata_db *history_db(const strata_history *h)
{
    return h->db;
}

// The view was taken, or there was none yet: opens the sources of a new one.
static strata_rc sit_down(strata_history *h)
{
    sources_release(&h->sources, true);
    strata_rc rc = h->seat.view == NULL ? seat_again(&h->seat) : STRATA_OK;
    return rc == STRATA_OK ? open_sources(h) : rc;
}

// Passes what is left of the key.
static strata_rc pass_rest(strata_history *h)
{
    strata_rc rc = STRATA_OK;
    h->in_key = false;
    for (uint32_t i = 0; i < h->sources.count; i++) {
        struct kv_cursor *c = h->sources.list[i].cursor;
        while (rc >= 0 && kv_cursor_valid(c) && slice_equal(kv_key(c->at), buffer_slice(&h->key))) {
            rc = kv_cursor_next(c);
        }
    }
    return rc < 0 ? rc : STRATA_OK;
}

// Puts every source at the key under way, behind the last one, or at the lower bound.
static strata_rc seek_all(strata_history *h)
{
    struct slice from = h->lower.bytes == 0 ? slice_of(NULL, 0) : buffer_slice(&h->lower);
    from = h->any ? buffer_slice(&h->key) : from;
    for (uint32_t i = 0; i < h->sources.count; i++) {
        struct kv_cursor *c = h->sources.list[i].cursor;
        c->head_skip = h->sources.head_skip;
        strata_rc rc = kv_cursor_seek(c, from, false);
        if (rc < 0) {
            return rc;
        }
    }
    h->begun = true;
    return h->any && !h->in_key ? pass_rest(h) : STRATA_OK;
}

// Begins the least key that any source stands on. STRATA_END when there is none in the bounds.
static strata_rc next_key(strata_history *h)
{
    const struct kv_entry *least = NULL;
    for (uint32_t i = 0; i < h->sources.count; i++) {
        const struct kv_cursor *c = h->sources.list[i].cursor;
        if (kv_cursor_valid(c) &&
            (least == NULL || slice_compare(kv_key(c->at), kv_key(least)) < 0)) {
            least = c->at;
        }
    }
    if (least == NULL ||
        (h->has_upper && slice_compare(kv_key(least), buffer_slice(&h->upper)) >= 0)) {
        return STRATA_END;
    }
    strata_rc rc = buffer_reserve(&h->key, least->key_bytes);
    if (rc != STRATA_OK) {
        return rc;
    }
    buffer_clear(&h->key);
    h->any = h->in_key = true;
    h->newer = 0;
    return buffer_append(&h->key, least->key, least->key_bytes);
}

// The source with the newest version of the key, or NULL when the key is done.
static struct kv_cursor *newest_source(const strata_history *h)
{
    struct kv_cursor *newest = NULL;
    for (uint32_t i = 0; i < h->sources.count; i++) {
        struct kv_cursor *c = h->sources.list[i].cursor;
        if (kv_cursor_valid(c) && (newest == NULL || c->at->commit > newest->at->commit) &&
            slice_equal(kv_key(c->at), buffer_slice(&h->key))) {
            newest = c;
        }
    }
    return newest;
}

static bool is_put(const struct kv_entry *e)
{
    return e->kind == KV_PUT || e->kind == KV_PUT_SEPARATED;
}

// The range delete that ended a put, when its commit is below `below`; 0: none did. A range delete
// over what was deleted already ended nothing and is not shown.
static uint64_t ended_by_range(strata_history *h, const struct kv_entry *e, uint64_t below)
{
    if (!is_put(e)) {
        return 0;
    }
    uint64_t end = sources_range_after(&h->sources, buffer_slice(&h->key), e->commit);
    if (e->end > e->commit && e->end < end) {
        end = e->end; // it has left the live tree
    }
    return end < below ? end : 0;
}

static void show(strata_history *h, strata_version_info *out, const struct kv_entry *e,
                 strata_version_kind kind)
{
    *out = (strata_version_info){
        .key = {h->key.data, h->key.bytes}, .commit = e->commit, .end = h->newer, .kind = kind};
    if (kind == STRATA_VERSION_PUT) {
        out->value = (strata_slice){h->value.data, h->value.bytes};
    }
    h->newer = e->commit;
}

static void show_held(strata_history *h, strata_version_info *out)
{
    h->held = false;
    show(h, out, &h->held_entry,
         is_put(&h->held_entry) ? STRATA_VERSION_PUT : STRATA_VERSION_DELETE);
}

static strata_rc read_separated(strata_history *h, const struct kv_entry *e)
{
    struct kv_value_ref ref;
    struct value_file *f;
    strata_rc rc = kv_value_ref_decode(kv_value(e), &ref);
    if (rc == STRATA_OK) {
        rc = view_value_file(h->seat.view, ref.file, &f);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    rc = buffer_reserve(&h->value, (size_t)ref.bytes + 1);
    if (rc == STRATA_OK) {
        rc = value_file_read(f, &ref, 0, h->value.data, ref.bytes);
    }
    h->value.bytes = rc == STRATA_OK ? ref.bytes : 0;
    value_file_unref(f);
    return rc;
}

// Keeps the version, and its value, beyond the cursor's next move.
static strata_rc hold(strata_history *h, const struct kv_entry *e)
{
    h->held_entry = *e;
    buffer_clear(&h->value);
    if (e->kind == KV_PUT_SEPARATED) {
        return read_separated(h, e);
    }
    strata_rc rc = buffer_reserve(&h->value, (size_t)e->value_bytes + 1);
    return rc == STRATA_OK ? buffer_append(&h->value, e->value, e->value_bytes) : rc;
}

// Did the version end by the floor? Then it may have been let go, and what is left of it is not
// shown; and so may be everything older.
static bool is_below_floor(const strata_history *h, const struct kv_entry *e)
{
    return e->commit <= h->floor && !MUTANT(82) &&
           (!is_put(e) || (e->end > e->commit && e->end <= h->floor) ||
            (h->newer != 0 && h->newer <= h->floor));
}

// Takes the newest point of the key from its source; skips what lies beyond the commit, what was
// trimmed and what was shown already (a version may stand in live and, moved by a range delete,
// nowhere twice; but two history runs may hold the same one after a crash). STRATA_END when the key
// has none left.
static strata_rc take_point(strata_history *h)
{
    for (;;) {
        struct kv_cursor *c = newest_source(h);
        if (c == NULL || is_below_floor(h, c->at)) {
            return STRATA_END;
        }
        bool wanted = c->at->commit <= h->at && (h->newer == 0 || c->at->commit < h->newer);
        strata_rc rc = STRATA_OK;
        if (wanted && c->at->kind == KV_FLOOR) {
            h->newer = c->at->commit; // the older ones ended by then
            wanted = false;
        }
        rc = wanted ? hold(h, c->at) : rc;
        if (rc == STRATA_OK) {
            rc = kv_cursor_next(c);
        }
        if (rc < 0 || wanted) {
            return rc < 0 ? rc : STRATA_OK;
        }
    }
}

// The next version of the key under way. STRATA_END when it has no more.
static strata_rc next_version(strata_history *h, strata_version_info *out)
{
    uint64_t below = h->newer == 0 ? h->at + 1 : h->newer;
    if (!h->held) {
        strata_rc rc = take_point(h);
        if (rc != STRATA_OK) {
            // At the end, range deletes below the oldest point ended nothing that is still known.
            return rc;
        }
        h->held = true;
        below = h->newer == 0 ? h->at + 1 : h->newer;
    }
    uint64_t range = ended_by_range(h, &h->held_entry, below);
    if (range != 0 && range <= h->floor) {
        h->held = false; // nothing stood at the floor
        return STRATA_END;
    }
    if (range != 0) {
        struct kv_entry ended = {.commit = range};
        show(h, out, &ended, STRATA_VERSION_DELETE_RANGE);
    } else {
        show_held(h, out);
    }
    return STRATA_OK;
}

static strata_rc advance(strata_history *h, strata_version_info *out)
{
    strata_rc rc = h->begun ? STRATA_OK : seek_all(h);
    while (rc == STRATA_OK) {
        if (!h->in_key) {
            rc = next_key(h);
        }
        if (rc == STRATA_OK) {
            rc = next_version(h, out);
            if (rc != STRATA_END) {
                return rc;
            }
            rc = pass_rest(h); // the key is done: the next one
        }
    }
    return rc;
}

strata_rc history_next(strata_history *h, strata_version_info *out)
{
    *out = (strata_version_info){0};
    seat_enter(&h->seat);
    strata_rc rc = h->seat.view == NULL || h->sources.list == NULL ? sit_down(h) : STRATA_OK;
    if (rc == STRATA_OK) {
        rc = advance(h, out);
    }
    if (rc < 0) {
        h->begun = false; // the place is sought again
    }
    seat_leave(&h->seat);
    return rc;
}
