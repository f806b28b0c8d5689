#include "disk.h"

#include "engine.h"
#include "measure.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define SECTOR_BYTES 512
#define WRITE_BLOCK (1u << 20)
#define WRITE_THREADS 2

// ---------------------------------------------------------------------------------------------
// Which device

// The device number of the file system that is mounted with number `device`: its own, or that of
// the block device which its line in mountinfo names as the source.
static dev_t mount_source(dev_t device, char *type, size_t type_bytes)
{
    FILE *file = fopen("/proc/self/mountinfo", "r");
    char line[4096];
    dev_t found = device;
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        unsigned major_number;
        unsigned minor_number;
        const char *tail = strstr(line, " - ");
        char kind[64];
        char source[2048];
        struct stat st;
        if (sscanf(line, "%*d %*d %u:%u", &major_number, &minor_number) != 2 || tail == NULL ||
            makedev(major_number, minor_number) != device ||
            sscanf(tail, " - %63s %2047s", kind, source) != 2) {
            continue;
        }
        (void)snprintf(type, type_bytes, "%s", kind);
        if (stat(source, &st) == 0 && S_ISBLK(st.st_mode)) {
            found = st.st_rdev;
        }
        break;
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return found;
}

void disk_find(const char *dir, struct disk *disk_out)
{
    struct stat st;
    if (stat(dir, &st) != 0) {
        die("no directory %s", dir);
    }
    *disk_out = (struct disk){.directory = "unknown"};
    dev_t device = mount_source(st.st_dev, disk_out->directory, sizeof(disk_out->directory));
    char path[128];
    char target[512] = "";
    (void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(device), minor(device));
    (void)snprintf(disk_out->stat, sizeof(disk_out->stat), "%s/stat", path);
    if (access(disk_out->stat, R_OK) != 0 || readlink(path, target, sizeof(target) - 1) < 0) {
        die("%s does not lie on a block device whose counters can be read", dir);
    }
    const char *name = strrchr(target, '/');
    (void)snprintf(disk_out->name, sizeof(disk_out->name), "%s", name != NULL ? name + 1 : target);
}

struct disk_counters disk_counters_now(const struct disk *disk)
{
    FILE *file = fopen(disk->stat, "r");
    uint64_t n[7] = {0};
    if (file == NULL ||
        fscanf(file,
               "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64,
               &n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &n[6]) != 7) {
        die("cannot read %s", disk->stat);
    }
    (void)fclose(file);
    return (struct disk_counters){n[0], n[2] * SECTOR_BYTES, n[4], n[6] * SECTOR_BYTES};
}

struct disk_counters disk_counters_since(const struct disk *disk, const struct disk_counters *start)
{
    struct disk_counters now = disk_counters_now(disk);
    now.reads -= start->reads;
    now.read_bytes -= start->read_bytes;
    now.writes -= start->writes;
    now.written_bytes -= start->written_bytes;
    return now;
}

// A field of /proc/self/io; 0 when it cannot be read.
static uint64_t process_io(const char *name)
{
    FILE *file = fopen("/proc/self/io", "r");
    char line[128];
    uint64_t value = 0;
    size_t length = strlen(name);
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, name, length) == 0 && line[length] == ':') {
            value = strtoull(line + length + 1, NULL, 10);
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return value;
}

uint64_t disk_process_written(void)
{
    uint64_t written = process_io("write_bytes");
    uint64_t cancelled = process_io("cancelled_write_bytes");
    return written > cancelled ? written - cancelled : 0;
}

uint64_t disk_process_read(void)
{
    return process_io("read_bytes");
}

// ---------------------------------------------------------------------------------------------
// Files of a directory; engines here keep theirs flat

// Calls `visit` for every file; one that goes away meanwhile is passed over.
static void dir_visit(const char *dir, void (*visit)(void *ctx, int folder, const char *name),
                      void *ctx)
{
    DIR *folder = opendir(dir);
    struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] != '.') {
            visit(ctx, dirfd(folder), entry->d_name);
        }
    }
    if (folder != NULL) {
        (void)closedir(folder);
    }
}

