#include "compact/separate.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "compact/output.h"
#include "table/block.h"

// How much waits before it is read, all requests in flight together.
#define SEPARATE_GROUP_ENTRIES 64u
#define SEPARATE_GROUP_BYTES (4u << 20)
// A greater value is never in memory whole: it goes over chunk by chunk, to a file of its own.
#define SEPARATE_WHOLE_BYTES (8u << 20)

void separate_init(struct separate *s, struct output_set *set, const struct catalog_space *space)
{
    const strata_keyspace_options *options = &space->options;
    *s = (struct separate){.set = set, .keyspace = space->number};
    s->bytes = options->separation == STRATA_SEPARATION_ON ? options->separate_bytes : 0;
    s->compression = options->value_compression;
}

static struct value_env separate_env(const struct separate *s)
{
    const struct table_env *t = &s->set->env->tables;
    return (struct value_env){t->dir, t->cache, t->memory, t->files};
}

void separate_release(struct separate *s)
{
    if (s->file != NULL) {
        value_file_delete_at_close(s->file);
        value_file_unref(s->file);
        s->file = NULL;
    }
}

strata_rc separate_finish(struct separate *s)
{
    if (s->file == NULL) {
        return STRATA_OK;
    }
    strata_rc rc = value_file_finish(s->file);
    if (rc == STRATA_OK) {
        rc = output_set_add_values(s->set, s->file);
    }
    if (rc == STRATA_OK) {
        value_file_unref(s->file);
        s->file = NULL;
    }
    return rc;
}

static strata_rc separate_open(struct separate *s)
{
    const struct compact_env *env = s->set->env;
    struct value_env files = separate_env(s);
    ASSERT(s->file == NULL);
    return value_file_new(&files, env->new_file_number(env->ctx), s->keyspace, env->incarnation,
                          &s->file);
}

// ---- what is to be done

strata_rc separate_judge(const struct separate *s, const struct kv_entry *e,
                         enum separate_verdict *verdict_out)
{
    struct kv_value_ref ref;
    *verdict_out = SEPARATE_KEEP;
    if (e->kind == KV_PUT) {
        bool out = s->bytes != 0 && e->value_bytes >= s->bytes;
        *verdict_out = out ? SEPARATE_OUT : SEPARATE_KEEP;
        return STRATA_OK;
    }
    if (e->kind != KV_PUT_SEPARATED) {
        return STRATA_OK;
    }
    strata_rc rc = kv_value_ref_decode(kv_value(e), &ref);
    if (rc != STRATA_OK) {
        return rc;
    }
    uint32_t least = s->bytes == 0 ? SEPARATE_ALWAYS_BYTES + 1 : s->bytes;
    if (ref.bytes < least) {
        *verdict_out = SEPARATE_IN;
    } else if (s->rewrite) {
        *verdict_out = SEPARATE_ANEW;
    }
    return STRATA_OK;
}

strata_rc separate_keeps_block(const struct separate *s, const struct table_raw_block *b,
                               bool *keeps_out)
{
    *keeps_out = true;
    if (table_meta(b->table)->use_count == 0 && (s->bytes == 0 || b->decoded_bytes < s->bytes)) {
        return STRATA_OK;
    }
    struct block view;
    block_view(&view, b->decoded, b->decoded_bytes);
    for (uint32_t i = 0; i < view.count; i++) {
        struct kv_entry e;
        enum separate_verdict verdict;
        block_entry(&view, i, &e);
        strata_rc rc = separate_judge(s, &e, &verdict);
        if (rc != STRATA_OK) {
            return rc;
        }
        if (verdict != SEPARATE_KEEP) {
            *keeps_out = false;
            return STRATA_OK;
        }
    }
    return STRATA_OK;
}

// ---- values written

static void separate_count(struct separate *s, uint64_t before)
{
    uint64_t written = value_file_bytes(s->file) - before;
    s->set->bytes += written;
    s->set->progress->bytes_written += written;
}

