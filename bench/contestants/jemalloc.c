/* Plain C on jemalloc: a struct that points at eight allocations, each freed by its own call. */
#include "contestant.h"

#include <jemalloc/jemalloc.h>

typedef struct value_owner {
    char *values[BENCH_VALUES];
} value_owner;

static void own_8(bench_thread *thread, uint64_t iterations) {
    (void)thread;
    for (uint64_t i = 0; i < iterations; i++) {
        value_owner *request = malloc(sizeof *request);
        BENCH_REQUIRE(request);
        for (unsigned k = 0; k < BENCH_VALUES; k++) {
            char *value = malloc(bench_value_bytes[k]);
            BENCH_REQUIRE(value);
            value[0] = 1;
            BENCH_KEEP(value);
            request->values[k] = value;
        }
        BENCH_KEEP(request);
        for (unsigned k = BENCH_VALUES; k-- > 0;) free(request->values[k]);
        free(request);
    }
}

static const bench_row rows[] = {{"own-8", own_8, NULL, 1}, {NULL, NULL, NULL, 0}};

int main(int argc, char **argv) {
    const char *version = "unknown";
    size_t bytes = sizeof version;
    char about[128];
    mallctl("version", &version, &bytes, NULL, 0);
    snprintf(about, sizeof about, "jemalloc %.20s", version);
    return bench_main(argc, argv, about, rows);
}
