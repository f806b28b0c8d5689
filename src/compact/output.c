#include "compact/output.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/mutant.h"
#include "kv/file_name.h"

// What an open table is charged to the budget with: its write buffer, index and filter in the
// making.
#define OUTPUT_WRITER_BYTES (1u << 20)

// ---- the set

void output_set_init(struct output_set *s, const struct compact_env *env,
                     struct compact_progress *progress)
{
    *s = (struct output_set){.env = env, .progress = progress};
}

static bool output_set_is_empty(const struct output_set *s)
{
    const struct edit *e = &s->edit;
    return e->table_count == 0 && e->space_count == 0 && e->second_count == 0 &&
           e->value_count == 0 && e->floor_count == 0 && e->flushed_commit == 0 &&
           e->log_first_segment == 0;
}

strata_rc output_set_install(struct output_set *s)
{
    if (output_set_is_empty(s)) {
        return STRATA_OK;
    }
    if (s->file_count != 0 && !MUTANT(21)) {
        strata_rc rc = os_dir_sync(s->env->tables.dir);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    strata_rc rc = s->env->install(s->env->ctx, &s->edit);
    bool named = rc != STRATA_NO_SPACE && rc != STRATA_NO_MEMORY;
    s->file_count = named ? 0 : s->file_count;
    while (named && s->value_count > 0) {
        value_file_unref(s->values[--s->value_count]);
    }
    s->bytes = 0;
    s->trimmed = 0;
    edit_release(&s->edit);
    s->edit = (struct edit){0};
    return rc;
}

strata_rc output_set_trimmed(struct output_set *s, uint64_t keyspace,
                             const struct compact_trim *trim)
{
    if (s->trimmed == keyspace || trim->floor == 0 || MUTANT(70)) {
        return STRATA_OK;
    }
    s->trimmed = keyspace;
    return edit_set_floor(&s->edit, keyspace, trim->floor);
}

void output_set_release(struct output_set *s)
{
    for (size_t i = 0; i < s->file_count; i++) {
        char name[FILE_NAME_BYTES];
        file_name_make(name, FILE_TABLE, s->files[i]);
        // What stays behind is removed by the next open.
        strata_rc ignored = os_dir_unlink(s->env->tables.dir, name);
        (void)ignored;
    }
    for (size_t i = 0; i < s->value_count; i++) {
        value_file_delete_at_close(s->values[i]);
        value_file_unref(s->values[i]);
    }
    free(s->values);
    free(s->files);
    edit_release(&s->edit);
    *s = (struct output_set){0};
}

strata_rc output_set_add_values(struct output_set *s, struct value_file *file)
{
    if (s->value_count == s->value_capacity) {
        size_t capacity = s->value_capacity == 0 ? 8 : s->value_capacity * 2;
        struct value_file **values = alloc_resize(s->values, capacity, sizeof *values);
        if (values == NULL) {
            return alloc_failed("value files of a job", capacity * sizeof *values);
        }
        s->values = values;
        s->value_capacity = capacity;
    }
    strata_rc rc = edit_add_value_file(&s->edit, value_file_meta(file), file);
    if (rc == STRATA_OK) {
        value_file_ref(file);
        s->values[s->value_count++] = file;
    }
    return rc;
}

// Room for one more file beside those that are being written, so that a complete table is never
// forgotten.
static strata_rc output_set_reserve(struct output_set *s)
{
    if (s->file_count + s->writers < s->file_capacity) {
        return STRATA_OK;
    }
    size_t capacity = s->file_capacity == 0 ? 16 : s->file_capacity * 2;
    uint64_t *files = alloc_resize(s->files, capacity, sizeof *files);
    if (files == NULL) {
        return alloc_failed("files of a job", capacity * sizeof *files);
    }
    s->files = files;
    s->file_capacity = capacity;
    return STRATA_OK;
}

// ---- a run

static strata_compression output_compression(const strata_keyspace_options *options,
                                             const struct output_place *place)
{
    if (options->compression != STRATA_COMPRESSION_DEFAULT) {
        return options->compression;
    }
    return place->history || place->last ? STRATA_COMPRESSION_ZSTD : STRATA_COMPRESSION_LZ4;
}

void output_init(struct output *o, struct output_set *set, const struct catalog_space *space,
                 const struct output_place *place)
{
    const strata_keyspace_options *options = &space->options;
    ASSERT(place->level < TREE_LEVELS_MAX && place->level < place->levels);
    *o = (struct output){.set = set, .place = *place};
    o->options = (struct table_options){
        .keyspace = space->number,
        .keyspace_name = space->name,
        .history = place->history,
        .level = place->level,
        .incarnation = set->env->incarnation,
        .block_bytes = place->history ? options->history_block_bytes : options->block_bytes,
        .compression = output_compression(options, place),
        .filter_bits = options->filter_off ? 0
                                           : shape_filter_bits(options->filter_bits, place->level,
                                                               place->levels, place->size_ratio),
    };
}

static void output_forget_writer(struct output *o)
{
    o->writer = NULL;
    o->set->writers--;
    os_memory_refund(o->set->env->tables.memory, OS_MEMORY_JOBS, OUTPUT_WRITER_BYTES);
}

void output_release(struct output *o)
{
    if (o->writer != NULL) {
        table_writer_abandon(o->writer);
        output_forget_writer(o);
    }
    separate_queue_release(&o->queue);
    free(o->hot);
    o->hot = NULL;
    o->hot_count = o->hot_capacity = 0;
}

// Has the run of keys passed a bound of the neighbour since the last key?
static bool output_passes_bound(struct output *o, struct slice key)
{
    const struct run *r = o->place.neighbour;
    uint32_t at = o->neighbour_at;
    while (at < r->count && slice_compare(table_meta(r->tables[at])->upper, key) <= 0) {
        at++;
    }
    bool passes = at != o->neighbour_at;
    o->neighbour_at = at;
    return passes;
}

// Half of the size is enough at a bound of the neighbour: a later merge into it then reads fewer
// tables that it overlaps in part only.
bool output_is_full(struct output *o, struct slice key)
{
    bool passes = o->place.neighbour != NULL && output_passes_bound(o, key);
    if (o->writer == NULL) {
        return false;
    }
    uint64_t bytes = table_writer_bytes(o->writer);
    return bytes >= o->place.table_bytes || (passes && bytes >= o->place.table_bytes / 2);
}

// A block that is taken over ends the block in the making: when that one would be less than half
// full, so many must follow that it does not matter.
#define OUTPUT_BLOCKS_AHEAD 4u

bool output_takes_block(const struct output *o, const struct run_block *b, uint32_t ahead)
{
    uint64_t target = o->options.block_bytes;
    if (b->bytes < target / 2 || (b->bytes > 2 * target && b->entries > 1)) {
        return false;
    }
    uint64_t making = o->writer == NULL ? 0 : table_writer_block_bytes(o->writer);
    return making == 0 || making >= target / 2 || ahead >= OUTPUT_BLOCKS_AHEAD;
}

static strata_rc output_open(struct output *o)
{
    const struct compact_env *env = o->set->env;
    strata_rc rc = output_set_reserve(o->set);
    if (rc != STRATA_OK) {
        return rc;
    }
    if (o->place.run == 0) {
        o->place.run = env->new_run_number(env->ctx);
    }
    o->file = env->new_file_number(env->ctx);
    rc = table_writer_new(env->tables.dir, o->file, &o->options, &o->writer);
    if (rc == STRATA_OK) {
        o->set->writers++;
        os_memory_charge(env->tables.memory, OS_MEMORY_JOBS, OUTPUT_WRITER_BYTES);
    }
    return rc;
}

static strata_rc output_write(void *ctx, const struct kv_entry *e)
{
    struct output *o = ctx;
    if (o->writer == NULL) {
        strata_rc rc = output_open(o);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    return table_writer_add(o->writer, e, hash_key(kv_key(e)));
}

strata_rc output_add(struct output *o, const struct kv_entry *e)
{
    return o->separate == NULL ? output_write(o, e)
                               : separate_add(o->separate, &o->queue, e, output_write, o);
}

// The entries that wait for their values come before whatever is next.
static strata_rc output_settle(struct output *o)
{
    return o->separate == NULL ? STRATA_OK
                               : separate_drain(o->separate, &o->queue, output_write, o);
}

strata_rc output_keeps_block(const struct output *o, const struct table_raw_block *b,
                             bool *keeps_out)
{
    *keeps_out = true;
    return o->separate == NULL ? STRATA_OK : separate_keeps_block(o->separate, b, keeps_out);
}

// Notes the block that was written last.
static strata_rc output_note_hot(struct output *o, const struct table_raw_block *b)
{
    if (o->hot_count == o->hot_capacity) {
        size_t capacity = o->hot_capacity == 0 ? 64 : o->hot_capacity * 2;
        struct output_hot *hot = alloc_resize(o->hot, capacity, sizeof *hot);
        if (hot == NULL) {
            return alloc_failed("cached blocks of a job", capacity * sizeof *hot);
        }
        o->hot = hot;
        o->hot_capacity = capacity;
    }
    uint32_t block = table_writer_blocks(o->writer) - 1;
    o->hot[o->hot_count++] = (struct output_hot){b->table, b->number, block};
    return STRATA_OK;
}

strata_rc output_add_block(struct output *o, const struct table_raw_block *b)
{
    ASSERT(!o->place.history);
    strata_rc rc = output_settle(o);
    if (rc == STRATA_OK && o->writer == NULL) {
        rc = output_open(o);
    }
    if (rc == STRATA_OK) {
        rc = table_writer_add_block(o->writer, b);
    }
    return rc == STRATA_OK && b->cached ? output_note_hot(o, b) : rc;
}

strata_rc output_add_range(struct output *o, const struct range_fragment *f)
{
    ASSERT(!o->place.history && f->count > 0);
    if (o->writer == NULL) {
        strata_rc rc = output_open(o);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    return table_writer_add_range(o->writer, f);
}

// Opens the new table, when blocks of it belong into the cache, and puts them there.
static strata_rc output_hand_over(struct output *o, const struct table_meta *meta,
                                  struct table **table_out)
{
    *table_out = NULL;
    if (o->hot_count == 0) {
        return STRATA_OK;
    }
    strata_rc rc = table_open(&o->set->env->tables, meta, table_out);
    for (size_t i = 0; i < o->hot_count && rc == STRATA_OK; i++) {
        const struct output_hot *h = &o->hot[i];
        bool handed;
        rc = table_hand_over(h->from, h->from_block, *table_out, h->block, &handed);
        o->set->progress->blocks_handed += rc == STRATA_OK && handed;
    }
    o->hot_count = 0;
    return rc;
}

strata_rc output_cut(struct output *o)
{
    strata_rc rc = output_settle(o);
    if (rc != STRATA_OK || o->writer == NULL) {
        return rc;
    }
    struct output_set *s = o->set;
    const struct compact_env *env = s->env;
    struct table_meta meta = {0};
    struct table_writer *writer = o->writer;
    output_forget_writer(o);
    ASSERT(s->file_count < s->file_capacity);
    // Noted before: a finish that fails has closed the file, and leaves it for the set to remove.
    s->files[s->file_count++] = o->file;
    rc = table_writer_finish(writer, &meta);
    if (rc != STRATA_OK) {
        return rc;
    }
    ASSERT(meta.file == o->file && meta.history == o->place.history);
    meta.time_least_us = env->commit_time(env->ctx, meta.commit_least);
    meta.time_greatest_us = env->commit_time(env->ctx, meta.commit_greatest);
    s->bytes += meta.bytes;
    s->progress->bytes_written += meta.bytes;
    struct table *table;
    rc = output_hand_over(o, &meta, &table);
    if (rc == STRATA_OK) {
        rc = edit_add_table(&s->edit, o->options.keyspace, o->place.history, o->place.level,
                            o->place.run, &meta, table);
    }
    table_unref(table);
    table_meta_release(&meta);
    return rc;
}

strata_rc pass_expire(struct output_set *s, uint64_t keyspace, const struct compact_trim *trim,
                      struct kv_entry *e)
{
    e->kind = KV_DELETE;
    e->value = NULL;
    e->value_bytes = 0;
    e->expiry = 0;
    s->progress->expired++;
    return output_set_trimmed(s, keyspace, trim);
}
