/* cuda_old.c: functions under the names that drivers before CUDA 12 had, for programs that look
 * them up one by one. Today's header turns these names into the ones they stand for, so this file
 * is not compiled against it. */
#include "ptxsim/cuda_state.h"

#define OLD(name, now, params, args)                                                               \
    CU_EXPORT CUresult name params;                                                                \
    CUresult name params { return now args; }

OLD(cuGetProcAddress, cuGetProcAddress_v2,
    (const char *symbol, void **pfn, int version, cuuint64_t flags),
    (symbol, pfn, version, flags, NULL))
OLD(cuDeviceGetUuid, cuDeviceGetUuid_v2, (CUuuid *uuid, CUdevice dev), (uuid, dev))
OLD(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, (CUdevice dev), (dev))
OLD(cuDevicePrimaryCtxReset, cuDevicePrimaryCtxReset_v2, (CUdevice dev), (dev))
OLD(cuDevicePrimaryCtxSetFlags, cuDevicePrimaryCtxSetFlags_v2, (CUdevice dev, unsigned int flags),
    (dev, flags))
