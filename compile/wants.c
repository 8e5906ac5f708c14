/* wants.c: see wants.h. */
#include "compile/wants.h"

#include "compile/packing.h"
#include "compile/site.h"

enum { ACT_BLOCK = 32, PARTS = 4, PART_PAGE = 64 };
/* GPUs: columns of a tile, rows of a tile, parts of a decode attention. No row statistics: no rule
 * there splits a reduction over columns for a number of rows that is not known. */
enum { CUDA_PANEL = 32, CUDA_ROWS = 16, CUDA_PARTS = 16 };

cc_wants cc_wants_of(const ll_target *t, bool f32_activations)
{
    if (t->kind == LL_CUDA) /* activations are float: no instruction wants their codes */
        return (cc_wants){.key_lanes = 1,
                          .panel = CUDA_PANEL,
                          .plan_rows = CC_PLAN_ROWS,
                          .multiple = CUDA_ROWS,
                          .parts = CUDA_PARTS,
                          .part_page = PART_PAGE};
    return (cc_wants){.act_block = f32_activations ? 0 : ACT_BLOCK,
                      .key_lanes = cc_lanes(t),
                      .panel = CC_PANEL_VECTORS * cc_lanes(t),
                      .plan_rows = CC_PLAN_ROWS,
                      .multiple = CC_PLAN_ROWS,
                      .parts = PARTS,
                      .part_page = PART_PAGE,
                      .row_stats = true};
}
