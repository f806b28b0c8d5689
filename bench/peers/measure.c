#include "measure.h"

#include "peer.h"

#include "base/prng.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double clock_seconds(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

struct moment moment_now(void)
{
    return (struct moment){.wall = clock_seconds(CLOCK_MONOTONIC),
                           .cpu = clock_seconds(CLOCK_PROCESS_CPUTIME_ID),
                           .caller = clock_seconds(CLOCK_THREAD_CPUTIME_ID)};
}

void measure_quiet(void)
{
    const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    int quiet = 0;
    double before = moment_now().cpu;
    while (quiet < 10) {
        (void)nanosleep(&pause, NULL);
        double now = moment_now().cpu;
        quiet = now - before < 0.001 ? quiet + 1 : 0;
        before = now;
    }
}

// ---------------------------------------------------------------------------------------------
// Directories and memory

static uint64_t walked_bytes;

static int walk_count(const char *path, const struct stat *stat, int type, struct FTW *walk)
{
    (void)path;
    (void)walk;
    if (type == FTW_F) {
        walked_bytes += (uint64_t)stat->st_blocks * 512;
    }
    return 0;
}

static int walk_remove(const char *path, const struct stat *stat, int type, struct FTW *walk)
{
    (void)stat;
    (void)type;
    (void)walk;
    return remove(path);
}

uint64_t measure_dir_bytes(const char *dir)
{
    walked_bytes = 0;
    (void)nftw(dir, walk_count, 16, FTW_PHYS);
    return walked_bytes;
}

void measure_remove_dir(const char *dir)
{
    (void)nftw(dir, walk_remove, 16, FTW_PHYS | FTW_DEPTH);
}

uint64_t measure_anonymous_bytes(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    unsigned long kib = 0;
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "RssAnon: %lu", &kib) == 1) {
            break;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return (uint64_t)kib * 1024;
}

uint64_t measure_peak_bytes(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)usage.ru_maxrss * 1024;
}

double measure_machine_cpu(void)
{
    FILE *file = fopen("/proc/stat", "r");
    unsigned long long user = 0;
    unsigned long long nice = 0;
    unsigned long long system = 0;
    unsigned long long irq = 0;
    unsigned long long softirq = 0;
    unsigned long long steal = 0;
    if (file != NULL) {
        if (fscanf(file, "cpu %llu %llu %llu %*u %*u %llu %llu %llu", &user, &nice, &system, &irq,
                   &softirq, &steal) != 6) {
            user = 0;
        }
        (void)fclose(file);
    }
    return (double)(user + nice + system + irq + softirq + steal) / (double)sysconf(_SC_CLK_TCK);
}

double measure_children_cpu(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_CHILDREN, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

// ---------------------------------------------------------------------------------------------
// Calibration

#define CALIBRATION_BYTES ((size_t)64 << 20)
#define CALIBRATION_LINE 64
#define CALIBRATION_SYNCS 15

static double calibrate_copy(char *from, char *to)
{
    double best = 1e9;
    for (int i = 0; i < 4; i++) {
        struct moment start = moment_now();
        memcpy(to, from, CALIBRATION_BYTES);
        double took = moment_now().cpu - start.cpu;
        best = took < best ? took : best;
    }
    return best * 1e9 / (double)(CALIBRATION_BYTES / 1024);
}

// One cycle through all lines in a random order (Sattolo), followed for a while.
static double calibrate_loads(char *memory)
{
    const uint64_t lines = CALIBRATION_BYTES / CALIBRATION_LINE;
    struct prng prng = {1};
    uint32_t *next = malloc(lines * sizeof(*next));
    if (next == NULL) {
        die("out of memory");
    }
    for (uint32_t i = 0; i < lines; i++) {
        next[i] = i;
    }
    for (uint64_t i = lines - 1; i > 0; i--) {
        uint64_t j = prng_below(&prng, i);
        uint32_t kept = next[i];
        next[i] = next[j];
        next[j] = kept;
    }
    for (uint64_t i = 0; i < lines; i++) {
        memcpy(memory + i * CALIBRATION_LINE, &next[i], sizeof(next[i]));
    }
    free(next);
    const int steps = 1000000;
    uint32_t at = 0;
    struct moment start = moment_now();
    for (int i = 0; i < steps; i++) {
        memcpy(&at, memory + (size_t)at * CALIBRATION_LINE, sizeof(at));
    }
    double took = moment_now().cpu - start.cpu;
    return at == UINT32_MAX ? 0 : took * 1e9 / steps;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double calibrate_sync(const char *dir)
{
    char path[4096];
    char page[4096] = {0};
    double us[CALIBRATION_SYNCS];
    (void)snprintf(path, sizeof(path), "%s/calibration", dir);
    int file = open(path, O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0) {
        die("cannot create %s", path);
    }
    for (int i = 0; i < CALIBRATION_SYNCS; i++) {
        page[0] = (char)i;
        struct moment start = moment_now();
        if (pwrite(file, page, sizeof(page), 0) != (ssize_t)sizeof(page) || fdatasync(file) != 0) {
            die("cannot write %s", path);
        }
        us[i] = (moment_now().wall - start.wall) * 1e6;
    }
    (void)close(file);
    (void)unlink(path);
    qsort(us, CALIBRATION_SYNCS, sizeof(us[0]), compare_doubles);
    return us[CALIBRATION_SYNCS / 2];
}

struct calibration measure_machine(const char *dir)
{
    int ends[2];
    if (pipe(ends) != 0) {
        die("pipe failed");
    }
    pid_t child = fork();
    if (child == 0) {
        char *memory = malloc(2 * CALIBRATION_BYTES);
        if (memory == NULL) {
            die("out of memory");
        }
        memset(memory, 1, 2 * CALIBRATION_BYTES);
        struct calibration found = {
            .copy_ns = calibrate_copy(memory, memory + CALIBRATION_BYTES),
            .load_ns = calibrate_loads(memory),
            .sync_us = calibrate_sync(dir),
        };
        _exit(write(ends[1], &found, sizeof(found)) == (ssize_t)sizeof(found) ? 0 : 1);
    }
    (void)close(ends[1]);
    struct calibration found;
    if (child < 0 || read(ends[0], &found, sizeof(found)) != (ssize_t)sizeof(found)) {
        die("calibration failed");
    }
    (void)close(ends[0]);
    (void)waitpid(child, NULL, 0);
    return found;
}
