// A progress bar.
#include "tools/cli_progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tools/cli_out.h"
#include "tools/cli_time.h"

#define REDRAW_US 100000
#define BAR_CELLS 16

void progress_size_text(uint64_t bytes, char *text, int capacity)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double size = (double)bytes;
    int unit = 0;
    while (size >= 999.95 && unit < 5) {
        size /= 1024;
        unit++;
    }
    snprintf(text, (size_t)capacity, unit == 0 ? "%.0f %s" : "%.1f %s", size, units[unit]);
}

void progress_begin(struct progress *progress, const char *verb, const char *noun, uint64_t total)
{
    const char *terminal = getenv("TERM");
    *progress = (struct progress){.shown = isatty(STDERR_FILENO) == 1 && terminal != NULL &&
                                           strcmp(terminal, "dumb") != 0,
                                  .coloured = out_colours(STDERR_FILENO),
                                  .verb = verb,
                                  .noun = noun,
                                  .total = total,
                                  .begun_us = time_steady_us()};
}

static void append_bar(struct text *line, const struct progress *progress, double share)
{
    int full = (int)(share * BAR_CELLS);
    text_append_str(line, progress->coloured ? " [\033[32m" : " [");
    for (int i = 0; i < BAR_CELLS; i++) {
        text_append_str(line, i < full ? "#" : ".");
    }
    text_append_str(line, progress->coloured ? "\033[0m]" : "]");
    text_append_format(line, " %3d%%", (int)(share * 100));
}

static void append_duration(struct text *line, double seconds)
{
    long whole = (long)(seconds + 0.5);
    if (whole >= 3600) {
        text_append_format(line, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
    } else {
        text_append_format(line, "%ld:%02ld", whole / 60, whole % 60);
    }
}

static unsigned terminal_columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void progress_update(struct progress *progress, uint64_t bytes_done, uint64_t count)
{
    int64_t now = progress->shown ? time_steady_us() : 0;
    if (!progress->shown || now - progress->drawn_us < REDRAW_US) {
        return;
    }
    progress->drawn_us = now;
    double seconds = (double)(now - progress->begun_us) / 1e6;
    double rate = seconds > 0 ? (double)bytes_done / seconds : 0;
    struct text line = {0};
    char size[32];
    text_append_str(&line, progress->verb);
    if (progress->total > 0) {
        double share = (double)bytes_done / (double)progress->total;
        append_bar(&line, progress, share < 1 ? share : 1);
    } else {
        progress_size_text(bytes_done, size, sizeof size);
        text_append_format(&line, " %s", size);
    }
    if (progress->noun != NULL && seconds > 0) {
        text_append_format(&line, "  %.0f %s/s", (double)count / seconds, progress->noun);
    }
    progress_size_text((uint64_t)rate, size, sizeof size);
    text_append_format(&line, "  %s/s  ", size);
    if (progress->total > 0 && rate > 0 && bytes_done <= progress->total) {
        append_duration(&line, (double)(progress->total - bytes_done) / rate);
        text_append_str(&line, " left");
    } else {
        append_duration(&line, seconds);
    }
    // A line that wraps could not be drawn over; colours take no room.
    unsigned room = terminal_columns() + (progress->coloured ? 9 : 0);
    int shown = (int)(line.bytes < room ? line.bytes : room - 1);
    fprintf(stderr, "\r\033[K%.*s", shown, line.data);
    fflush(stderr);
    text_release(&line);
}

void progress_clear(struct progress *progress)
{
    if (progress->shown && progress->drawn_us != 0) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
        progress->drawn_us = 0;
    }
}
