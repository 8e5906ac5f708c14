/* test_peak.c: the machine's limits are positive numbers, and 0 where threads ran out, at whichever thread. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "tools/peak.h"

static int left = -1; /* threads that can still be made; -1: any number */

int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *x);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *x);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *x)
{
    if (left == 0) return EAGAIN;
    left -= left > 0;
    return __real_pthread_create(t, a, f, x);
}

int main(void)
{
    int bad = 0;
    tool_limits l;
    tool_measure_limits(2, &l);
    bad += !(l.read_gbs > 0 && l.f32_gops > 0 && l.int8_gops >= 0);
    for (int n = 0; n < 3; n++) {
        left = n;
        tool_measure_limits(4, &l);
        bad += l.read_gbs != 0;
    }
    printf("%d bad\n", bad);
    return bad;
}
