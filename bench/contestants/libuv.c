/* libuv: timers in a heap, a loop for each thread, the loop's cached clock. */
#include "contestant.h"

#include <uv.h>

typedef struct thread_loop {
    uv_loop_t loop;
    uv_timer_t spare;
    uv_timer_t timers[BENCH_PENDING];
} thread_loop;

static void fire(uv_timer_t *timer) {
    (void)timer;
    BENCH_REQUIRE(!"a timer of a bench fires");
}

static thread_loop *open_loop(bench_thread *thread) {
    thread_loop *own = thread->own = bench_allocate(1, sizeof *own);
    BENCH_REQUIRE(!uv_loop_init(&own->loop));
    uv_timer_init(&own->loop, &own->spare);
    for (unsigned k = 0; k < BENCH_PENDING; k++) uv_timer_init(&own->loop, &own->timers[k]);
    return own;
}

static void set_up_pending(bench_thread *thread) {
    thread_loop *own = open_loop(thread);
    for (unsigned k = 0; k < BENCH_PENDING; k++)
        uv_timer_start(&own->timers[k], fire, bench_random_ms(thread), 0);
}

static void set_up_same_timeout(bench_thread *thread) {
    thread_loop *own = open_loop(thread);
    for (unsigned k = 0; k < BENCH_PENDING; k++)
        uv_timer_start(&own->timers[k], fire, BENCH_TIMEOUT_MS, 0);
}

static void arm_disarm(bench_thread *thread, uint64_t iterations) {
    thread_loop *own = thread->own;
    for (uint64_t i = 0; i < iterations; i++) {
        if (i % BENCH_CLOCK_EVERY == 0) uv_update_time(&own->loop);
        uv_timer_start(&own->spare, fire, BENCH_TIMEOUT_MS, 0);
        uv_timer_stop(&own->spare);
    }
}

static void rearm(bench_thread *thread, uint64_t iterations) {
    thread_loop *own = thread->own;
    for (uint64_t i = 0; i < iterations; i++) {
        if (i % BENCH_CLOCK_EVERY == 0) uv_update_time(&own->loop);
        /* It stops the timer first. */
        uv_timer_start(&own->timers[bench_random_index(thread)], fire, BENCH_TIMEOUT_MS, 0);
    }
}

static const bench_row rows[] = {{"timer-arm-disarm", arm_disarm, set_up_pending, 1},
                                 {"timer-rearm", rearm, set_up_same_timeout, 1},
                                 {NULL, NULL, NULL, 0}};

int main(int argc, char **argv) {
    char about[64];
    snprintf(about, sizeof about, "libuv %s", uv_version_string());
    return bench_main(argc, argv, about, rows);
}
