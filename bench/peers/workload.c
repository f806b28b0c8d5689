#include "workload.h"

#include "measure.h"

#include "base/prng.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef HAVE_CALLGRIND
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_START_INSTRUMENTATION (void)0
#define CALLGRIND_STOP_INSTRUMENTATION (void)0
#define CALLGRIND_DUMP_STATS_AT(name) (void)(name)
#endif

const struct row_info row_infos[ROW_COUNT] = {
    [ROW_FILLSEQ] = {"fillseq", "puts in key order into an empty database", true},
    [ROW_FILLRANDOM] = {"fillrandom", "puts of as many different keys in random order", true},
    [ROW_READRANDOM_FRESH] = {"readrandom, fresh", "gets right after the random fill", false},
    [ROW_READRANDOM] = {"readrandom", "gets of keys that exist, in random order, settled", false},
    [ROW_READMISSING] = {"readmissing", "gets of keys that do not exist, between those that do",
                         false},
    [ROW_GET_MANY] = {"get_many 16", "gets in groups of 16 random keys, for each key", false},
    [ROW_READSEQ] = {"readseq", "every entry in key order by one iterator", false},
    [ROW_SEEK10] = {"seek + 10", "a new iterator, a seek to a random key, 10 entries", false},
    [ROW_COMPACT] = {"compact", "everything merged into the last level, for each key", true},
    [ROW_READRANDOM_COMPACTED] = {"readrandom, compacted", "the same gets after that", false},
    [ROW_READSEQ_COMPACTED] = {"readseq, compacted", "the same scan after that", false},
    [ROW_OVERWRITE] = {"overwrite", "puts of random keys, with repetitions, over existing ones",
                       true},
};

void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("peers_bench: ", stderr);
    (void)vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

// ---------------------------------------------------------------------------------------------
// Keys and values

#define POOL_VALUES 1024
#define POOL_RANDOM 42

static char pool[POOL_VALUES][VALUE_BYTES];
static char digit_pairs[100][2];

static void tables_fill(void)
{
    for (int i = 0; i < 100; i++) {
        digit_pairs[i][0] = (char)('0' + i / 10);
        digit_pairs[i][1] = (char)('0' + i % 10);
    }
    struct prng prng = {7};
    for (size_t i = 0; i < POOL_VALUES; i++) {
        for (size_t j = 0; j < POOL_RANDOM; j++) {
            pool[i][8 + j] = (char)prng_next(&prng);
        }
        memcpy(pool[i] + VALUE_BYTES / 2, pool[i], VALUE_BYTES / 2);
    }
}

// In pairs and in two halves: the driver should cost little beside what it measures.
static void make_digits(char out[8], uint32_t number)
{
    for (size_t i = 8; i > 0; i -= 2, number /= 100) {
        memcpy(out + i - 2, digit_pairs[number % 100], 2);
    }
}

static void make_key(char key[KEY_BYTES], uint64_t number)
{
    make_digits(key, (uint32_t)(number / 100000000));
    make_digits(key + 8, (uint32_t)(number % 100000000));
}

// Sorts after the key of the same number and before the next one.
static void make_missing_key(char key[KEY_BYTES], uint64_t number)
{
    make_key(key, number);
    key[KEY_BYTES - 1] = (char)(key[KEY_BYTES - 1] + 'A' - '0');
}

static void make_value(char value[VALUE_BYTES], uint64_t number)
{
    memcpy(value, pool[number % POOL_VALUES], VALUE_BYTES);
    memcpy(value, &number, sizeof(number));
    memcpy(value + VALUE_BYTES / 2, &number, sizeof(number));
}

