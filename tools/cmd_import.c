// strata import: its options and its input.
#include "tools/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/cli.h"
#include "tools/import.h"

static int import_open_input(struct import *import, const char *path)
{
    int descriptor = STDIN_FILENO;
    if (strcmp(path, "-") != 0) {
        descriptor = open(path, O_RDONLY | O_CLOEXEC);
    }
    struct stat status;
    if (descriptor < 0 || fstat(descriptor, &status) != 0) {
        return cli_problem(CLI_FAILED, "cannot open %s: %s", path, strerror(errno));
    }
    if (S_ISDIR(status.st_mode)) {
        close(descriptor);
        return cli_problem(CLI_FAILED, "%s is a directory; import reads a file", path);
    }
    // Ctrl-C and a polite kill end the import between two batches.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    int signal_descriptor = signalfd(-1, &signals, SFD_CLOEXEC);
    uint64_t limit = 64u << 20;
    int code = args_bytes(import->args, OPT_LINE_MAX, 1, 1u << 30, &limit);
    lines_init(&import->lines, descriptor, signal_descriptor, limit,
               import->format.kind == FORMAT_CSV);
    progress_begin(&import->progress, "importing", "lines",
                   S_ISREG(status.st_mode) ? (uint64_t)status.st_size : 0);
    return code;
}

static int import_options(struct import *import)
{
    static const char *const on_bad[] = {"stop", "skip"};
    const struct cli_args *args = import->args;
    int kind = (int)format_of_path(args->operand[1]);
    int skip_bad = 0;
    int code = args_choice(args, OPT_FORMAT, format_names, FORMAT_COUNT, &kind);
    if (code == CLI_OK) {
        code = args_choice(args, OPT_ON_BAD, on_bad, 2, &skip_bad);
    }
    if (code == CLI_OK) {
        code = args_number(args, OPT_SKIP, 0, UINT64_MAX, &import->skip);
    }
    import->batch_lines_max = 1000;
    if (code == CLI_OK) {
        code = args_number(args, OPT_BATCH, 1, 1000000, &import->batch_lines_max);
    }
    import->skip_bad = skip_bad == 1;
    import->format = (struct format){.kind = (enum format_kind)kind,
                                     .hex = args_has(args, OPT_HEX),
                                     .key_name = args->option[OPT_KEY],
                                     .value_name = args->option[OPT_VALUE]};
    if (code != CLI_OK) {
        return code;
    }
    if (kind == FORMAT_TEXT && (import->format.key_name || import->format.value_name)) {
        return args_usage(args, "--key and --value go with csv, tsv and jsonl; say --format");
    }
    if (kind == FORMAT_JSONL && import->format.key_name == NULL) {
        return args_usage(args, "jsonl needs --key FIELD");
    }
    if (kind != FORMAT_TEXT && import->format.hex) {
        return args_usage(args, "--hex goes with text only");
    }
    if (args_has(args, OPT_SKIP) && args_has(args, OPT_RESUME)) {
        return args_usage(args, "give --skip or --resume, not both");
    }
    return CLI_OK;
}

// The first record of csv and tsv. Its lines count as passed.
static int import_header(struct import *import)
{
    if (!format_has_header(&import->format)) {
        return CLI_OK;
    }
    strata_slice record;
    enum lines_result result;
    do {
        result = lines_next(&import->lines, &record);
    } while (result == LINES_IDLE);
    if (result == LINES_END) {
        return cli_problem(CLI_FAILED, "the input is empty; its first line must name the columns");
    }
    if (result != LINES_RECORD) {
        return cli_problem(CLI_FAILED, "the header line could not be read");
    }
    if (!format_header(&import->format, record)) {
        return cli_problem(CLI_USAGE, "line 1, the header: %s", import->format.problem);
    }
    return CLI_OK;
}

int cmd_import(const struct cli_args *args)
{
    struct import import = {.args = args};
    int code = import_options(&import);
    if (code != CLI_OK) {
        return code;
    }
    code = import_open_input(&import, args->operand[1]);
    if (code == CLI_OK) {
        code = import_header(&import);
    }
    if (code == CLI_OK) {
        code = session_open(&import.session, args, SESSION_CREATE);
    }
    if (code == CLI_OK) {
        code = import_into(&import);
        strata_batch_free(import.batch);
        code = session_close(&import.session, code);
    }
    lines_release(&import.lines);
    text_release(&import.mark_key);
    text_release(&import.key);
    text_release(&import.value);
    return code;
}
