/* Planted bugs of atomics: a step that is two, an order that is too weak. */
#define _GNU_SOURCE
#include "planted.h"

#include <time.h>

/* ---- Lost updates ---------------------------------------------------------------------------- */

static int plain_count;
static _Atomic(int) atomic_count;

PLACE void add_to_plain(void) {
    if (wrong)
        plain_count++;
    else
        atomic_fetch_add_explicit(&atomic_count, 1, memory_order_relaxed);
}
RUNS(plain_adder, add_to_plain())
static void lost_update_plain(void *argument) {
    (void)argument;
    together(plain_adder, plain_adder);
}

PLACE void add_to_atomic(void) {
    if (wrong) {
        int now = atomic_load_explicit(&atomic_count, memory_order_relaxed);
        atomic_store_explicit(&atomic_count, now + 1, memory_order_relaxed);
    } else {
        atomic_fetch_add_explicit(&atomic_count, 1, memory_order_relaxed);
    }
}
RUNS(atomic_adder, add_to_atomic())
static void lost_update_atomics(void *argument) {
    (void)argument;
    together(atomic_adder, atomic_adder);
    ambit_schedule_assert(atomic_load_explicit(&atomic_count, memory_order_relaxed) == 2);
}

/* ---- Message passing ------------------------------------------------------------------------- */

static volatile int message; /* so that it is read, whether or not that counts */
static _Atomic(bool) sent;

PLACE void write_message(void) { message = 1; }
PLACE void read_message(void) {
    int read = message;
    ambit_schedule_assert(wrong || read == 1); /* wrong: the race is what is to be found */
}
static void sender(void *argument) {
    (void)argument;
    write_message();
    STORE(&sent, true, memory_order_relaxed, memory_order_release);
}
static void receiver(void *argument) {
    (void)argument;
    if (atomic_load_explicit(&sent, memory_order_acquire)) read_message();
}
static void message_passing(void *argument) {
    (void)argument;
    together(sender, receiver);
}

/* What is sent by a fence or by a store is what was written before, not what comes after. */
static void hasty_sender(void *argument) {
    (void)argument;
    if (!wrong) write_message();
    atomic_store_explicit(&sent, true, memory_order_release);
    if (wrong) write_message();
}
static void message_too_late(void *argument) {
    (void)argument;
    together(hasty_sender, receiver);
}
static void sender_by_fence(void *argument) {
    (void)argument;
    if (!wrong) write_message();
    atomic_thread_fence(memory_order_release);
    if (wrong) write_message();
    atomic_store_explicit(&sent, true, memory_order_relaxed);
}
static void fence_too_early(void *argument) {
    (void)argument;
    together(sender_by_fence, receiver);
}

/* Nor is anything ordered by two fences without a message between, though they are one after the other:
 * the sleep sees to that. */
