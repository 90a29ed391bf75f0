/* Planted bugs of lifetime: memory that goes too early, twice, never, or before it is filled. */
#define _GNU_SOURCE
#include "planted.h"

#include <errno.h>
#include <time.h>

#include <urcu/urcu-memb.h>

typedef struct object {
    _Atomic(int) references;
    int value;
    struct object *next;
} object;

static object *new_object(int references) {
    object *made = malloc(sizeof *made);
    if (!made) abort();
    atomic_init(&made->references, references);
    made->value = 1;
    made->next = NULL;
    return made;
}

PLACE void use(const object *of) { ambit_schedule_assert(of->value == 1); }
PLACE void discard(object *of) { free(of); }

/* ---- The last reference is dropped too lightly: others' use is not over for who frees -------- */

static object *counted;

static void use_and_drop(void *argument) {
    (void)argument;
    use(counted);
    int before = wrong ? atomic_fetch_sub_explicit(&counted->references, 1, memory_order_relaxed)
                       : atomic_fetch_sub_explicit(&counted->references, 1, memory_order_acq_rel);
    if (before == 1) discard(counted);
}
static void last_drop(void *argument) {
    (void)argument;
    counted = new_object(2);
    together(use_and_drop, use_and_drop);
}

/* ---- A reference is taken of what has none any more ------------------------------------------ */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static object *table;

PLACE bool take_reference(object *of) {
    int now = atomic_load_explicit(&of->references, memory_order_relaxed);
    if (wrong) {
        atomic_fetch_add_explicit(&of->references, 1, memory_order_relaxed);
        return true;
    }
    while (now && !atomic_compare_exchange_weak_explicit(
                      &of->references, &now, now + 1, memory_order_relaxed, memory_order_relaxed)) {
    }
    return now != 0;
}
static void drop_reference(object *of) {
    if (atomic_fetch_sub_explicit(&of->references, 1, memory_order_acq_rel) != 1) return;
    pthread_mutex_lock(&lock);
    if (table == of) table = NULL;
    pthread_mutex_unlock(&lock);
    discard(of);
}
static void look_up(void *argument) {
    (void)argument;
    pthread_mutex_lock(&lock);
    object *found = table;
    if (found && !take_reference(found)) found = NULL;
    pthread_mutex_unlock(&lock);
    if (!found) return;
    use(found);
    drop_reference(found);
}
static void close_it(void *argument) { drop_reference(argument); }
static void get_after_zero(void *argument) {
    (void)argument;
    table = new_object(1);
    ambit_schedule_thread closer = ambit_schedule_spawn(close_it, table);
    look_up(NULL);
    ambit_schedule_join(closer);
}

/* ---- A pointer is kept over the lock that made it good --------------------------------------- */

static void keep_pointer(void *argument) {
    (void)argument;
    pthread_mutex_lock(&lock);
    const object *seen = table;
    if (wrong) pthread_mutex_unlock(&lock);
    if (seen) use(seen);
    if (!wrong) pthread_mutex_unlock(&lock);
}
static void replace(void *argument) {
    (void)argument;
    pthread_mutex_lock(&lock);
    object *old = table;
    table = NULL;
    pthread_mutex_unlock(&lock);
    discard(old);
}
static void stale_pointer(void *argument) {
    (void)argument;
    table = new_object(1);
    together(keep_pointer, replace);
}

/* ---- A stack (Treiber, 1986) whose nodes are freed while others still look at them ----------- */

typedef struct entry {
    struct entry *next, *buried;
} entry;
static _Atomic(entry *) entries, buried;

