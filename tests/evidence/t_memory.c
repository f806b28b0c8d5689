// A million lines from a pipe into a database with a budget of 32 MiB, then read back whole: the
// anonymous memory of the process stays under the budget and 64 MiB. The mapped log is memory of
// files and is printed apart; so is what malloc holds on to.
#include "base/prng.h"
#include "lib/evidence.h"
#include "lib/test_lib.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1ull << 20)
#define BUDGET (32 * MIB)
#define BEYOND (64 * MIB)
#define BATCH_LINES 1000u
#define KEY_DIGITS 16u
#define VALUE_MOST 160u
#define LINE_MOST 256u

struct memory {
    uint64_t anonymous, file, shared; // bytes
};

struct load {
    strata_db *db;
    struct memory most;
    uint64_t lines, measured, budget_used_most;
};

static struct memory memory_now(void)
{
    struct memory m = {0};
    char line[256];
    FILE *f = fopen("/proc/self/status", "r");
    EVIDENCE(f != NULL, "/proc/self/status: %s", strerror(errno));
    while (fgets(line, sizeof line, f) != NULL) {
        uint64_t kib = strtoull(line + strcspn(line, "0123456789"), NULL, 10);
        if (strncmp(line, "RssAnon:", 8) == 0) {
            m.anonymous = kib * 1024;
        } else if (strncmp(line, "RssFile:", 8) == 0) {
            m.file = kib * 1024;
        } else if (strncmp(line, "RssShmem:", 9) == 0) {
            m.shared = kib * 1024;
        }
    }
    fclose(f);
    EVIDENCE(m.anonymous > 0, "no RssAnon in /proc/self/status");
    return m;
}

