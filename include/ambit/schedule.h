/* The controlled scheduler: tests that find races by method and replay them by seed.
 *
 * A scenario is a function that starts a few threads and asserts what must hold. It is run thousands
 * of times; each time its threads, which are real ones, run one at a time in an order that a seed
 * decides, over a memory that shows stores as late as C11 allows, in a time of its own. What goes
 * wrong is told with the seed, the order of steps as a table, and the lines; the seed plays it again.
 *
 *     #include <ambit/schedule.h>
 *
 *     static int counter;
 *     static void add(void *argument) { (void)argument; counter++; }
 *
 *     AMBIT_SCHEDULE_TEST(counter_counts) {
 *         ambit_schedule_thread one = ambit_schedule_spawn(add, NULL);
 *         ambit_schedule_thread two = ambit_schedule_spawn(add, NULL);
 *         ambit_schedule_join(one);
 *         ambit_schedule_join(two);
 *         ambit_schedule_assert(counter == 2);
 *     }
 *
 * The code under test is compiled with -fsanitize=thread and linked with this library instead of the
 * sanitizer's own; it needs no other change and no header of ambit's. CMake's
 * ambit_schedule_test(NAME SOURCES ...) does both. docs/schedule.md is the manual.
 *
 * A schedule ends when the scenario has returned and all threads have ended. Then every variable, thread-
 * local or not, and the heap are as they were before it, so that schedules do not know of each other.
 *
 * THREADS. ambit_schedule_run() is called by one thread at a time, with no other thread of the program
 * using the code under test. The others, from spawn on, only inside of a scenario, from any of its threads. */
#ifndef AMBIT_SCHEDULE_H
#define AMBIT_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Threads of one schedule that live at once, the one that runs the scenario included. */
#define AMBIT_SCHEDULE_THREADS 8

typedef void ambit_schedule_fn(void *argument);

typedef enum ambit_schedule_strategy {
    AMBIT_SCHEDULE_MIXED = 0,  /* the seed chooses between random and PCT of depth 1, 2, 3 */
    AMBIT_SCHEDULE_RANDOM = 1, /* any thread at each step */
    AMBIT_SCHEDULE_PCT = 2, /* priorities with depth - 1 changes (Burckhardt et al., ASPLOS 2010) */
    AMBIT_SCHEDULE_EXHAUSTIVE = 3 /* every schedule, up to the order of steps that do not meet */
} ambit_schedule_strategy;

/* What was found. */
typedef enum ambit_schedule_failure {
    AMBIT_SCHEDULE_CLEAN = 0,
    AMBIT_SCHEDULE_ASSERTION,      /* an assertion failed, or the program aborted or crashed */
    AMBIT_SCHEDULE_RACE,           /* two accesses to plain memory that nothing orders */
    AMBIT_SCHEDULE_USE_AFTER_FREE, /* after free(), or what a grace period freed */
    AMBIT_SCHEDULE_UNINITIALISED,  /* heap memory was read that nobody wrote */
    AMBIT_SCHEDULE_DEADLOCK,       /* all wait, at least one for a lock */
    AMBIT_SCHEDULE_LOST_WAKEUP,    /* all wait, and nobody is left to wake them */
    AMBIT_SCHEDULE_LIVELOCK,       /* no end within the bound of steps, or only spinning */
    AMBIT_SCHEDULE_LEAK,           /* memory that nothing points to at the end */
    AMBIT_SCHEDULE_MISUSE,         /* of a lock, a thread, RCU: what POSIX calls undefined */
    AMBIT_SCHEDULE_UNSUPPORTED,  /* fork, longjmp, a call that blocks for real, too many threads */
    AMBIT_SCHEDULE_DIVERGED,     /* the same seed took another way: addresses, real time */
    AMBIT_SCHEDULE_OUT_OF_BOUNDS /* heap memory before or behind a block was touched */
} ambit_schedule_failure;

typedef struct ambit_schedule_result {
    ambit_schedule_failure failure;
    uint64_t schedules;  /* run */
    uint64_t seed;       /* of the failure */
    uint64_t trace_hash; /* of the failure, else of the last schedule */
    uint64_t steps_most; /* of one schedule */
    double seconds;
    bool complete;     /* exhaustive: there is no other schedule */
    char message[512]; /* what failed, in a line or two */
} ambit_schedule_result;

