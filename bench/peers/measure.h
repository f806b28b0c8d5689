// Clocks, and what the machine was doing while a block ran.
#ifndef PEERS_MEASURE_H
#define PEERS_MEASURE_H

#include <stdbool.h>
#include <stdint.h>

// In seconds.
struct moment {
    double wall;
    double cpu;    // of every thread of this process
    double caller; // of the calling thread
};
struct moment moment_now(void);

// Waits until this process has used next to no CPU for a while: engines that cannot be asked.
void measure_quiet(void);

uint64_t measure_dir_bytes(const char *dir);
void measure_remove_dir(const char *dir);
// Anonymous memory of this process, and its greatest resident size so far; in bytes.
uint64_t measure_anonymous_bytes(void);
uint64_t measure_peak_bytes(void);

// Three figures of the machine that an engine leans on.
struct calibration {
    double copy_ns; // memcpy, a KiB
    double load_ns; // a load that depends on the one before, in 64 MiB
    double sync_us; // fdatasync of one page, the median
};
// Runs in a child process, so that its memory is not that of a block. The file is made in `dir`.
struct calibration measure_machine(const char *dir);

// Processor time of the whole machine so far, in seconds; stolen time counts.
double measure_machine_cpu(void);
// That of child processes that have ended.
double measure_children_cpu(void);

#endif
