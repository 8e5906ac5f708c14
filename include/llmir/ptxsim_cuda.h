/* ptxsim_cuda.h: what libllmir_ptxsim.so.1 offers beside the CUDA driver API. Look the functions up
 * with dlsym; a real libcuda does not have them, which is how a program can tell the two apart.
 *
 * Environment, read by cuInit:
 *     LLMIR_PTXSIM_SM       75 80 86 89 90: the device (80)
 *     LLMIR_PTXSIM_CHECKS   all (default), none, or a list of race,pending,uninit,sync,global
 *     LLMIR_PTXSIM_SEED     shuffles the order of blocks and warps (0: in order)
 *     LLMIR_PTXSIM_LOG      file that findings are appended to
 *     LLMIR_PTXSIM_FATAL    1: a finding makes the context fail as a fault does
 *     LLMIR_PTXSIM_MMA      hw: the truncating arithmetic of the device's tensor cores
 *     LLMIR_PTXSIM_PTXAS    ptxas to ask for register counts ("" for none; default: the one on PATH) */
#ifndef LLMIR_PTXSIM_CUDA_H
#define LLMIR_PTXSIM_CUDA_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Findings since cuInit (or the last clear): how many; the text, one line each, is copied to out
 * (cut to n bytes, NUL included); NULL to count only. */
typedef size_t llmir_ptxsim_findings_fn(char *out, size_t n);
typedef void llmir_ptxsim_clear_fn(void);
/* The device that cuInit makes: 75 80 86 89 90, whatever LLMIR_PTXSIM_SM says. false: not one of
 * these, or the device is there already and another. */
typedef bool llmir_ptxsim_device_fn(unsigned sm);
/* Turns counters on or off; the text of the last launch's, malloc'ed, NULL when there are none. */
typedef void llmir_ptxsim_count_fn(bool on);
typedef char *llmir_ptxsim_counters_fn(bool json);

size_t llmir_ptxsim_findings(char *out, size_t n);
void llmir_ptxsim_clear(void);
bool llmir_ptxsim_device(unsigned sm);
void llmir_ptxsim_count(bool on);
char *llmir_ptxsim_counters(bool json);

#ifdef __cplusplus
}
#endif

#endif
