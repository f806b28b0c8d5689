// The versions of keys: every point of every source for a key, newest first, with the commit that
// ended each. Nothing is collected: for each key the sources are merged by commit as they stream.
//
// A version that a range delete ended says so by its end; when no version of the key begins at that
// commit, the range delete itself is shown there. Range deletes that are still in live sources are
// shown too.
#include "db/iter_sources.h"

#include "base/alloc.h"
#include "base/fail.h"

struct strata_history {
    strata_db *db;
    struct registration registration;
    struct view *view;
    struct sources sources;
    uint64_t at;
    struct buffer lower, upper;
    bool has_upper;
    bool begun;
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
    uint64_t visible;
    h->db = db;
    rc = read_register(db, &at, &h->registration);
    if (rc != STRATA_OK) {
        free(h);
        return rc;
    }
    h->view = view_pin(db, &visible);
    h->at = at.commit = h->registration.commit;
    rc = set_bounds(h, how, key);
    if (rc == STRATA_OK && (at.space->slot >= h->view->space_count ||
                            h->view->spaces[at.space->slot].keyspace == NULL)) {
        rc = fail(STRATA_INVALID, "keyspace \"%s\" was dropped", at.space->name);
    }
    if (rc == STRATA_OK) {
        rc = sources_open(db, h->view, &at, true, &h->sources);
    }
    if (rc != STRATA_OK) {
        history_close(h);
        return rc;
    }
    *history_out = h;
    return STRATA_OK;
}

void history_close(strata_history *h)
{
    strata_db *db = h->db;
    sources_release(&h->sources, true);
    view_unref(db, h->view);
    buffer_release(&h->lower);
    buffer_release(&h->upper);
    buffer_release(&h->key);
    buffer_release(&h->value);
    unregister_commit(db, &h->registration);
    free(h);
}

strata_db *history_db(const strata_history *h)
{
    return h->db;
}

static strata_rc seek_all(strata_history *h)
{
    for (uint32_t i = 0; i < h->sources.count; i++) {
        struct kv_cursor *c = h->sources.list[i].cursor;
        struct slice from = h->lower.bytes == 0 ? slice_of(NULL, 0) : buffer_slice(&h->lower);
        c->head_skip = h->sources.head_skip;
        strata_rc rc = kv_cursor_seek(c, from, false);
        if (rc < 0) {
            return rc;
        }
    }
    h->begun = true;
    return STRATA_OK;
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
    buffer_clear(&h->key);
    h->in_key = true;
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

// The range delete that ended a put, when its commit is below `below`; 0: none did. A range delete
// over what was deleted already ended nothing and is not shown.
static uint64_t ended_by_range(strata_history *h, const struct kv_entry *e, uint64_t below)
{
    if (e->kind != KV_PUT) {
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
         h->held_entry.kind == KV_PUT ? STRATA_VERSION_PUT : STRATA_VERSION_DELETE);
}

// Takes the newest point of the key from its source; skips what lies beyond the commit and what was
// shown already (a version may stand in live and, moved by a range delete, nowhere twice; but two
// history runs may hold the same one after a crash). STRATA_END when the key has none left.
static strata_rc take_point(strata_history *h)
{
    for (;;) {
        struct kv_cursor *c = newest_source(h);
        if (c == NULL) {
            return STRATA_END;
        }
        h->held_entry = *c->at;
        bool wanted = c->at->commit <= h->at && (h->newer == 0 || c->at->commit < h->newer);
        strata_rc rc = STRATA_OK;
        if (wanted) {
            buffer_clear(&h->value);
            rc = buffer_reserve(&h->value, h->held_entry.value_bytes + 1);
            if (rc == STRATA_OK) {
                rc = buffer_append(&h->value, h->held_entry.value, h->held_entry.value_bytes);
            }
        }
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
        if (rc < 0) {
            return rc;
        }
        h->held = rc == STRATA_OK;
        if (rc == STRATA_END) {
            // Range deletes below the oldest point ended nothing that is still known.
            h->in_key = false;
            return STRATA_END;
        }
    }
    uint64_t range = ended_by_range(h, &h->held_entry, below);
    if (range != 0) {
        struct kv_entry ended = {.commit = range};
        show(h, out, &ended, STRATA_VERSION_DELETE_RANGE);
    } else {
        show_held(h, out);
    }
    return STRATA_OK;
}

strata_rc history_next(strata_history *h, strata_version_info *out)
{
    *out = (strata_version_info){0};
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
            rc = STRATA_OK; // the key is done: the next one
        }
    }
    return rc;
}
