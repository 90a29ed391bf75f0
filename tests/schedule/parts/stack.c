/* src/census/stack.c: stacks that are given back and taken again while walks read them. */
#include <ambit/schedule.h>

#include "census/stack.h"

/* install() and ambit__stack_put() release for a child of fork() alone, whose copy of the memory no schedule
 * makes: their orders stay, and are not weakened here. */
AMBIT_SCHEDULE_COVERS("census/stack.c:ambit__stack_write census/stack.c:ambit__stack_read "
                      "census/stack.c:stack_of")

/* In the place of the word in an object. */
static _Atomic(uint32_t) number;
static const uintptr_t first[] = {1, 1}, second[] = {2, 2, 2};

static void write_second(void) {
    uint32_t mine = ambit__stack_get();
    ambit_schedule_assert(mine);
    ambit__stack_write(mine, second, 3, 2);
    ambit__store_release(&number, mine);
}
static void replace(void *argument) {
    (void)argument;
    ambit__stack_put(ambit__load_relaxed(&number));
    write_second();
}
static void take_new(void *argument) {
    (void)argument;
    write_second();
}
static void open_first(void *argument) {
    (void)argument;
    uint32_t mine = ambit__stack_get();
    ambit__stack_write(mine, first, 2, 1);
    ambit__store_relaxed(&number, mine);
}

/* One or the other, whole, or none. */
static void read_one(void) {
    ambit__stack_copy copy;
    uint32_t of = ambit__load_acquire(&number);
    if (!of || !ambit__stack_read(of, &copy) || !ambit__stack_is(of, copy.version)) return;
    ambit_schedule_assert(copy.weight == 1 || copy.weight == 2);
    ambit_schedule_assert(copy.depth == copy.weight + 1);
    for (uint32_t i = 0; i < copy.depth; i++) ambit_schedule_assert(copy.frames[i] == copy.weight);
}

AMBIT_SCHEDULE_TEST_WITH(read_is_whole, .before = open_first) {
    ambit_schedule_thread other = ambit_schedule_spawn(replace, NULL);
    read_one();
    ambit_schedule_join(other);
    ambit_schedule_assert(ambit__stacks_live() == 1);
}
AMBIT_SCHEDULE_TEST_WITH(read_is_whole_in_every_schedule, .before = open_first,
                         .strategy = AMBIT_SCHEDULE_EXHAUSTIVE, .preemptions = 2,
                         .schedules = 100000) {
    ambit_schedule_thread other = ambit_schedule_spawn(replace, NULL);
    read_one();
    ambit_schedule_join(other);
}

/* Two take, and a third reads what it comes by. */
static uint32_t taken[2];
static void take_one(void *which) {
    uint32_t *mine = which;
    *mine = ambit__stack_get();
    ambit_schedule_assert(*mine);
    ambit__stack_write(*mine, second, 3, 2);
}
AMBIT_SCHEDULE_TEST_WITH(each_has_its_own, .before = open_first) {
    ambit_schedule_thread one = ambit_schedule_spawn(take_one, &taken[0]);
    ambit_schedule_thread two = ambit_schedule_spawn(take_one, &taken[1]);
    ambit__stack_put(ambit__load_relaxed(&number));
    ambit_schedule_join(one);
    ambit_schedule_join(two);
    ambit_schedule_assert(taken[0] != taken[1] && ambit__stacks_live() == 2);
}

/* The first ones of all: a chunk is made, which the reader knows only by the number. */
AMBIT_SCHEDULE_TEST_WITH(new_chunk_is_seen_whole, .schedules = 2000) {
    ambit_schedule_thread other = ambit_schedule_spawn(take_new, NULL);
    ambit_schedule_yield();
    read_one();
    ambit_schedule_join(other);
    read_one();
}
