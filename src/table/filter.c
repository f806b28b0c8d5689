#include "table/filter.h"

#include "base/assert.h"
#include "base/endian.h"
#include "base/fail.h"
#include "base/mutant.h"

#define FILTER_VERSION 0
// The line of a key is chosen by 32 bits of its hash.
#define FILTER_LINES_MAX (UINT64_C(1) << 32)

static uint64_t line_count_for(uint64_t keys, uint32_t bits)
{
    uint64_t per_line = FILTER_LINE_BYTES * 8;
    uint64_t lines = keys / per_line * bits + (keys % per_line * bits + per_line - 1) / per_line;
    if (lines == 0) {
        return 1;
    }
    return lines < FILTER_LINES_MAX ? lines : FILTER_LINES_MAX;
}

// Near the best number for a blocked filter, which is a little below bits * ln 2.
static uint32_t probes_for(uint32_t bits)
{
    uint32_t probes = (bits * 5 + 4) / 8;
    if (probes == 0) {
        return 1;
    }
    return probes > 8 ? 8 : probes;
}

size_t filter_payload_bytes(uint64_t keys, uint32_t bits)
{
    return FILTER_HEAD_BYTES + (size_t)line_count_for(keys, bits) * FILTER_LINE_BYTES;
}

void filter_build(uint8_t *payload, const uint64_t *hashes, uint64_t count, uint32_t bits)
{
    ASSERT(bits > 0 && payload[0] == 0);
    struct filter f = {
        .lines = payload + FILTER_HEAD_BYTES,
        .line_count = line_count_for(count, bits),
        .probes = probes_for(bits),
    };
    store_u32(payload, FILTER_VERSION);
    store_u32(payload + 4, f.probes);
    store_u64(payload + 8, f.line_count);
    uint8_t *lines = payload + FILTER_HEAD_BYTES;
    for (uint64_t i = 0; i < count; i++) {
        if (i + 16 < count) {
            __builtin_prefetch(filter_line(&f, hashes[i + 16]), 1);
        }
        uint8_t *line = lines + (filter_line(&f, hashes[i]) - f.lines);
        uint32_t step = (uint32_t)hashes[i] ^ (MUTANT(33) && i % 64 == 63);
        for (uint32_t j = 0; j < f.probes; j++) {
            uint32_t bit = step >> 23;
            line[bit / 8] = (uint8_t)(line[bit / 8] | 1u << (bit % 8));
            step *= SEARCH_PROBE_STEP;
        }
    }
    // Not through filter_may_hold: the payload need not be aligned here.
    ASSERT_SLOW(count == 0 ||
                search_path(SEARCH_PORTABLE)
                    ->line_test(filter_line(&f, hashes[0]), (uint32_t)hashes[0], f.probes));
}

strata_rc filter_open(struct filter *f, struct slice payload)
{
    if (payload.bytes < FILTER_HEAD_BYTES) {
        return fail(STRATA_CORRUPT, "filter: %zu bytes are too few", payload.bytes);
    }
    uint32_t version = load_u32(payload.data);
    if (version != FILTER_VERSION) {
        return fail(STRATA_VERSION, "filter: version %u, this build reads %u", version,
                    FILTER_VERSION);
    }
    f->probes = load_u32(payload.data + 4);
    f->line_count = load_u64(payload.data + 8);
    f->lines = payload.data + FILTER_HEAD_BYTES;
    if (f->probes < 1 || f->probes > 8 || f->line_count < 1 || f->line_count > FILTER_LINES_MAX ||
        f->line_count != (payload.bytes - FILTER_HEAD_BYTES) / FILTER_LINE_BYTES ||
        payload.bytes % FILTER_LINE_BYTES != 0) {
        return fail(STRATA_CORRUPT, "filter: %u probes and %llu lines in %zu bytes", f->probes,
                    (unsigned long long)f->line_count, payload.bytes);
    }
    return STRATA_OK;
}
