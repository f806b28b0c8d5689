// What a memtable keeps of a key and of each version of it. Both lie in the memtable's memory until
// it dies.
//
//   key      newest version | key created before | hash | key bytes | key
//   version  commit | value bytes | kind | flags | [chain] | [expiry] | value
//
// The first version of a key lies behind the key; it has no chain. Each later one links to the one
// before it (`older`) and further back (`jump`), so that the version at an old commit is found in
// logarithmic time however often a key is overwritten (E. W. Myers, "An applicative random-access
// stack", 1983: the jumps of a stack that only grows, made without changing an older element).
//
// Thread rule: the writer fills a record before it publishes it; afterwards only `newest` of a key
// changes. Along a chain commits descend and depths count down to 0.
#ifndef MEMTABLE_RECORD_H
#define MEMTABLE_RECORD_H

#include "base/endian.h"
#include "kv/entry.h"

#include <stdatomic.h>

struct memtable_version {
    uint64_t commit;
    uint32_t value_bytes;
    uint8_t kind;
    uint8_t flags;
    uint8_t rest[]; // [struct memtable_chain] [expiry u64] value
};

enum memtable_version_flags {
    VERSION_CHAINED = 1u << 0, // has a chain
    VERSION_EXPIRES = 1u << 1, // has an expiry
};

struct memtable_chain {
    const struct memtable_version *older;
    const struct memtable_version *jump;
    uint64_t depth; // versions below this one
};

struct memtable_key {
    // Stored with release by record_publish, loaded with acquire by record_newest.
    const struct memtable_version *_Atomic newest;
    const struct memtable_key *created_before;
    uint32_t hash; // the low bits
    uint16_t key_bytes;
    uint8_t key[];
};

// Most that one point takes, without the bytes of key and value.
#define RECORD_BYTES_MAX                                                                           \
    (sizeof(struct memtable_key) + sizeof(struct memtable_version) +                               \
     sizeof(struct memtable_chain) + sizeof(uint64_t) + 2 * 8)

static inline struct slice record_key(const struct memtable_key *k)
{
    return slice_of(k->key, k->key_bytes);
}

static inline const struct memtable_version *record_newest(const struct memtable_key *k)
{
    return atomic_load_explicit(&k->newest, memory_order_acquire);
}

static inline void record_publish(struct memtable_key *k, const struct memtable_version *v)
{
    atomic_store_explicit(&k->newest, v, memory_order_release);
}

// The parts of a version lie where its flags say, not always aligned: they are read by copying.
static inline struct memtable_chain version_chain(const struct memtable_version *v)
{
    struct memtable_chain chain = {NULL, v, 0};
    if ((v->flags & VERSION_CHAINED) != 0) {
        memcpy(&chain, v->rest, sizeof chain);
    }
    return chain;
}

static inline size_t version_value_offset(const struct memtable_version *v)
{
    return ((v->flags & VERSION_CHAINED) != 0 ? sizeof(struct memtable_chain) : 0) +
           ((v->flags & VERSION_EXPIRES) != 0 ? sizeof(uint64_t) : 0);
}

static inline uint64_t version_expiry(const struct memtable_version *v)
{
    return (v->flags & VERSION_EXPIRES) == 0
               ? 0
               : load_u64(v->rest + version_value_offset(v) - sizeof(uint64_t));
}

// The newest version from v on with commit <= at, or NULL.
static inline const struct memtable_version *version_at(const struct memtable_version *v,
                                                        uint64_t at)
{
    while (v != NULL && v->commit > at) {
        struct memtable_chain chain = version_chain(v);
        bool far = chain.jump != v && chain.jump->commit > at;
        v = far ? chain.jump : chain.older;
    }
    return v;
}

// The version with `depth` versions below it; v has at least as many.
static inline const struct memtable_version *version_at_depth(const struct memtable_version *v,
                                                              uint64_t depth)
{
    struct memtable_chain chain = version_chain(v);
    while (chain.depth > depth) {
        v = version_chain(chain.jump).depth >= depth ? chain.jump : chain.older;
        chain = version_chain(v);
    }
    return v;
}

// The chain of a version that is put on top of `older`.
static inline struct memtable_chain version_chain_over(const struct memtable_version *older)
{
    struct memtable_chain below = version_chain(older);
    struct memtable_chain middle = version_chain(below.jump);
    struct memtable_chain far = version_chain(middle.jump);
    bool even = below.depth - middle.depth == middle.depth - far.depth;
    return (struct memtable_chain){older, even ? middle.jump : older, below.depth + 1};
}

static inline void version_fill_entry(const struct memtable_version *v, struct kv_entry *e)
{
    e->value = v->rest + version_value_offset(v);
    e->value_bytes = v->value_bytes;
    e->commit = v->commit;
    e->end = 0;
    e->expiry = version_expiry(v);
    e->kind = v->kind;
}

#endif
