/* file.h: whole files in and out. Reads go through pread (a file that shrinks is an error, not a SIGBUS);
 * writes go to a temporary file beside the target, fsync, rename: the old file or the new one, never half. */
#ifndef LLMIR_BASE_FILE_H
#define LLMIR_BASE_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Opens a regular file for reading (O_CLOEXEC); gives its size. LL_BAD_INPUT with the system's reason. */
ll_code ll_file_open(const char *path, int *out_fd, uint64_t *out_size, ll_error *err);
/* Exactly n bytes at offset, or LL_BAD_INPUT "FILE: ...". */
ll_code ll_file_pread(int fd, const char *path, void *buf, size_t n, uint64_t off, ll_error *err);
/* The whole file, malloc'ed, with a NUL behind it; refuses more than `max` bytes. */
ll_code ll_file_read(const char *path, size_t max, void **out, size_t *out_n, ll_error *err);
/* Replaces `path` atomically. LL_NO_SPACE when the disk is full, LL_FAILED otherwise. */
ll_code ll_file_write(const char *path, const void *p, size_t n, ll_error *err);

#endif