static void write_and_fence(void *argument) {
    (void)argument;
    write_message();
    atomic_thread_fence(memory_order_seq_cst);
    atomic_store_explicit(&sent, true, memory_order_relaxed);
}
static void sleep_and_fence(void *argument) {
    (void)argument;
    struct timespec long_enough = {10, 0};
    (void)nanosleep(&long_enough, NULL);
    bool seen = wrong || atomic_load_explicit(&sent, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    if (seen) read_message();
}
static void fences_alone(void *argument) {
    (void)argument;
    together(write_and_fence, sleep_and_fence);
}

static void careful_sender(void *argument) {
    (void)argument;
    write_message();
    atomic_store_explicit(&sent, true, memory_order_release);
}
static void careless_receiver(void *argument) {
    (void)argument;
    while (!LOAD(&sent, memory_order_relaxed, memory_order_acquire)) ambit_schedule_yield();
    read_message();
}
static void message_waited_for(void *argument) {
    (void)argument;
    together(careful_sender, careless_receiver);
}

/* ---- Dekker's entry: each says that it comes, then looks for the other ----------------------- */

static _Atomic(bool) left_comes, right_comes;
static int entered;

PLACE void enter(void) { entered++; }
static void come(_Atomic(bool) *mine, _Atomic(bool) *other) {
    STORE(mine, true, memory_order_release, memory_order_seq_cst);
    if (!LOAD(other, memory_order_acquire, memory_order_seq_cst)) enter();
}
RUNS(come_left, come(&left_comes, &right_comes))
RUNS(come_right, come(&right_comes, &left_comes))
static void dekker(void *argument) {
    (void)argument;
    together(come_left, come_right);
}

/* ---- A sequence lock (Boehm, MSPC 2012): the reader's last look must not be early ------------ */

static _Atomic(unsigned) sequence;
static _Atomic(int) half, other_half;

static void write_halves(void *argument) {
    (void)argument;
    for (int value = 1; value <= 2; value++) {
        unsigned now = atomic_load_explicit(&sequence, memory_order_relaxed);
        atomic_store_explicit(&sequence, now + 1, memory_order_relaxed);
        atomic_thread_fence(memory_order_release);
        atomic_store_explicit(&half, value, memory_order_relaxed);
        atomic_store_explicit(&other_half, value, memory_order_relaxed);
        atomic_store_explicit(&sequence, now + 2, memory_order_release);
    }
}
PLACE void halves_agree(int one, int other) { ambit_schedule_assert(one == other); }
static void read_halves(void *argument) {
    (void)argument;
    unsigned before = atomic_load_explicit(&sequence, memory_order_acquire);
    int one = atomic_load_explicit(&half, memory_order_relaxed);
    int other = atomic_load_explicit(&other_half, memory_order_relaxed);
    if (!wrong) atomic_thread_fence(memory_order_acquire);
    unsigned after = atomic_load_explicit(&sequence, memory_order_relaxed);
    if (before == after && !(before & 1)) halves_agree(one, other);
}
static void sequence_lock(void *argument) {
    (void)argument;
    together(write_halves, read_halves);
}

/* ---- Made once: the first look is without the lock ------------------------------------------- */

static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;
static int thing;
static _Atomic(int *) made;

PLACE void make_thing(void) { thing = 7; }
PLACE void use_thing(const int *of) { ambit_schedule_assert(*of == 7); }
static void get_thing(void *argument) {
    (void)argument;
    int *found = atomic_load_explicit(&made, memory_order_acquire);
    if (!found) {
        pthread_mutex_lock(&making);
        found = atomic_load_explicit(&made, memory_order_relaxed);
        if (!found) {
            make_thing();
            found = &thing;
            STORE(&made, found, memory_order_relaxed, memory_order_release);
        }
        pthread_mutex_unlock(&making);
    }
    use_thing(found);
}
static void double_checked(void *argument) {
    (void)argument;
    together(get_thing, get_thing);
}

/* ---- A ticket lock (Mellor-Crummey and Scott, 1991) that is unlocked too lightly ------------- */

static _Atomic(unsigned) next_ticket, now_serving;
static int guarded;

PLACE void change_guarded(void) { guarded++; }
static void serve(void *argument) {
    (void)argument;
    unsigned mine = atomic_fetch_add_explicit(&next_ticket, 1, memory_order_relaxed);
    while (atomic_load_explicit(&now_serving, memory_order_acquire) != mine) ambit_schedule_yield();
    change_guarded();
    STORE(&now_serving, mine + 1, memory_order_relaxed, memory_order_release);
}
static void ticket_lock(void *argument) {
    (void)argument;
    together(serve, serve);
}

/* ---- A spin lock that is taken too lightly --------------------------------------------------- */

static _Atomic(bool) taken;

static void spin(void *argument) {
    (void)argument;
    while (wrong ? atomic_exchange_explicit(&taken, true, memory_order_relaxed)
                 : atomic_exchange_explicit(&taken, true, memory_order_acquire))
        ambit_schedule_yield();
    change_guarded();
    atomic_store_explicit(&taken, false, memory_order_release);
}
static void spin_lock(void *argument) {
    (void)argument;
    together(spin, spin);
}

/* ---- Peterson's lock: the turn is given before one looks ------------------------------------- */

static _Atomic(int) turn;

static void contend(_Atomic(bool) *mine, _Atomic(bool) *other, int others_turn) {
    STORE(mine, true, memory_order_release, memory_order_seq_cst);
    STORE(&turn, others_turn, memory_order_release, memory_order_seq_cst);
    while (LOAD(other, memory_order_acquire, memory_order_seq_cst) &&
           LOAD(&turn, memory_order_acquire, memory_order_seq_cst) == others_turn)
        ambit_schedule_yield();
    change_guarded();
    atomic_store_explicit(mine, false, memory_order_release);
}
RUNS(contend_left, contend(&left_comes, &right_comes, 2))
RUNS(contend_right, contend(&right_comes, &left_comes, 1))
static void peterson(void *argument) {
    (void)argument;
    together(contend_left, contend_right);
}

/* ---- Rings and queues ------------------------------------------------------------------------ */

enum { RING = 2 };
static int ring[RING];
static _Atomic(unsigned) ring_head, ring_tail;

PLACE void write_slot(unsigned at, int value) { ring[at % RING] = value; }
PLACE int read_slot(unsigned at) { return ring[at % RING]; }
static void produce(void *argument) {
    (void)argument;
    for (unsigned at = 0; at < 3; at++) {
        while (at - atomic_load_explicit(&ring_head, memory_order_acquire) == RING)
            ambit_schedule_yield();
        write_slot(at, (int)at + 1);
        STORE(&ring_tail, at + 1, memory_order_relaxed, memory_order_release);
    }
}
static void consume(void *argument) {
    (void)argument;
    for (unsigned at = 0; at < 3; at++) {
        while (atomic_load_explicit(&ring_tail, memory_order_acquire) == at) ambit_schedule_yield();
        ambit_schedule_assert(read_slot(at) == (int)at + 1);
        atomic_store_explicit(&ring_head, at + 1, memory_order_release);
    }
}
static void ring_filled(void *argument) {
    (void)argument;
    together(produce, consume);
}

/* The other way round: a slot is given back before it was read out. */
static void produce_rightly(void *argument) {
    (void)argument;
    for (unsigned at = 0; at < 3; at++) {
        while (at - atomic_load_explicit(&ring_head, memory_order_acquire) == RING)
            ambit_schedule_yield();
        write_slot(at, (int)at + 1);
        atomic_store_explicit(&ring_tail, at + 1, memory_order_release);
    }
}
static void consume_lightly(void *argument) {
    (void)argument;
    for (unsigned at = 0; at < 3; at++) {
        while (atomic_load_explicit(&ring_tail, memory_order_acquire) == at) ambit_schedule_yield();
        ambit_schedule_assert(read_slot(at) == (int)at + 1);
        STORE(&ring_head, at + 1, memory_order_relaxed, memory_order_release);
    }
}
static void ring_emptied(void *argument) {
    (void)argument;
    together(produce_rightly, consume_lightly);
}

/* Many put, one takes: the new one is linked to the last one. */
typedef struct link {
    _Atomic(struct link *) next;
    int content;
} link;
static link stub, links[2];
static _Atomic(link *) last = &stub;

PLACE void fill_link(link *of, int content) { of->content = content; }
PLACE int read_link(const link *of) { return of->content; }
static void put_link(link *of) {
    fill_link(of, 5);
    atomic_store_explicit(&of->next, NULL, memory_order_relaxed);
    link *before = atomic_exchange_explicit(&last, of, memory_order_acq_rel);
    STORE(&before->next, of, memory_order_relaxed, memory_order_release);
}
RUNS(put_first, put_link(&links[0]))
RUNS(put_second, put_link(&links[1]))
static void queue_of_many(void *argument) {
    (void)argument;
    ambit_schedule_thread one = ambit_schedule_spawn(put_first, NULL);
    ambit_schedule_thread two = ambit_schedule_spawn(put_second, NULL);
    link *at = &stub;
    for (unsigned count = 0; count < 2; count++) {
        link *next;
        while (!(next = atomic_load_explicit(&at->next, memory_order_acquire)))
            ambit_schedule_yield();
        ambit_schedule_assert(read_link(next) == 5);
        at = next;
    }
    ambit_schedule_join(one);
    ambit_schedule_join(two);
}

/* And what is linked before it is the last one's own is lost: two take the same one for the last. */
static void link_first(link *of) {
    link *before;
    if (wrong) {
        before = atomic_load_explicit(&last, memory_order_acquire);
        atomic_store_explicit(&before->next, of, memory_order_release);
        atomic_store_explicit(&last, of, memory_order_release);
    } else {
        before = atomic_exchange_explicit(&last, of, memory_order_acq_rel);
        atomic_store_explicit(&before->next, of, memory_order_release);
    }
}
RUNS(link_one, link_first(&links[0]))
RUNS(link_two, link_first(&links[1]))
static void queue_in_wrong_order(void *argument) {
    (void)argument;
    together(link_one, link_two);
    unsigned count = 0;
    for (link *at = &stub; (at = atomic_load_explicit(&at->next, memory_order_relaxed));) count++;
    ambit_schedule_assert(count == 2);
}

/* ---- A free list of numbers, whose first may be the same again and its next not (ABA) -------- */

enum { SLOTS = 3 };
static _Atomic(uint32_t) slots_first; /* number + 1, and a tag above if it is right */
static _Atomic(uint32_t) slots_next[SLOTS + 1];
static _Atomic(int) slot_owners[SLOTS + 1];

PLACE void own_slot(uint32_t slot) {
    ambit_schedule_assert(atomic_fetch_add_explicit(&slot_owners[slot], 1, memory_order_relaxed) ==
                          0);
}
static uint32_t next_first(uint32_t old, uint32_t slot) {
    return wrong ? slot : ((old >> 8) + 1) << 8 | slot;
}
static uint32_t take_slot(void) {
    uint32_t old = atomic_load_explicit(&slots_first, memory_order_acquire), next;
    do {
        if (!(old & 255)) return 0;
        next = atomic_load_explicit(&slots_next[old & 255], memory_order_relaxed);
    } while (!atomic_compare_exchange_strong_explicit(&slots_first, &old, next_first(old, next),
                                                      memory_order_acq_rel, memory_order_acquire));
    own_slot(old & 255);
    return old & 255;
}
static void give_slot(uint32_t slot) {
    if (!slot) return;
    atomic_fetch_sub_explicit(&slot_owners[slot], 1, memory_order_relaxed);
    uint32_t old = atomic_load_explicit(&slots_first, memory_order_relaxed);
    do atomic_store_explicit(&slots_next[slot], old & 255, memory_order_relaxed);
    while (!atomic_compare_exchange_strong_explicit(&slots_first, &old, next_first(old, slot),
                                                    memory_order_release, memory_order_relaxed));
}
static void take_two_give_one(void *argument) {
    (void)argument;
    uint32_t one = take_slot();
    (void)take_slot();
    give_slot(one);
}
static void take_two(void *argument) {
    (void)argument;
    (void)take_slot();
    (void)take_slot();
}
static void free_list(void *argument) {
    (void)argument;
    for (uint32_t slot = SLOTS; slot; slot--) {
        atomic_store_explicit(&slots_next[slot], atomic_load(&slots_first) & 255,
                              memory_order_relaxed);
        atomic_store(&slots_first, slot);
    }
    together(take_two_give_one, take_two);
}

static const planted all[] = {
    {"lost update, plain", lost_update_plain, AMBIT_SCHEDULE_RACE, 0, "add_to_plain",
     "add_to_plain", 0},
    {"lost update, load and store", lost_update_atomics, AMBIT_SCHEDULE_ASSERTION, 0,
     "lost_update_atomics", NULL, 0},
    {"message passing without release", message_passing, AMBIT_SCHEDULE_RACE, 0, "write_message",
     "read_message", 0},
    {"message written after it is sent", message_too_late, AMBIT_SCHEDULE_RACE, 0, "write_message",
     "read_message", 0},
    {"message written after the fence", fence_too_early, AMBIT_SCHEDULE_RACE, 0, "write_message",
     "read_message", 0},
    {"fences without a message", fences_alone, AMBIT_SCHEDULE_RACE, 0, "write_message",
     "read_message", 0},
    {"message passing without acquire", message_waited_for, AMBIT_SCHEDULE_RACE, 0, "write_message",
     "read_message", 0},
    {"Dekker with acquire and release", dekker, AMBIT_SCHEDULE_RACE, 0, "enter", "enter", 0},
    {"Peterson with acquire and release", peterson, AMBIT_SCHEDULE_RACE, 0, "change_guarded",
     "change_guarded", 0},
    {"sequence lock without its acquire", sequence_lock, AMBIT_SCHEDULE_ASSERTION, 0,
     "halves_agree", NULL, 0},
    {"double-checked making", double_checked, AMBIT_SCHEDULE_RACE, 0, "make_thing", "use_thing", 0},
    {"ticket lock, relaxed unlock", ticket_lock, AMBIT_SCHEDULE_RACE, 0, "change_guarded",
     "change_guarded", 0},
    {"spin lock, relaxed lock", spin_lock, AMBIT_SCHEDULE_RACE, 0, "change_guarded",
     "change_guarded", 0},
    {"ring, filled without release", ring_filled, AMBIT_SCHEDULE_RACE, 0, "write_slot", "read_slot",
     0},
    {"ring, emptied without release", ring_emptied, AMBIT_SCHEDULE_RACE, 0, "write_slot",
     "read_slot", 0},
    {"queue of many, linked without release", queue_of_many, AMBIT_SCHEDULE_RACE, 0, "fill_link",
     "read_link", 0},
    {"queue of many, in the wrong order", queue_in_wrong_order, AMBIT_SCHEDULE_ASSERTION, 0,
     "queue_in_wrong_order", NULL, 0},
    {"free list without tags (ABA)", free_list, AMBIT_SCHEDULE_ASSERTION, 0, "own_slot", NULL, 0},
};
int main(void) { return planted_main("planted_orders", all, sizeof all / sizeof all[0]); }