static uint64_t greater(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void measure(struct load *l)
{
    struct memory now = memory_now();
    l->most.anonymous = greater(l->most.anonymous, now.anonymous);
    l->most.file = greater(l->most.file, now.file);
    l->most.shared = greater(l->most.shared, now.shared);
    l->budget_used_most = greater(l->budget_used_most, metric_of(l->db, "memory_used"));
    l->measured++;
    EVIDENCE(now.anonymous < BUDGET + BEYOND, "%llu MiB of anonymous memory after %llu lines",
             (unsigned long long)(now.anonymous / MIB), (unsigned long long)l->lines);
}

// ---- the lines

static uint64_t key_number(uint64_t seed, uint64_t n)
{
    return prng_mix(seed * 1000003 + n);
}

static size_t make_line(char *to, uint64_t seed, uint64_t n)
{
    uint64_t number = key_number(seed, n);
    size_t value_bytes = 40 + number % (VALUE_MOST - 40);
    int used = snprintf(to, LINE_MOST, "%016llx\t", (unsigned long long)number);
    for (size_t i = 0; i < value_bytes; i++) {
        to[(size_t)used + i] = (char)('a' + (number >> (i % 60)) % 26);
    }
    to[(size_t)used + value_bytes] = '\n';
    return (size_t)used + value_bytes + 1;
}

static void send_lines(int pipe_end, uint64_t seed, uint64_t lines)
{
    FILE *f = fdopen(pipe_end, "w");
    char line[LINE_MOST];
    for (uint64_t n = 0; f != NULL && n < lines; n++) {
        size_t bytes = make_line(line, seed, n);
        if (fwrite(line, 1, bytes, f) != bytes) {
            _exit(1);
        }
    }
    _exit(f != NULL && fclose(f) == 0 ? 0 : 1);
}

static void load_lines(struct load *l, FILE *from)
{
    char line[LINE_MOST];
    strata_batch *batch;
    strata_write how = STRATA_WRITE_INIT;
    how.durability = STRATA_SYNC_BACKGROUND;
    MUST(strata_batch_new(l->db, &batch));
    while (fgets(line, sizeof line, from) != NULL) {
        size_t bytes = strlen(line);
        EVIDENCE(line[KEY_DIGITS] == '\t' && line[bytes - 1] == '\n', "line %llu",
                 (unsigned long long)l->lines);
        strata_slice key = {line, KEY_DIGITS};
        strata_slice value = {line + KEY_DIGITS + 1, bytes - KEY_DIGITS - 2};
        MUST(strata_batch_put(batch, NULL, key, value));
        l->lines++;
        if (l->lines % BATCH_LINES == 0) {
            MUST(strata_commit(l->db, &how, batch, NULL));
            strata_batch_reset(batch);
            if (l->lines % (BATCH_LINES * 5) == 0) {
                measure(l);
            }
        }
    }
    if (strata_batch_count(batch) > 0) {
        MUST(strata_commit(l->db, &how, batch, NULL));
    }
    strata_batch_free(batch);
}

static void load_from_pipe(struct load *l, uint64_t seed, uint64_t lines)
{
    int ends[2];
    EVIDENCE(pipe(ends) == 0, "pipe: %s", strerror(errno));
    fflush(NULL);
    pid_t child = fork();
    EVIDENCE(child >= 0, "fork: %s", strerror(errno));
    if (child == 0) {
        close(ends[0]);
        send_lines(ends[1], seed, lines);
    }
    close(ends[1]);
    FILE *from = fdopen(ends[0], "r");
    EVIDENCE(from != NULL, "fdopen: %s", strerror(errno));
    load_lines(l, from);
    fclose(from);
    int status = 0;
    EVIDENCE(waitpid(child, &status, 0) == child && status == 0, "the sender's status is 0x%x",
             (unsigned)status);
    EVIDENCE(l->lines == lines, "%llu lines", (unsigned long long)l->lines);
}

// ---- reading back

static void read_back(struct load *l, uint64_t seed)
{
    strata_iter *iter;
    strata_value value = STRATA_VALUE_INIT;
    uint64_t count = 0;
    MUST(strata_iter_open(l->db, NULL, &iter));
    strata_rc rc = strata_iter_first(iter);
    for (; rc == STRATA_OK; rc = strata_iter_next(iter)) {
        count++;
        if (count % 10000 == 0) {
            measure(l);
        }
    }
    EVIDENCE(rc == STRATA_END && count == l->lines, "a scan of %llu entries: %s",
             (unsigned long long)count, strata_rc_name(rc));
    strata_iter_close(iter);
    for (uint64_t n = 0; n < l->lines; n += 7) {
        char line[LINE_MOST];
        size_t bytes = make_line(line, seed, n);
        MUST(strata_get(l->db, NULL, (strata_slice){line, KEY_DIGITS}, &value));
        EVIDENCE(value.bytes == bytes - KEY_DIGITS - 2 &&
                     memcmp(value.data, line + KEY_DIGITS + 1, value.bytes) == 0,
                 "the value of line %llu", (unsigned long long)n);
        if (n % 7000 == 0) {
            measure(l);
        }
    }
    strata_value_release(&value);
}

static void print_memory(const struct load *l, const char *when)
{
    printf("%s: at most %.1f MiB of anonymous memory (%.1f MiB charged to a budget of %llu); "
           "beside it %.1f MiB of mapped files and %.1f MiB shared\n",
           when, (double)l->most.anonymous / (double)MIB, (double)l->budget_used_most / (double)MIB,
           BUDGET / MIB, (double)l->most.file / (double)MIB, (double)l->most.shared / (double)MIB);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct test_options o;
    test_options_parse(&o, argc, argv);
    uint64_t lines = o.ops > 0 ? o.ops : 1000000;
    char *path = scratch_new(NULL);
    strata_options options = STRATA_OPTIONS_INIT;
    struct load l = {0};
    test_label("t_memory --seed %llu --ops %llu: in %s", (unsigned long long)o.seed,
               (unsigned long long)lines, path);
    options.flags = STRATA_OPEN_CREATE;
    options.memory_bytes = BUDGET;
    printf("before: %.1f MiB of anonymous memory\n", (double)memory_now().anonymous / (double)MIB);
    double began = test_seconds();
    MUST(strata_open(path, &options, &l.db));
    load_from_pipe(&l, o.seed, lines);
    printf("%llu lines in %.1f s\n", (unsigned long long)lines, test_seconds() - began);
    print_memory(&l, "loading");
    MUST(strata_compact(l.db, NULL, NULL, NULL));
    measure(&l);
    print_memory(&l, "and compacting");
    read_back(&l, o.seed);
    print_memory(&l, "and reading");
    MUST(strata_check(l.db));
    MUST(strata_close(l.db));
    scratch_remove(path);
    printf("cases: %llu\n", (unsigned long long)lines);
    return 0;
}
