// The device under a directory, what it was asked to do, and how fast it is without an engine.
#ifndef VALUES_DISK_H
#define VALUES_DISK_H

#include <stdint.h>

// Counters of /sys/dev/block/MAJOR:MINOR/stat: of the whole device, whoever asked.
struct disk_counters {
    uint64_t reads;         // requests that the device completed
    uint64_t read_bytes;    // in sectors of 512 bytes
    uint64_t writes;        //
    uint64_t written_bytes; //
};

struct disk {
    char name[64];      // e.g. "vda"
    char stat[128];     // path of its counters
    char directory[64]; // its file system's type
};

// The device that `dir` lies on: its number, or the source that /proc/self/mountinfo names for it.
void disk_find(const char *dir, struct disk *disk_out);
struct disk_counters disk_counters_now(const struct disk *disk);
struct disk_counters disk_counters_since(const struct disk *disk,
                                         const struct disk_counters *start);
// Bytes that this process caused to be written, less what was deleted before it was:
// /proc/self/io. Pages that are dirtied again after they were written count again.
uint64_t disk_process_written(void);
// Bytes that this process had the device read.
uint64_t disk_process_read(void);

// Puts everything on disk and makes sure that nothing of it is read from memory: drop_caches as
// root, else POSIX_FADV_DONTNEED on every file of `dir`.
void disk_forget(const char *dir);
void disk_sync(const char *dir);
// Bytes that others write on the device in a second, while this process does nothing.
double disk_noise(const struct disk *disk);
// Sequential writes of `bytes` with direct I/O, in blocks of a MiB by two threads: bytes a second.
double disk_write_speed(const char *dir, uint64_t bytes);

// Blocks that the files of `dir` take; those of names that end in .log and .value apart.
struct disk_use {
    uint64_t bytes; // of all
    uint64_t log_bytes;
    uint64_t value_bytes;
};
struct disk_use disk_use_of(const char *dir);
void disk_remove_dir(const char *dir);

#endif
