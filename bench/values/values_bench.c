// Measures what separated values cost: bytes written, disk used, requests read, beside RocksDB with
// and without blob files and beside the device itself. script/bench-values runs it.
//
//   values_bench STAGE --dir DIR [OPTIONS]     STAGE: load, bound, reads, sizes
#include "values.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MEMORY_BYTES (256ull << 20)

static const struct engine *const engines[ENGINES_MAX] = {&engine_strata, &engine_rocksdb,
                                                          &engine_blobdb};

static const struct {
    const char *name;
    void (*run)(const struct plan *plan);
} stages[] = {
    {"load", stage_load}, {"bound", stage_bound}, {"reads", stage_reads}, {"sizes", stage_sizes}};

static void usage(void)
{
    fputs("usage: values_bench load|bound|reads|sizes --dir DIR\n"
          "  --bytes N     keys and values that a load gives (default 5 GiB)\n"
          "  --value N     bytes of a value (default 4096)\n"
          "  --memory N    budget of each engine (default 256 MiB; reads: a tenth of the data)\n"
          "  --buffer N    a write buffer (default an eighth of the budget)\n"
          "  --depth N     requests in flight of the device's own random reads (default 64)\n"
          "  --separate N  threshold of separation (default 2048; 0: off)\n"
          "  --engines A,B of strata, rocksdb, blobdb (default all)\n",
          stderr);
    exit(2);
}

static void take_engines(struct plan *plan, char *names)
{
    plan->engine_count = 0;
    char *rest;
    for (char *name = strtok_r(names, ",", &rest); name != NULL;
         name = strtok_r(NULL, ",", &rest)) {
        size_t i = 0;
        while (i < ENGINES_MAX && strcmp(engines[i]->name, name) != 0) {
            i++;
        }
        if (i == ENGINES_MAX || plan->engine_count == ENGINES_MAX) {
            usage();
        }
        plan->engines[plan->engine_count++] = engines[i];
    }
}

static void take_options(struct plan *plan, int argc, char **argv)
{
    static const struct option options[] = {{"dir", required_argument, NULL, 'd'},
                                            {"bytes", required_argument, NULL, 'b'},
                                            {"value", required_argument, NULL, 'v'},
                                            {"memory", required_argument, NULL, 'm'},
                                            {"buffer", required_argument, NULL, 'w'},
                                            {"depth", required_argument, NULL, 'q'},
                                            {"separate", required_argument, NULL, 's'},
                                            {"engines", required_argument, NULL, 'e'},
                                            {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        uint64_t number = optarg != NULL ? strtoull(optarg, NULL, 10) : 0;
        switch (option) {
        case 'd':
            plan->dir = optarg;
            break;
        case 'b':
            plan->bytes = number;
            break;
        case 'v':
            plan->value_bytes = number;
            break;
        case 'm':
            plan->setup.memory_bytes = number;
            break;
        case 'w':
            plan->setup.write_buffer_bytes = number;
            break;
        case 'q':
            plan->depth = (unsigned)number;
            break;
        case 's':
            plan->setup.separate_bytes = (uint32_t)number;
            break;
        case 'e':
            take_engines(plan, optarg);
            break;
        default:
            usage();
        }
    }
}

int main(int argc, char **argv)
{
    struct plan plan = {
        .bytes = 5ull << 30,
        .value_bytes = 4096,
        .depth = 64,
        .setup = {.background_threads = 2, .separate_bytes = 2048},
        .engines = {engines[0], engines[1], engines[2]},
        .engine_count = ENGINES_MAX,
    };
    size_t stage = 0;
    size_t stage_count = sizeof(stages) / sizeof(stages[0]);
    while (argc > 1 && stage < stage_count && strcmp(stages[stage].name, argv[1]) != 0) {
        stage++;
    }
    if (argc < 2 || stage == stage_count) {
        usage();
    }
    take_options(&plan, argc - 1, argv + 1);
    if (plan.dir == NULL || plan.value_bytes < 64 || plan.value_bytes % 2 != 0 || plan.depth == 0) {
        usage();
    }
    plan.count = (uint32_t)(plan.bytes / (KEY_BYTES + plan.value_bytes));
    if (plan.setup.memory_bytes == 0) {
        plan.setup.memory_bytes = stages[stage].run == stage_reads ? plan.bytes / 10 : MEMORY_BYTES;
    }
    if (plan.setup.write_buffer_bytes == 0) {
        plan.setup.write_buffer_bytes = plan.setup.memory_bytes / 8;
    }
    if (plan.count < 1000) {
        die("too few keys to measure anything");
    }
    (void)mkdir(plan.dir, 0777);
    disk_find(plan.dir, &plan.disk);
    stages[stage].run(&plan);
    return 0;
}