// Stores a value that is in memory.
static strata_rc separate_store(struct separate *s, struct slice value,
                                struct kv_value_ref *ref_out)
{
    strata_rc rc = STRATA_OK;
    if (s->file != NULL && value_file_is_full(s->file)) {
        rc = separate_finish(s);
    }
    if (rc == STRATA_OK && s->file == NULL) {
        rc = separate_open(s);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    struct value_place place;
    uint64_t before = value_file_bytes(s->file);
    rc = value_file_append(s->file, value, s->compression, &place);
    if (rc == STRATA_OK) {
        separate_count(s, before);
        *ref_out = place.ref;
    }
    return rc;
}

// Stores a large value from another file, in pieces.
static strata_rc separate_copy(struct separate *s, struct value_file *from,
                               const struct kv_value_ref *ref, struct kv_value_ref *ref_out)
{
    uint8_t *piece = alloc_array(KV_VALUE_CHUNK_BYTES, 1);
    if (piece == NULL) {
        return alloc_failed("a piece of a value", KV_VALUE_CHUNK_BYTES);
    }
    strata_rc rc = separate_finish(s);
    if (rc == STRATA_OK) {
        rc = separate_open(s);
    }
    uint64_t before = rc == STRATA_OK ? value_file_bytes(s->file) : 0;
    for (uint64_t at = 0; at < ref->bytes && rc == STRATA_OK; at += KV_VALUE_CHUNK_BYTES) {
        uint64_t left = ref->bytes - at;
        size_t bytes = left < KV_VALUE_CHUNK_BYTES ? (size_t)left : KV_VALUE_CHUNK_BYTES;
        struct value_place place;
        rc = value_file_read(from, ref, at, piece, bytes);
        if (rc == STRATA_OK) {
            rc = value_file_append_chunk(s->file, slice_of(piece, bytes), s->compression, &place);
        }
        if (rc == STRATA_OK && at == 0) {
            *ref_out = (struct kv_value_ref){place.ref.file, place.ref.ordinal, ref->bytes};
        }
    }
    free(piece);
    if (rc == STRATA_OK) {
        separate_count(s, before);
        rc = separate_finish(s);
    }
    return rc;
}

// ---- entries

static strata_rc separate_emit_ref(const struct kv_entry *e, const struct kv_value_ref *ref,
                                   separate_emit *emit, void *ctx)
{
    uint8_t bytes[KV_VALUE_REF_BYTES_MAX];
    struct kv_entry out = *e;
    out.kind = KV_PUT_SEPARATED;
    out.value = bytes;
    out.value_bytes = kv_value_ref_encode(ref, bytes);
    return emit(ctx, &out);
}

static bool separate_reads(const struct separate_waiting *w)
{
    return w->verdict == SEPARATE_IN ||
           (w->verdict == SEPARATE_ANEW && w->ref.bytes <= SEPARATE_WHOLE_BYTES);
}

static strata_rc separate_grow(struct separate_queue *q)
{
    size_t capacity = q->capacity == 0 ? SEPARATE_GROUP_ENTRIES : q->capacity * 2;
    struct separate_waiting *list = alloc_resize(q->list, capacity, sizeof *list);
    if (list == NULL) {
        return alloc_failed("entries that wait for values", capacity * sizeof *list);
    }
    q->list = list;
    struct value_read *reads = alloc_resize(q->reads, capacity, sizeof *reads);
    if (reads == NULL) {
        return alloc_failed("reads of values", capacity * sizeof *reads);
    }
    q->reads = reads;
    q->capacity = capacity;
    return STRATA_OK;
}

static strata_rc separate_push(struct separate_queue *q, const struct kv_entry *e,
                               enum separate_verdict verdict)
{
    strata_rc rc = q->count < q->capacity ? STRATA_OK : separate_grow(q);
    struct separate_waiting w = {.entry = *e, .verdict = verdict, .key_at = q->bytes.bytes};
    if (rc == STRATA_OK && verdict != SEPARATE_KEEP && verdict != SEPARATE_OUT) {
        rc = kv_value_ref_decode(kv_value(e), &w.ref);
    }
    if (rc == STRATA_OK) {
        rc = buffer_append(&q->bytes, e->key, e->key_bytes);
    }
    w.value_at = q->bytes.bytes;
    if (rc == STRATA_OK) {
        rc = buffer_append(&q->bytes, e->value, e->value_bytes);
    }
    if (rc == STRATA_OK) {
        q->list[q->count++] = w;
        q->value_bytes += separate_reads(&w) ? w.ref.bytes : 0;
    }
    return rc;
}

strata_rc separate_add(struct separate *s, struct separate_queue *q, const struct kv_entry *e,
                       separate_emit *emit, void *ctx)
{
    enum separate_verdict verdict;
    strata_rc rc = separate_judge(s, e, &verdict);
    if (rc != STRATA_OK) {
        return rc;
    }
    if (q->count == 0 && verdict == SEPARATE_KEEP) {
        return emit(ctx, e);
    }
    if (q->count == 0 && verdict == SEPARATE_OUT) {
        struct kv_value_ref ref;
        rc = separate_store(s, kv_value(e), &ref);
        return rc == STRATA_OK ? separate_emit_ref(e, &ref, emit, ctx) : rc;
    }
    rc = separate_push(q, e, verdict);
    if (rc == STRATA_OK && (q->count >= SEPARATE_GROUP_ENTRIES ||
                            q->value_bytes + q->bytes.bytes >= SEPARATE_GROUP_BYTES)) {
        rc = separate_drain(s, q, emit, ctx);
    }
    return rc;
}

// Reads the values that the queue waits for into `to`, all requests together.
static strata_rc separate_fetch(const struct separate *s, struct separate_queue *q, uint8_t *to)
{
    const struct compact_env *env = s->set->env;
    size_t reads = 0;
    strata_rc rc = STRATA_OK;
    for (size_t i = 0; i < q->count && rc == STRATA_OK; i++) {
        const struct separate_waiting *w = &q->list[i];
        if (!separate_reads(w)) {
            continue;
        }
        struct value_read *r = &q->reads[reads];
        *r = (struct value_read){.ref = w->ref, .to = to};
        if (reads != 0 && q->reads[reads - 1].ref.file == w->ref.file) {
            r->file = q->reads[reads - 1].file;
            value_file_ref(r->file);
        } else {
            rc = env->value_file(env->ctx, w->ref.file, &r->file);
        }
        reads += rc == STRATA_OK;
        to += w->ref.bytes;
    }
    if (rc == STRATA_OK && reads != 0) {
        rc = value_read_many(q->reads, reads);
        s->set->progress->bytes_read += q->value_bytes;
    }
    while (reads > 0) {
        value_file_unref(q->reads[--reads].file);
    }
    return rc;
}

// One entry leaves; `value` is what was read for it, if anything was.
static strata_rc separate_leave(struct separate *s, const struct separate_waiting *w,
                                const struct kv_entry *e, const uint8_t *value, separate_emit *emit,
                                void *ctx)
{
    const struct compact_env *env = s->set->env;
    struct kv_value_ref ref;
    struct kv_entry out = *e;
    struct value_file *from;
    strata_rc rc;
    if (w->verdict == SEPARATE_KEEP) {
        return emit(ctx, e);
    }
    if (w->verdict == SEPARATE_IN) {
        out.kind = KV_PUT;
        out.value = value;
        out.value_bytes = w->ref.bytes;
        return emit(ctx, &out);
    }
    if (w->verdict == SEPARATE_OUT) {
        rc = separate_store(s, kv_value(e), &ref);
    } else if (separate_reads(w)) {
        rc = separate_store(s, slice_of(value, w->ref.bytes), &ref);
    } else {
        rc = env->value_file(env->ctx, w->ref.file, &from);
        if (rc == STRATA_OK) {
            rc = separate_copy(s, from, &w->ref, &ref);
            value_file_unref(from);
        }
    }
    return rc == STRATA_OK ? separate_emit_ref(e, &ref, emit, ctx) : rc;
}

strata_rc separate_drain(struct separate *s, struct separate_queue *q, separate_emit *emit,
                         void *ctx)
{
    if (q->count == 0) {
        return STRATA_OK;
    }
    struct os_memory *memory = s->set->env->tables.memory;
    size_t bytes = (size_t)q->value_bytes;
    uint8_t *values = alloc_array(bytes + 1, 1);
    if (values == NULL) {
        return alloc_failed("values of a merge", bytes + 1);
    }
    os_memory_charge(memory, OS_MEMORY_JOBS, bytes);
    strata_rc rc = separate_fetch(s, q, values);
    const uint8_t *value = values;
    for (size_t i = 0; i < q->count && rc == STRATA_OK; i++) {
        const struct separate_waiting *w = &q->list[i];
        struct kv_entry e = w->entry;
        e.key = q->bytes.data + w->key_at;
        e.value = q->bytes.data + w->value_at;
        rc = separate_leave(s, w, &e, value, emit, ctx);
        value += separate_reads(w) ? w->ref.bytes : 0;
    }
    os_memory_refund(memory, OS_MEMORY_JOBS, bytes);
    free(values);
    q->count = 0;
    q->value_bytes = 0;
    buffer_clear(&q->bytes);
    return rc;
}

void separate_queue_release(struct separate_queue *q)
{
    free(q->list);
    free(q->reads);
    buffer_release(&q->bytes);
    *q = (struct separate_queue){0};
}
