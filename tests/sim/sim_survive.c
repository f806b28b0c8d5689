// What is left of a simulated disk after a crash. Every choice is a function of the seed, the file
// and the place in it, so that a seed and a policy name one crash state.
#include "sim/sim_disk.h"

#include "base/hash.h"
#include "base/prng.h"
#include "lib/test_lib.h"

#include <string.h>

#define CUT_ALL UINT64_MAX

// The choices of one crash.
struct crash {
    enum sim_survive policy;
    uint64_t seed;
    uint64_t moment; // PREFIX and TORN: the last change that survives
    const struct sim_disk *disk;
};

const char *sim_survive_name(enum sim_survive policy)
{
    static const char *const names[SIM_SURVIVE_POLICIES] = {
        "nothing", "everything", "sectors",   "blocks",   "prefix",
        "torn",    "names-lost", "data-lost", "old-tail", "shorn",
    };
    return policy < SIM_SURVIVE_POLICIES ? names[policy] : "?";
}

static uint64_t choose(const struct crash *crash, uint64_t a, uint64_t b)
{
    return prng_mix(crash->seed ^ prng_mix(a * 0x9e3779b97f4a7c15u + b));
}

// The last change of the inode that `unit` (a sector, a block, the size) shows, by place in the
// disk's order: none, all, or up to some change.
static uint64_t random_cut(const struct crash *crash, const struct sim_inode *inode, uint64_t unit)
{
    uint64_t r = choose(crash, inode->number, unit);
    uint64_t first = inode->changes[0].seq;
    uint64_t last = inode->changes[inode->change_count - 1].seq;
    switch (r & 3) {
    case 0:
        return 0;
    case 1:
        return CUT_ALL;
    default:
        return first - 1 + (r >> 2) % (last - first + 2);
    }
}

static uint64_t sector_cut(const struct crash *crash, const struct sim_inode *inode,
                           uint64_t sector)
{
    switch (crash->policy) {
    case SIM_SURVIVE_SECTORS:
    case SIM_SURVIVE_OLD_TAIL:
    case SIM_SURVIVE_SHORN:
        return random_cut(crash, inode, sector + 1);
    case SIM_SURVIVE_BLOCKS:
        return random_cut(crash, inode, sector / (SIM_BLOCK_BYTES / SIM_SECTOR_BYTES) + 1);
    case SIM_SURVIVE_PREFIX:
    case SIM_SURVIVE_TORN:
        return crash->moment;
    case SIM_SURVIVE_DATA_LOST:
    case SIM_SURVIVE_NOTHING:
        return 0;
    default:
        return CUT_ALL;
    }
}

static uint64_t size_cut(const struct crash *crash, const struct sim_inode *inode)
{
    switch (crash->policy) {
    case SIM_SURVIVE_SECTORS:
    case SIM_SURVIVE_BLOCKS:
    case SIM_SURVIVE_SHORN:
        return random_cut(crash, inode, 0);
    case SIM_SURVIVE_PREFIX:
    case SIM_SURVIVE_TORN:
        return crash->moment;
    case SIM_SURVIVE_NOTHING:
        return 0;
    default:
        return CUT_ALL;
    }
}

static size_t surviving_size(const struct crash *crash, const struct sim_inode *inode)
{
    uint64_t cut = size_cut(crash, inode);
    uint64_t size = inode->durable->bytes;
    for (size_t i = 0; i < inode->change_count && inode->changes[i].seq <= cut; i++) {
        size = inode->changes[i].size_after;
    }
    return (size_t)size;
}

