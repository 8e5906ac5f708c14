/* exec.h: handlers of plain instructions, compiled once for each instruction-set level of the host:
 * every exec_*.c is built with -DPTX_ISA=base, avx2 and avx512 (meson.build), and ptx_handlers()
 * picks the best the CPU has. The loops are written over 32 lanes for the compiler to vectorise;
 * inactive lanes keep their destination. A destination never shares a slot with a source of another
 * register (regalloc.c), so each lane may be read and written in any order. */
#ifndef PTXSIM_EXEC_H
#define PTXSIM_EXEC_H

#include "ptxsim/machine.h"

typedef enum ptx_hid {
    PTX_H_NONE,
#define PTX_H(name) PTX_H_##name,
#include "ptxsim/handlers.def"
#undef PTX_H
    PTX_H_COUNT
} ptx_hid;

extern ptx_handler *const ptx_table_base[PTX_H_COUNT], *const ptx_table_avx2[PTX_H_COUNT],
    *const ptx_table_avx512[PTX_H_COUNT];
ptx_handler *const *ptx_handlers(void);

#ifdef PTX_ISA
#define PTX_JOIN3(a, b, c) a##_##b##_##c
#define PTX_JOIN2(a, b, c) PTX_JOIN3(a, b, c)
#define H(name) PTX_JOIN2(ptx_h, name, PTX_ISA)
#define PTX_H(name) ptx_handler H(name);
#include "ptxsim/handlers.def"
#undef PTX_H

#ifdef __clang__
#pragma clang diagnostic ignored                                                                   \
    "-Wpass-failed" /* not every loop can be vectorised, and none has to be */
#define PTX_VECTORISE _Pragma("clang loop vectorize(assume_safety)")
#else
#define PTX_VECTORISE _Pragma("GCC ivdep")
#endif

/* for all active lanes i: d[i] = expr */
#define PTX_FOR(d, expr)                                                                           \
    do {                                                                                           \
        if (m == PTX_FULL) {                                                                       \
            PTX_VECTORISE for (int i = 0; i < PTX_LANES; i++)(d)[i] = (expr);                      \
        } else {                                                                                   \
            PTX_VECTORISE for (int i = 0; i < PTX_LANES; i++)(d)[i] =                              \
                m >> i & 1 ? (expr) : (d)[i];                                                      \
        }                                                                                          \
    } while (0)
/* The same where evaluating an inactive lane costs too much or may trap. */
#define PTX_FOR_ACTIVE(d, expr)                                                                    \
    do {                                                                                           \
        for (int i = 0; i < PTX_LANES; i++)                                                        \
            if (m >> i & 1) (d)[i] = (expr);                                                       \
    } while (0)

/* Handlers lane by lane: T, S: destination and source types; x y z: the sources' values. */
#define PTX_UNARY(name, T, S, expr)                                                                \
    int H(name)(ptx_warp *w, const ptx_inst *in, ptx_mask m)                                       \
    {                                                                                              \
        T *d = (T *)(void *)(w->regs + in->d);                                                     \
        const S *a = (const S *)(const void *)(w->regs + in->a);                                   \
        PTX_FOR(d, ({ S x = a[i]; (T)(expr); }));                                                  \
        return PTX_GO;                                                                             \
    }
#define PTX_BINARY(name, T, S, expr)                                                               \
    int H(name)(ptx_warp *w, const ptx_inst *in, ptx_mask m)                                       \
    {                                                                                              \
        T *d = (T *)(void *)(w->regs + in->d);                                                     \
        const S *a = (const S *)(const void *)(w->regs + in->a);                                   \
        const S *b = (const S *)(const void *)(w->regs + in->b);                                   \
        PTX_FOR(d, ({ S x = a[i], y = b[i]; (T)(expr); }));                                        \
        return PTX_GO;                                                                             \
    }
#define PTX_TERNARY(name, T, S, U, expr)                                                           \
    int H(name)(ptx_warp *w, const ptx_inst *in, ptx_mask m)                                       \
    {                                                                                              \
        T *d = (T *)(void *)(w->regs + in->d);                                                     \
        const S *a = (const S *)(const void *)(w->regs + in->a);                                   \
        const S *b = (const S *)(const void *)(w->regs + in->b);                                   \
        const U *c = (const U *)(const void *)(w->regs + in->c);                                   \
        PTX_FOR(d, ({ S x = a[i], y = b[i]; U z = c[i]; (T)(expr); }));                            \
        return PTX_GO;                                                                             \
    }
#endif

#endif
