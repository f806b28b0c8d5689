// Configurations of a small database: every option at the values where its code paths lie.
#ifndef MODEL_CONFIG_H
#define MODEL_CONFIG_H

#include "strata.h"

#include <stdbool.h>

#define CONFIG_COUNT 32u

struct config {
    uint64_t number;
    strata_options options;
    bool map_is_bad;
    uint64_t order_seed;  // of background tasks
    uint64_t crank_steps; // background steps after each operation
};

// The configuration with that number, modulo CONFIG_COUNT. 0 is the defaults made small.
void config_make(uint64_t number, struct config *config_out);
// The options of the `i`-th keyspace of a database of that configuration; 0 is "default".
strata_keyspace_options config_keyspace(uint64_t number, uint64_t i);
// One line about it; a static buffer.
const char *config_text(uint64_t number);

#endif
