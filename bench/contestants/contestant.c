#include "contestant.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

enum { THREADS = 64, BATCH_NS = 50000, WARM_UP_SHARE = 10 };

typedef struct worker {
    bench_thread thread;
    pthread_t id;
    uint64_t iterations;
    double elapsed_ns, ran_ns, waited_ns;
} worker;

static const bench_row *row;
static unsigned thread_count;
static double wanted_ns;
static pthread_barrier_t together;
static cpu_set_t processors; /* those that the process may use, as it was started */
static atomic_uint warm, finished;
static double process_ns; /* processor time of all threads while the first one measured */
static worker workers[THREADS];

static double clock_ns(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* Threads that wander between processors measure the scheduler. Where there are fewer processors
 * than threads, they share. */
static void pin(unsigned index) {
    unsigned skip = index % (unsigned)CPU_COUNT(&processors);
    for (size_t processor = 0; processor < CPU_SETSIZE; processor++) {
        if (!CPU_ISSET(processor, &processors) || skip-- > 0) continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(processor, &one);
        BENCH_REQUIRE(!pthread_setaffinity_np(pthread_self(), sizeof one, &one));
        return;
    }
}

/* Runs for the time, in batches that grow until reading the clock between them costs nothing, and
 * from then on until the other threads have their time in as well. */
static void work(worker *self, double time_ns, atomic_uint *done) {
    double begun = clock_ns(CLOCK_MONOTONIC), before = begun, now;
    uint64_t iterations = 0, batch = 1;
    bool counted = false;
    do {
        row->run(&self->thread, batch);
        iterations += batch;
        now = clock_ns(CLOCK_MONOTONIC);
        if (now - before < BATCH_NS) batch *= 2;
        before = now;
        if (!counted && now - begun >= time_ns) {
            counted = true;
            /* Relaxed: only the number counts, nothing is handed over by it. */
            atomic_fetch_add_explicit(done, 1, memory_order_relaxed);
        }
    } while (!counted || atomic_load_explicit(done, memory_order_relaxed) < thread_count);
    self->elapsed_ns = now - begun;
    self->iterations = iterations;
}

/* How long this thread was ready and had no processor, since it started: the second number of its
 * schedstat. 0 where the kernel does not count it. */
static double waited_ns(void) {
    FILE *file = fopen("/proc/thread-self/schedstat", "r");
    double waited = 0;
    if (file && fscanf(file, "%*u %lf", &waited) != 1) waited = 0;
    if (file) fclose(file);
    return waited;
}

static void *worker_main(void *argument) {
    worker *self = argument;
    bool first = self->thread.index == 0;
    pin(self->thread.index);
    if (row->set_up) row->set_up(&self->thread);
    pthread_barrier_wait(&together);
    work(self, wanted_ns / WARM_UP_SHARE, &warm);
    pthread_barrier_wait(&together);
    if (first) process_ns = -clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    self->ran_ns = -clock_ns(CLOCK_THREAD_CPUTIME_ID);
    self->waited_ns = -waited_ns();
    work(self, wanted_ns, &finished);
    self->waited_ns += waited_ns();
    self->ran_ns += clock_ns(CLOCK_THREAD_CPUTIME_ID);
    pthread_barrier_wait(&together);
    if (first) process_ns += clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    return NULL;
}

/* What an operation costs, and the part of the threads' time for which others had the processors.
 * What threads of the contestant's own ran meanwhile, a timer's or a cleaner's, is part of its
 * cost: the wait for them is not taken off. With several threads nothing is: while one is off its
 * processor the others do not meet it, and their figure is too good already. */
static double measure(double *lost_part) {
    BENCH_REQUIRE(!sched_getaffinity(0, sizeof processors, &processors));
    BENCH_REQUIRE(!pthread_barrier_init(&together, NULL, thread_count));
    for (unsigned i = 0; i < thread_count; i++) {
        workers[i].thread = (bench_thread){i, UINT64_C(0x9e3779b97f4a7c15) * (i + 1), NULL};
        BENCH_REQUIRE(!pthread_create(&workers[i].id, NULL, worker_main, &workers[i]));
    }
    double elapsed_ns = 0, operations = 0, lost_ns = 0, ran_ns = 0;
    for (unsigned i = 0; i < thread_count; i++) {
        pthread_join(workers[i].id, NULL);
        elapsed_ns += workers[i].elapsed_ns;
        operations += (double)workers[i].iterations * row->operations;
        lost_ns += workers[i].waited_ns;
        ran_ns += workers[i].ran_ns;
    }
    if (process_ns > ran_ns) lost_ns -= process_ns - ran_ns;
    if (lost_ns < 0) lost_ns = 0;
    *lost_part = lost_ns / elapsed_ns;
    if (thread_count > 1) lost_ns = 0;
    return (elapsed_ns - lost_ns) / operations;
}

static int usage(const char *program) {
    fprintf(stderr, "usage: %s --list | --about | --row ROW --threads N --milliseconds M\n",
            program);
    return 2;
}

int bench_main(int argc, char **argv, const char *about, const bench_row *rows) {
    unsigned long threads = 1, milliseconds = 200;
    const char *name = NULL;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--list")) {
            for (row = rows; row->name; row++) puts(row->name);
            return 0;
        }
        if (!strcmp(argv[i], "--about")) return puts(about) < 0;
        if (i + 1 == argc) return usage(argv[0]);
        const char *value = argv[++i];
        if (!strcmp(argv[i - 1], "--row"))
            name = value;
        else if (!strcmp(argv[i - 1], "--threads"))
            threads = strtoul(value, NULL, 10);
        else if (!strcmp(argv[i - 1], "--milliseconds"))
            milliseconds = strtoul(value, NULL, 10);
        else
            return usage(argv[0]);
    }
    if (!name || threads < 1 || threads > THREADS || milliseconds < 1) return usage(argv[0]);
    for (row = rows; row->name && strcmp(row->name, name) != 0;) row++;
    if (!row->name) return fprintf(stderr, "%s has no row %s\n", argv[0], name), 2;
    thread_count = (unsigned)threads;
    wanted_ns = (double)milliseconds * 1e6;
    double lost_part, ns = measure(&lost_part);
    printf("%.4f %.4f\n", ns, lost_part);
    return 0;
}
