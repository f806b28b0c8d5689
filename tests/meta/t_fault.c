// Fails every call of random work to the operating system, once and from then on (model/fault.h).
// A failure prints the options that repeat it: --boundary is the number of the call that fails,
// --policy the number of the variant. --mutant created: the creation of the database goes well;
// --mutant toy: on the toy store.
#include "lib/test_lib.h"
#include "model/config.h"
#include "model/fault.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct variant {
    const char *name;
    uint32_t ops;
    int error;
    bool sticky;
    bool resumes;
};

#define GROWS                                                                                      \
    (SIM_OP_BIT(SIM_OP_WRITE) | SIM_OP_BIT(SIM_OP_CREATE) | SIM_OP_BIT(SIM_OP_TRUNCATE) |          \
     SIM_OP_BIT(SIM_OP_SYNC) | SIM_OP_BIT(SIM_OP_RENAME) | SIM_OP_BIT(SIM_OP_DIR_SYNC))
// What fails for want of space on a disk that delays nothing. Cutting a file needs none.
#define FILLS (SIM_OP_BIT(SIM_OP_WRITE) | SIM_OP_BIT(SIM_OP_CREATE))
#define SYNCS (SIM_OP_BIT(SIM_OP_SYNC) | SIM_OP_BIT(SIM_OP_DIR_SYNC))

static const struct variant variants[] = {
    {"EIO once", SIM_OP_ANY, EIO, false, false},
    {"EIO from then on", SIM_OP_ANY, EIO, true, false},
    {"ENOSPC once", GROWS, ENOSPC, false, false},
    {"ENOSPC from then on", GROWS, ENOSPC, true, false},
    {"EMFILE once", SIM_OP_BIT(SIM_OP_OPEN) | SIM_OP_BIT(SIM_OP_CREATE), EMFILE, false, false},
    {"sync EIO once", SYNCS, EIO, false, false},
    {"sync EIO from then on", SYNCS, EIO, true, false},
    {"short transfers", SIM_OP_BIT(SIM_OP_WRITE) | SIM_OP_BIT(SIM_OP_READ), 0, true, false},
    {"full disk", FILLS, ENOSPC, true, true},
    {"no memory once", 0, ENOMEM, false, false},
    {"no memory from then on", 0, ENOMEM, true, false},
};
#define VARIANTS (sizeof variants / sizeof variants[0])

static bool run_one(const struct test_options *o, uint64_t seed, size_t v, uint64_t index,
                    struct fault_result *result)
{
    const struct store_ops *ops =
        o->mutant != NULL && strcmp(o->mutant, "toy") == 0 ? &store_toy : &store_strata;
    struct config c;
    config_make(seed, &c);
    struct fault_config config = {
        .ops = ops,
        .store = {.options = c.options},
        .seed = seed,
        .steps = o->ops > 0 ? o->ops : 25,
        .rule = {.ops = variants[v].ops,
                 .index = index,
                 .sticky = variants[v].sticky,
                 .error = variants[v].error,
                 .short_bytes = 1 + index % 100,
                 .sync_model = (enum sim_sync_failure)(index % SIM_SYNC_FAILURES)},
        .created_first = o->mutant != NULL && strcmp(o->mutant, "created") == 0,
        .resumes = variants[v].resumes,
        .policy = (enum sim_survive)((index + v) % SIM_SURVIVE_SHORN),
        .map_is_bad = c.map_is_bad,
        .verbose = o->verbose,
    };
    test_label("repeat with --seed %llu --boundary %llu --policy %zu --ops %llu",
               (unsigned long long)seed, (unsigned long long)index, v,
               (unsigned long long)config.steps);
    fault_run(&config, result);
    if (result->fault[0] != '\0') {
        printf("FAILED: --seed %llu --boundary %llu --policy %zu (%s): %s\n%s\n",
               (unsigned long long)seed, (unsigned long long)index, v, variants[v].name,
               result->fault, config_text(seed));
    }
    return result->fault[0] == '\0';
}

// Fails call after call until a run meets no fault.
static bool run_variant(const struct test_options *o, uint64_t seed, size_t v, uint64_t *cases,
                        uint64_t *surfaced)
{
    struct fault_result result;
    uint64_t index = o->boundary == UINT64_MAX ? 0 : o->boundary;
    do {
        if (!run_one(o, seed, v, index, &result)) {
            return false;
        }
        *cases += result.fired > 0 ? 1 : 0;
        *surfaced += result.errors > 0 ? 1 : 0;
        // A run of short transfers has no last call: a few lengths are enough.
        if (variants[v].error == 0 && index >= 40) {
            break;
        }
        index++;
    } while (result.fired > 0 && o->boundary == UINT64_MAX && !test_time_is_up(o));
    return true;
}

int main(int argc, char **argv)
{
    struct test_options o;
    test_options_parse(&o, argc, argv);
    uint64_t count = o.count > 0 ? o.count : o.seconds > 0 ? UINT64_MAX : 1;
    uint64_t cases = 0;
    uint64_t surfaced = 0;
    for (uint64_t seed = o.seed; seed - o.seed < count && !test_time_is_up(&o); seed++) {
        for (size_t v = 0; v < VARIANTS && !test_time_is_up(&o); v++) {
            if (o.policy >= 0 && (size_t)o.policy != v) {
                continue;
            }
            if (!run_variant(&o, seed, v, &cases, &surfaced)) {
                return 1;
            }
        }
    }
    printf("seed %llu: %llu runs with a fault, an error surfaced in %llu\n",
           (unsigned long long)o.seed, (unsigned long long)cases, (unsigned long long)surfaced);
    printf("cases: %llu\n", (unsigned long long)cases);
    return 0;
}
