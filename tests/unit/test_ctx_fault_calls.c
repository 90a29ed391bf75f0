/* Each call by itself, with each of its allocations, thread starts and descriptors failing, once
 * and from then on, on a thread that ambit knows and on one it does not: the status comes back,
 * nothing is half done, nothing leaks, and a retry works. */
#include "ctxs.h"

#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#endif
#ifdef UNDER_ASAN
int __lsan_do_recoverable_leak_check(void);
#endif

AMBIT_KEY(number, int);
static ambit_key keys[9];

/* ---- The calls ------------------------------------------------------------------------------- */

static struct scene {
    ambit_ctx *root, *middle, *ctx, *other, *out;
    ambit_hold *hold;
    ambit_cancel node;
    _Atomic(int) ran;
    int destroyed, expected_destroyed, fd;
} scene;
static const char big[20000];

static void note_destroyed(void *argument) { ++*(int *)argument; }

static void plain(void) {
    scene.root = open_child(ambit_background());
    scene.middle = open_child(scene.root);
    scene.ctx = open_child(scene.middle);
    scene.other = open_child(ambit_background());
}
static void timed(void) {
    scene.root = open_timeout(ambit_background(), 3600 * AMBIT_SECOND);
    scene.middle = open_timeout(scene.root, 1800 * AMBIT_SECOND);
    scene.ctx = open_timeout(scene.middle, 900 * AMBIT_SECOND);
    scene.other = open_timeout(ambit_background(), 600 * AMBIT_SECOND);
}
static void ordered(void) {
    timed();
    ambit_ctx_order_children(scene.ctx);
}
static void eight_values(void) {
    plain();
    for (int i = 0; i < 8; i++) must(!ambit_ctx_put_bytes(scene.ctx, &keys[i], "1234", 4));
}
/* Takes 16 bytes at a time until a new block is allocated; returns how many it took. */
static int fill_until_it_grows(void) {
    ambit_memory_stats before, after;
    int taken = 0;
    do {
        ambit_memory_stats_read(&before);
        must(ambit_ctx_alloc(scene.ctx, 16));
        ambit_memory_stats_read(&after);
        taken++;
    } while (after.allocations == before.allocations);
    return taken;
}
static void no_room(void) { /* sixteen bytes more need a new block */
    scene.ctx = open_child(ambit_background());
    (void)fill_until_it_grows();
    int fit = fill_until_it_grows();
    ambit_ctx_close(&scene.ctx);
    plain();
    (void)fill_until_it_grows();
    for (int i = 1; i < fit; i++) must(ambit_ctx_alloc(scene.ctx, 16));
}

static ambit_status open_one(void) { return ambit_ctx_open(scene.ctx, &scene.out); }
static ambit_status open_timed(void) {
    return ambit_ctx_open_timeout(scene.ctx, AMBIT_SECOND, &scene.out);
}
static ambit_status open_below_background(void) {
    return ambit_ctx_open_deadline(ambit_background(), 5, &scene.out);
}
static ambit_status merge_two(void) { return ambit_ctx_merge(scene.ctx, scene.other, &scene.out); }
static ambit_status merge_other_way(void) {
    return ambit_ctx_merge(scene.other, scene.ctx, &scene.out);
}
static ambit_status detach_one(void) {
    return ambit_ctx_detach(scene.ctx, ambit_clock_now_ns() + AMBIT_SECOND, &scene.out);
}
static ambit_status hold_one(void) { return ambit_ctx_hold(scene.ctx, &scene.hold); }
static ambit_status register_node(void) {
    return ambit_ctx_on_cancel(scene.ctx, &scene.node, count_up, &scene.ran);
}
static ambit_status sleep_briefly(void) { return ambit_ctx_sleep(scene.ctx, 1); }
static ambit_status sleep_in_the_past(void) { return ambit_ctx_sleep_until(scene.ctx, 1); }
static ambit_status ask_for_fd(void) { return ambit_ctx_fd(scene.ctx, &scene.fd); }
static ambit_status put_small(void) { return ambit_ctx_put_bytes(scene.ctx, &number.key, big, 16); }
static ambit_status put_big(void) {
    return ambit_ctx_put_bytes(scene.ctx, &number.key, big, sizeof big);
}
static ambit_status own_one(void) {
    return ambit_ctx_own(scene.ctx, &number, &scene.destroyed, 4, note_destroyed);
}
static ambit_status alloc_big(void) {
    return ambit_ctx_alloc(scene.ctx, sizeof big) ? AMBIT_OK : AMBIT_EMEMORY;
}
static ambit_status defer_one(void) {
    return ambit_ctx_defer(scene.ctx, note_destroyed, &scene.destroyed);
}

