/* quant.c: see quant.h. */
#include "te/quant.h"

te_ref te_quant_value(te_tensor *w, te_ref n, te_ref k)
{
    return te_fail(w->g, LL_UNSUPPORTED, "%s: values of quantised inputs need the text reader", w->name);
}