// Bytes that an extension shows where its data did not survive.
static void fill_old(const struct crash *crash, const struct sim_inode *inode, struct sim_bytes *to)
{
    const struct sim_bytes *from = crash->disk->old;
    if (from == NULL) {
        return;
    }
    size_t sectors = from->bytes / SIM_SECTOR_BYTES;
    // Half of the crashes keep the place in the file, so that old records line up with new ones.
    bool in_place = (choose(crash, inode->number, 0xF111) & 1) == 0;
    for (size_t at = inode->durable->bytes; at < to->bytes;) {
        size_t sector = at / SIM_SECTOR_BYTES;
        size_t in_sector = at % SIM_SECTOR_BYTES;
        size_t n = SIM_SECTOR_BYTES - in_sector;
        n = n < to->bytes - at ? n : to->bytes - at;
        size_t source = in_place ? sector : (size_t)choose(crash, inode->number, sector);
        memcpy(to->data + at, from->data + source % sectors * SIM_SECTOR_BYTES + in_sector, n);
        at += n;
    }
}

// The part of a change that a survivor of `size` bytes takes over, sector by sector.
static void apply_surviving(const struct crash *crash, const struct sim_inode *inode,
                            const struct sim_change *c, struct sim_bytes *to)
{
    uint64_t end = c->truncate ? to->bytes : c->offset + c->bytes;
    end = end < to->bytes ? end : to->bytes;
    if (crash->policy == SIM_SURVIVE_TORN && c->seq == crash->moment && !c->truncate) {
        uint64_t torn = c->offset + choose(crash, inode->number, c->seq) % (c->bytes + 1);
        end = torn < end ? torn : end;
    }
    for (uint64_t at = c->offset; at < end;) {
        uint64_t sector = at / SIM_SECTOR_BYTES;
        uint64_t stop = (sector + 1) * SIM_SECTOR_BYTES;
        stop = stop < end ? stop : end;
        if (c->seq <= sector_cut(crash, inode, sector)) {
            if (c->truncate) {
                memset(to->data + at, 0, (size_t)(stop - at));
            } else {
                memcpy(to->data + at, inode->change_data + c->data_at + (at - c->offset),
                       (size_t)(stop - at));
            }
        }
        at = stop;
    }
}

static void shear_sectors(const struct crash *crash, const struct sim_inode *inode,
                          struct sim_bytes *to)
{
    for (size_t i = 0; i < inode->change_count; i++) {
        const struct sim_change *c = &inode->changes[i];
        uint64_t first = c->offset / SIM_SECTOR_BYTES;
        uint64_t last = (c->offset + c->bytes + SIM_SECTOR_BYTES - 1) / SIM_SECTOR_BYTES;
        for (uint64_t s = first; s < last && !c->truncate; s++) {
            struct prng random = {choose(crash, inode->number, s ^ 0x5EA5)};
            uint64_t end = (s + 1) * SIM_SECTOR_BYTES;
            end = end < to->bytes ? end : to->bytes;
            if (!prng_one_in(&random, 4)) {
                continue;
            }
            for (uint64_t at = s * SIM_SECTOR_BYTES; at < end; at++) {
                to->data[at] = (uint8_t)prng_next(&random);
            }
        }
    }
}

static struct sim_bytes *copy_bytes(const struct sim_bytes *from, size_t bytes)
{
    struct sim_bytes *b = sim_bytes_new(bytes);
    memcpy(b->data, from->data, from->bytes < bytes ? from->bytes : bytes);
    return b;
}

static struct sim_bytes *surviving_bytes(const struct crash *crash, const struct sim_inode *inode)
{
    bool everything =
        crash->policy == SIM_SURVIVE_EVERYTHING || crash->policy == SIM_SURVIVE_NAMES_LOST;
    if (crash->policy == SIM_SURVIVE_EVERYTHING && inode->sync_failed) {
        return copy_bytes(inode->current, inode->current->bytes);
    }
    if (inode->change_count == 0 || crash->policy == SIM_SURVIVE_NOTHING) {
        return sim_bytes_ref(inode->durable);
    }
    if (everything && !inode->sync_failed) {
        return copy_bytes(inode->current, inode->current->bytes);
    }
    struct sim_bytes *to = copy_bytes(inode->durable, surviving_size(crash, inode));
    bool old = (choose(crash, inode->number, 0x01D) & 1) == 0;
    if (crash->policy == SIM_SURVIVE_OLD_TAIL ||
        (old && (crash->policy == SIM_SURVIVE_SECTORS || crash->policy == SIM_SURVIVE_BLOCKS))) {
        fill_old(crash, inode, to);
    }
    for (size_t i = 0; i < inode->change_count; i++) {
        apply_surviving(crash, inode, &inode->changes[i], to);
    }
    if (crash->policy == SIM_SURVIVE_SHORN) {
        shear_sectors(crash, inode, to);
    }
    return to;
}

