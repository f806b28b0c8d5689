#include "model/config.h"

#include "base/prng.h"

#include <stdio.h>

void config_make(uint64_t number, struct config *config_out)
{
    uint64_t n = number % CONFIG_COUNT;
    struct prng random = {prng_mix(n + 77)};
    static const uint32_t blocks[] = {1024, 4096, 16384};
    static const uint32_t history_blocks[] = {1024, 8192, 32768};
    static const uint64_t memtables[] = {64 << 10, 128 << 10, 512 << 10};
    strata_options o = STRATA_OPTIONS_INIT;
    o.memory_bytes = 8 << 20;
    o.memtable_bytes = memtables[n % 3];
    o.background_threads = 1 + (uint32_t)(n % 3);
    o.log_append = n % 2 == 0 ? STRATA_LOG_MAPPED : STRATA_LOG_PWRITE;
    o.log_segment_bytes = n % 4 == 3 ? 64 << 10 : 16 << 10;
    o.open_files_max = n % 5 == 4 ? 16 : 64;
    o.keyspace.shape = n % 4 < 2 ? STRATA_SHAPE_LAZY : STRATA_SHAPE_LEVELED;
    o.keyspace.compression = (strata_compression)(n % 4);
    o.keyspace.block_bytes = blocks[prng_below(&random, 3)];
    o.keyspace.history_block_bytes = history_blocks[prng_below(&random, 3)];
    o.keyspace.size_ratio = 2 + (uint32_t)(n % 4) * 2;
    o.keyspace.level0_runs_max = 4 + (uint32_t)(n % 3) * 4;
    o.keyspace.filter_off = n % 6 == 5;
    o.keyspace.filter_bits = 1 + (uint32_t)prng_below(&random, 16);
    *config_out = (struct config){
        .options = o,
        .map_is_bad = n % 7 == 3,
        .order_seed = prng_next(&random),
        .crank_steps = n % 4 == 0 ? 0 : prng_below(&random, 6),
    };
}

const char *config_text(uint64_t number)
{
    static char text[300];
    struct config c;
    config_make(number, &c);
    const strata_keyspace_options *k = &c.options.keyspace;
    snprintf(
        text, sizeof text,
        "config %llu: memtable %llu log %s%s shape %d compression %d block %u history block "
        "%u ratio %u level0 %u filter %s %u files %u crank %llu",
        (unsigned long long)(number % CONFIG_COUNT), (unsigned long long)c.options.memtable_bytes,
        c.options.log_append == STRATA_LOG_MAPPED ? "mapped" : "pwrite",
        c.map_is_bad ? " (bad for maps)" : "", (int)k->shape, (int)k->compression, k->block_bytes,
        k->history_block_bytes, k->size_ratio, k->level0_runs_max, k->filter_off ? "off" : "on",
        k->filter_bits, c.options.open_files_max, (unsigned long long)c.crank_steps);
    return text;
}
