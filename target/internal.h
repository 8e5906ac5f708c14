/* internal.h: what target.c lends to native.c. */
#ifndef LLMIR_TARGET_INTERNAL_H
#define LLMIR_TARGET_INTERNAL_H

#include "target/target.h"

/* A CPU target with these features (and what they imply), its name, and defaults for the rest. */
void ll_target_from_features(ll_target *t, uint64_t features);

#endif
