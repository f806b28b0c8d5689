// Crashes at every change of the disk: random work of many seeds, each on one of the small
// configurations (model/crash.h). A failure prints the options that repeat it.
#include "lib/test_lib.h"
#include "model/config.h"
#include "model/crash.h"

#include <stdio.h>

#define DETERMINISM_ONE_IN 4

static bool stop(void *ctx)
{
    return test_time_is_up(ctx);
}

int main(int argc, char **argv)
{
    struct test_options o;
    test_options_parse(&o, argc, argv);
    uint64_t count = o.count > 0 ? o.count : o.seconds > 0 ? UINT64_MAX : 10;
    uint64_t boundaries = 0;
    uint64_t states = 0;
    uint64_t distinct = 0;
    uint64_t nested = 0;
    double start = test_seconds();
    uint64_t until = o.until > 0 ? o.until : UINT64_MAX;
    for (uint64_t i = 0; i < count && distinct < until && !test_time_is_up(&o); i++) {
        struct crash_result result;
        struct config c;
        config_make(o.seed + i, &c);
        struct crash_config config = {
            .ops = &store_strata,
            .store = {.options = c.options},
            .seed = o.seed + i,
            .steps = o.ops > 0               ? o.ops
                     : (o.seed + i) % 8 == 7 ? 240
                                             : 60,
            .only_boundary = o.boundary,
            .only_policy = o.policy,
            .map_is_bad = c.map_is_bad,
            .verbose = o.verbose,
            .stop = stop,
            .stop_ctx = &o,
        };
        test_label("repeat with --seed %llu --ops %llu", (unsigned long long)config.seed,
                   (unsigned long long)config.steps);
        crash_run(&config, &result);
        boundaries += result.boundaries;
        states += result.states;
        distinct += result.distinct;
        nested += result.nested;
        if (result.fault[0] == '\0' && i % DETERMINISM_ONE_IN == 0 && o.boundary == UINT64_MAX) {
            // The work alone, again: the same seed must give the same calls.
            struct crash_result again;
            config.only_boundary = 0;
            crash_run(&config, &again);
            if (again.trace != result.trace && !test_time_is_up(&o)) {
                printf("FAILED: --seed %llu gave two different runs\n",
                       (unsigned long long)config.seed);
                return 1;
            }
        }
        if (result.fault[0] != '\0') {
            printf("FAILED: %s\n%s\n", result.fault, config_text(o.seed + i));
            return 1;
        }
    }
    double seconds = test_seconds() - start;
    printf("seed %llu: %llu boundaries, %llu states (%.0f/s), %llu distinct, %llu crashed "
           "again in recovery\n",
           (unsigned long long)o.seed, (unsigned long long)boundaries, (unsigned long long)states,
           (double)states / seconds, (unsigned long long)distinct, (unsigned long long)nested);
    printf("cases: %llu\n", (unsigned long long)distinct);
    return 0;
}
