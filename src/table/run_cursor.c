// A cursor over a run: tables in key order whose bounds do not overlap.
//
// A window never leaves a block. The block is pinned until the window has moved on, so that values
// are handed out where they lie; keys are rebuilt into memory of the cursor. The first windows
// after a seek are small: most seeks are followed by few steps.
//
// State between calls: `table`, `block` and [low, high), the entries of the block that are inside
// of the table's bounds and not handed out yet; forward goes on from low, backward from high.
//
// Readahead: when a block must be read, those behind it in the direction of movement are read with
// it, up to readahead_bytes, into a buffer of the cursor; they are checked and decoded as they come
// up.
//
// Thread rule: one thread at a time.
#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "table/table_file.h"

#define WINDOW_ENTRIES 64
#define WINDOW_FIRST 8
#define PREFETCH_BYTES_MAX 8192

struct run_cursor {
    struct kv_cursor base;
    struct cache *cache;
    struct table *const *tables;
    size_t count;
    bool keep;
    bool backward;
    uint32_t window; // entries of the next one

    size_t table;
    uint32_t block;
    uint32_t low, high;
    struct cache_block *pinned; // NULL: at the end
    struct block view;

    struct {
        uint8_t *bytes;
        uint32_t capacity;             // readahead_bytes
        struct os_memory *memory;      // that `bytes` are charged to
        const struct table_file *file; // NULL: empty
        uint64_t offset, length;
    } ahead;
    size_t keys_capacity;
    uint8_t *keys;
    struct buffer last_key; // of a block that is looked at as a whole
    struct kv_entry entries[WINDOW_ENTRIES];
};

static void unpin(struct run_cursor *c)
{
    if (c->pinned != NULL) {
        cache_unpin(c->cache, c->pinned);
        c->pinned = NULL;
    }
}

// At the end: nothing is handed out until the next seek.
static strata_rc finish(struct run_cursor *c, strata_rc rc)
{
    unpin(c);
    c->base.at = c->entries;
    c->base.end = c->entries;
    c->base.block_first = NULL;
    c->low = 0;
    c->high = 0;
    return rc;
}

// ---- blocks

// Fills the buffer with blocks from `block` on, in the direction of movement.
static strata_rc read_ahead(struct run_cursor *c, struct table_file *tf, uint32_t block)
{
    const uint64_t *offsets = tf->index.offsets;
    uint32_t first = block;
    uint32_t last = block;
    while (!c->backward && last + 1 < tf->index.count &&
           offsets[last + 2] - offsets[first] <= c->ahead.capacity) {
        last++;
    }
    while (c->backward && first > 0 &&
           offsets[last + 1] - offsets[first - 1] <= c->ahead.capacity) {
        first--;
    }
    if (c->ahead.bytes == NULL) {
        c->ahead.bytes = alloc_array(c->ahead.capacity, 1);
        if (c->ahead.bytes == NULL) {
            return alloc_failed("readahead", c->ahead.capacity);
        }
        c->ahead.memory = tf->env.memory;
        os_memory_charge(c->ahead.memory, OS_MEMORY_READERS, c->ahead.capacity);
    }
    c->ahead.file = NULL;
    uint64_t length = offsets[last + 1] - offsets[first];
    strata_rc rc = table_file_read(tf, offsets[first], c->ahead.bytes, (size_t)length);
    if (rc == STRATA_OK) {
        c->ahead.file = tf;
        c->ahead.offset = offsets[first];
        c->ahead.length = length;
    }
    return rc;
}

static bool is_ahead(const struct run_cursor *c, const struct table_file *tf,
                     const struct section_place *place)
{
    return c->ahead.file == tf && place->offset >= c->ahead.offset &&
           place->offset + place->bytes <= c->ahead.offset + c->ahead.length;
}

