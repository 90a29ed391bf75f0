/* src/base/thread.{c,h}: the records of threads, as they come, go, and are handed on. */
#include <ambit/schedule.h>
#include <pthread.h>

#include "base/thread.h"

AMBIT_SCHEDULE_COVERS("base/thread.c base/thread.h")

static void use_ambit(void *argument) {
    (void)argument;
    (void)ambit__thread_self();
}

/* Each has a record of its own while it lives; indices are dense. */
static ambit__thread *records[2];

static void take_record(void *argument) {
    unsigned which = (unsigned)(uintptr_t)argument;
    records[which] = ambit__thread_self();
    ambit_schedule_assert(records[which]);
    ambit_schedule_assert(records[which] == ambit__thread_self());
    /* Only the owner writes here: two with one record would race. */
    records[which]->caches[0].count++;
    ambit_schedule_yield();
    records[which]->caches[0].count--;
}

AMBIT_SCHEDULE_TEST(records_are_no_two_threads) {
    ambit_schedule_thread one = ambit_schedule_spawn(take_record, NULL);
    ambit_schedule_thread two = ambit_schedule_spawn(take_record, (void *)1);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
    ambit_schedule_assert(records[0]->index <= 1 && records[1]->index <= 1);
    unsigned count = 0;
    for (ambit__thread *at = ambit__thread_records(); at; at = at->next) count++;
    ambit_schedule_assert(count == (records[0] == records[1] ? 1 : 2));
}

/* The next owner finds what the last has left, whole: counts in it carry over. */
AMBIT_SCHEDULE_TEST_WITH(record_is_handed_on_whole, .before = use_ambit) {
    ambit_schedule_thread one = ambit_schedule_spawn(take_record, NULL);
    take_record((void *)1);
    ambit_schedule_join(one);
    ambit_schedule_thread two = ambit_schedule_spawn(take_record, NULL);
    ambit_schedule_join(two);
    unsigned count = 0;
    for (ambit__thread *at = ambit__thread_records(); at; at = at->next) {
        ambit_schedule_assert(at->caches[0].count == 0);
        count++;
    }
    ambit_schedule_assert(count == 2); /* the second took the first one's */
}

/* A walk over all records sees them whole, beside threads that come. */
AMBIT_SCHEDULE_TEST(walk_sees_whole_records) {
    ambit_schedule_thread one = ambit_schedule_spawn(use_ambit, NULL);
    ambit_schedule_thread two = ambit_schedule_spawn(use_ambit, NULL);
    unsigned count = 0;
    for (ambit__thread *at = ambit__thread_records(); at; at = at->next) {
        ambit_schedule_assert(at->index < 2);
        count++;
    }
    ambit_schedule_assert(count <= 2);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
}

/* ---- Who is alive ---------------------------------------------------------------------------- */

static uint32_t known_index;
static _Atomic(bool) may_end;

static void live_until_told(void *argument) {
    (void)argument;
    known_index = ambit__thread_self()->index;
    while (!ambit__load_relaxed(&may_end)) ambit_schedule_yield();
}

AMBIT_SCHEDULE_TEST(thread_is_alive_until_it_ends) {
    ambit_schedule_assert(!ambit__thread_is_alive(0));
    ambit_schedule_thread one = ambit_schedule_spawn(live_until_told, NULL);
    ambit_schedule_yield();
    bool seen = ambit__thread_is_alive(0);
    ambit__store_relaxed(&may_end, true);
    ambit_schedule_join(one);
    ambit_schedule_assert(!ambit__thread_is_alive(known_index));
    ambit_schedule_note("alive %d", seen);
}

/* Taken anew it is alive again. */
AMBIT_SCHEDULE_TEST(record_taken_anew_is_alive) {
    ambit__store_relaxed(&may_end, true);
    ambit_schedule_thread one = ambit_schedule_spawn(live_until_told, NULL);
    ambit_schedule_join(one);
    ambit_schedule_assert(ambit__thread_self()->index == known_index);
    ambit_schedule_assert(ambit__thread_is_alive(known_index));
}