struct row {
    const char *name;
    void (*prepare)(void);
    ambit_status (*call)(void);
    bool destroys;              /* what it stores is destroyed once, at the end */
    int memory, threads, files; /* whether there is one to fail on a thread that ambit knows */
};
static const struct row rows[] = {
    {"open", plain, open_one, .memory = -1},
    {"open timed", plain, open_timed, .memory = -1},
    {"open below the background", plain, open_below_background, .memory = -1},
    {"open below an ordered one", ordered, open_one, .memory = 1, .threads = 1},
    {"merge", plain, merge_two, .memory = -1},
    {"merge timed", timed, merge_two, .memory = 1, .threads = 1},
    {"merge the other way", timed, merge_other_way, .memory = 1, .threads = 1},
    {"detach", plain, detach_one, .memory = -1},
    {"hold", plain, hold_one, .memory = 1},
    {"on_cancel", plain, register_node, .memory = -1},
    {"on_cancel timed", timed, register_node, .memory = 1, .threads = 1},
    {"sleep", plain, sleep_briefly, .memory = -1},
    {"sleep timed", timed, sleep_briefly, .memory = 1, .threads = 1},
    {"sleep in the past", timed, sleep_in_the_past, .memory = 1, .threads = 1},
    {"fd", plain, ask_for_fd, .memory = -1, .files = 1},
    {"fd timed", timed, ask_for_fd, .memory = 1, .threads = 1, .files = 1},
    {"put", no_room, put_small, .memory = 1},
    {"put big", plain, put_big, .memory = 1},
    {"put the ninth", eight_values, put_small, .memory = -1},
    {"put the ninth, big", eight_values, put_big, .memory = 1},
    {"own", no_room, own_one, .destroys = true, .memory = 1},
    {"alloc", plain, alloc_big, .memory = 1},
    {"defer", no_room, defer_one, .destroys = true, .memory = 1},
};

/* ---- One failure, in a process of its own ---------------------------------------------------- */

struct books {
    uint64_t contexts, holds, zombies;
    size_t bytes;
};
static struct books books(void) {
    return (struct books){living(AMBIT_KIND_CTX), living(AMBIT_KIND_HOLD), zombies(),
                          ambit_ctx_bytes(scene.ctx)};
}
static void close_scene(void) {
    ambit_ctx_close(&scene.root); /* the parents first */
    ambit_ctx_close(&scene.other);
    ambit_ctx_close(&scene.out);
    ambit_ctx_drop(&scene.hold);
    ambit_ctx_close(&scene.middle);
    ambit_ctx_close(&scene.ctx);
}
static void *call_on_thread(void *argument) {
    return (void *)(intptr_t)((const struct row *)argument)->call();
}
static ambit_status call(const struct row *row, bool fresh) {
    if (!fresh) return row->call();
    return (ambit_status)(intptr_t)on_thread(call_on_thread, (void *)(uintptr_t)row);
}

