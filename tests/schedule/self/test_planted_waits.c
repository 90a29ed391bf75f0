/* Planted bugs of waiting: for a lock, for a condition, for one another. */
#define _GNU_SOURCE
#include "planted.h"

#include <errno.h>
#include <linux/futex.h>
#include <semaphore.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER, other_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool ready;

/* ---- A condition is looked at, and then waited for, without the lock held throughout --------- */

PLACE void wait_for_change(void) { pthread_cond_wait(&changed, &lock); }
static void look_then_wait(void *argument) {
    (void)argument;
    pthread_mutex_lock(&lock);
    if (wrong) {
        bool was_ready = ready;
        pthread_mutex_unlock(&lock); /* between here and the wait it may become ready */
        pthread_mutex_lock(&lock);
        if (!was_ready) wait_for_change();
    } else {
        while (!ready) wait_for_change();
    }
    pthread_mutex_unlock(&lock);
}
static void make_ready(void *argument) {
    (void)argument;
    pthread_mutex_lock(&lock);
    ready = true;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}
static void looked_outside(void *argument) {
    (void)argument;
    together(look_then_wait, make_ready);
}

/* It is signalled before anyone waits, and nothing says so. */
static void just_wait(void *argument) {
    (void)argument;
    pthread_mutex_lock(&lock);
    if (wrong)
        wait_for_change();
    else
        while (!ready) wait_for_change();
    pthread_mutex_unlock(&lock);
}
static void signalled_before(void *argument) {
    (void)argument;
    together(just_wait, make_ready);
}

/* A wake-up without a reason is taken for one. */
PLACE void is_ready(bool now) { ambit_schedule_assert(now); }
static void wait_once(void *argument) {
    (void)argument;
    pthread_mutex_lock(&lock);
    if (wrong && !ready)
        wait_for_change();
    else
        while (!ready) wait_for_change();
    is_ready(ready);
    pthread_mutex_unlock(&lock);
}
static void woken_for_nothing(void *argument) {
    (void)argument;
    together(wait_once, make_ready);
}

/* Two wait for different things by one condition: a signal may wake the one whose thing it is not. */
static bool first_thing, second_thing;

static void wait_for(const bool *thing) {
    pthread_mutex_lock(&lock);
    while (!*thing) wait_for_change();
    pthread_mutex_unlock(&lock);
}
RUNS(wait_for_first, wait_for(&first_thing))
RUNS(wait_for_second, wait_for(&second_thing))
static void tell_thing(bool *thing) {
    pthread_mutex_lock(&lock);
    *thing = true;
    if (wrong)
        pthread_cond_signal(&changed);
    else
        pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}
static void one_signal_for_two(void *argument) {
    (void)argument;
    ambit_schedule_thread one = ambit_schedule_spawn(wait_for_first, NULL);
    ambit_schedule_thread two = ambit_schedule_spawn(wait_for_second, NULL);
    tell_thing(&first_thing);
    tell_thing(&second_thing);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
}

/* ---- A futex --------------------------------------------------------------------------------- */

enum { IDLE, WAITED_FOR, DONE };
static _Atomic(uint32_t) word;

PLACE void sleep_on_word(uint32_t seen) {
    (void)syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}
static void finish_word(void *argument) {
    (void)argument;
    if (atomic_exchange_explicit(&word, DONE, memory_order_acq_rel) == WAITED_FOR)
        (void)syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}
/* It says that it waits by a store, whatever has come meanwhile. */
static void await_word(void *argument) {
    (void)argument;
    for (;;) {
        uint32_t now = atomic_load_explicit(&word, memory_order_acquire);
        if (now == DONE) return;
        if (wrong)
            atomic_store_explicit(&word, WAITED_FOR, memory_order_relaxed);
        else if (now == IDLE && !atomic_compare_exchange_strong_explicit(&word, &now, WAITED_FOR,
                                                                         memory_order_relaxed,
                                                                         memory_order_relaxed))
            continue;
        sleep_on_word(WAITED_FOR);
    }
}
static void futex_overwritten(void *argument) {
    (void)argument;
    together(await_word, finish_word);
}

/* It does not look again after it has slept. */
PLACE void word_is_done(uint32_t now) { ambit_schedule_assert(now == DONE); }
static void await_word_once(void *argument) {
    (void)argument;
    uint32_t now = IDLE;
    (void)atomic_compare_exchange_strong_explicit(&word, &now, WAITED_FOR, memory_order_relaxed,
                                                  memory_order_relaxed);
    do {
        if (atomic_load_explicit(&word, memory_order_acquire) != DONE) sleep_on_word(WAITED_FOR);
    } while (!wrong && atomic_load_explicit(&word, memory_order_acquire) != DONE);
    word_is_done(atomic_load_explicit(&word, memory_order_acquire));
}
static void futex_not_looked_at_again(void *argument) {
    (void)argument;
    together(await_word_once, finish_word);
}

/* ---- Locks ----------------------------------------------------------------------------------- */

PLACE void take_both(pthread_mutex_t *one, pthread_mutex_t *two) {
    pthread_mutex_lock(one);
    pthread_mutex_lock(two);
    pthread_mutex_unlock(two);
    pthread_mutex_unlock(one);
}
RUNS(take_in_order, take_both(&lock, &other_lock))
RUNS(take_in_other_order, take_both(wrong ? &other_lock : &lock, wrong ? &lock : &other_lock))
static void two_locks(void *argument) {
    (void)argument;
    together(take_in_order, take_in_other_order);
}

