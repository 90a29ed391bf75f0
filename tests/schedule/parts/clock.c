/* src/base/clock.{c,h}: a program's own clock is put in place while others read the time. */
#include <ambit/schedule.h>

#include "base/clock.h"

AMBIT_SCHEDULE_COVERS("base/clock.c base/clock.h")

/* Each function belongs to one datum; the clock must never be made of two. */
static int64_t first_data, second_data;

static int64_t first_now(void *user) {
    ambit_schedule_assert(user == &first_data);
    return first_data;
}

static int64_t second_now(void *user) {
    ambit_schedule_assert(user == &second_data);
    return second_data;
}

/* What the clock reads was written before it was put in place, and by nothing else is it known. */
static void set_first(void *argument) {
    (void)argument;
    first_data = 1000;
    ambit_clock_set(&(ambit_clock){.now_ns = first_now, .user = &first_data});
}

static void set_second(void *argument) {
    (void)argument;
    second_data = 2000;
    ambit_clock_set(&(ambit_clock){.now_ns = second_now, .user = &second_data});
}

static void read_time(void *argument) {
    (void)argument;
    int64_t now_ns = ambit__clock_now();
    ambit_schedule_assert(now_ns == 1000 || now_ns == 2000 || now_ns >= AMBIT_SECOND);
}

/* While one is exchanged for another, it is not the system's. */
static void read_own_time(void) {
    int64_t now_ns = ambit__clock_now();
    ambit_schedule_assert(now_ns == 1000 || now_ns == 2000);
}

AMBIT_SCHEDULE_TEST(clock_is_of_one_piece_while_it_is_set) {
    ambit_schedule_thread setter = ambit_schedule_spawn(set_first, NULL);
    read_time(NULL);
    ambit_schedule_join(setter);
    ambit_schedule_assert(ambit_clock_now_ns() == 1000);
}

AMBIT_SCHEDULE_TEST_WITH(clock_is_of_one_piece_while_it_is_exchanged, .before = set_first) {
    ambit_schedule_thread setter = ambit_schedule_spawn(set_second, NULL);
    read_own_time();
    ambit_schedule_join(setter);
    ambit_schedule_assert(ambit_clock_now_ns() == 2000);
}

static void set_and_unset(void *argument) {
    set_second(argument);
    ambit_clock_set(NULL);
}

AMBIT_SCHEDULE_TEST_WITH(clock_is_of_one_piece_while_it_comes_and_goes, .before = set_first) {
    ambit_schedule_thread setter = ambit_schedule_spawn(set_and_unset, NULL);
    read_time(NULL);
    read_time(NULL);
    ambit_schedule_join(setter);
    ambit_schedule_assert(ambit_clock_now_ns() >= AMBIT_SECOND);
}

static void unset_and_set(void *argument) {
    ambit_clock_set(NULL);
    set_second(argument);
}

AMBIT_SCHEDULE_TEST_WITH(clock_is_of_one_piece_while_it_goes_and_comes, .before = set_first) {
    ambit_schedule_thread setter = ambit_schedule_spawn(unset_and_set, NULL);
    read_time(NULL);
    read_time(NULL);
    ambit_schedule_join(setter);
    ambit_schedule_assert(ambit_clock_now_ns() == 2000);
}

AMBIT_SCHEDULE_TEST(clocks_are_set_one_after_another) {
    ambit_schedule_thread first = ambit_schedule_spawn(set_first, NULL);
    ambit_schedule_thread second = ambit_schedule_spawn(set_second, NULL);
    read_time(NULL);
    ambit_schedule_join(first);
    ambit_schedule_join(second);
    int64_t now_ns = ambit_clock_now_ns();
    ambit_schedule_assert(now_ns == 1000 || now_ns == 2000);
}

/* The other readers: coarse, and asking whether a time has come. */
static void read_otherwise(void *argument) {
    (void)argument;
    int64_t now_ns = ambit__clock_coarse();
    ambit_schedule_assert(now_ns == 1000 || now_ns == 2000);
    ambit_schedule_assert(ambit__clock_reached(1000) && !ambit__clock_reached(2001));
}

AMBIT_SCHEDULE_TEST_WITH(other_readers_see_one_piece, .before = set_first) {
    ambit_schedule_thread setter = ambit_schedule_spawn(set_second, NULL);
    read_otherwise(NULL);
    ambit_schedule_join(setter);
}

/* Times of before and after do not compare: who sees the number of a change sees the new clock. */
AMBIT_SCHEDULE_TEST_WITH(number_of_a_change_comes_with_the_clock, .before = set_first) {
    uint32_t before = ambit__clock_changes();
    ambit_schedule_thread setter = ambit_schedule_spawn(set_second, NULL);
    uint32_t seen = ambit__clock_changes();
    int64_t now_ns = ambit__clock_now();
    if (seen != before) ambit_schedule_assert(now_ns == 2000);
    ambit_schedule_join(setter);
    ambit_schedule_assert(ambit__clock_changes() != before);
}