// 0 to keys - 1 in a random order.
static uint32_t *make_order(uint64_t keys)
{
    struct prng prng = {301};
    uint32_t *order = malloc(keys * sizeof(*order));
    if (order == NULL) {
        die("out of memory");
    }
    for (uint64_t i = 0; i < keys; i++) {
        order[i] = (uint32_t)i;
    }
    for (uint64_t i = keys - 1; i > 0; i--) {
        uint64_t j = prng_below(&prng, i + 1);
        uint32_t kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
    return order;
}

double workload_driver_ns(uint64_t keys)
{
    char key[KEY_BYTES];
    char value[VALUE_BYTES];
    uint64_t sum = 0;
    tables_fill();
    uint32_t *order = make_order(keys);
    struct moment start = moment_now();
    for (uint64_t i = 0; i < keys; i++) {
        make_key(key, order[i]);
        make_value(value, order[i]);
        __asm__ volatile("" : : "r"(key), "r"(value) : "memory");
        sum += (uint64_t)key[KEY_BYTES - 1];
    }
    double took = moment_now().cpu - start.cpu;
    free(order);
    return sum == 0 ? 0 : took * 1e9 / (double)keys;
}

// ---------------------------------------------------------------------------------------------
// Rows

struct run {
    const struct workload *w;
    struct block_result *result;
    struct peer_db *db;
    const uint32_t *order;
    struct moment start;
};

static bool run_wants(const struct run *r, enum row row)
{
    return (r->w->rows >> row & 1) != 0;
}

static void perf_control(const struct run *r, const char *command)
{
    if (r->w->perf_fifo == NULL) {
        return;
    }
    int fifo = open(r->w->perf_fifo, O_WRONLY | O_CLOEXEC);
    if (fifo < 0 || write(fifo, command, strlen(command)) < 0) {
        die("cannot write to %s", r->w->perf_fifo);
    }
    (void)close(fifo);
    (void)usleep(100 * 1000);
}

static void row_begin(struct run *r, enum row row)
{
    if (run_wants(r, row)) {
        perf_control(r, "enable\n");
        CALLGRIND_START_INSTRUMENTATION;
    }
    r->start = moment_now();
}

// First without asking, so that the way an engine waits is not counted as its work.
static void run_settle(struct run *r)
{
    measure_quiet();
    r->w->peer->settle(r->db);
    measure_quiet();
}

static void row_end(struct run *r, enum row row, uint64_t ops)
{
    struct moment end = moment_now();
    struct row_result *result = &r->result->rows[row];
    double scale = 1e9 / (double)ops;
    result->ops = (double)ops;
    result->wall = (end.wall - r->start.wall) * scale;
    // Right after a fill the background works for the fill, not for the reads.
    result->cpu =
        (row == ROW_READRANDOM_FRESH ? end.caller - r->start.caller : end.cpu - r->start.cpu) *
        scale;
    if (row_infos[row].writes && (row != ROW_FILLRANDOM || !run_wants(r, ROW_READRANDOM_FRESH))) {
        run_settle(r);
        result->cpu_settled = (moment_now().cpu - r->start.cpu) * scale;
    }
    if (run_wants(r, row)) {
        CALLGRIND_STOP_INSTRUMENTATION;
        CALLGRIND_DUMP_STATS_AT(row_infos[row].name);
        perf_control(r, "disable\n");
    }
}

static void run_puts(struct run *r, enum row row)
{
    char key[KEY_BYTES];
    char value[VALUE_BYTES];
    const uint64_t keys = r->w->keys;
    struct prng prng = {17};
    row_begin(r, row);
    for (uint64_t i = 0; i < keys; i++) {
        uint64_t number = row == ROW_FILLSEQ      ? i
                          : row == ROW_FILLRANDOM ? r->order[i]
                                                  : prng_below(&prng, keys);
        make_key(key, number);
        make_value(value, number);
        r->w->peer->put(r->db, key, value);
    }
    row_end(r, row, keys);
}

static void run_gets(struct run *r, enum row row, uint64_t ops)
{
    char key[KEY_BYTES];
    struct prng prng = {23};
    row_begin(r, row);
    for (uint64_t i = 0; i < ops; i++) {
        uint64_t number = prng_below(&prng, r->w->keys);
        uint64_t stamp;
        make_key(key, number);
        if (!r->w->peer->get(r->db, key, &stamp) || stamp != number) {
            die("%s: a wrong value for %llu", r->w->peer->name, (unsigned long long)number);
        }
    }
    row_end(r, row, ops);
}

static void run_missing(struct run *r, uint64_t ops)
{
    char key[KEY_BYTES];
    struct prng prng = {29};
    row_begin(r, ROW_READMISSING);
    for (uint64_t i = 0; i < ops; i++) {
        uint64_t stamp;
        make_missing_key(key, prng_below(&prng, r->w->keys));
        if (r->w->peer->get(r->db, key, &stamp)) {
            die("%s: a value for a key that does not exist", r->w->peer->name);
        }
    }
    row_end(r, ROW_READMISSING, ops);
}

static void run_get_many(struct run *r, uint64_t ops)
{
    char keys[GET_MANY * KEY_BYTES];
    struct prng prng = {31};
    ops -= ops % GET_MANY;
    row_begin(r, ROW_GET_MANY);
    for (uint64_t i = 0; i < ops; i += GET_MANY) {
        uint64_t expected = 0;
        uint64_t sum;
        for (size_t j = 0; j < GET_MANY; j++) {
            uint64_t number = prng_below(&prng, r->w->keys);
            make_key(keys + j * KEY_BYTES, number);
            expected += number;
        }
        if (r->w->peer->get_many(r->db, keys, &sum) != GET_MANY || sum != expected) {
            die("%s: wrong values from get_many", r->w->peer->name);
        }
    }
    row_end(r, ROW_GET_MANY, ops);
}

static void scan_all(struct run *r)
{
    const uint64_t keys = r->w->keys;
    uint64_t sum;
    uint64_t count = r->w->peer->scan(r->db, NULL, UINT64_MAX, &sum);
    if (count != keys || sum != keys * (keys - 1) / 2) {
        die("%s: a scan of %llu entries has %llu or wrong values", r->w->peer->name,
            (unsigned long long)keys, (unsigned long long)count);
    }
}

static void run_scan(struct run *r, enum row row, uint64_t times)
{
    row_begin(r, row);
    for (uint64_t i = 0; i < times; i++) {
        scan_all(r);
    }
    row_end(r, row, times * r->w->keys);
}

static void run_seeks(struct run *r, uint64_t ops)
{
    char key[KEY_BYTES];
    struct prng prng = {37};
    row_begin(r, ROW_SEEK10);
    for (uint64_t i = 0; i < ops; i++) {
        uint64_t from = prng_below(&prng, r->w->keys - 10);
        uint64_t sum;
        make_key(key, from);
        if (r->w->peer->scan(r->db, key, 10, &sum) != 10 || sum != 10 * from + 45) {
            die("%s: wrong entries after a seek", r->w->peer->name);
        }
    }
    row_end(r, ROW_SEEK10, ops);
}

// ---------------------------------------------------------------------------------------------
// A block: two databases, one after the other

static void run_open(struct run *r, char *dir, size_t dir_bytes, const char *name)
{
    (void)snprintf(dir, dir_bytes, "%s/%s.%s", r->w->dir, r->w->peer->name, name);
    measure_remove_dir(dir);
    r->db = r->w->peer->open(dir, &r->w->setup);
}

static void run_sequential(struct run *r)
{
    char dir[4096];
    run_open(r, dir, sizeof(dir), "seq");
    run_puts(r, ROW_FILLSEQ);
    r->w->peer->close(r->db);
    measure_remove_dir(dir);
}

static void run_fill_random(struct run *r)
{
    double before = moment_now().cpu;
    run_puts(r, ROW_FILLRANDOM);
    if (!run_wants(r, ROW_READRANDOM_FRESH)) {
        return;
    }
    // What the fill left to do is done during the gets and after them.
    uint64_t ops = r->w->keys / 20;
    run_gets(r, ROW_READRANDOM_FRESH, ops);
    run_settle(r);
    double keys = (double)r->w->keys;
    double gets = r->result->rows[ROW_READRANDOM_FRESH].cpu * (double)ops;
    r->result->rows[ROW_FILLRANDOM].cpu_settled = ((moment_now().cpu - before) * 1e9 - gets) / keys;
}

static void run_reads(struct run *r)
{
    const uint64_t keys = r->w->keys;
    const uint64_t repeat = r->w->repeat;
    scan_all(r); // the warm pass
    if (run_wants(r, ROW_READRANDOM)) {
        run_gets(r, ROW_READRANDOM, keys / 4 * repeat);
    }
    if (run_wants(r, ROW_READMISSING)) {
        run_missing(r, keys / 4 * repeat);
    }
    if (run_wants(r, ROW_GET_MANY)) {
        run_get_many(r, keys / 4 * repeat);
    }
    if (run_wants(r, ROW_READSEQ)) {
        run_scan(r, ROW_READSEQ, 2 * repeat);
    }
    if (run_wants(r, ROW_SEEK10)) {
        run_seeks(r, keys / 20 * repeat);
    }
    r->result->anonymous_bytes = (double)measure_anonymous_bytes();
}

static void run_compacted(struct run *r)
{
    const uint64_t keys = r->w->keys;
    row_begin(r, ROW_COMPACT);
    r->w->peer->compact(r->db);
    row_end(r, ROW_COMPACT, keys);
    scan_all(r);
    if (run_wants(r, ROW_READRANDOM_COMPACTED)) {
        run_gets(r, ROW_READRANDOM_COMPACTED, keys / 4 * r->w->repeat);
    }
    if (run_wants(r, ROW_READSEQ_COMPACTED)) {
        run_scan(r, ROW_READSEQ_COMPACTED, 2 * r->w->repeat);
    }
}

static void run_random(struct run *r)
{
    char dir[4096];
    run_open(r, dir, sizeof(dir), "random");
    run_fill_random(r);
    r->result->disk_bytes = (double)measure_dir_bytes(dir);
    run_reads(r);
    const uint32_t compacted =
        1u << ROW_COMPACT | 1u << ROW_READRANDOM_COMPACTED | 1u << ROW_READSEQ_COMPACTED;
    if ((r->w->rows & compacted) != 0) {
        run_compacted(r);
    }
    if (run_wants(r, ROW_OVERWRITE)) {
        run_puts(r, ROW_OVERWRITE);
    }
    r->w->peer->close(r->db);
    measure_remove_dir(dir);
}

void workload_run(const struct workload *w, struct block_result *result_out)
{
    *result_out = (struct block_result){0};
    tables_fill();
    uint32_t *order = make_order(w->keys);
    struct run r = {.w = w, .result = result_out, .order = order};
    if ((w->rows & 1u << ROW_FILLSEQ) != 0) {
        run_sequential(&r);
    }
    if ((w->rows & ~(1u << ROW_FILLSEQ)) != 0) {
        run_random(&r);
    }
    result_out->peak_bytes = (double)measure_peak_bytes();
    free(order);
}