/* Two readers who want to write, and neither of whom goes away first. */
static pthread_rwlock_t shared = PTHREAD_RWLOCK_INITIALIZER;
static int shared_value;

PLACE void upgrade(void) { pthread_rwlock_wrlock(&shared); }
static void read_then_write(void *argument) {
    (void)argument;
    pthread_rwlock_rdlock(&shared);
    bool wanted = shared_value < 2;
    if (!wrong) pthread_rwlock_unlock(&shared);
    if (wanted) {
        upgrade();
        shared_value++;
        pthread_rwlock_unlock(&shared);
    }
    if (wrong) pthread_rwlock_unlock(&shared);
}
static void upgraded(void *argument) {
    (void)argument;
    together(read_then_write, read_then_write);
}

/* A semaphore is used as a lock, and an error path gives it back twice. */
static sem_t semaphore;
static int in_semaphore;

PLACE void change_in_semaphore(void) { in_semaphore++; }
static void with_semaphore(void *argument) {
    (void)argument;
    bool fails = ambit_schedule_choose(2);
    while (sem_wait(&semaphore)) {
    }
    if (fails && wrong) sem_post(&semaphore);
    if (!fails) change_in_semaphore();
    sem_post(&semaphore);
}
static void semaphore_posted_twice(void *argument) {
    (void)argument;
    sem_init(&semaphore, 0, 1);
    ambit_schedule_thread third = ambit_schedule_spawn(with_semaphore, NULL);
    together(with_semaphore, with_semaphore);
    ambit_schedule_join(third);
    sem_destroy(&semaphore);
}

/* A lock is forgotten on an error path. */
PLACE void take_lock(void) { pthread_mutex_lock(&lock); }
static void with_lock(void *argument) {
    (void)argument;
    take_lock();
    if (ambit_schedule_choose(4) == 3 && wrong) return;
    pthread_mutex_unlock(&lock);
}
static void lock_forgotten(void *argument) {
    (void)argument;
    together(with_lock, with_lock);
}

/* Each gives way to the other, for ever. */
static _Atomic(bool) wants[2];

static void be_polite(unsigned mine) {
    atomic_store(&wants[mine], true);
    while (atomic_load(&wants[!mine])) {
        if (!wrong && mine == 1) atomic_store(&wants[1], false); /* one of them must go first */
        ambit_schedule_yield();
    }
    atomic_store(&wants[mine], false);
}
RUNS(be_polite_first, be_polite(0))
RUNS(be_polite_second, be_polite(1))
static void both_polite(void *argument) {
    (void)argument;
    together(be_polite_first, be_polite_second);
}

/* Each one waits for what the other does after its own waiting. */
static pthread_barrier_t meeting;
PLACE void meet(void) { (void)pthread_barrier_wait(&meeting); }
static void meet_perhaps(void *argument) {
    (void)argument;
    if (wrong && ambit_schedule_choose(8) == 7) return;
    meet();
}
static void missed_meeting(void *argument) {
    (void)argument;
    pthread_barrier_init(&meeting, NULL, 2);
    together(meet_perhaps, meet_perhaps);
    pthread_barrier_destroy(&meeting);
}

static const planted all[] = {
    {"condition looked at outside of the lock", looked_outside, AMBIT_SCHEDULE_LOST_WAKEUP, 0, NULL,
     NULL, 0},
    {"condition signalled before the wait", signalled_before, AMBIT_SCHEDULE_LOST_WAKEUP, 0, NULL,
     NULL, 0},
    {"condition waited for once", woken_for_nothing, AMBIT_SCHEDULE_ASSERTION, 0, "is_ready", NULL,
     0},
    {"one signal for two conditions", one_signal_for_two, AMBIT_SCHEDULE_LOST_WAKEUP, 0, NULL, NULL,
     0},
    {"futex word overwritten", futex_overwritten, AMBIT_SCHEDULE_LOST_WAKEUP, 0, NULL, NULL, 0},
    {"futex not looked at again", futex_not_looked_at_again, AMBIT_SCHEDULE_ASSERTION, 0,
     "word_is_done", NULL, 0},
    {"dead lock of two locks", two_locks, AMBIT_SCHEDULE_DEADLOCK, 0, "take_both", NULL, 0},
    {"readers who both want to write", upgraded, AMBIT_SCHEDULE_DEADLOCK, 0, "upgrade", NULL, 0},
    {"semaphore posted twice", semaphore_posted_twice, AMBIT_SCHEDULE_RACE, 0,
     "change_in_semaphore", "change_in_semaphore", 0},
    {"lock forgotten", lock_forgotten, AMBIT_SCHEDULE_DEADLOCK, AMBIT_SCHEDULE_MISUSE, "lock", NULL,
     0},
    {"two polite threads", both_polite, AMBIT_SCHEDULE_LIVELOCK, 0, "be_polite", NULL, 0},
    {"missed meeting", missed_meeting, AMBIT_SCHEDULE_LOST_WAKEUP, 0, NULL, NULL, 0},
};
int main(void) { return planted_main("planted_waits", all, sizeof all / sizeof all[0]); }