/* Zero is the usual for each. */
typedef struct ambit_schedule_options {
    const char *name; /* in reports */
    void *argument;   /* of the scenario */
    ambit_schedule_fn
        *before;        /* called once, alone; what it leaves behind is where schedules begin */
    uint64_t schedules; /* at most; usually 10,000 */
    uint64_t seed;      /* of the first schedule, the next one has the next; usually 1 */
    ambit_schedule_strategy strategy;
    unsigned depth;       /* of PCT, from 1; usually 3 */
    unsigned preemptions; /* exhaustive: at most so many; usually any number */
    uint64_t steps;       /* a schedule that takes more is a livelock; usually 20,000 */
    int64_t early_ns;     /* timers that are due within may fire now; usually 1 ms */
    bool strong_memory;   /* sequential consistency only */
    bool
        cxx20_release_sequences; /* they do not go on with plain stores, as in C++20, unlike in C11 */
    bool no_leaks;               /* do not look for them */
    bool no_spurious; /* no wake-ups without a reason, no weak exchanges that fail without */
    bool quiet;       /* print nothing */
    ambit_schedule_result *result; /* NULL: nobody asks */
} ambit_schedule_options;

/* Runs `scenario` until a schedule fails or the number is reached. `options` may be NULL.
 * 0: clean. 1: a failure, told on standard error. 2: the options make no sense, told there too. */
int ambit_schedule_run(ambit_schedule_fn *scenario, const ambit_schedule_options *options);

/* ---- In a scenario --------------------------------------------------------------------------- */

typedef struct ambit_schedule_thread {
    unsigned long handle;
} ambit_schedule_thread;

/* pthread_create() and pthread_join() in few words; those work as well. Stops the schedule when there
 * are too many threads. */
ambit_schedule_thread ambit_schedule_spawn(ambit_schedule_fn *run, void *argument);
void ambit_schedule_join(ambit_schedule_thread thread);

/* Fails the schedule unless `condition` holds. assert() works as well. */
#define ambit_schedule_assert(condition)                                                           \
    ((condition) ? (void)0 : ambit__schedule_assert_failed(#condition, __FILE__, __LINE__))
void ambit__schedule_assert_failed(const char *text, const char *file, int line)
    __attribute__((noreturn));

/* One of 0 .. count - 1: all are tried. Outside of a schedule 0. */
unsigned ambit_schedule_choose(unsigned count);

/* A line for the table of a failure, at most 60 letters are kept. */
void ambit_schedule_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Lets the others run first: for a loop that waits for them without a lock. */
void ambit_schedule_yield(void);

/* What fork() does in the parent, without the child: runs the handlers that pthread_atfork() was given, those
 * for before it and then those for the parent. fork() itself is no part of a schedule. */
void ambit_schedule_fork_in_parent(void);

/* Whether this is a scenario under way. */
bool ambit_schedule_is_running(void);

/* ---- Tests by name --------------------------------------------------------------------------- */

/* Defines a scenario and registers it; the library has a main() that runs those of the program,
 * unless it has its own: see --help of such a program. */
#define AMBIT_SCHEDULE_TEST(test) AMBIT_SCHEDULE_TEST_WITH(test, .name = #test)

/* The same, with options by their names. */
#define AMBIT_SCHEDULE_TEST_WITH(test, ...)                                                        \
    static void test(void *argument);                                                              \
    __attribute__((constructor)) static void ambit__schedule_register_##test(void) {               \
        static ambit__schedule_test ambit_test_ = {#test, __FILE__, test, {__VA_ARGS__}, 0};       \
        ambit__schedule_register(&ambit_test_);                                                    \
    }                                                                                              \
    static void test(void *argument __attribute__((unused)))

typedef struct ambit__schedule_test {
    const char *name, *file;
    ambit_schedule_fn *scenario;
    ambit_schedule_options options;
    struct ambit__schedule_test *next;
} ambit__schedule_test;
void ambit__schedule_register(ambit__schedule_test *test);

/* What the program tests: parts of the paths of files, or such a part, a colon and the name of a function
 * in it; spaces between. Its --mutants weakens the memory
 * orders of those files one at a time, each of which must make a test fail. */
#define AMBIT_SCHEDULE_COVERS(paths)                                                               \
    __attribute__((constructor)) static void ambit__schedule_covers_files(void) {                  \
        ambit__schedule_covers(paths);                                                             \
    }
void ambit__schedule_covers(const char *paths);

/* What that main() does: for a program with its own. Returns its exit status. */
int ambit_schedule_main(int argc, char **argv);

#ifdef __cplusplus
}
#endif
#endif
