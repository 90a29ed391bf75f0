/* Pools as the suites open them, and hooks that count. */
#ifndef AMBIT_TESTS_POOLS_H
#define AMBIT_TESTS_POOLS_H

#include "suite.h"

#include <string.h>

struct buffer {
    uint32_t state; /* 0xC0 once constructed */
    uint32_t owned;
    char text[248];
};

static struct { int constructed, reset, destroyed, refuse; } seen;

static inline int construct(void *object, void *user) {
    assert_ptr_equal(user, &seen);
    if (seen.refuse) return -1;
    memset(object, 0, sizeof(struct buffer));
    ((struct buffer *)object)->state = 0xC0;
    seen.constructed++;
    return 0;
}
static inline void reset(void *object, void *user) {
    (void)user;
    assert_int_equal(((struct buffer *)object)->state, 0xC0);
    seen.reset++;
}
static inline void destroy(void *object, void *user) {
    (void)user;
    assert_int_equal(((struct buffer *)object)->state, 0xC0);
    ((struct buffer *)object)->state = 0xDE;
    seen.destroyed++;
}
static inline size_t owned(const void *object, void *user) {
    (void)user;
    return ((const struct buffer *)object)->owned;
}

static inline ambit_pool_options plain(void) {
    return (ambit_pool_options){.object_bytes = sizeof(struct buffer), .trim_ns = AMBIT_NEVER};
}
static inline ambit_pool_options hooked(void) {
    memset(&seen, 0, sizeof seen);
    return (ambit_pool_options){.object_bytes = sizeof(struct buffer),
                                .construct = construct,
                                .reset = reset,
                                .destroy = destroy,
                                .user = &seen,
                                .trim_ns = AMBIT_NEVER};
}
static inline ambit_pool *open_pool(ambit_pool_options options) {
    ambit_pool *pool = NULL;
    assert_ok(ambit_pool_open(&options, &pool));
    return pool;
}
static inline ambit_pool_stats stats_of(ambit_pool *pool) {
    ambit_pool_stats stats;
    ambit_pool_stats_read(pool, &stats);
    return stats;
}

#endif
