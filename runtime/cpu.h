/* cpu.h: what the processor and the system offer, by the names LLVM uses ("avx512vnni"). */
#ifndef LLMIR_RUNTIME_CPU_H
#define LLMIR_RUNTIME_CPU_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "base/str.h"

/* LL_NO_DEVICE naming the first feature of the comma-separated list that this machine lacks or that this
 * library does not know. */
ll_code rt_cpu_require(const char *features, const char *file, ll_error *err);
/* The features of this machine that the table knows, comma-separated. */
void rt_cpu_features(ll_str *out);
/* Brand string, "" when unknown. */
void rt_cpu_name(char *out, size_t room);

#endif
