/* internal.h: what target.c lends to native.c. */
#ifndef LLMIR_TARGET_INTERNAL_H
#define LLMIR_TARGET_INTERNAL_H

#include "target/target.h"


#endif
