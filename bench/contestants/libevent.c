/* libevent: timers in a heap or, for a timeout that many share, in a queue; a base for each thread,
 * without locks. */
#include "contestant.h"

#include <event2/event.h>

typedef struct thread_loop {
    struct event_base *base;
    struct event *spare;
    struct timeval plain;
    const struct timeval *timeout; /* `plain`, or the mark of the queue */
    struct event *timers[BENCH_PENDING];
} thread_loop;

static void fire(evutil_socket_t none, short what, void *argument) {
    (void)none, (void)what, (void)argument;
    BENCH_REQUIRE(!"a timer of a bench fires");
}

static thread_loop *open_loop(bench_thread *thread, int queue) {
    thread_loop *own = thread->own = bench_allocate(1, sizeof *own);
    own->base = event_base_new();
    BENCH_REQUIRE(own->base);
    own->plain = (struct timeval){BENCH_TIMEOUT_MS / 1000, 0};
    own->timeout = queue ? event_base_init_common_timeout(own->base, &own->plain) : &own->plain;
    own->spare = evtimer_new(own->base, fire, NULL);
    for (unsigned k = 0; k < BENCH_PENDING; k++)
        own->timers[k] = evtimer_new(own->base, fire, NULL);
    return own;
}

static void set_up_pending(bench_thread *thread) {
    thread_loop *own = open_loop(thread, 0);
    for (unsigned k = 0; k < BENCH_PENDING; k++) {
        uint64_t ms = bench_random_ms(thread);
        struct timeval timeout = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};
        evtimer_add(own->timers[k], &timeout);
    }
}

static void set_up_same(bench_thread *thread, int queue) {
    thread_loop *own = open_loop(thread, queue);
    for (unsigned k = 0; k < BENCH_PENDING; k++) evtimer_add(own->timers[k], own->timeout);
}

static void set_up_same_timeout(bench_thread *thread) { set_up_same(thread, 0); }
static void set_up_queue(bench_thread *thread) { set_up_same(thread, 1); }

static void arm_disarm(bench_thread *thread, uint64_t iterations) {
    thread_loop *own = thread->own;
    for (uint64_t i = 0; i < iterations; i++) {
        evtimer_add(own->spare, own->timeout);
        evtimer_del(own->spare);
    }
}

static void rearm(bench_thread *thread, uint64_t iterations) {
    thread_loop *own = thread->own;
    /* event_add takes a pending one out first. */
    for (uint64_t i = 0; i < iterations; i++)
        evtimer_add(own->timers[bench_random_index(thread)], own->timeout);
}

static const bench_row rows[] = {{"timer-arm-disarm", arm_disarm, set_up_pending, 1},
                                 {"timer-arm-disarm/queue", arm_disarm, set_up_queue, 1},
                                 {"timer-rearm", rearm, set_up_same_timeout, 1},
                                 {"timer-rearm/queue", rearm, set_up_queue, 1},
                                 {NULL, NULL, NULL, 0}};

int main(int argc, char **argv) {
    char about[64];
    snprintf(about, sizeof about, "libevent %s", event_get_version());
    return bench_main(argc, argv, about, rows);
}
