// The separated values of an iterator: one is read when the program asks for it. When it asks for
// those of consecutive entries, the iterator looks ahead: it collects a window of entries, with
// bytes of their own, and has their values read together when the first of them is asked for.
//
// When the values of a window are asked for, the next one is collected and its reads are begun: the
// device is at work while the program is.
//
// Collecting moves the merge to the last entry collected, while the iterator shows the first. It
// must not move an entry that the program looks at: the first window is collected when the iterator
// moves, and the others while it shows an entry of a window.
#include "db/iter_impl.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"

#define WINDOW_VALUES_MOST 512u
#define WINDOW_ENTRIES_MOST 1024u
#define WINDOW_BUDGET_SHARE 32u // of the memory budget
#define READERS_BUDGET_SHARE 4u // when all readers have more, none begins a window

struct iter_collected {
    struct kv_entry entry;
    size_t key_at, value_at; // in the window's bytes, while it is collected
    bool listed;             // a read of its value is under way
};

// ---- one value

static strata_rc read_from(strata_iter *it, struct value_file *f, const struct kv_value_ref *ref)
{
    struct buffer *b = &it->separated.bytes;
    buffer_clear(b);
    strata_rc rc = buffer_reserve(b, (size_t)ref->bytes + 1);
    if (rc == STRATA_OK) {
        rc = value_file_read(f, ref, 0, b->data, ref->bytes);
    }
    b->bytes = rc == STRATA_OK ? ref->bytes : 0;
    value_file_unref(f);
    return rc;
}

// The view that the reference came from is gone, and a merge may have put the value elsewhere: it
// is looked up by its key.
static strata_rc read_by_key(strata_iter *it, const struct kv_entry *e)
{
    struct value_found found = {.value = STRATA_VALUE_INIT};
    strata_rc rc = db_find_value(it->db, &it->seat.at, kv_key(e), &found);
    if (rc == STRATA_OK && found.commit != e->commit) {
        rc = STRATA_NOT_FOUND;
    }
    if (rc == STRATA_NOT_FOUND) {
        value_file_unref(found.file);
        rc = fail(STRATA_CORRUPT, "the value of a key at commit %llu is not there any more",
                  (unsigned long long)e->commit);
    } else if (rc == STRATA_OK && found.file != NULL) {
        rc = read_from(it, found.file, &found.ref);
    } else if (rc == STRATA_OK) {
        buffer_clear(&it->separated.bytes);
        rc = buffer_append(&it->separated.bytes, found.value.data, found.value.bytes);
    }
    free(found.value.owner[0]);
    return rc;
}

strata_rc iter_read_value(strata_iter *it, const struct kv_entry *e)
{
    struct kv_value_ref ref;
    struct value_file *f = NULL;
    strata_rc rc = STRATA_NOT_FOUND;
    bool fresh = !iter_in_window(it) || !it->windows[it->present].is_stale;
    if (it->seat.view != NULL && fresh) {
        rc = kv_value_ref_decode(kv_value(e), &ref);
        if (rc == STRATA_OK) {
            rc = view_value_file(it->seat.view, ref.file, &f);
        }
    }
    rc = rc == STRATA_OK ? read_from(it, f, &ref) : read_by_key(it, e);
    it->separated.known = true;
    it->separated.rc = rc;
    if (rc != STRATA_OK) {
        buffer_clear(&it->separated.bytes);
    }
    return rc;
}

// ---- windows

void iter_note_separated(strata_iter *it)
{
    it->separated.streak = it->separated.asked ? it->separated.streak + 1 : 0;
    it->separated.asked = false;
    if (it->separated.streak == 0) {
        it->window_size = 1;
    }
}

static struct iter_window *present(strata_iter *it)
{
    return &it->windows[it->present];
}

static struct iter_window *ahead(strata_iter *it)
{
    return &it->windows[1 - it->present];
}

void iter_window_clear(strata_iter *it)
{
    it->windows[0].count = 0;
    it->windows[1].count = 0;
}

// What a window may hold. With many iterators at work the later ones read value by value.
static size_t window_bytes_most(const strata_iter *it)
{
    struct os_memory *m = &it->db->memory;
    size_t readers = atomic_load_explicit(&m->used[OS_MEMORY_READERS], memory_order_relaxed);
    return readers < m->budget_bytes / READERS_BUDGET_SHARE ? m->budget_bytes / WINDOW_BUDGET_SHARE
                                                            : 0;
}

// Tells the budget what the window has grown to.
static void charge(strata_iter *it, struct iter_window *w)
{
    size_t bytes = w->capacity * sizeof *w->entries + w->read_capacity * sizeof *w->reads +
                   w->bytes.capacity + w->values.capacity;
    if (bytes > w->charged) {
        os_memory_charge(&it->db->memory, OS_MEMORY_READERS, bytes - w->charged);
        w->charged = bytes;
        cache_shrink(it->db->cache, 1);
    }
}

