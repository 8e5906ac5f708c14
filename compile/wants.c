/* wants.c: see wants.h. */
#include "compile/wants.h"

#include "compile/packing.h"
#include "compile/site.h"

enum { ACT_BLOCK = 32, PARTS = 4, PART_PAGE = 64 };

ll_code cc_wants_of(const ll_target *t, bool f32_activations, cc_wants *out, ll_error *err)
{
    if (t->kind != LL_CPU)
        return ll_fail(err, LL_UNSUPPORTED, "target '%s': this build makes CPU code", t->name);
    *out = (cc_wants){.act_block = f32_activations ? 0 : ACT_BLOCK,
                      .key_lanes = cc_lanes(t),
                      .panel = CC_PANEL_VECTORS * cc_lanes(t),
                      .plan_rows = CC_PLAN_ROWS,
                      .multiple = CC_PLAN_ROWS,
                      .parts = PARTS,
                      .part_page = PART_PAGE};
    return LL_OK;
}
