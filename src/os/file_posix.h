// The directory of the real machine: files and locks of a POSIX system.
#ifndef OS_FILE_POSIX_H
#define OS_FILE_POSIX_H

#include "os/file.h"

// Opens directory `path`; with `create` makes it when it is not there (mode 0700, parents must
// exist) and syncs its parent. STRATA_NOT_FOUND, or STRATA_INVALID when it is not a directory.
strata_rc os_dir_open_posix(const char *path, bool create,
                            struct os_dir **dir_out) STRATA_MUST_CHECK;

#endif
