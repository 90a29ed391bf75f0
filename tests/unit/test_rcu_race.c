/* Read-copy-update under ThreadSanitizer: right code gives no report, wrong code is caught each time.
 *
 * One body for each pair, a process for each half. The accesses are put in order by a stage that the
 * sanitizer cannot see (a futex and built-ins in functions that are not instrumented), so that a race
 * is reported by what the shim tells of the order, and not by luck. Which functions a report is about
 * is told by sections: each function that is to be named has one of its own. */
#include "suite.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/rcu.h"
#include "build.h"
#include "fresh.h"
#include "kernel.h"

#define HIDDEN KERNEL_HIDDEN __attribute__((noinline))
#define NAMED(function) __attribute__((noinline, section("named_" #function), used))

/* ---- The stage ------------------------------------------------------------------------------- */

static uint32_t stage;
HIDDEN static void reach(uint32_t step) {
    __atomic_store_n(&stage, step, __ATOMIC_RELEASE);
    (void)__real_syscall(SYS_futex, &stage, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}
HIDDEN static void await(uint32_t step) {
    uint32_t now;
    while ((now = __atomic_load_n(&stage, __ATOMIC_ACQUIRE)) < step)
        (void)__real_syscall(SYS_futex, &stage, FUTEX_WAIT_PRIVATE, now, NULL, NULL, 0);
}

/* ---- The accesses that are named ------------------------------------------------------------- */

typedef struct object {
    ambit__rcu_head head;
    int field;
} object;

static _Atomic(object *) published;
static volatile int sink; /* so that the accesses are made */

NAMED(reads) static void reads(object *from) { sink = from->field; }
NAMED(writes) static void writes(object *to) { to->field = 2; }
NAMED(frees) static void frees(object *gone) { free(gone); }
NAMED(runs) static void runs(ambit__rcu_head *head) { sink = ((object *)(void *)head)->field; }

#if BUILD_TSAN
#define BOUNDS(function) extern const char __start_named_##function[], __stop_named_##function[];
BOUNDS(reads)
BOUNDS(writes)
BOUNDS(frees)
BOUNDS(runs)
#define ROW(function)                                                                              \
    { #function, __start_named_##function, __stop_named_##function }
static const struct named {
    const char *name, *start, *stop;
} all_named[] = {ROW(reads), ROW(writes), ROW(frees), ROW(runs)};

int __tsan_get_report_data(void *report, const char **description, int *count, int *stacks,
                           int *mops, int *locs, int *mutexes, int *threads, int *unique_tids,
                           void **sleep_trace, unsigned long trace_size);
int __tsan_get_report_mop(void *report, unsigned long index, int *tid, void **addr, int *size,
                          int *write, int *atomic, void **trace, unsigned long trace_size);
void __tsan_on_report(void *report);

HIDDEN static const char *name_of(void *report, unsigned long index) {
    void *trace[8] = {NULL}, *address;
    int tid, size, is_write, is_atomic;
    if (!__tsan_get_report_mop(report, index, &tid, &address, &size, &is_write, &is_atomic, trace,
                               8))
        return "?";
    for (int frame = 0; frame < 8 && trace[frame]; frame++)
        for (size_t i = 0; i < sizeof all_named / sizeof all_named[0]; i++)
            if ((char *)trace[frame] >= all_named[i].start &&
                (char *)trace[frame] < all_named[i].stop)
                return all_named[i].name;
    return "?";
}
/* Says what the report is about; the runtime prints it after this, and ends the process. */
HIDDEN void __tsan_on_report(void *report) {
    const char *kind = "?";
    int count, stacks, mops = 0, locs, mutexes, threads, unique;
    void *sleep_trace[1];
    char line[128];
    (void)__tsan_get_report_data(report, &kind, &count, &stacks, &mops, &locs, &mutexes, &threads,
                                 &unique, sleep_trace, 1);
    int length = snprintf(line, sizeof line, "report: %s of %s and %s\n", kind,
                          mops > 0 ? name_of(report, 0) : "?", mops > 1 ? name_of(report, 1) : "?");
    (void)!write(STDERR_FILENO, line, (size_t)length);
}
#endif

/* ---- The pairs ------------------------------------------------------------------------------- */

static bool wrong;
static void must_register(void) {
    if (ambit__rcu_register()) abort();
}
static object *new_object(void) {
    object *made = malloc(sizeof *made);
    made->field = 1;
    return made;
}
static int beside(void *(*run)(void *), void (*rest)(void)) {
    pthread_t other;
    if (pthread_create(&other, NULL, run, NULL)) return 1;
    rest();
    return pthread_join(other, NULL);
}

/* Use after the read section. */
static void *reader_of_old(void *unused) {
    must_register();
    ambit__rcu_read_lock();
    object *found = ambit__rcu_read(&published);
    if (!wrong) reads(found);
    ambit__rcu_read_unlock();
    if (wrong) reads(found);
    reach(1);
    return unused;
}
static void reuse_after_grace(void) {
    object *old = ambit__rcu_read(&published);
    await(1);
    ambit__rcu_publish(&published, NULL);
    ambit__rcu_synchronize();
    writes(old);
    free(old);
}
static int use_after_section(long half) {
    wrong = half;
    must_register();
    ambit__rcu_publish(&published, new_object());
    return beside(reader_of_old, reuse_after_grace);
}

/* Free without a grace period; `half` 2 is right by a callback. */
static void *reader_in_section(void *unused) {
    must_register();
    ambit__rcu_read_lock();
    reads(ambit__rcu_read(&published));
    ambit__rcu_read_unlock();
    reach(1);
    return unused;
}
static long half_given;
static void free_called(ambit__rcu_head *head) { frees((object *)(void *)head); }
static void free_after_publish(void) {
    object *old = ambit__rcu_read(&published);
    await(1);
    ambit__rcu_publish(&published, NULL);
    if (half_given == 2) {
        ambit__rcu_call(&old->head, free_called);
        ambit__rcu_barrier();
    } else {
        if (!wrong) ambit__rcu_synchronize();
        frees(old);
    }
}
static int free_without_grace(long half) {
    half_given = half;
    wrong = half == 1;
    must_register();
    ambit__rcu_publish(&published, new_object());
    return beside(reader_in_section, free_after_publish);
}

/* A field written after publishing. */
static void *reader_of_new(void *unused) {
    must_register();
    await(1);
    ambit__rcu_read_lock();
    reads(ambit__rcu_read(&published));
    ambit__rcu_read_unlock();
    return unused;
}
static void write_and_publish(void) {
    object *made = new_object();
    if (!wrong) writes(made);
    ambit__rcu_publish(&published, made);
    if (wrong) writes(made);
    reach(1);
}
static int write_after_publish(long half) {
    wrong = half;
    must_register();
    return beside(reader_of_new, write_and_publish) || (free(published), 0);
}

/* Published without order: neither the gate that both pass, nor the writer's grace period, nor the
 * end of its own section, nor the read lock may hide it. */
static void *late_reader(void *unused) {
    await(1);
    must_register();
    ambit__rcu_read_lock();
    reads(ambit__rcu_read(&published));
    ambit__rcu_read_unlock();
    return unused;
}
static object *made_before; /* the thread was started, so that only one write is unordered */
static void publish_unordered(void) {
    object *made = made_before;
    writes(made);
    if (wrong)
        ambit__store_relaxed(&published, made);
    else
        ambit__rcu_publish(&published, made);
    ambit__rcu_read_lock();
    ambit__rcu_read_unlock();
    ambit__rcu_synchronize();
    reach(1);
}
static int publish_without_order(long half) {
    wrong = half;
    must_register();
    made_before = new_object();
    return beside(late_reader, publish_unordered) || (free(published), 0);
}

/* Written after it was handed to a call. */
static int write_after_call(long half) {
    object *made = new_object();
    must_register();
    if (!half) writes(made);
    ambit__rcu_call(&made->head, runs);
    if (half) writes(made);
    ambit__rcu_barrier();
    free(made);
    return 0;
}

/* Told from a callback by a barrier; wrong, by a grace period alone, which waits for no callback. */
static object *told;
static void tell(ambit__rcu_head *head) {
    (void)head;
    writes(told);
    reach(1);
}
static int grace_for_barrier(long half) {
    ambit__rcu_head head;
    must_register();
    told = new_object();
    ambit__rcu_call(&head, tell);
    if (half) {
        await(1);
        ambit__rcu_synchronize();
    } else {
        ambit__rcu_barrier();
    }
    reads(told);
    if (half) ambit__rcu_barrier();
    free(told);
    return 0;
}

/* ---- The judgement --------------------------------------------------------------------------- */

enum { TIMES = 5 };

static void right_is_clean(const char *part, long half) {
    for (int i = 0; i < TIMES; i++) {
        fresh_end end = fresh_run(part, half);
        if (end.code != 0) fail_msg("%s(%ld): %d, %s", part, half, end.code, end.text);
        assert_string_equal(end.text, "");
    }
}
static void wrong_is_caught(const char *part, const char *report) {
    if (!BUILD_TSAN) return; /* nobody would see it */
    for (int i = 0; i < TIMES; i++) {
        fresh_end end = fresh_run(part, 1);
        if (end.code != 66 || !strstr(end.text, report) ||
            !strstr(end.text, "WARNING: ThreadSanitizer: data race"))
            fail_msg("%s: exit code %d, wanted %s, got:\n%s", part, end.code, report, end.text);
    }
}

static void use_after_the_read_section_is_caught(void **state) {
    (void)state;
    right_is_clean("use_after_section", 0);
    wrong_is_caught("use_after_section", "report: data-race of writes and reads\n");
}
static void free_without_a_grace_period_is_caught(void **state) {
    (void)state;
    right_is_clean("free_without_grace", 0);
    right_is_clean("free_without_grace", 2);
    wrong_is_caught("free_without_grace", "report: data-race of frees and reads\n");
}
static void field_written_after_publishing_is_caught(void **state) {
    (void)state;
    right_is_clean("write_after_publish", 0);
    wrong_is_caught("write_after_publish", "report: data-race of reads and writes\n");
}
static void publishing_without_order_is_caught(void **state) {
    (void)state;
    right_is_clean("publish_without_order", 0);
    wrong_is_caught("publish_without_order", "report: data-race of reads and writes\n");
}
static void write_after_the_call_is_caught(void **state) {
    (void)state;
    right_is_clean("write_after_call", 0);
    wrong_is_caught("write_after_call", "report: data-race of runs and writes\n");
}
static void grace_period_in_place_of_a_barrier_is_caught(void **state) {
    (void)state;
    right_is_clean("grace_for_barrier", 0);
    wrong_is_caught("grace_for_barrier", "report: data-race of reads and writes\n");
}

int main(int count, char **arguments) {
    static const fresh_part parts[] = {
        {"use_after_section", use_after_section},
        {"free_without_grace", free_without_grace},
        {"write_after_publish", write_after_publish},
        {"publish_without_order", publish_without_order},
        {"write_after_call", write_after_call},
        {"grace_for_barrier", grace_for_barrier},
        {NULL, NULL},
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(use_after_the_read_section_is_caught),
        cmocka_unit_test(free_without_a_grace_period_is_caught),
        cmocka_unit_test(field_written_after_publishing_is_caught),
        cmocka_unit_test(publishing_without_order_is_caught),
        cmocka_unit_test(write_after_the_call_is_caught),
        cmocka_unit_test(grace_period_in_place_of_a_barrier_is_caught),
    };
    fresh_enter(count, arguments, parts);
    if (count > 1) cmocka_set_test_filter(arguments[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
