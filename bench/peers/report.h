// What the blocks of a run amount to: medians, ratios of the blocks that ran side by side, as a
// table for people (Markdown) and as JSON.
#ifndef PEERS_REPORT_H
#define PEERS_REPORT_H

#include "measure.h"
#include "workload.h"

#define REPORT_PEERS_MAX 4
#define REPORT_REPS_MAX 32

struct report {
    const struct peer *peers[REPORT_PEERS_MAX]; // the first is the one that the others stand beside
    size_t peer_count;
    size_t reps;
    uint64_t keys;
    struct peer_setup setup;
    struct block_result blocks[REPORT_REPS_MAX][REPORT_PEERS_MAX];
    struct calibration machine[2]; // before the first block and after the last
    double driver_ns;
    unsigned voided; // blocks that were run again
    unsigned long tries;
    unsigned kept; // blocks that stayed disturbed after the last try
};

void report_print(const struct report *r, FILE *out);
void report_json(const struct report *r, FILE *out);

#endif
