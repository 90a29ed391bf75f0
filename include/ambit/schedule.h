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
 * THREADS. ambit_schedule_run() and ambit_schedule_main() are called by one thread at a time, outside of
 * scenarios, with no other thread of the program using the code under test. The others, from spawn on, are for
 * any thread of a scenario; each says what it does outside of one. None allocates memory that the caller would
 * have to free, and none sets errno. What fails in a scenario ends the schedule at once: the call does not return,
 * nor does anything run that stands behind it, also not handlers of the end of threads. */
#ifndef AMBIT_SCHEDULE_H
#define AMBIT_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Threads of one schedule that live at once, the one that runs the scenario included. One that has ended lives
 * until it is joined, or has been detached. */
#define AMBIT_SCHEDULE_THREADS 8

/* A scenario, or a thread of one. `argument` is passed on as it is and stays the caller's. */
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

/* What a run has come to. The caller's memory; written once, before the run returns. */
typedef struct ambit_schedule_result {
    ambit_schedule_failure failure;
    uint64_t schedules;  /* played, the one that failed included */
    uint64_t seed;       /* of the failure; 0 if there is none */
    uint64_t trace_hash; /* of the failure, else of the last schedule */
    uint64_t steps_most; /* of one schedule */
    double seconds;      /* of real time, in all */
    bool complete;       /* exhaustive: there is no other schedule */
    char message[512];   /* what failed, in a line or two, cut off there; "" if nothing has */
} ambit_schedule_result;

/* Zero is the usual for each. Copied when the run begins; what they point to stays the caller's, and is there
 * until it returns. */
typedef struct ambit_schedule_options {
    const char *name; /* in reports; usually "scenario". Of an AMBIT_SCHEDULE_TEST always its own */
    void *argument;   /* of the scenario and of `before` */
    /* Called once, alone, before the first schedule; what it leaves behind in memory is where each of them
     * begins. It may do what a scenario may, and fails as one does. NULL: nothing is. */
    ambit_schedule_fn *before;
    uint64_t schedules; /* at most; usually 10,000 */
    uint64_t seed;      /* of the first schedule, the next one has the next; usually 1 */
    ambit_schedule_strategy strategy;
    unsigned depth;       /* of PCT, 1 to 64, with no other strategy; usually 3 */
    unsigned preemptions; /* exhaustive, with no other: at most so many; usually any number */
    uint64_t
        steps; /* a schedule that takes more is a livelock; usually 20,000, at most 1,000,000,000 */
    int64_t
        early_ns; /* virtual ns, 0 or more: timers that are due within may fire now; usually 1 ms */
    bool strong_memory;           /* sequential consistency only */
    bool cxx20_release_sequences; /* not going on with plain stores: C++20's, unlike C11's */
    bool no_leaks;                /* do not look for them */
    bool no_spurious; /* no wake-ups without a reason, no weak exchanges that fail without */
    bool quiet; /* print nothing of what was found; what makes no sense is told all the same */
    ambit_schedule_result *result; /* filled in, unless the status is 2; NULL: nobody asks */
} ambit_schedule_options;

/* Plays `scenario` until a schedule fails or the number is reached. `options` may be NULL.
 *
 * Blocks until then. After a failure the process is as it was before: another run may follow. A scenario that takes
 * no step for some seconds (AMBIT_SCHEDULE_PATIENCE in the environment, usually 5) ends the process with status 1,
 * after a report, since nothing can be put back then. While it plays, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT,
 * SIGTRAP, SIGSYS and, unless it is ignored or handled, SIGPIPE are caught; then they are as before.
 *
 * 0: clean; a line on standard output says so. 1: a failure, told on standard error. 2: the options make no sense,
 * nothing of the program is compiled with -fsanitize=thread, or the system has no threads left; told on standard
 * error, and nothing was played. In a scenario it is a misuse, and fails that one. */
int ambit_schedule_run(ambit_schedule_fn *scenario, const ambit_schedule_options *options);

/* ---- In a scenario --------------------------------------------------------------------------- */

/* A value, to be copied; it means nothing in another schedule. */
typedef struct ambit_schedule_thread {
    unsigned long handle; /* what pthread_t is to the program */
} ambit_schedule_thread;

/* pthread_create() and pthread_join() in few words; those work as well, and on the same threads.
 *
 * spawn: a step. The new thread has seen all that this one has done, and runs when it is picked. Fails the schedule
 * (AMBIT_SCHEDULE_UNSUPPORTED) when there are too many. Outside of a scenario both abort, and say so.
 *
 * join: blocks until the thread has ended, which can be for ever: then the schedule fails. The caller has seen then
 * all that it did. To join twice, or oneself, is a misuse, and fails. Each thread has to be joined or detached. */
ambit_schedule_thread ambit_schedule_spawn(ambit_schedule_fn *run, void *argument);
void ambit_schedule_join(ambit_schedule_thread thread);

/* Fails the schedule (AMBIT_SCHEDULE_ASSERTION) unless `condition` holds; it is evaluated once. assert() works as
 * well. Does not block and is no step. Outside of a scenario a false one aborts. */
#define ambit_schedule_assert(condition)                                                           \
    ((condition) ? (void)0 : ambit__schedule_assert_failed(#condition, __FILE__, __LINE__))
void ambit__schedule_assert_failed(const char *text, const char *file, int line)
    __attribute__((noreturn));

/* One of 0 .. count - 1, by the seed; the exhaustive strategy tries all. 0 if `count` is 0 or 1, and outside of a
 * scenario; more than 255 fails the schedule (AMBIT_SCHEDULE_UNSUPPORTED). Does not block and is no step. */
unsigned ambit_schedule_choose(unsigned count);

/* A line for the table of a failure, as printf() makes it; the first 63 bytes are kept. Does not block and is no step;
 * does nothing outside of a scenario. */
void ambit_schedule_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Lets the others run first: for a loop that waits for them without a lock. A step; this thread goes on when
 * another has changed something or none can run. If all can only do this, it is a livelock. sched_yield() does the
 * same. Does nothing outside of a scenario. */
void ambit_schedule_yield(void);

/* What fork() does in the parent, without the child: runs the handlers that pthread_atfork() was given, those
 * for before it, last one first, and then those for the parent, on this thread; they may block. fork() itself is no
 * part of a schedule. Does nothing outside of a scenario. */
void ambit_schedule_fork_in_parent(void);

/* Whether this is a thread of a scenario under way. From anywhere; does not block. */
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

/* What that main() does: for a program with its own. Reads the words (--help names them), which it keeps pointers to
 * until it returns, and plays the tests, several of them in a child process each. Blocks until then. Returns the exit
 * status: 0 all is well, 1 a test has failed or a mutant lives, 2 the words were not understood, and nothing was
 * played. */
int ambit_schedule_main(int argc, char **argv);

#ifdef __cplusplus
}
#endif
#endif
