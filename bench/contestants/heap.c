/* A bare binary heap that knows where each timer stands: what a server writes for itself. */
#include "contestant.h"

#include <pthread.h>

typedef struct heap_timer {
    uint64_t deadline_ms;
    uint32_t place;
} heap_timer;

typedef struct timer_heap {
    pthread_mutex_t lock;
    uint32_t count;
    heap_timer **places;
    heap_timer *timers; /* BENCH_PENDING of them, then a spare one for each thread */
} timer_heap;

enum { SPARE = 64 };

static void settle(timer_heap *heap, heap_timer *timer, uint32_t place) {
    heap->places[place] = timer;
    timer->place = place;
}

static void rise(timer_heap *heap, heap_timer *timer, uint32_t place) {
    while (place > 0) {
        uint32_t above = (place - 1) / 2;
        if (heap->places[above]->deadline_ms <= timer->deadline_ms) break;
        settle(heap, heap->places[above], place);
        place = above;
    }
    settle(heap, timer, place);
}

static void sink(timer_heap *heap, heap_timer *timer, uint32_t place) {
    for (uint32_t below; (below = 2 * place + 1) < heap->count; place = below) {
        if (below + 1 < heap->count &&
            heap->places[below + 1]->deadline_ms < heap->places[below]->deadline_ms)
            below++;
        if (heap->places[below]->deadline_ms >= timer->deadline_ms) break;
        settle(heap, heap->places[below], place);
    }
    settle(heap, timer, place);
}

static void arm(timer_heap *heap, heap_timer *timer, uint64_t deadline_ms) {
    timer->deadline_ms = deadline_ms;
    rise(heap, timer, heap->count++);
}

static void disarm(timer_heap *heap, heap_timer *gone) {
    uint32_t place = gone->place;
    heap_timer *last = heap->places[--heap->count];
    if (last == gone) return;
    rise(heap, last, place);
    sink(heap, last, last->place);
}

static timer_heap *make(bench_thread *thread, int same_timeout) {
    timer_heap *made = bench_allocate(1, sizeof *made);
    pthread_mutex_init(&made->lock, NULL);
    made->places = bench_allocate(BENCH_PENDING + SPARE, sizeof(heap_timer *));
    made->timers = bench_allocate(BENCH_PENDING + SPARE, sizeof(heap_timer));
    for (unsigned k = 0; k < BENCH_PENDING; k++)
        arm(made, &made->timers[k], same_timeout ? BENCH_TIMEOUT_MS : bench_random_ms(thread));
    return made;
}

static void set_up_pending(bench_thread *thread) { thread->own = make(thread, 0); }
static void set_up_same_timeout(bench_thread *thread) { thread->own = make(thread, 1); }

static void set_up_shared(bench_thread *thread) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static timer_heap *shared;
    pthread_mutex_lock(&lock);
    if (!shared) shared = make(thread, 0);
    pthread_mutex_unlock(&lock);
    thread->own = shared;
}

static heap_timer *spare_of(bench_thread *thread) {
    timer_heap *own = thread->own;
    return &own->timers[BENCH_PENDING + thread->index];
}

static void arm_disarm(bench_thread *thread, uint64_t iterations) {
    timer_heap *own = thread->own;
    heap_timer *spare = spare_of(thread);
    for (uint64_t i = 0; i < iterations; i++) {
        arm(own, spare, BENCH_TIMEOUT_MS);
        BENCH_KEEP(spare);
        disarm(own, spare);
        BENCH_KEEP(spare);
    }
}

static void arm_disarm_locked(bench_thread *thread, uint64_t iterations) {
    timer_heap *own = thread->own;
    heap_timer *spare = spare_of(thread);
    for (uint64_t i = 0; i < iterations; i++) {
        pthread_mutex_lock(&own->lock);
        arm(own, spare, BENCH_TIMEOUT_MS);
        pthread_mutex_unlock(&own->lock);
        pthread_mutex_lock(&own->lock);
        disarm(own, spare);
        pthread_mutex_unlock(&own->lock);
    }
}

/* Its clock moves by a millisecond where the others read theirs. */
static void rearm(bench_thread *thread, uint64_t iterations) {
    timer_heap *own = thread->own;
    static __thread uint64_t now_ms;
    for (uint64_t i = 0; i < iterations; i++) {
        heap_timer *timer = &own->timers[bench_random_index(thread)];
        if (i % BENCH_CLOCK_EVERY == 0) now_ms++;
        disarm(own, timer);
        arm(own, timer, now_ms + BENCH_TIMEOUT_MS);
    }
    BENCH_KEEP(own);
}

static const bench_row rows[] = {{"timer-arm-disarm", arm_disarm, set_up_pending, 1},
                                 {"timer-arm-disarm/locked", arm_disarm_locked, set_up_shared, 1},
                                 {"timer-rearm", rearm, set_up_same_timeout, 1},
                                 {NULL, NULL, NULL, 0}};

int main(int argc, char **argv) {
    return bench_main(argc, argv, "a binary heap with back-references", rows);
}
