// What the log costs: an append of 132 bytes through the mapping and with pwrite, a sync after each
// append, and reading it all back. Run in a directory of the file system that is asked about.
//
//   wal_bench DIRECTORY [appends] [syncs]
#include "base/fail.h"
#include "os/machine.h"
#include "wal/wal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PAYLOAD_BYTES 100u // 132 with the record's header
#define GROUP 8u
#define KEPT 500000u // commits in the log at most

static uint64_t next_number;

static uint64_t bench_number(void *ctx)
{
    (void)ctx;
    return ++next_number;
}

static void check(strata_rc rc)
{
    if (rc != STRATA_OK) {
        fprintf(stderr, "wal_bench: %s\n", fail_text());
        exit(1);
    }
}

static uint64_t now_ns(void)
{
    struct os_clock *clock = os_clock_posix();
    return clock->monotonic_ns(clock);
}

static strata_rc count_record(void *ctx, const struct wal_record *record)
{
    *(uint64_t *)ctx += record->payload.bytes;
    return STRATA_OK;
}

static void append_one(struct wal *w, uint64_t commit)
{
    static uint8_t payload[PAYLOAD_BYTES];
    memcpy(payload, &commit, sizeof commit);
    struct wal_record record = {commit, (int64_t)commit, 1, slice_of(payload, sizeof payload)};
    check(wal_append(w, &record));
}

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

// Appends without sync; segments are retired as a flush would, so that they are recycled. The
// median is over groups of 8, most of which meet no page fault; the mean is of this thread's
// processor time, with every fault.
static uint64_t run_appends(struct wal *w, uint64_t first, uint64_t appends, const char *what)
{
    uint64_t groups = appends / GROUP;
    uint64_t *group_ns = malloc(groups * sizeof *group_ns);
    if (group_ns == NULL) {
        exit(1);
    }
    uint64_t commit = first;
    uint64_t cpu = 0;
    uint64_t cpu_started = cpu_ns();
    for (uint64_t g = 0; g < groups; g++) {
        uint64_t started = now_ns();
        for (uint64_t end = commit + GROUP; commit < end; commit++) {
            append_one(w, commit);
        }
        group_ns[g] = now_ns() - started;
        if (g % 10000 == 9999) {
            cpu += cpu_ns() - cpu_started;
            check(wal_retire(w, commit - 1 > KEPT ? commit - 1 - KEPT : 0));
            cpu_started = cpu_ns();
        }
    }
    cpu += cpu_ns() - cpu_started;
    qsort(group_ns, groups, sizeof *group_ns, compare_u64);
    struct wal_stats stats;
    wal_stats(w, &stats);
    printf("%-24s append: median %7.1f ns, mean processor time %7.1f ns (segments: %" PRIu64
           " made, %" PRIu64 " recycled)\n",
           what, (double)group_ns[groups / 2] / GROUP, (double)cpu / (double)(groups * GROUP),
           stats.segments_created, stats.segments_recycled);
    free(group_ns);
    return commit;
}

static uint64_t run_syncs(struct wal *w, uint64_t first, uint64_t syncs, const char *what)
{
    uint64_t *sync_ns = malloc(syncs * sizeof *sync_ns);
    if (sync_ns == NULL) {
        exit(1);
    }
    for (uint64_t i = 0; i < syncs; i++) {
        uint64_t started = now_ns();
        append_one(w, first + i);
        check(wal_sync(w, first + i));
        sync_ns[i] = now_ns() - started;
    }
    qsort(sync_ns, syncs, sizeof *sync_ns, compare_u64);
    printf("%-24s append and sync: median %.1f us, best %.1f us\n", what,
           (double)sync_ns[syncs / 2] / 1e3, (double)sync_ns[0] / 1e3);
    free(sync_ns);
    return first + syncs;
}

static void run(struct os_dir *dir, struct os_executor *executor, bool mapped, uint64_t appends,
                uint64_t syncs)
{
    struct wal_config config = {
        .dir = dir,
        .executor = executor,
        .clock = os_clock_posix(),
        .incarnation = mapped ? 2 : 1,
        .mapped = mapped,
        .segment_bytes_first = 64u << 20,
        .segment_bytes_max = 64u << 20,
        .new_file_number = bench_number,
    };
    struct wal *w;
    check(wal_open(&config, 1, &w));
    uint64_t first_segment = wal_oldest_segment(w);
    uint64_t next = run_appends(w, 1, appends, mapped ? "mapped" : "pwrite");
    next = run_appends(w, next, appends, mapped ? "mapped, recycled" : "pwrite, recycled");
    uint64_t flushed = next - 1;
    uint64_t started = now_ns();
    check(wal_sync(w, next - 1));
    printf("%-24s %8.1f ms\n", "sync of what was left", (double)(now_ns() - started) / 1e6);
    next = run_syncs(w, next, syncs, mapped ? "mapped" : "pwrite");
    check(wal_retire(w, flushed));
    for (uint64_t end = next + 300000; next < end; next++) {
        append_one(w, next);
    }
    check(wal_close(w));

    struct wal_recovery recovery;
    uint64_t bytes = 0;
    started = cpu_ns();
    check(wal_recover(dir, flushed, first_segment, count_record, &bytes, &recovery));
    double seconds = (double)(cpu_ns() - started) / 1e9;
    printf("%-24s processor time: %.1f ns a record, %.0f MB/s (%" PRIu64 " records)\n", "recovery",
           seconds * 1e9 / (double)recovery.records, (double)bytes / 1e6 / seconds,
           recovery.records);
    for (uint64_t number = 1; number <= next_number; number++) {
        char name[32];
        snprintf(name, sizeof name, "%06" PRIu64 ".log", number);
        check(os_dir_unlink(dir, name));
    }
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: wal_bench DIRECTORY [appends] [syncs]\n");
        return 2;
    }
    uint64_t appends = argc > 2 ? strtoull(argv[2], NULL, 10) : 2000000;
    uint64_t syncs = argc > 3 ? strtoull(argv[3], NULL, 10) : 2000;
    struct os_machine *machine = os_machine_posix();
    struct os_dir *dir;
    struct os_executor *executor;
    check(machine->open_dir(machine, argv[1], true, &dir));
    check(machine->new_executor(machine, 1, &executor));
    run(dir, executor, true, appends, syncs);
    run(dir, executor, false, appends / 4 + 1, syncs);
    executor->close(executor);
    os_dir_close(dir);
    return 0;
}
