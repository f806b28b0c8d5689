// A simulated disk that can lose what was not synced.
//
// A file (inode) has its current bytes, which readers see, its durable bytes, and every change
// since its last sync in order. A directory has its current entries, its durable entries, and every
// change of names since its last sync. A sync of a file makes that file's bytes and size durable
// and no name; a sync of a directory makes names durable and no bytes: the weakest file system
// allowed.
//
// A crash is sim_disk_survive: a new disk made from the durable state and some of the unsynced
// changes. What may come out, by rule:
//   1. A 512-byte sector has one of the values it had since the last sync, each sector on its own.
//   2. The size of a file is one of the sizes it had since the last sync. Bytes of an extension
//      whose data did not survive are zeros, or old bytes of deleted files.
//   3. Each unsynced create, rename and unlink survives or not, each on its own.
//   4. A sector that was being changed may come out as garbage (SIM_SURVIVE_SHORN only).
//
// Bytes are shared between a disk and its survivors until one of them writes (a count on each
// buffer), so that a crash state costs little more than its unsynced bytes. One thread.
#ifndef SIM_SIM_DISK_H
#define SIM_SIM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_SECTOR_BYTES 512u
#define SIM_BLOCK_BYTES 4096u
#define SIM_NAME_BYTES 64u

// Bytes shared by count; written only while the count is 1.
struct sim_bytes {
    size_t refs;
    size_t bytes;
    size_t capacity;
    uint64_t hash; // of the bytes; 0: not computed
    uint8_t *data;
};

// One unsynced change of a file.
struct sim_change {
    uint64_t seq; // its place among all changes of the disk
    bool truncate;
    uint64_t offset;     // of a write; the new size of a truncate
    size_t bytes;        // of a write
    size_t data_at;      // of a write: where its bytes are in the inode's change_data
    uint64_t size_after; // of the file
};

struct sim_inode {
    uint64_t number;
    struct sim_bytes *current;
    struct sim_bytes *durable;
    struct sim_change *changes;
    size_t change_count, change_capacity;
    uint8_t *change_data;
    size_t change_data_bytes, change_data_capacity;
    size_t handles;   // open files
    size_t maps;      // live mappings: `current` must not move
    bool sync_failed; // a sync failed: `current` need not follow from `durable`
};

struct sim_entry {
    char name[SIM_NAME_BYTES];
    struct sim_inode *inode;
};

enum sim_name_kind { SIM_NAME_CREATE, SIM_NAME_RENAME, SIM_NAME_UNLINK };

// One unsynced change of a directory.
struct sim_name_change {
    uint64_t seq;
    enum sim_name_kind kind;
    char name[SIM_NAME_BYTES]; // created, unlinked, or the name before a rename
    char to[SIM_NAME_BYTES];   // of a rename
    struct sim_inode *inode;
};

struct sim_names {
    struct sim_entry *entries;
    size_t count, capacity;
};

struct sim_dir {
    char path[256];
    struct sim_names current, durable;
    struct sim_name_change *changes;
    size_t change_count, change_capacity;
};

struct sim_disk {
    struct sim_dir **dirs;
    size_t dir_count, dir_capacity;
    struct sim_inode **inodes;
    size_t inode_count, inode_capacity;
    uint64_t inode_next;
    uint64_t seq;          // changes made so far
    uint64_t seq_at_birth; // the same, when this disk was made
    uint64_t capacity;     // in bytes; 0: no limit
    struct sim_bytes *old; // of a deleted file: what a lost extension may show; may be NULL
};

enum sim_survive {
    SIM_SURVIVE_NOTHING,    // nothing that was not synced
    SIM_SURVIVE_EVERYTHING, // everything: the death of a process
    SIM_SURVIVE_SECTORS,    // each 512-byte sector and each name on its own
    SIM_SURVIVE_BLOCKS,     // each 4 KiB block and each name on its own
    SIM_SURVIVE_PREFIX,     // what was done up to a moment
    SIM_SURVIVE_TORN,       // the same, the last write cut at any byte
    SIM_SURVIVE_NAMES_LOST, // all data, no name
    SIM_SURVIVE_DATA_LOST,  // all names and sizes, no data: zeros
    SIM_SURVIVE_OLD_TAIL,   // all names and sizes, some data, old bytes for the rest
    SIM_SURVIVE_SHORN,      // like SECTORS, and sectors that were being changed may be garbage
    SIM_SURVIVE_POLICIES
};