void iter_window_release(strata_iter *it)
{
    for (uint32_t i = 0; i < 2; i++) {
        struct iter_window *w = &it->windows[i];
        if (w->capacity == 0) {
            continue;
        }
        os_memory_refund(&it->db->memory, OS_MEMORY_READERS, w->charged);
        buffer_release(&w->bytes);
        buffer_release(&w->values);
        free(w->entries);
        free(w->reads);
        *w = (struct iter_window){0};
    }
}

struct slice iter_last_key(const strata_iter *it)
{
    const struct iter_window *w = &it->windows[1 - it->present];
    w = w->count > 0 ? w : &it->windows[it->present];
    return kv_key(w->count > 0 ? &w->entries[w->count - 1].entry : it->shown);
}

bool iter_window_next(strata_iter *it)
{
    if (present(it)->count == 0) {
        return false;
    }
    if (it->window_at + 1 < present(it)->count) {
        it->window_at++;
    } else if (ahead(it)->count > 0) {
        present(it)->count = 0;
        it->present = 1 - it->present;
        it->window_at = 0;
        it->separated.asked = false;
    } else {
        return false;
    }
    it->shown = &present(it)->entries[it->window_at].entry;
    it->separated.known = false;
    return true;
}

// Adds a copy of the entry; its pointers are set when the window is complete.
static strata_rc window_add(struct iter_window *w, const struct kv_entry *e)
{
    if (w->count == w->capacity) {
        uint32_t more = w->capacity == 0 ? 8 : w->capacity * 2;
        struct iter_collected *entries = alloc_resize(w->entries, more, sizeof *entries);
        if (entries == NULL) {
            return alloc_failed("reading ahead", more * sizeof *entries);
        }
        w->entries = entries;
        w->capacity = more;
    }
    size_t before = w->bytes.bytes;
    strata_rc rc = buffer_append(&w->bytes, e->key, e->key_bytes);
    if (rc == STRATA_OK) {
        rc = buffer_reserve(&w->bytes, (size_t)e->value_bytes + 1);
    }
    if (rc == STRATA_OK) {
        rc = buffer_append(&w->bytes, e->value, e->value_bytes);
    }
    if (rc != STRATA_OK) {
        w->bytes.bytes = before;
        return rc;
    }
    w->entries[w->count++] =
        (struct iter_collected){.entry = *e, .key_at = before, .value_at = before + e->key_bytes};
    return STRATA_OK;
}

// Bytes of the value that the entry refers to; 0 when it is not separated.
static uint64_t separated_bytes(const struct kv_entry *e)
{
    struct kv_value_ref ref;
    bool separated =
        e->kind == KV_PUT_SEPARATED && kv_value_ref_decode(kv_value(e), &ref) == STRATA_OK;
    return separated ? ref.bytes : 0;
}

// Moves on and adds what is found, until the window has `values_most` values. The merge ends up at
// the last one.
static void window_fill(strata_iter *it, struct iter_window *w, uint32_t values_most)
{
    size_t bytes_most = window_bytes_most(it);
    uint32_t values = 0;
    uint64_t value_bytes = 0;
    if (w->count == 1) {
        values = 1;
        value_bytes = separated_bytes(it->shown);
    }
    while (values < values_most && w->count < WINDOW_ENTRIES_MOST && value_bytes < bytes_most &&
           w->bytes.bytes < bytes_most) {
        strata_rc rc = iter_move_on(it);
        if (rc == STRATA_OK) {
            rc = window_add(w, it->shown);
        }
        if (rc != STRATA_OK) {
            // At the end the merge stays there; after an error it is tried again when what was
            // collected is used up.
            it->place = rc < 0 ? ITER_LOST : ITER_BEHIND;
            return;
        }
        value_bytes += separated_bytes(it->shown);
        values += it->shown->kind == KV_PUT_SEPARATED;
    }
}

// Collects a window, from the entry shown on (when it has that one already) or from the next one.
// What the iterator shows is the caller's to restore.
static void window_collect(strata_iter *it, struct iter_window *w)
{
    // Entries that are collected are not asked for yet, which is no reason to begin small again.
    uint32_t size = it->window_size * 2;
    size = size < WINDOW_VALUES_MOST ? size : WINDOW_VALUES_MOST;
    w->is_read = false;
    w->is_begun = false;
    w->is_stale = false;
    window_fill(it, w, size);
    it->window_size = size;
    for (uint32_t i = 0; i < w->count; i++) {
        struct iter_collected *c = &w->entries[i];
        c->entry.key = w->bytes.data + c->key_at;
        c->entry.value = w->bytes.data + c->value_at;
    }
    it->state = ITER_ON;
    it->plain = false;
    charge(it, w);
}

void iter_window_begin(strata_iter *it)
{
    struct iter_window *w = present(it);
    uint32_t streak = it->separated.streak;
    ASSERT(w->count == 0 && ahead(it)->count == 0);
    if (it->filter != NULL || it->budget != 0) {
        return; // its steps are counted, or it reads values already
    }
    buffer_clear(&w->bytes);
    if (window_add(w, it->shown) != STRATA_OK) {
        return; // without memory it goes on one by one
    }
    window_collect(it, w);
    it->window_at = 0;
    it->shown = &w->entries[0].entry;
    it->separated.streak = streak;
    it->separated.asked = false;
    it->separated.known = false;
}