PLACE entry *entry_behind(const entry *of) { return of->next; }
PLACE void discard_entry(entry *of) { free(of); }
static void bury(entry *one) {
    one->buried = atomic_load_explicit(&buried, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&buried, &one->buried, one, memory_order_release,
                                                  memory_order_relaxed)) {
    }
}
static void pop_entry(void *argument) {
    (void)argument;
    entry *first = atomic_load_explicit(&entries, memory_order_acquire);
    while (first &&
           !atomic_compare_exchange_weak_explicit(&entries, &first, entry_behind(first),
                                                  memory_order_acquire, memory_order_acquire)) {
    }
    if (!first) return;
    if (wrong)
        discard_entry(first);
    else
        bury(first);
}
static void stack_without_grave(void *argument) {
    (void)argument;
    for (unsigned i = 0; i < 2; i++) {
        entry *made = malloc(sizeof *made);
        if (!made) abort();
        made->next = atomic_load_explicit(&entries, memory_order_relaxed);
        atomic_store_explicit(&entries, made, memory_order_relaxed);
    }
    together(pop_entry, pop_entry);
    for (entry *one = atomic_load_explicit(&buried, memory_order_relaxed); one;) {
        entry *next = one->buried;
        free(one);
        one = next;
    }
}

/* ---- Memory is shown before it is filled ----------------------------------------------------- */

PLACE void look_at_value(const object *of) { ambit_schedule_assert(of->value == 1); }
static void show_then_fill(void *argument) {
    (void)argument;
    object *made = malloc(sizeof *made);
    if (!made) abort();
    if (!wrong) made->value = 1;
    pthread_mutex_lock(&lock);
    table = made;
    pthread_mutex_unlock(&lock);
    pthread_mutex_lock(&lock);
    if (wrong) made->value = 1;
    pthread_mutex_unlock(&lock);
}
static void look(void *argument) {
    (void)argument;
    pthread_mutex_lock(&lock);
    if (table) look_at_value(table);
    pthread_mutex_unlock(&lock);
}
static void shown_too_early(void *argument) {
    (void)argument;
    together(show_then_fill, look);
    free(table);
}

/* ---- An error path forgets what it has ------------------------------------------------------- */

PLACE object *get_memory(void) { return new_object(1); }
static void work_that_may_fail(void *argument) {
    (void)argument;
    object *mine = get_memory();
    bool fails = ambit_schedule_choose(4) == 3;
    if (fails && wrong) return;
    discard(mine);
}
static void forgotten(void *argument) {
    (void)argument;
    together(work_that_may_fail, work_that_may_fail);
}

/* ---- A request that times out while it is completed ------------------------------------------ */

static pthread_cond_t completed = PTHREAD_COND_INITIALIZER;
static object *request;
static _Atomic(bool) given_up;

PLACE void end_request(void) { free(request); }
static void complete(void *argument) {
    (void)argument;
    struct timespec a_while = {0, 900000};
    (void)nanosleep(&a_while, NULL);
    pthread_mutex_lock(&lock);
    pthread_cond_signal(&completed);
    pthread_mutex_unlock(&lock);
    if (wrong ? !atomic_load(&given_up) : !atomic_exchange(&given_up, true)) end_request();
}
static void wait_for_request(void *argument) {
    (void)argument;
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 30; /* nobody would expect that to be over first */
    pthread_mutex_lock(&lock);
    int error = pthread_cond_timedwait(&completed, &lock, &until);
    pthread_mutex_unlock(&lock);
    if (!error && wrong) return;
    if (wrong) {
        end_request();
        atomic_store(&given_up, true);
    } else if (!atomic_exchange(&given_up, true)) {
        end_request();
    }
}
static void timed_out_and_completed(void *argument) {
    (void)argument;
    request = new_object(1);
    together(wait_for_request, complete);
}

/* The same with a timer that is due a moment later: virtual time lets it be first. */
static void time_out(void *argument) {
    (void)argument;
    struct timespec a_while = {0, 500000};
    (void)nanosleep(&a_while, NULL);
    if (wrong ? !atomic_load(&given_up) : !atomic_exchange(&given_up, true)) {
        atomic_store(&given_up, true);
        end_request();
    }
}
static void complete_at_once(void *argument) {
    (void)argument;
    if (wrong ? !atomic_load(&given_up) : !atomic_exchange(&given_up, true)) {
        atomic_store(&given_up, true);
        end_request();
    }
}
static void timer_is_early(void *argument) {
    (void)argument;
    request = new_object(1);
    together(time_out, complete_at_once);
}

