/* splitk.h: splits reductions over ragged axes into parts, as definitions:
 *
 *   m = max(j: x);  e = exp(x - m);  l = sum(j: e);  o = sum(j: e * v)
 *
 *   m.p[p] = max(j: x in part p);  e.p, l.p[p], o.p[p] likewise from m.p
 *   m = max(p: m.p);  m.w[p] = l.p == 0 ? 0 : exp(m.p - m);  l = sum(p: m.w * l.p);  o = sum(p: m.w * o.p)
 *
 * Part p of P takes whole pages: with c = ceil(ceil(len / page) / P), pages [c*p, c*(p+1)) cut at len. The same value by
 * exp(x - m.p) * exp(m.p - m) = exp(x - m). The parts run side by side; who reads l and o recomputes the combine. */
#ifndef LLMIR_COMPILE_SPLITK_H
#define LLMIR_COMPILE_SPLITK_H

#include "te/te.h"

/* Rewrites every maximum over a ragged axis, and the sums behind it, in what tensor[0..n) need; tensor[] is replaced by
 * the new versions (in the same graph). Groups of another form stay as they are. */
ll_code cc_splitk(te_graph *g, te_tensor **tensor, int n, int64_t parts, int64_t page, ll_error *err);

#endif