static bool name_change_survives(const struct crash *crash, const struct sim_name_change *c)
{
    switch (crash->policy) {
    case SIM_SURVIVE_NOTHING:
    case SIM_SURVIVE_NAMES_LOST:
        return false;
    case SIM_SURVIVE_SECTORS:
    case SIM_SURVIVE_BLOCKS:
    case SIM_SURVIVE_SHORN:
        return (choose(crash, c->inode->number, c->seq) & 1) == 0;
    case SIM_SURVIVE_PREFIX:
    case SIM_SURVIVE_TORN:
        return c->seq <= crash->moment;
    default:
        return true;
    }
}

static void surviving_names(const struct crash *crash, const struct sim_dir *dir,
                            struct sim_names *names)
{
    for (size_t i = 0; i < dir->durable.count; i++) {
        sim_names_set(names, dir->durable.entries[i].name, dir->durable.entries[i].inode);
    }
    for (size_t i = 0; i < dir->change_count; i++) {
        const struct sim_name_change *c = &dir->changes[i];
        if (!name_change_survives(crash, c)) {
            continue;
        }
        if (c->kind == SIM_NAME_CREATE) {
            sim_names_set(names, c->name, c->inode);
        } else {
            sim_names_remove(names, c->name, c->inode);
        }
        if (c->kind == SIM_NAME_RENAME) {
            sim_names_set(names, c->to, c->inode);
        }
    }
}

struct sim_disk *sim_disk_survive(const struct sim_disk *disk, enum sim_survive policy,
                                  uint64_t seed)
{
    struct crash crash = {.policy = policy, .seed = seed, .disk = disk};
    // A moment among the latest changes: earlier ones were crash boundaries of their own.
    uint64_t back = prng_mix(seed) % 8 == 0 ? disk->seq + 1 : 24;
    uint64_t distance = prng_mix(seed ^ 0x70) % back;
    crash.moment = distance < disk->seq ? disk->seq - distance : 0;
    struct sim_disk *to = sim_disk_new();
    to->seq = disk->seq;
    to->seq_at_birth = disk->seq;
    to->capacity = disk->capacity;
    to->old = disk->old == NULL ? NULL : sim_bytes_ref(disk->old);
    for (size_t d = 0; d < disk->dir_count; d++) {
        const struct sim_dir *from = disk->dirs[d];
        struct sim_dir *dir = sim_disk_dir(to, from->path, true);
        surviving_names(&crash, from, &dir->durable);
        for (size_t i = 0; i < dir->durable.count; i++) {
            struct sim_entry *e = &dir->durable.entries[i];
            e->inode = sim_inode_new(to, surviving_bytes(&crash, e->inode));
            sim_names_set(&dir->current, e->name, e->inode);
        }
    }
    return to;
}

uint64_t sim_disk_hash(const struct sim_disk *disk)
{
    uint64_t sum = 0;
    for (size_t d = 0; d < disk->dir_count; d++) {
        const struct sim_dir *dir = disk->dirs[d];
        uint64_t dir_hash = checksum64(1, dir->path, strlen(dir->path));
        for (size_t i = 0; i < dir->current.count; i++) {
            const struct sim_entry *e = &dir->current.entries[i];
            struct sim_bytes *b = e->inode->current;
            if (b->hash == 0) {
                b->hash = checksum64(2, b->data, b->bytes) | 1;
            }
            uint64_t name = checksum64(dir_hash, e->name, strlen(e->name));
            sum += prng_mix(name ^ prng_mix(b->hash)); // a sum: the order of names is no matter
        }
    }
    return sum;
}
