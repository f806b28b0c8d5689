#include "model/config.h"

#include "base/prng.h"

#include <stdio.h>

// Values apart, versions let go, values that expire. Every second configuration keeps all.
static void config_values(uint64_t n, strata_keyspace_options *o)
{
    static const strata_retention retentions[] = {
        STRATA_RETENTION_ALL,     STRATA_RETENTION_NONE, STRATA_RETENTION_ALL,
        STRATA_RETENTION_AGE,     STRATA_RETENTION_ALL,  STRATA_RETENTION_VERSIONS,
        STRATA_RETENTION_DEFAULT, STRATA_RETENTION_NONE};
    static const uint32_t thresholds[] = {0, 64, 64, 200, 1000};
    struct prng random = {prng_mix(n + 991)};
    uint32_t threshold = thresholds[prng_below(&random, 5)];
    o->retention = retentions[(n + n / 8) % 8];
    o->retention_versions = 1 + (uint32_t)prng_below(&random, 3);
    o->retention_seconds = n % 3 == 0 ? 60 : 3600;
    o->expire_seconds = prng_one_in(&random, 4) != 0 ? 30 + (uint32_t)prng_below(&random, 4000) : 0;
    o->separation = threshold == 0 ? STRATA_SEPARATION_OFF : STRATA_SEPARATION_ON;
    o->separate_bytes = threshold;
    o->value_compression = (strata_compression)prng_below(&random, 4);
    o->space_bound_percent = 200 + (uint32_t)prng_below(&random, 3) * 100;
}

strata_keyspace_options config_keyspace(uint64_t number, uint64_t i)
{
    struct config c;
    config_make(number + 5 * i, &c);
    return c.options.keyspace;
}

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
    config_values(n, &o.keyspace);
    *config_out = (struct config){
        .number = n,
        .options = o,
        .map_is_bad = n % 7 == 3,
        .order_seed = prng_next(&random),
        .crank_steps = n % 4 == 0 ? 0 : prng_below(&random, 6),
    };
}

const char *config_text(uint64_t number)
{
    static char text[400];
    struct config c;
    config_make(number, &c);
    const strata_keyspace_options *k = &c.options.keyspace;
    snprintf(
        text, sizeof text,
        "config %llu: memtable %llu log %s%s shape %d compression %d block %u history block "
        "%u ratio %u level0 %u filter %s %u files %u crank %llu; separate %u retention %d (%u "
        "versions, %u s) expire %u bound %u",
        (unsigned long long)(number % CONFIG_COUNT), (unsigned long long)c.options.memtable_bytes,
        c.options.log_append == STRATA_LOG_MAPPED ? "mapped" : "pwrite",
        c.map_is_bad ? " (bad for maps)" : "", (int)k->shape, (int)k->compression, k->block_bytes,
        k->history_block_bytes, k->size_ratio, k->level0_runs_max, k->filter_off ? "off" : "on",
        k->filter_bits, c.options.open_files_max, (unsigned long long)c.crank_steps,
        k->separate_bytes, (int)k->retention, k->retention_versions, k->retention_seconds,
        k->expire_seconds, k->space_bound_percent);
    return text;
}
