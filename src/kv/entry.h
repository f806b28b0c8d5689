// One version of one key, as it moves between memtables, tables, merges and readers; and the lookup
// of one key, as it is handed from source to source.
#ifndef KV_ENTRY_H
#define KV_ENTRY_H

#include "base/slice.h"

// The numbers are in files: never reuse one.
enum kv_kind {
    KV_PUT = 1,
    KV_DELETE = 2,
    KV_RANGE_DELETE = 3,  // in logs and as an answer; tables keep range deletes apart
    KV_PUT_SEPARATED = 4, // a put whose `value` is a reference (kv/value_ref.h) into a value file
    // History: what the key was in [commit, end) was trimmed; no value. The newest candidate of all
    // of history counts: when that is a floor the read is STRATA_TRIMMED, whatever live holds (a
    // floor may stand for several versions, and live may hold a range delete of their time).
    KV_FLOOR = 5,
};

// A version. `key` and `value` are borrowed; how long they live is said by whoever hands it out.
struct kv_entry {
    uint64_t head; // slice_head(key, skip) for the skip of the cursor that gave it
    const uint8_t *key;
    const uint8_t *value;
    uint32_t key_bytes;
    uint32_t value_bytes;
    uint64_t commit; // that wrote it; begin of its interval in history
    uint64_t end;    // history: the commit that superseded it (== commit: a receipt); live: 0
    uint64_t expiry; // puts: absolute time in microseconds, a whole second; 0: never
    uint8_t kind;
};

static inline struct slice kv_key(const struct kv_entry *e)
{
    return slice_of(e->key, e->key_bytes);
}

static inline struct slice kv_value(const struct kv_entry *e)
{
    return slice_of(e->value, e->value_bytes);
}

// The lookup of `key` at commit `at`. Live sources are asked newest first, until one answers.
struct kv_lookup {
    struct slice key;
    uint64_t hash; // hash_key(key)
    uint64_t at;
    // A version of the key with a commit > at was met (a point or a range delete), or a source was
    // passed over that may hold one: then history must be asked too (architecture, section 5).
    bool skipped;
    // The answer, when `found`: a point, or KV_RANGE_DELETE with the newest covering commit <= at.
    // It lives as long as the source: memtable memory, or a cached block within the epoch.
    bool found;
    struct kv_entry entry;
};

#define KV_KEY_BYTES_MAX 65535u
#define KV_VALUE_BYTES_MAX 0xffffffffu

#endif
