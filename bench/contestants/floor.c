/* The floor: what the same work costs with nothing around it. No product, no safety, no census. */
#include "contestant.h"

#include <stdatomic.h>
#include <time.h>

static int64_t coarse_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* ---- Open and close: a magazine of the thread's own, and the coarse clock -------------------- */

typedef struct magazine {
    unsigned count;
    int64_t *objects[64];
} magazine;

static void set_up_magazine(bench_thread *thread) {
    magazine *own = thread->own = bench_allocate(1, sizeof *own);
    while (own->count < 64) own->objects[own->count++] = bench_allocate(1, 128);
}

static void open_close(bench_thread *thread, uint64_t iterations) {
    magazine *own = thread->own;
    for (uint64_t i = 0; i < iterations; i++) {
        int64_t *object = own->objects[--own->count];
        *object = coarse_ns();
        BENCH_KEEP(object);
        own->objects[own->count++] = object;
        BENCH_KEEP(own);
    }
}

/* ---- Reading: one word for each context on the way up ---------------------------------------- */

typedef struct scope {
    _Alignas(64) atomic_uint ended;
    struct scope *parent;
    int64_t deadline_ns;
} scope;

/* The compiler must not know that nobody ends them: they are where it cannot look. */
static void set_up_scopes(bench_thread *thread, unsigned depth) {
    scope *scopes = aligned_alloc(_Alignof(scope), depth * sizeof *scopes);
    BENCH_REQUIRE(scopes);
    for (unsigned i = 0; i < depth; i++) {
        atomic_init(&scopes[i].ended, 0);
        scopes[i].parent = i + 1 < depth ? &scopes[i + 1] : NULL;
        scopes[i].deadline_ns = INT64_MAX - 1;
    }
    BENCH_KEEP(scopes);
    thread->own = scopes;
}

static void set_up_1_scope(bench_thread *thread) { set_up_scopes(thread, 1); }
static void set_up_5_scopes(bench_thread *thread) { set_up_scopes(thread, 5); }

static void read_1(bench_thread *thread, uint64_t iterations) {
    const scope *own = thread->own;
    for (uint64_t i = 0; i < iterations; i++) {
        unsigned ended = atomic_load_explicit(&own->ended, memory_order_acquire);
        BENCH_KEEP(ended);
    }
}

static void read_all(bench_thread *thread, uint64_t iterations) {
    for (uint64_t i = 0; i < iterations; i++) {
        unsigned ended = 0;
        for (const scope *at = thread->own; at && !ended; at = at->parent)
            ended = atomic_load_explicit(&at->ended, memory_order_acquire);
        BENCH_KEEP(ended);
    }
}

static void read_deadline(bench_thread *thread, uint64_t iterations) {
    const scope *own = thread->own;
    for (uint64_t i = 0; i < iterations; i++) {
        int past = coarse_ns() >= own->deadline_ns;
        BENCH_KEEP(past);
    }
}

/* ---- Hold and drop: up and down on one shared word ------------------------------------------- */

static void up_down(bench_thread *thread, uint64_t iterations) {
    static _Alignas(64) atomic_uint holds;
    (void)thread;
    for (uint64_t i = 0; i < iterations; i++) {
        atomic_fetch_add_explicit(&holds, 1, memory_order_relaxed);
        unsigned before = atomic_fetch_sub_explicit(&holds, 1, memory_order_acq_rel);
        BENCH_KEEP(before);
    }
}

/* ---- Timers: a list of those with the same timeout, in the order of arming ------------------- */

typedef struct list_timer {
    struct list_timer *next, *previous;
    int64_t deadline_ns;
} list_timer;

typedef struct timer_list {
    list_timer head;
    list_timer *timers; /* BENCH_PENDING of them, and one to spare */
} timer_list;

static void append(timer_list *list, list_timer *timer, int64_t deadline) {
    timer->deadline_ns = deadline;
    timer->next = &list->head;
    timer->previous = list->head.previous;
    timer->previous->next = list->head.previous = timer;
}

static void take(list_timer *timer) {
    timer->previous->next = timer->next;
    timer->next->previous = timer->previous;
}

static void set_up_list(bench_thread *thread) {
    timer_list *own = thread->own = bench_allocate(1, sizeof *own);
    own->head.next = own->head.previous = &own->head;
    own->timers = bench_allocate(BENCH_PENDING + 1, sizeof *own->timers);
    for (unsigned k = 0; k < BENCH_PENDING; k++) append(own, &own->timers[k], k);
}

static void arm_disarm(bench_thread *thread, uint64_t iterations) {
    timer_list *own = thread->own;
    list_timer *spare = &own->timers[BENCH_PENDING];
    int64_t now_ns = 0;
    for (uint64_t i = 0; i < iterations; i++) {
        if (i % BENCH_CLOCK_EVERY == 0) now_ns = coarse_ns();
        append(own, spare, now_ns);
        BENCH_KEEP(spare);
        take(spare);
        BENCH_KEEP(spare);
    }
}

static void rearm(bench_thread *thread, uint64_t iterations) {
    timer_list *own = thread->own;
    int64_t now_ns = 0;
    for (uint64_t i = 0; i < iterations; i++) {
        list_timer *timer = &own->timers[bench_random_index(thread)];
        if (i % BENCH_CLOCK_EVERY == 0) now_ns = coarse_ns();
        take(timer);
        append(own, timer, now_ns);
        BENCH_KEEP(timer);
    }
}

static const bench_row rows[] = {{"open-close", open_close, set_up_magazine, 1},
                                 {"open-close-deadline", open_close, set_up_magazine, 1},
                                 {"open-close-deadline-100k", open_close, set_up_magazine, 1},
                                 {"err-depth-1", read_1, set_up_1_scope, 1},
                                 {"err-depth-5", read_all, set_up_5_scopes, 1},
                                 {"err-deadline", read_deadline, set_up_1_scope, 1},
                                 {"hold-drop", up_down, NULL, 1},
                                 {"timer-arm-disarm", arm_disarm, set_up_list, 1},
                                 {"timer-rearm", rearm, set_up_list, 1},
                                 {NULL, NULL, NULL, 0}};

int main(int argc, char **argv) {
    return bench_main(argc, argv, "the floor: magazine, words, list", rows);
}
