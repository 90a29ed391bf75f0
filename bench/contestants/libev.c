/* libev: timers in a heap of four branches, a loop for each thread, the loop's cached clock. */
#include "contestant.h"

#include <ev.h>

typedef struct thread_loop {
    struct ev_loop *loop;
    ev_timer spare;
    ev_timer timers[BENCH_PENDING];
} thread_loop;

static void fire(struct ev_loop *loop, ev_timer *timer, int events) {
    (void)loop, (void)timer, (void)events;
    BENCH_REQUIRE(!"a timer of a bench fires");
}

static thread_loop *open_loop(bench_thread *thread) {
    thread_loop *own = thread->own = bench_allocate(1, sizeof *own);
    own->loop = ev_loop_new(0);
    BENCH_REQUIRE(own->loop);
    ev_init(&own->spare, fire);
    return own;
}

static void set_up_pending(bench_thread *thread) {
    thread_loop *own = open_loop(thread);
    for (unsigned k = 0; k < BENCH_PENDING; k++) {
        ev_timer_init(&own->timers[k], fire, (double)bench_random_ms(thread) / 1000, 0.);
        ev_timer_start(own->loop, &own->timers[k]);
    }
}

static void set_up_same_timeout(bench_thread *thread) {
    thread_loop *own = open_loop(thread);
    for (unsigned k = 0; k < BENCH_PENDING; k++) {
        ev_timer_init(&own->timers[k], fire, BENCH_TIMEOUT_MS / 1000., 0.);
        ev_timer_start(own->loop, &own->timers[k]);
    }
}

static void arm_disarm(bench_thread *thread, uint64_t iterations) {
    thread_loop *own = thread->own;
    for (uint64_t i = 0; i < iterations; i++) {
        if (i % BENCH_CLOCK_EVERY == 0) ev_now_update(own->loop);
        ev_timer_set(&own->spare, BENCH_TIMEOUT_MS / 1000., 0.);
        ev_timer_start(own->loop, &own->spare);
        ev_timer_stop(own->loop, &own->spare);
    }
}

static void rearm(bench_thread *thread, uint64_t iterations) {
    thread_loop *own = thread->own;
    for (uint64_t i = 0; i < iterations; i++) {
        ev_timer *timer = &own->timers[bench_random_index(thread)];
        if (i % BENCH_CLOCK_EVERY == 0) ev_now_update(own->loop);
        ev_timer_stop(own->loop, timer);
        ev_timer_set(timer, BENCH_TIMEOUT_MS / 1000., 0.);
        ev_timer_start(own->loop, timer);
    }
}

static const bench_row rows[] = {{"timer-arm-disarm", arm_disarm, set_up_pending, 1},
                                 {"timer-rearm", rearm, set_up_same_timeout, 1},
                                 {NULL, NULL, NULL, 0}};

int main(int argc, char **argv) {
    char about[64];
    snprintf(about, sizeof about, "libev %d.%d", ev_version_major(), ev_version_minor());
    return bench_main(argc, argv, about, rows);
}