/* Also while the one before it is still about to end. */
AMBIT_SCHEDULE_TEST(record_is_alive_beside_its_last_owner) {
    ambit_schedule_thread one = ambit_schedule_spawn(use_ambit, NULL);
    ambit_schedule_yield();
    const ambit__thread *mine = ambit__thread_self();
    ambit_schedule_join(one);
    ambit_schedule_assert(ambit__thread_is_alive(mine->index));
}

/* ---- Numbers --------------------------------------------------------------------------------- */

static uint32_t numbers[2];

static void take_number(void *argument) {
    unsigned which = (unsigned)(uintptr_t)argument;
    numbers[which] = ambit__thread_id();
    ambit_schedule_assert(numbers[which] && numbers[which] == ambit__thread_id());
}

AMBIT_SCHEDULE_TEST(numbers_are_no_two_threads) {
    ambit_schedule_thread one = ambit_schedule_spawn(take_number, NULL);
    ambit_schedule_thread two = ambit_schedule_spawn(take_number, (void *)1);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
    ambit_schedule_assert(numbers[0] != numbers[1]);
    ambit_schedule_assert(ambit__thread_id() != numbers[0] && ambit__thread_id() != numbers[1]);
}

/* ---- Exit hooks ------------------------------------------------------------------------------ */

static unsigned hook_runs[2];
static int hook_data; /* written before the hook is added, and known by nothing else */

static void first_hook(ambit__thread *thread) {
    hook_runs[0] += thread->caches[1].count;
    ambit_schedule_assert(hook_data == 42);
}

static void add_hook(void *argument) {
    (void)argument;
    hook_data = 42;
    ambit__thread_on_exit(first_hook);
}

static void end_with_hook(void *argument) {
    (void)argument;
    ambit__thread_self()->caches[1].count = 1;
}

/* Beside a thread that ends: it sees the hook whole, or not at all. */
AMBIT_SCHEDULE_TEST(hook_is_seen_whole) {
    ambit_schedule_thread ending = ambit_schedule_spawn(end_with_hook, NULL);
    add_hook(NULL);
    ambit_schedule_join(ending);
    ambit_schedule_assert(hook_runs[0] <= 1);
}

static void second_hook(ambit__thread *thread) {
    (void)thread;
    hook_runs[1]++;
    ambit_schedule_assert(hook_runs[0] == 0); /* the newest comes first */
}

static void add_two_hooks(void *argument) {
    add_hook(argument);
    ambit__thread_on_exit(second_hook);
}

AMBIT_SCHEDULE_TEST_WITH(hooks_run_once_before_the_record_goes, .before = add_two_hooks) {
    ambit_schedule_thread ending = ambit_schedule_spawn(end_with_hook, NULL);
    ambit_schedule_join(ending);
    ambit_schedule_assert(hook_runs[0] == 1 && hook_runs[1] == 1);
    ambit_schedule_assert(!ambit__thread_is_alive(0));
}

/* Whoever takes the record next comes after the hooks. */
AMBIT_SCHEDULE_TEST_WITH(hooks_have_the_record_to_themselves, .before = add_hook) {
    ambit_schedule_thread ending = ambit_schedule_spawn(end_with_hook, NULL);
    ambit__thread_self()->caches[1].count = 1;
    ambit_schedule_join(ending);
    ambit_schedule_assert(hook_runs[0] == 1);
}

static void add_second_hook(void *argument) {
    (void)argument;
    ambit__thread_on_exit(second_hook);
}

/* Two that add hooks at once lose none. */
AMBIT_SCHEDULE_TEST(hooks_are_added_one_by_one) {
    ambit_schedule_thread other = ambit_schedule_spawn(add_second_hook, NULL);
    add_hook(NULL);
    ambit_schedule_join(other);
    hook_runs[1] = 0;
    ambit_schedule_thread ending = ambit_schedule_spawn(use_ambit, NULL);
    ambit_schedule_join(ending);
    ambit_schedule_assert(hook_runs[1] == 1);
}

/* Destructors of the program's find the record of their thread, and its hooks have not run. */
static pthread_key_t own_key;

static void destroy(void *record) {
    ambit_schedule_assert(ambit__thread_self() == record && hook_runs[1] == 0);
    hook_runs[0]++;
}

