/* cuda_prototypes.c: compiled only where a CUDA Toolkit is found: proves that cuda_driver.def says
 * what cuda.h says. */
#include "runtime/cuda_driver.h"

#define CU_FN(name, symbol, params)                                                                \
    _Static_assert(__builtin_types_compatible_p(__typeof__(&cu##name), CUresult(*) params),        \
                   "cu" #name " has another prototype");
#if CUDA_VERSION >= 12040
#define CU_MAY CU_FN
#else
#define CU_MAY(name, symbol, params)
#endif
#define CU_VALUE(name, value) _Static_assert((int)name == value, #name " has another value");
#include "runtime/cuda_driver.def"

_Static_assert(CU_LAUNCH_PARAM_END_AS_INT == 0 && CU_LAUNCH_PARAM_BUFFER_POINTER_AS_INT == 1 &&
                   CU_LAUNCH_PARAM_BUFFER_SIZE_AS_INT == 2,
               "the tags of packed parameters");