static strata_rc load_block(struct run_cursor *c, struct table_file *tf, uint32_t block)
{
    struct section_place place = table_block_place(tf, block);
    if (place.bytes > c->ahead.capacity) {
        return table_file_load(tf, block, c->keep, &c->pinned);
    }
    c->pinned = table_pin(tf, block);
    if (c->pinned != NULL) {
        return STRATA_OK;
    }
    if (!is_ahead(c, tf, &place)) {
        strata_rc rc = read_ahead(c, tf, block);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    return table_decode(tf, block, c->ahead.bytes + (place.offset - c->ahead.offset), c->keep,
                        &c->pinned);
}

// Enters a block: all of its entries inside of the table's bounds are to come.
static strata_rc enter_block(struct run_cursor *c, uint32_t block)
{
    const struct table *t = c->tables[c->table];
    unpin(c);
    c->block = block;
    strata_rc rc = load_block(c, t->file, block);
    if (rc != STRATA_OK) {
        c->pinned = NULL;
        return rc;
    }
    block_view(&c->view, c->pinned->data, c->pinned->bytes);
    c->low = t->narrow_lower ? block_seek(&c->view, t->meta.lower, UINT64_MAX) : 0;
    c->high = t->narrow_upper ? block_seek(&c->view, t->meta.upper, UINT64_MAX) : c->view.count;
    return STRATA_OK;
}

// The block of the table to begin with: the one with `key`, or the outermost inside of the bounds.
static uint32_t first_block(const struct run_cursor *c, const struct table *t, struct slice key)
{
    const struct index *ix = &t->file->index;
    if (c->backward) {
        if (key.data == NULL || slice_compare(key, t->meta.upper) > 0) {
            key = t->meta.upper;
        }
    } else if (key.data == NULL || slice_compare(key, t->meta.lower) < 0) {
        key = t->meta.lower;
    }
    return index_find(ix, key, UINT64_MAX);
}

// Does nothing of the table lie behind the block, in the direction of movement?
static bool at_last_block(const struct run_cursor *c)
{
    const struct table *t = c->tables[c->table];
    const struct index *ix = &t->file->index;
    if (c->backward) {
        return c->block == 0 || c->low > 0 ||
               (t->narrow_lower && index_compare(ix, c->block, t->meta.lower, UINT64_MAX) <= 0);
    }
    return c->block + 1 == ix->count || c->high < c->view.count ||
           (t->narrow_upper && index_compare(ix, c->block + 1, t->meta.upper, UINT64_MAX) >= 0);
}

// A scan is going on: fetches the cached block that comes next into the processor's cache. Only its
// address is used, which needs no epoch.
static void prefetch_next(const struct run_cursor *c)
{
    const struct table_file *tf = c->tables[c->table]->file;
    if (c->backward ? c->block == 0 : c->block + 1 == tf->index.count) {
        return;
    }
    uint32_t next = c->backward ? c->block - 1 : c->block + 1;
    struct cache_block *b = atomic_load_explicit(&tf->slots[next], memory_order_relaxed);
    if (b == NULL) {
        return;
    }
    uint64_t bytes = CACHE_BLOCK_HEAD_BYTES + tf->index.offsets[next + 1] - tf->index.offsets[next];
    bytes = bytes < PREFETCH_BYTES_MAX ? bytes : PREFETCH_BYTES_MAX;
    for (uint64_t at = 0; at < bytes; at += 64) {
        __builtin_prefetch((const uint8_t *)b + at, 0, 2);
    }
}

// Moves on, block by block and table by table, until there is something to hand out. The table
// c->table has been left when `leave` is set.
static strata_rc find_entries(struct run_cursor *c, bool leave)
{
    while (leave || c->low >= c->high) {
        if (!leave && !at_last_block(c)) {
            strata_rc rc = enter_block(c, c->backward ? c->block - 1 : c->block + 1);
            if (rc != STRATA_OK) {
                return rc;
            }
            prefetch_next(c);
            continue;
        }
        if (c->backward ? c->table == 0 : c->table + 1 == c->count) {
            return STRATA_END;
        }
        c->table = c->backward ? c->table - 1 : c->table + 1;
        const struct table *t = c->tables[c->table];
        leave = t->file->index.count == 0;
        if (!leave) {
            strata_rc rc = enter_block(c, first_block(c, t, slice_of(NULL, 0)));
            if (rc != STRATA_OK) {
                return rc;
            }
        }
    }
    return STRATA_OK;
}

// ---- windows

// Makes room for keys of the window.
static strata_rc reserve_keys(struct run_cursor *c, size_t bytes)
{
    if (bytes <= c->keys_capacity) {
        return STRATA_OK;
    }
    uint8_t *keys = alloc_array(bytes + bytes / 2, 1);
    if (keys == NULL) {
        return alloc_failed("the keys of a cursor", bytes + bytes / 2);
    }
    free(c->keys);
    c->keys = keys;
    c->keys_capacity = bytes + bytes / 2;
    return STRATA_OK;
}

static strata_rc fill_window(struct run_cursor *c)
{
    ASSERT(c->low < c->high);
    bool whole = !c->backward && c->low == 0 && c->high == c->view.count;
    uint32_t count = c->high - c->low;
    count = count < c->window ? count : c->window;
    c->window = c->window * 2 < WINDOW_ENTRIES ? c->window * 2 : WINDOW_ENTRIES;
    uint32_t from = c->backward ? c->high - count : c->low;
    strata_rc rc = reserve_keys(c, block_window_bytes(&c->view, from, count));
    if (rc != STRATA_OK) {
        return rc;
    }
    block_window(&c->view, from, count, c->backward, c->base.head_skip, c->entries, c->keys);
    if (c->backward) {
        c->high = from;
    } else {
        c->low = from + count;
    }
    c->base.at = c->entries;
    c->base.end = c->entries + count;
    c->base.block_first = whole ? c->entries : NULL;
    return STRATA_OK;
}

// What every seek and refill ends with.
static strata_rc deliver(struct run_cursor *c, strata_rc rc)
{
    if (rc == STRATA_OK) {
        rc = fill_window(c);
    }
    return rc == STRATA_OK ? rc : finish(c, rc);
}

static strata_rc cursor_refill(struct kv_cursor *base)
{
    struct run_cursor *c = (struct run_cursor *)base;
    if (c->pinned == NULL) {
        return finish(c, STRATA_END);
    }
    strata_rc rc = c->low < c->high ? STRATA_OK : find_entries(c, false);
    return deliver(c, rc);
}

// The first table with upper > key (forward), or the last with lower < key (backward); `count` when
// there is none. Tables before `low` are not looked at.
static size_t find_table(const struct run_cursor *c, struct slice key, size_t low)
{
    if (key.data == NULL) {
        return c->backward ? c->count - 1 : 0;
    }
    size_t high = c->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct table_meta *m = &c->tables[middle]->meta;
        bool before =
            c->backward ? slice_compare(m->lower, key) < 0 : slice_compare(m->upper, key) <= 0;
        if (before) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (c->backward) {
        return low == 0 ? c->count : low - 1;
    }
    return low;
}

static strata_rc cursor_seek(struct kv_cursor *base, struct slice key, bool backward)
{
    struct run_cursor *c = (struct run_cursor *)base;
    // On from where it stands: the tables behind it may be gone.
    bool onward = !backward && !c->backward && key.data != NULL && kv_cursor_valid(base) &&
                  slice_compare(kv_key(base->at), key) <= 0;
    size_t low = onward ? c->table : 0;
    (void)finish(c, STRATA_END);
    c->backward = backward;
    c->window = WINDOW_FIRST;
    c->table = c->count == 0 ? 0 : find_table(c, key, low);
    if (c->table >= c->count) {
        return STRATA_END;
    }
    const struct table *t = c->tables[c->table];
    bool empty = t->file->index.count == 0;
    if (!empty) {
        strata_rc rc = enter_block(c, first_block(c, t, key));
        if (rc != STRATA_OK) {
            return finish(c, rc);
        }
        if (key.data != NULL) {
            uint32_t pos = block_seek(&c->view, key, UINT64_MAX);
            if (backward) {
                c->high = pos < c->high ? pos : c->high;
            } else {
                c->low = pos > c->low ? pos : c->low;
            }
        }
    }
    return deliver(c, find_entries(c, empty));
}

static void cursor_close(struct kv_cursor *base)
{
    struct run_cursor *c = (struct run_cursor *)base;
    unpin(c);
    if (c->ahead.bytes != NULL) {
        os_memory_refund(c->ahead.memory, OS_MEMORY_READERS, c->ahead.capacity);
        free(c->ahead.bytes);
    }
    free(c->keys);
    buffer_release(&c->last_key);
    free(c);
}

// ---- blocks as a whole

// The cursor, which must stand at the first entry of a block.
static struct run_cursor *at_block(const struct kv_cursor *base)
{
    ASSERT(base->ops->refill == cursor_refill);
    ASSERT(kv_cursor_valid(base) && base->at == base->block_first);
    return (struct run_cursor *)(uintptr_t)base;
}

strata_rc run_cursor_block(struct kv_cursor *base, struct run_block *block_out)
{
    struct run_cursor *c = at_block(base);
    uint32_t last = c->view.count - 1;
    uint32_t bytes = block_key_bytes(&c->view, last);
    buffer_clear(&c->last_key);
    strata_rc rc = buffer_reserve(&c->last_key, bytes + CACHE_PADDING);
    if (rc != STRATA_OK) {
        return rc;
    }
    block_key(&c->view, last, c->last_key.data);
    *block_out = (struct run_block){
        .last_key = slice_of(c->last_key.data, bytes),
        .bytes = c->pinned->bytes,
        .entries = c->view.count,
        .puts_only = (c->view.flags & (BLOCK_KINDS | BLOCK_PUTS)) != BLOCK_KINDS,
        .expiring = (c->view.flags & BLOCK_EXPIRY) != 0,
    };
    return STRATA_OK;
}

uint32_t run_cursor_blocks_before(const struct kv_cursor *base, struct slice key)
{
    const struct run_cursor *c = at_block(base);
    const struct index *ix = &c->tables[c->table]->file->index;
    uint32_t end = key.data == NULL ? ix->count : index_find(ix, key, UINT64_MAX);
    return end > c->block ? end - c->block : 0;
}

strata_rc run_cursor_raw_block(struct kv_cursor *base, struct table_raw_block *raw_out)
{
    struct run_cursor *c = at_block(base);
    struct table_file *tf = c->tables[c->table]->file;
    struct section_place place = table_block_place(tf, c->block);
    *raw_out = (struct table_raw_block){
        .table = c->tables[c->table],
        .number = c->block,
        .cached = cache_is_attached(c->pinned),
        .name = place.name,
        .file = place.file,
        .offset = place.offset,
        .bytes = place.bytes,
        .decoded = c->pinned->data,
        .decoded_bytes = c->pinned->bytes,
    };
    if (section_is_plain(c->pinned->data)) {
        raw_out->image = c->pinned->data;
        return STRATA_OK;
    }
    if (place.bytes > c->ahead.capacity) {
        return STRATA_OK;
    }
    if (!is_ahead(c, tf, &place)) {
        strata_rc rc = read_ahead(c, tf, c->block);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    raw_out->image = c->ahead.bytes + (place.offset - c->ahead.offset);
    return STRATA_OK;
}

void run_cursor_skip_block(struct kv_cursor *base)
{
    struct run_cursor *c = at_block(base);
    c->low = c->high;
    c->base.end = c->base.at + 1;
    c->window = WINDOW_FIRST; // what follows may be skipped, too
}

static const struct kv_cursor_ops run_cursor_ops = {
    .seek = cursor_seek,
    .refill = cursor_refill,
    .close = cursor_close,
};

strata_rc run_cursor_open(struct cache *cache, struct table *const *tables, size_t count, bool keep,
                          uint32_t readahead_bytes, struct kv_cursor **cursor_out)
{
    struct run_cursor *c = alloc_array(1, sizeof *c);
    if (c == NULL) {
        return alloc_failed("a cursor", sizeof *c);
    }
    memset(c, 0, offsetof(struct run_cursor, entries));
    c->base.ops = &run_cursor_ops;
    c->cache = cache;
    c->tables = tables;
    c->count = count;
    c->keep = keep;
    c->ahead.capacity = readahead_bytes;
    (void)finish(c, STRATA_END);
    for (size_t i = 1; i < count; i++) {
        ASSERT_SLOW(slice_compare(tables[i - 1]->meta.upper, tables[i]->meta.lower) <= 0);
    }
    *cursor_out = &c->base;
    return STRATA_OK;
}
