/* peak.h: what this machine can do right now, measured in a fraction of a second: the scale that a
 * profile is read against. */
#ifndef LLMIR_TOOLS_PEAK_H
#define LLMIR_TOOLS_PEAK_H

typedef struct tool_limits {
    double read_gbs;  /* memory read by all threads together */
    double int8_gops; /* 8-bit dot products (vpdpbusd), 0 when the CPU has none */
    double f32_gops;  /* float multiply-add */
} tool_limits;

/* 0 fields where memory or threads ran out. */
void tool_measure_limits(unsigned threads, tool_limits *out);

#endif
