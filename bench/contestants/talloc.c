/* talloc: a tree of memory with destructors. It is not thread-safe: each thread has its own
 * root. */
#include "contestant.h"

#include <stdbool.h>
#include <talloc.h>

static void set_up_own(bench_thread *thread) {
    thread->own = talloc_new(NULL);
    BENCH_REQUIRE(thread->own);
}

static void open_close(bench_thread *thread, uint64_t iterations) {
    for (uint64_t i = 0; i < iterations; i++) {
        void *ctx = talloc_new(thread->own);
        BENCH_KEEP(ctx);
        talloc_free(ctx);
    }
}

static char *allocate(void *ctx, unsigned k) {
    char *value = talloc_size(ctx, bench_value_bytes[k]);
    BENCH_REQUIRE(value);
    value[0] = 1;
    BENCH_KEEP(value);
    return value;
}

static void own_8(bench_thread *thread, uint64_t iterations) {
    for (uint64_t i = 0; i < iterations; i++) {
        void *ctx = talloc_new(thread->own);
        for (unsigned k = 0; k < BENCH_VALUES; k++) allocate(ctx, k);
        talloc_free(ctx);
    }
}

/* Room for the values and their headers is taken at once. */
static void own_8_pool(bench_thread *thread, uint64_t iterations) {
    for (uint64_t i = 0; i < iterations; i++) {
        void *ctx = talloc_pool(thread->own, 2048);
        for (unsigned k = 0; k < BENCH_VALUES; k++) allocate(ctx, k);
        talloc_free(ctx);
    }
}

static int destroy(char *value) {
    BENCH_KEEP(value);
    return 0;
}

static void fill_with_destructors(void *ctx) {
    for (unsigned k = 0; k < BENCH_VALUES; k++) {
        char *value = allocate(ctx, k);
        talloc_set_destructor(value, destroy);
    }
}

static void own_8_destructors(bench_thread *thread, uint64_t iterations) {
    for (uint64_t i = 0; i < iterations; i++) {
        void *ctx = talloc_new(thread->own);
        fill_with_destructors(ctx);
        talloc_free(ctx);
    }
}

static void own_8_destructors_pool(bench_thread *thread, uint64_t iterations) {
    for (uint64_t i = 0; i < iterations; i++) {
        void *ctx = talloc_pool(thread->own, 2048);
        fill_with_destructors(ctx);
        talloc_free(ctx);
    }
}

static const bench_row rows[] = {{"open-close", open_close, set_up_own, 1},
                                 {"own-8", own_8, set_up_own, 1},
                                 {"own-8/pool", own_8_pool, set_up_own, 1},
                                 {"own-8-destructors", own_8_destructors, set_up_own, 1},
                                 {"own-8-destructors/pool", own_8_destructors_pool, set_up_own, 1},
                                 {NULL, NULL, NULL, 0}};

int main(int argc, char **argv) {
    char about[64];
    snprintf(about, sizeof about, "talloc %d.%d", talloc_version_major(), talloc_version_minor());
    return bench_main(argc, argv, about, rows);
}
