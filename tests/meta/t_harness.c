// The crash tests, tested: on the toy store they must pass, and each of its planted bugs must be
// caught. Also determinism: the same seed gives the same calls.
#include "lib/test_lib.h"
#include "model/crash.h"

#include <stdio.h>
#include <string.h>

static struct crash_config config_for(const struct test_options *o, uint64_t seed, int bug)
{
    static const strata_retention retentions[] = {STRATA_RETENTION_ALL, STRATA_RETENTION_NONE,
                                                  STRATA_RETENTION_AGE};
    struct crash_config config = {
        .ops = &store_toy,
        .store = {.options = STRATA_OPTIONS_INIT, .toy_bug = bug},
        .seed = seed,
        .steps = o->ops > 0 ? o->ops : 40,
        .only_boundary = o->boundary,
        .only_policy = o->policy,
        .verbose = o->verbose,
    };
    config.store.options.keyspace.retention = retentions[seed % 3];
    config.store.options.keyspace.retention_seconds = 60;
    return config;
}

// False when the bug shows in no seed.
static bool is_caught(const struct test_options *o, int bug, uint64_t *cases)
{
    struct crash_result result;
    for (uint64_t seed = o->seed; seed < o->seed + 200; seed++) {
        struct crash_config config = config_for(o, seed, bug);
        crash_run(&config, &result);
        *cases += result.distinct;
        if (result.fault[0] != '\0') {
            printf("bug %-15s caught: %s\n", toy_bug_name((enum toy_bug)bug), result.fault);
            return true;
        }
    }
    printf("bug %s NOT caught\n", toy_bug_name((enum toy_bug)bug));
    return false;
}

int main(int argc, char **argv)
{
    struct test_options o;
    test_options_parse(&o, argc, argv);
    uint64_t count = o.count > 0 ? o.count : 20;
    uint64_t cases = 0;
    uint64_t states = 0;
    double start = test_seconds();
    for (uint64_t seed = o.seed; seed < o.seed + count && !test_time_is_up(&o); seed++) {
        struct crash_result first;
        struct crash_result second;
        struct crash_config config = config_for(&o, seed, TOY_CORRECT);
        crash_run(&config, &first);
        cases += first.distinct;
        states += first.states;
        if (first.fault[0] != '\0') {
            printf("FAILED: the correct store: %s\n", first.fault);
            return 1;
        }
        config.only_boundary = 0; // the work alone
        crash_run(&config, &second);
        if (first.trace != second.trace) {
            printf("FAILED: --seed %llu gave two different runs\n", (unsigned long long)seed);
            return 1;
        }
    }
    printf("states: %llu (%.0f/s)\n", (unsigned long long)states,
           (double)states / (test_seconds() - start));
    bool good = true;
    for (int bug = 1; bug < TOY_BUGS && o.boundary == UINT64_MAX; bug++) {
        if (o.mutant == NULL || strcmp(o.mutant, toy_bug_name((enum toy_bug)bug)) == 0) {
            good = is_caught(&o, bug, &cases) && good;
        }
    }
    printf("seed %llu\ncases: %llu\n", (unsigned long long)o.seed, (unsigned long long)cases);
    return good ? 0 : 1;
}