/* ---- Read-copy-update ------------------------------------------------------------------------ */

static _Atomic(object *) published;

static void read_published(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    urcu_memb_read_lock();
    const object *seen = atomic_load_explicit(&published, memory_order_acquire);
    if (wrong) urcu_memb_read_unlock();
    use(seen);
    if (!wrong) urcu_memb_read_unlock();
    urcu_memb_unregister_thread();
}
static void replace_published(void *argument) {
    (void)argument;
    object *old = atomic_exchange_explicit(&published, new_object(1), memory_order_acq_rel);
    urcu_memb_synchronize_rcu();
    discard(old);
}
static void used_after_grace(void *argument) {
    (void)argument;
    atomic_store_explicit(&published, new_object(1), memory_order_relaxed);
    together(read_published, replace_published);
}

/* Freed before the grace period, which then waits for nothing that matters. */
static void read_rightly(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    urcu_memb_read_lock();
    use(atomic_load_explicit(&published, memory_order_acquire));
    urcu_memb_read_unlock();
    urcu_memb_unregister_thread();
}
static void free_too_early(void *argument) {
    (void)argument;
    object *old = atomic_load_explicit(&published, memory_order_acquire);
    if (wrong) urcu_memb_synchronize_rcu();
    atomic_store_explicit(&published, new_object(1), memory_order_release);
    if (!wrong) urcu_memb_synchronize_rcu();
    discard(old);
}
static void grace_before_removal(void *argument) {
    (void)argument;
    atomic_store_explicit(&published, new_object(1), memory_order_relaxed);
    together(read_rightly, free_too_early);
}

static void leave_inside(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    urcu_memb_read_lock();
    use(atomic_load_explicit(&published, memory_order_acquire));
    if (wrong && ambit_schedule_choose(8) == 7) return;
    urcu_memb_read_unlock();
    urcu_memb_unregister_thread();
}
static void exit_inside(void *argument) {
    (void)argument;
    atomic_store_explicit(&published, new_object(1), memory_order_relaxed);
    together(leave_inside, replace_published);
}

#define AFTER_FREE AMBIT_SCHEDULE_USE_AFTER_FREE
static const planted all[] = {
    {"last reference dropped relaxed", last_drop, AFTER_FREE, 0, "use", "discard", 0},
    {"reference taken after zero", get_after_zero, AFTER_FREE, AMBIT_SCHEDULE_MISUSE, "discard",
     NULL, 0},
    {"pointer kept over its lock", stale_pointer, AFTER_FREE, 0, "use", "discard", 0},
    {"stack without a grave", stack_without_grave, AFTER_FREE, 0, "entry_behind", "discard_entry",
     0},
    {"shown before it is filled", shown_too_early, AMBIT_SCHEDULE_UNINITIALISED, 0, "look_at_value",
     NULL, 0},
    {"memory forgotten on an error path", forgotten, AMBIT_SCHEDULE_LEAK, 0, "new_object", NULL, 0},
    {"request that times out as it completes", timed_out_and_completed, AMBIT_SCHEDULE_MISUSE,
     AFTER_FREE, "end_request", NULL, 0},
    {"timer that is early", timer_is_early, AMBIT_SCHEDULE_MISUSE, AFTER_FREE, "end_request", NULL,
     0},
    {"used after its read section", used_after_grace, AFTER_FREE, 0, "use", "discard", 0},
    {"grace period before the removal", grace_before_removal, AFTER_FREE, 0, "use", "discard", 0},
    {"thread that ends in its read section", exit_inside, AMBIT_SCHEDULE_MISUSE, 0, "leave_inside",
     NULL, 0},
};
int main(void) { return planted_main("planted_memory", all, sizeof all / sizeof all[0]); }