static void nothing_done(const struct row *row, const struct books *before) {
    struct books after = books();
    must(!memcmp(&after, before, sizeof after));
    must(!scene.out && !scene.hold && scene.fd == -1);
    must(!ambit_ctx_get(scene.ctx, &number));
    must(!scene.destroyed && !atomic_load(&scene.ran));
    must(!ambit_ctx_err(scene.ctx) && !ambit_ctx_err(scene.other));
    if (row->call == register_node)
        must(ambit_ctx_off_cancel(scene.ctx, &scene.node) == AMBIT_REMOVED);
}
static void begin(const struct row *row) {
    scene = (struct scene){.fd = -1};
    row->prepare();
}
static void end(const struct row *row, bool done) {
    close_scene();
    must(scene.destroyed == (done && row->destroys));
    must(atomic_load(&scene.ran) == (done && row->call == register_node));
    must(!living(AMBIT_KIND_CTX) && !living(AMBIT_KIND_HOLD) && !timers_armed());
}

/* 0: it failed as it should. 1: there was no such call to fail. */
static int fail_one(const struct row *row, ambit__fault kind, uint64_t nth, bool forever,
                    bool fresh, bool retry, ambit_status expected) {
    begin(row);
    struct books before = books();
    ambit__fault_arm(kind, nth, forever);
    ambit_status status = call(row, fresh);
    uint64_t calls = ambit__fault_disarm(kind);
    if (calls <= nth) {
        must(!status);
        end(row, true);
        return 1;
    }
    must(status == expected);
    nothing_done(row, &before);
    if (retry) must(!call(row, fresh));
    end(row, retry);
    ambit_memory_stats steady = {0}, after;
    for (int again = 0; again < 4; again++) { /* what it costs in the long run: nothing */
        if (again == 2) ambit_memory_stats_read(&steady);
        begin(row);
        must(!call(row, fresh));
        end(row, true);
    }
    ambit_memory_stats_read(&after);
    must(after.live_bytes == steady.live_bytes);
#ifdef UNDER_ASAN
    must(!__lsan_do_recoverable_leak_check());
#endif
    return 0;
}

static int in_child(const struct row *row, ambit__fault kind, uint64_t nth, int way,
                    ambit_status expected) {
    pid_t child = fork();
    must(child >= 0);
    if (!child) {
        int answer = fail_one(row, kind, nth, way & 1, way & 2, way & 4, expected);
        ambit_timer_stop(); /* ThreadSanitizer's exit waits a second for every thread left */
        _exit(answer);
    }
    int status = 0;
    must(waitpid(child, &status, 0) == child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
        fail_msg("%s: failure %d of kind %d, way %d", row->name, (int)nth, (int)kind, way);
    return WEXITSTATUS(status);
}

static void fail_each(ambit__fault kind, ambit_status expected, size_t field) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int given = *(const int *)(const void *)((const char *)&rows[i] + field);
        for (int way = 0; way < 8; way++) { /* forever, on a fresh thread, with a retry */
            uint64_t nth = 0;
            while (nth < 100 && !in_child(&rows[i], kind, nth, way, expected)) nth++;
            assert_int_not_equal(nth, 100);
            if (given == 1 && !nth) fail_msg("%s: nothing was there to fail", rows[i].name);
            if (given == 0 && !(way & 2) && nth) fail_msg("%s: failed what?", rows[i].name);
        }
    }
}

static void each_allocation_of_each_call(void **state) {
    (void)state;
    fail_each(AMBIT__FAULT_MEMORY, AMBIT_EMEMORY, offsetof(struct row, memory));
}
static void each_thread_start_of_each_call(void **state) {
    (void)state;
    fail_each(AMBIT__FAULT_THREAD, AMBIT_ETHREAD, offsetof(struct row, threads));
}
static void each_descriptor_of_each_call(void **state) {
    (void)state;
    fail_each(AMBIT__FAULT_FILES, AMBIT_EFILES, offsetof(struct row, files));
}

/* ---- What cannot fail ------------------------------------------------------------------------ */