static void end_with_a_destructor(void *argument) {
    (void)argument;
    ambit_schedule_assert(pthread_setspecific(own_key, ambit__thread_self()) == 0);
}

static void count_second(ambit__thread *thread) {
    (void)thread;
    hook_runs[1]++;
}

static void make_a_key_and_a_hook(void *argument) {
    use_ambit(argument);
    ambit__thread_on_exit(count_second);
    ambit_schedule_assert(pthread_key_create(&own_key, destroy) == 0);
}

AMBIT_SCHEDULE_TEST_WITH(destructors_find_the_record, .before = make_a_key_and_a_hook) {
    hook_runs[1] = 0; /* the thread that has made them has ended */
    ambit_schedule_thread ending = ambit_schedule_spawn(end_with_a_destructor, NULL);
    ambit_schedule_join(ending);
    ambit_schedule_assert(hook_runs[0] == 1 && hook_runs[1] == 1);
}

/* ---- Forks ----------------------------------------------------------------------------------- */

/* While a thread forks, nothing of the registry changes: of those who change it, one may have
 * done so already and not said it. This handler is older than the registry's, and so comes after
 * it. */
static _Atomic(unsigned) changes;

static void count_changes(void) {
    unsigned before = ambit__load_relaxed(&changes);
    for (int i = 0; i < 8; i++) ambit_schedule_yield();
    ambit_schedule_assert(ambit__load_relaxed(&changes) - before <= 1);
}

static void nothing(void) {}

static void change_often(void *argument) {
    use_ambit(argument);
    ambit__add_relaxed(&changes, 1);
    ambit__on_fork(nothing);
    ambit__add_relaxed(&changes, 1);
    ambit__thread_on_exit(count_second);
    ambit__add_relaxed(&changes, 1);
}

static void prepare_to_fork(void *argument) {
    ambit_schedule_assert(pthread_atfork(count_changes, NULL, NULL) == 0);
    use_ambit(argument);
}

AMBIT_SCHEDULE_TEST_WITH(fork_keeps_the_registry, .before = prepare_to_fork) {
    ambit_schedule_thread other = ambit_schedule_spawn(change_often, NULL);
    ambit_schedule_fork_in_parent();
    ambit_schedule_join(other);
    ambit_schedule_join(ambit_schedule_spawn(use_ambit, NULL));
}

static void add_fork_hook(void *argument) {
    (void)argument;
    ambit__on_fork(nothing);
}

/* Two that add hooks for the child lose none: the ninth would stop. */
AMBIT_SCHEDULE_TEST(fork_hooks_are_added_one_by_one) {
    ambit_schedule_thread other = ambit_schedule_spawn(add_fork_hook, NULL);
    add_fork_hook(NULL);
    ambit_schedule_join(other);
}

/* ---- Workers --------------------------------------------------------------------------------- */

static int worker_data;

static void work(void *argument) { worker_data += *(int *)argument; }

AMBIT_SCHEDULE_TEST(worker_is_joined_with_what_it_did) {
    static ambit__worker worker;
    int amount = 7;
    worker_data = 1;
    ambit_schedule_assert(ambit__worker_start(&worker, "worker", work, &amount) == AMBIT_OK);
    ambit__worker_join(&worker);
    ambit_schedule_assert(worker_data == 8);
}

/* ---- Barriers -------------------------------------------------------------------------------- */

static _Atomic(int) light_side, heavy_side;
static int light_saw;

static void be_light(void *argument) {
    (void)argument;
    ambit__store_relaxed(&light_side, 1);
    ambit__light_barrier();
    light_saw = ambit__load_relaxed(&heavy_side);
}

AMBIT_SCHEDULE_TEST(one_of_the_two_barriers_sees_the_other) {
    ambit_schedule_assert(ambit__heavy_barrier_works());
    ambit_schedule_thread other = ambit_schedule_spawn(be_light, NULL);
    ambit__store_relaxed(&heavy_side, 1);
    ambit__heavy_barrier();
    int heavy_saw = ambit__load_relaxed(&light_side);
    ambit_schedule_join(other);
    ambit_schedule_assert(light_saw || heavy_saw);
}
