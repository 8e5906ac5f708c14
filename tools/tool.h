/* tool.h: what the command-line tools share: exit codes, numbers in options, progress, JSON text.
 */
#ifndef LLMIR_TOOLS_TOOL_H
#define LLMIR_TOOLS_TOOL_H

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <llmir/llmir.h>

enum { TOOL_INTERRUPTED = 130 };

/* Sets what --version prints and the exit code of wrong use. First thing in main. */
void tool_begin(const char *name);
/* "NAME: sentence" on stderr; returns the exit code that goes with the status. */
int tool_fail(int status, const char *sentence);
/* "NAME: WHAT: why" from errno: exit code 6 when memory or disk ran out, 1 otherwise. */
int tool_fail_errno(const char *what);
/* Everything printed so far is written, or an exit code after a message. */
int tool_flush(void);

/* Parses all of `arg`; a wrong number ends the program with a usage message and exit code 2. */
uint64_t tool_number(struct argp_state *state, const char *arg, const char *what, uint64_t min,
                     uint64_t max);
double tool_real(struct argp_state *state, const char *arg, const char *what, double min,
                 double max);
/* "1,2,3" into out; returns how many. */
size_t tool_numbers(struct argp_state *state, const char *arg, const char *what, uint64_t min,
                    uint64_t max, uint64_t *out, size_t room);

/* One line "LABEL 42 %" on stderr, only when that is a terminal. done = total clears it. */
void tool_progress(const char *label, uint64_t done, uint64_t total);
double tool_now(void); /* seconds */

/* n bytes as UTF-8: bytes that are not become U+FFFD. malloc'ed, NUL-terminated; *out_n without the
 * NUL. */
char *tool_utf8(const char *p, size_t n, size_t *out_n);
/* A whole file or stdin ("-"). malloc'ed; NULL after a message. */
char *tool_read(const char *path, size_t *n);

#endif