const char *sim_survive_name(enum sim_survive policy);

struct sim_disk *sim_disk_new(void);
void sim_disk_free(struct sim_disk *disk); // NULL is ignored

// NULL when it is not there and `create` is false. A created directory is durable at once.
struct sim_dir *sim_disk_dir(struct sim_disk *disk, const char *path, bool create);

// The inode under `name`, or NULL.
struct sim_inode *sim_dir_find(const struct sim_dir *dir, const char *name);
// True when a crash could not lose the name in any way.
bool sim_dir_name_is_durable(const struct sim_dir *dir, const char *name);

// Changes; each takes the next place in the disk's order. The names must be legal for the change
// (present or absent as it needs). All changes of names are unsynced until sim_dir_sync.
struct sim_inode *sim_dir_create(struct sim_disk *disk, struct sim_dir *dir, const char *name);
void sim_dir_rename(struct sim_disk *disk, struct sim_dir *dir, const char *from, const char *to);
void sim_dir_unlink(struct sim_disk *disk, struct sim_dir *dir, const char *name);
void sim_dir_sync(struct sim_disk *disk, struct sim_dir *dir);

void sim_inode_write(struct sim_disk *disk, struct sim_inode *inode, uint64_t offset,
                     const void *from, size_t bytes);
// Records a store that the caller makes through the mapping itself; `current` is not touched.
void sim_inode_record_store(struct sim_disk *disk, struct sim_inode *inode, uint64_t offset,
                            const void *from, size_t bytes);
void sim_inode_truncate(struct sim_disk *disk, struct sim_inode *inode, uint64_t bytes);
void sim_inode_sync(struct sim_disk *disk, struct sim_inode *inode);

// What a failed sync leaves (the three page-cache behaviours seen on real systems).
enum sim_sync_failure {
    SIM_SYNC_KEEPS,   // readers go on seeing the new bytes, a later sync does not write them
    SIM_SYNC_REVERTS, // readers see the old bytes again
    SIM_SYNC_ZEROES,  // readers see zeros where the new bytes were
    SIM_SYNC_FAILURES
};
// None, all or some of the changes reached the disk, by the seed.
void sim_inode_sync_fails(struct sim_disk *disk, struct sim_inode *inode,
                          enum sim_sync_failure model, uint64_t seed);

// Makes the private copy of `current` that a mapping or a change needs.
void sim_inode_own_current(struct sim_inode *inode);

// Bytes of all files that have a name or are open.
uint64_t sim_disk_used(const struct sim_disk *disk);

// The sentence about the first broken invariant, or NULL: current bytes are the durable ones with
// the changes applied (a store past os_map_store breaks it). Files with a failed sync are left out.
const char *sim_disk_check(const struct sim_disk *disk);

// A new disk: what a crash now leaves.
struct sim_disk *sim_disk_survive(const struct sim_disk *disk, enum sim_survive policy,
                                  uint64_t seed);
// Of all names and bytes of a disk; for counting distinct crash states.
uint64_t sim_disk_hash(const struct sim_disk *disk);

// Shared with sim_survive.c.
struct sim_bytes *sim_bytes_new(size_t bytes);
struct sim_bytes *sim_bytes_ref(struct sim_bytes *b);
void sim_bytes_unref(struct sim_bytes *b);
// Returns a buffer of one owner with the same bytes; takes over the caller's count.
struct sim_bytes *sim_bytes_own(struct sim_bytes *b);
// Zeros what a growth adds.
void sim_bytes_resize(struct sim_bytes *b, size_t bytes);
struct sim_inode *sim_inode_new(struct sim_disk *disk, struct sim_bytes *bytes);
void sim_names_set(struct sim_names *names, const char *name, struct sim_inode *inode);
void sim_names_remove(struct sim_names *names, const char *name, const struct sim_inode *inode);

#endif