static void use_one(void *ctx, int folder, const char *name)
{
    struct disk_use *use = ctx;
    struct stat st;
    if (fstatat(folder, name, &st, 0) != 0) {
        return;
    }
    uint64_t bytes = (uint64_t)st.st_blocks * SECTOR_BYTES;
    const char *dot = strrchr(name, '.');
    use->bytes += bytes;
    use->log_bytes += dot != NULL && strcmp(dot, ".log") == 0 ? bytes : 0;
    use->value_bytes += dot != NULL && strcmp(dot, ".value") == 0 ? bytes : 0;
}

struct disk_use disk_use_of(const char *dir)
{
    struct disk_use use = {0};
    dir_visit(dir, use_one, &use);
    return use;
}

static void remove_one(void *ctx, int folder, const char *name)
{
    (void)ctx;
    (void)unlinkat(folder, name, 0);
}

void disk_remove_dir(const char *dir)
{
    dir_visit(dir, remove_one, NULL);
    (void)rmdir(dir);
}

static void forget_one(void *ctx, int folder, const char *name)
{
    (void)ctx;
    int file = openat(folder, name, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        (void)posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
        (void)close(file);
    }
}

void disk_sync(const char *dir)
{
    int folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0 || syncfs(folder) != 0) {
        die("cannot sync %s", dir);
    }
    (void)close(folder);
}

void disk_forget(const char *dir)
{
    disk_sync(dir);
    int file = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
    bool dropped = file >= 0 && write(file, "3", 1) == 1;
    if (file >= 0) {
        (void)close(file);
    }
    if (!dropped) {
        dir_visit(dir, forget_one, NULL);
    }
}

// ---------------------------------------------------------------------------------------------
// Speed

double disk_noise(const struct disk *disk)
{
    struct disk_counters start = disk_counters_now(disk);
    double begun = wall_now();
    sleep_seconds(2);
    return (double)disk_counters_since(disk, &start).written_bytes / (wall_now() - begun);
}

struct writer {
    pthread_t thread;
    int file;
    uint64_t begin;
    uint64_t end;
};

static void *write_part(void *arg)
{
    const struct writer *writer = arg;
    void *block;
    if (posix_memalign(&block, 4096, WRITE_BLOCK) != 0) {
        die("out of memory");
    }
    memset(block, 0x5a, WRITE_BLOCK);
    for (uint64_t at = writer->begin; at < writer->end; at += WRITE_BLOCK) {
        if (pwrite(writer->file, block, WRITE_BLOCK, (off_t)at) != WRITE_BLOCK) {
            die("a direct write failed");
        }
    }
    free(block);
    return NULL;
}

double disk_write_speed(const char *dir, uint64_t bytes)
{
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/speed.tmp", dir);
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0666);
    if (file < 0) {
        die("%s does not take direct I/O", dir);
    }
    uint64_t part = bytes / WRITE_THREADS / WRITE_BLOCK * WRITE_BLOCK;
    if (part == 0) {
        part = WRITE_BLOCK;
    }
    if (posix_fallocate(file, 0, (off_t)(part * WRITE_THREADS)) != 0) {
        die("no room for %s", path);
    }
    disk_sync(dir);
    struct writer writers[WRITE_THREADS];
    double begun = wall_now();
    for (uint64_t i = 0; i < WRITE_THREADS; i++) {
        writers[i] = (struct writer){.file = file, .begin = i * part, .end = (i + 1) * part};
        if (pthread_create(&writers[i].thread, NULL, write_part, &writers[i]) != 0) {
            die("no thread");
        }
    }
    for (int i = 0; i < WRITE_THREADS; i++) {
        (void)pthread_join(writers[i].thread, NULL);
    }
    if (fdatasync(file) != 0) {
        die("cannot sync %s", path);
    }
    double seconds = wall_now() - begun;
    (void)close(file);
    (void)unlink(path);
    return (double)(part * WRITE_THREADS) / seconds;
}