struct ending {
    ambit_ctx *root, *child, *both;
    ambit_hold *hold;
    ambit_cancel nodes[3];
    _Atomic(int) ran, destroyed;
};
static void note_end(void *argument) { atomic_fetch_add((_Atomic(int) *)argument, 1); }
static struct ending begin_ending(void) {
    struct ending ending = {.root = open_timeout(ambit_background(), 3600 * AMBIT_SECOND)};
    ending.child = open_timeout(ending.root, 60 * AMBIT_SECOND);
    ending.both = merge(ending.root, ending.child);
    ending.hold = hold_of(ending.child);
    return ending;
}
static void listen(struct ending *ending) {
    ambit_ctx *contexts[3] = {ending->root, ending->child, ending->both};
    for (int i = 0; i < 3; i++) {
        must(!ambit_ctx_on_cancel(contexts[i], &ending->nodes[i], count_up, &ending->ran));
        must(!ambit_ctx_defer(contexts[i], note_end, &ending->destroyed));
    }
}
static void *end_all(void *argument) {
    struct ending *ending = argument;
    must(ambit_ctx_off_cancel(ending->root, &ending->nodes[0]) == AMBIT_REMOVED);
    ambit_ctx_cancel(ending->child, "without memory");
    must(!strcmp(ambit_ctx_cause(ending->both).text, "without memory"));
    ambit_ctx_mark_long_lived(ending->root);
    ambit_ctx_budget_set(ending->root, 5);
    AMBIT_WITH(ending->root) must(ambit_ctx_current() == ending->root);
    ambit_ctx_close(&ending->root);
    ambit_ctx_close(&ending->child);
    ambit_ctx_drop(&ending->hold);
    ambit_ctx_close(&ending->both);
    return NULL;
}

static void ending_allocates_nothing(void **state) {
    (void)state;
    for (int round = 0; round < 3; round++) {
        struct ending ending = begin_ending();
        listen(&ending);
        ambit__fault_arm(AMBIT__FAULT_MEMORY, 0, true);
        ambit__fault_arm(AMBIT__FAULT_THREAD, 0, true);
        ambit__fault_arm(AMBIT__FAULT_FILES, 0, true);
        (void)end_all(&ending);
        assert_int_equal(ambit__fault_disarm(AMBIT__FAULT_MEMORY), 0); /* not even asked for */
        assert_int_equal(ambit__fault_disarm(AMBIT__FAULT_THREAD), 0);
        assert_int_equal(ambit__fault_disarm(AMBIT__FAULT_FILES), 0);
        assert_int_equal(atomic_load(&ending.ran), 2);
        assert_int_equal(atomic_load(&ending.destroyed), 3);
    }
}

/* A thread that uses ambit for the first time, when there is no memory even for its record. */
static void ending_works_on_a_new_thread_without_memory(void **state) {
    (void)state;
    ambit_memory_stats steady = {0}, after;
    for (int round = 0; round < 300; round++) {
        if (round == 50) ambit_memory_stats_read(&steady);
        struct ending ending = begin_ending();
        listen(&ending);
        ambit__fault_arm(AMBIT__FAULT_MEMORY, 0, true);
        (void)on_thread(end_all, &ending);
        (void)ambit__fault_disarm(AMBIT__FAULT_MEMORY);
        assert_int_equal(atomic_load(&ending.ran), 2);
        assert_int_equal(atomic_load(&ending.destroyed), 3);
        assert_int_equal(living(AMBIT_KIND_CTX), 0);
    }
    ambit_memory_stats_read(&after);
    assert_int_equal(after.live_bytes, steady.live_bytes); /* what was given back is used again */
}

static const struct CMUnitTest tests[] = {
    /* These fork, so they come while this process has one thread. */
    CASE(each_allocation_of_each_call),
    CASE(each_thread_start_of_each_call),
    CASE(each_descriptor_of_each_call),
    CASE(ending_allocates_nothing),
    CASE(ending_works_on_a_new_thread_without_memory),
};
RUN(tests);