// Lists the reads of the window, with their files; gives the bytes that they need.
static size_t window_list_reads(strata_iter *it, struct iter_window *w)
{
    size_t total = 0;
    size_t most = window_bytes_most(it);
    w->read_count = 0;
    for (uint32_t i = 0; i < w->count; i++) {
        const struct kv_entry *e = &w->entries[i].entry;
        struct value_read r = {.rc = STRATA_NO_MEMORY, .begun = w->is_begun};
        w->entries[i].listed = e->kind == KV_PUT_SEPARATED &&
                               kv_value_ref_decode(kv_value(e), &r.ref) == STRATA_OK &&
                               total + r.ref.bytes <= most &&
                               view_value_file(it->seat.view, r.ref.file, &r.file) == STRATA_OK;
        if (w->entries[i].listed) {
            w->reads[w->read_count++] = r;
            total += r.ref.bytes;
        }
    }
    return total;
}

static strata_rc window_reserve_reads(struct iter_window *w)
{
    if (w->read_capacity >= w->count) {
        return STRATA_OK;
    }
    struct value_read *reads = alloc_resize(w->reads, w->capacity, sizeof *reads);
    if (reads == NULL) {
        return alloc_failed("reading ahead", w->capacity * sizeof *reads);
    }
    w->reads = reads;
    w->read_capacity = w->capacity;
    return STRATA_OK;
}

// The entry's value is in memory when its read went well; else it stays a reference, and is read
// alone when it is asked for.
static void window_take(struct kv_entry *e, const struct value_read *r)
{
    value_file_unref(r->file);
    if (r->rc == STRATA_OK) {
        e->kind = KV_PUT;
        e->value = r->to;
        e->value_bytes = r->ref.bytes;
    }
}

// Reads the values that the window refers to.
static void window_read(strata_iter *it, struct iter_window *w)
{
    w->is_read = true;
    if (window_reserve_reads(w) != STRATA_OK) {
        return;
    }
    size_t total = window_list_reads(it, w);
    buffer_clear(&w->values);
    strata_rc rc = buffer_reserve(&w->values, total + 1);
    if (rc == STRATA_OK) {
        uint8_t *to = w->values.data;
        for (uint32_t i = 0; i < w->read_count; i++) {
            w->reads[i].to = to;
            to += w->reads[i].ref.bytes;
        }
        rc = value_read_many(w->reads, w->read_count);
        (void)rc; // the outcome of each read stands with it
    }
    const struct value_read *r = w->reads;
    for (uint32_t i = 0; i < w->count; i++) {
        if (w->entries[i].listed) {
            window_take(&w->entries[i].entry, r++);
        }
    }
    charge(it, w);
}

// Collects the window behind the present one and has its reads begun, so that the device works on
// them while the program works on the present values.
static void window_prepare(strata_iter *it)
{
    struct iter_window *w = ahead(it);
    const struct kv_entry *shown = it->shown;
    uint32_t streak = it->separated.streak;
    if (w->count > 0 || it->place == ITER_LOST) {
        return;
    }
    buffer_clear(&w->bytes);
    window_collect(it, w);
    it->shown = shown;
    it->separated.streak = streak;
    it->separated.asked = true;
    if (w->count == 0 || window_reserve_reads(w) != STRATA_OK) {
        return;
    }
    (void)window_list_reads(it, w);
    value_will_read(w->reads, w->read_count);
    w->is_begun = true;
    for (uint32_t i = 0; i < w->read_count; i++) {
        value_file_unref(w->reads[i].file); // an iterator that rests holds none
    }
}

// ---- the call

static struct slice separated_value(strata_iter *it)
{
    struct slice none = {NULL, 0};
    it->separated.asked = true;
    if (!it->separated.known) {
        seat_enter(&it->seat);
        // Without its view the merge cannot move, and what was collected is looked up by its key.
        if (iter_in_window(it) && !present(it)->is_read && !present(it)->is_stale &&
            it->seat.view != NULL) {
            window_prepare(it);
            window_read(it, present(it));
        }
        if (it->shown->kind == KV_PUT_SEPARATED) {
            strata_rc rc = iter_read_value(it, it->shown);
            (void)rc; // for iter_value_error
        }
        seat_leave(&it->seat);
        if (it->shown->kind == KV_PUT) {
            return kv_value(it->shown);
        }
    }
    return it->separated.rc == STRATA_OK ? buffer_slice(&it->separated.bytes) : none;
}

struct slice iter_value(strata_iter *it)
{
    const struct kv_entry *e = iter_entry(it);
    if (e == NULL) {
        return slice_of(NULL, 0);
    }
    return e->kind == KV_PUT ? kv_value(e) : separated_value(it);
}

strata_rc iter_value_error(const strata_iter *it)
{
    const struct kv_entry *e = iter_entry(it);
    return e == NULL || e->kind == KV_PUT || !it->separated.known ? STRATA_OK : it->separated.rc;
}
