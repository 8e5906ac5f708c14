/* limits.h: how much a model file may claim. Far above any real model, and small enough that a
 * hostile file is refused before it costs memory or time. */
#ifndef LLMIR_MODEL_LIMITS_H
#define LLMIR_MODEL_LIMITS_H

enum {
    MDL_MAX_KV = 1 << 16,         /* metadata entries                                */
    MDL_MAX_TENSORS = 1 << 16,
    MDL_MAX_KEY = 65535,          /* bytes of a metadata key (the format's own limit) */
    MDL_MAX_NAME = 255,           /* bytes of a tensor name                          */
    MDL_MAX_STRING = 1 << 20,     /* bytes of a string value                         */
    MDL_MAX_ARRAY = 16 << 20,     /* elements of an array                            */
    MDL_MAX_DEPTH = 8,            /* arrays in arrays                                */
    MDL_MAX_DIMS = 4,
    MDL_MAX_ALIGNMENT = 1 << 20,
    MDL_MAX_LAYERS = 1024,
    MDL_MAX_DIM = 1 << 24,        /* any width of a model: heads, features, context  */
};

#endif
