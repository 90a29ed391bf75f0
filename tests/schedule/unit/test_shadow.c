/* Who has touched what: races, what may be forgotten, and the way back. */
#include "memory.h"

#include <time.h>

static uint64_t words[4] __attribute__((aligned(64)));

/* ---- Races ----------------------------------------------------------------------------------- */

static void write_and_write_race(void **state) {
    (void)state;
    writes(words, 4, 1);
    as(1);
    assert_failure(writes(words, 4, 2), AMBIT_SCHEDULE_RACE);
    assert_ptr_equal(ambit__found.site, SITE(2));
    assert_ptr_equal(ambit__found.other_site, SITE(1));
    assert_ptr_equal(ambit__found.address, words);
    assert_string_equal(ambit__found.message,
                        "write of 4 bytes races with a write of 4 bytes by thread 0");
}

static void read_and_write_race_in_both_orders(void **state) {
    (void)state;
    reads(words, 8, 1);
    as(1);
    assert_failure(writes(words, 1, 2), AMBIT_SCHEDULE_RACE);
    assert_told("write of 1 byte races with a read of 8 bytes by thread 0");
    as(0);
    writes(&words[1], 8, 1);
    as(1);
    assert_failure(reads(&words[1], 1, 2), AMBIT_SCHEDULE_RACE);
    assert_told("read of 1 byte races with a write of 8 bytes by thread 0");
}

static void reads_do_not_race(void **state) {
    (void)state;
    reads(words, 8, 1);
    as(1);
    reads(words, 8, 2);
    as(2);
    reads(words, 4, 3);
}

static void what_is_known_does_not_race(void **state) {
    (void)state;
    writes(words, 8, 1);
    order(0, 1);
    as(1);
    writes(words, 8, 2);
    reads(words, 8, 2);
    order(1, 2);
    as(2);
    writes(words, 8, 3);
}

static void what_comes_after_the_release_races(void **state) {
    (void)state;
    writes(words, 8, 1);
    order(0, 1);
    writes(words, 8, 2);
    as(1);
    assert_failure(reads(words, 8, 3), AMBIT_SCHEDULE_RACE);
    assert_ptr_equal(ambit__found.other_site, SITE(2));
}

static void other_bytes_do_not_race(void **state) {
    (void)state;
    const char *bytes = (const char *)words;
    for (unsigned thread = 0; thread < AMBIT__THREADS; thread++) {
        as(thread);
        writes(bytes + thread, 1, thread);
    }
    as(1);
    assert_failure(reads(bytes + 1, 2, 20), AMBIT_SCHEDULE_RACE);
    assert_ptr_equal(ambit__found.other_site, SITE(2));
}

static void atomics_race_with_plain_accesses_only(void **state) {
    (void)state;
    atomic_writes(words, 8, 1);
    as(1);
    atomic_writes(words, 8, 2);
    atomic_reads(words, 8, 3);
    assert_failure(reads(words, 8, 4), AMBIT_SCHEDULE_RACE);
    assert_told("read of 8 bytes races with an atomic write of 8 bytes by thread 0");
    as(2);
    reads(&words[1], 8, 5);
    as(3);
    assert_failure(atomic_writes(&words[1], 8, 6), AMBIT_SCHEDULE_RACE);
    assert_told("atomic write of 8 bytes races with a read of 8 bytes by thread 2");
}

static void an_atomic_read_does_not_race_with_a_plain_one(void **state) {
    (void)state;
    atomic_reads(words, 8, 1);
    as(1);
    reads(words, 8, 2);
}

static void an_access_over_two_granules_is_two(void **state) {
    (void)state;
    const char *bytes = (const char *)words;
    writes(bytes + 6, 4, 1);
    as(1);
    reads(bytes, 6, 2);
    reads(bytes + 10, 6, 2);
    assert_failure(reads(bytes + 7, 1, 2), AMBIT_SCHEDULE_RACE);
    assert_failure(reads(bytes + 8, 1, 2), AMBIT_SCHEDULE_RACE);
    assert_failure(reads(bytes, 16, 2), AMBIT_SCHEDULE_RACE);
}

static void a_range_tells_where_it_meets(void **state) {
    (void)state;
    writes(&words[2], 1, 1);
    as(1);
    assert_failure(writes(words, sizeof words, 2), AMBIT_SCHEDULE_RACE);
    assert_ptr_equal(ambit__found.address, &words[2]);
}

/* ---- What is forgotten ----------------------------------------------------------------------- */

static void a_plain_write_stands_for_what_it_covers(void **state) {
    (void)state;
    writes(words, 4, 1);
    reads(words, 4, 2);
    step();
    writes(words, 8, 3);
    assert_int_equal(ambit__shadow_at((uintptr_t)words)->count, 1);
    as(1);
    assert_failure(reads(words, 4, 4), AMBIT_SCHEDULE_RACE);
    assert_ptr_equal(ambit__found.other_site, SITE(3));
}

static void a_write_of_some_bytes_does_not_stand_for_the_others(void **state) {
    (void)state;
    writes(words, 8, 1);
    step();
    writes(words, 4, 2);
    as(1);
    assert_failure(reads((char *)words + 4, 4, 3), AMBIT_SCHEDULE_RACE);
    assert_ptr_equal(ambit__found.other_site, SITE(1));
}

/* Thread 2 knows the second store and not the first, which the second's thread did not know
 * either. */
static void an_atomic_write_does_not_hide_one_it_does_not_know(void **state) {
    (void)state;
    atomic_writes(words, 8, 1);
    as(1);
    atomic_writes(words, 8, 2);
    order(1, 2);
    as(2);
    assert_failure(reads(words, 8, 3), AMBIT_SCHEDULE_RACE);
    assert_ptr_equal(ambit__found.other_site, SITE(1));
}

/* Initialised plainly, then stored atomically by one who knows: a third that does not is wrong. */
static void an_atomic_write_does_not_hide_a_plain_one(void **state) {
    (void)state;
    writes(words, 8, 1);
    order(0, 1);
    as(1);
    atomic_writes(words, 8, 2);
    as(2);
    assert_failure(atomic_reads(words, 8, 3), AMBIT_SCHEDULE_RACE);
    assert_ptr_equal(ambit__found.other_site, SITE(1));
}

/* The second read is atomic: it does not race with an atomic store, the first does. */
static void an_atomic_read_does_not_hide_a_plain_one(void **state) {
    (void)state;
    reads(words, 8, 1);
    step();
    atomic_reads(words, 8, 2);
    as(1);
    assert_failure(atomic_writes(words, 8, 3), AMBIT_SCHEDULE_RACE);
    assert_ptr_equal(ambit__found.other_site, SITE(1));
}

static void a_read_in_the_same_step_does_not_hide_a_write(void **state) {
    (void)state;
    reads(words, 8, 1);
    writes(words, 8, 2);
    reads(words, 8, 3);
    as(1);
    assert_failure(reads(words, 8, 4), AMBIT_SCHEDULE_RACE);
    assert_ptr_equal(ambit__found.other_site, SITE(2));
}

static void a_later_read_does_not_hide_a_write(void **state) {
    (void)state;
    writes(words, 8, 1);
    step();
    reads(words, 8, 2);
    as(1);
    assert_failure(reads(words, 8, 3), AMBIT_SCHEDULE_RACE);
    assert_ptr_equal(ambit__found.other_site, SITE(1));
}

static void a_thread_may_read_for_ever(void **state) {
    (void)state;
    uint64_t before = ambit__shadow_evictions;
    for (unsigned round = 0; round < 1000; round++)
        for (unsigned thread = 0; thread < 6; thread++) {
            as(thread);
            step();
            reads(words, 8, 1);
            atomic_reads(words, 8, 2);
        }
    assert_int_equal(ambit__shadow_evictions, before);
    as(6);
    assert_failure(writes(words, 8, 3), AMBIT_SCHEDULE_RACE);
}

static void too_many_accesses_drive_out_the_oldest_read(void **state) {
    (void)state;
    uint64_t before = ambit__shadow_evictions;
    const char *bytes = (const char *)words;
    writes(bytes, 1, 1);
    as(1);
    for (unsigned i = 1; i < 8; i++) reads(bytes + i, 1, 10 + i);
    as(2);
    for (unsigned i = 1; i < 6; i++) reads(bytes + i, 1, 20 + i);
    assert_int_equal(ambit__shadow_evictions, before + 1);
    as(3);
    assert_failure(reads(bytes, 1, 2), AMBIT_SCHEDULE_RACE); /* the write is still known */
    assert_failure(writes(bytes + 2, 1, 3), AMBIT_SCHEDULE_RACE);
    assert_ptr_equal(ambit__found.other_site, SITE(12));
    assert_failure(writes(bytes + 1, 1, 4), AMBIT_SCHEDULE_RACE);
    assert_ptr_equal(ambit__found.other_site, SITE(21)); /* 11 is gone */
}

static void a_new_schedule_knows_nothing(void **state) {
    (void)state;
    writes(words, 8, 1);
    begin();
    as(1);
    writes(words, 8, 2);
}

/* ---- For atomics' histories ------------------------------------------------------------------ */

static void the_last_plain_write_is_known(void **state) {
    (void)state;
    unsigned thread = 99;
    uint32_t epoch = 99;
    const ambit__granule *granule = ambit__shadow_at((uintptr_t)words + 3);
    assert_true(granule->address == (uintptr_t)words);
    assert_false(ambit__shadow_last_write(granule, 0xff, &thread, &epoch));
    writes(words, 4, 1);
    order(0, 1);
    as(1);
    step();
    writes((char *)words + 4, 4, 2);
    atomic_writes(words, 4, 3);
    assert_true(ambit__shadow_last_write(granule, 0x0f, &thread, &epoch));
    assert_int_equal(thread, 0);
    assert_int_equal(epoch, 1);
    assert_true(ambit__shadow_last_write(granule, 0xff, &thread, &epoch));
    assert_int_equal(thread, 1);
    assert_int_equal(epoch, 2);
    /* What takes the place of the first is the last. */
    writes(&words[1], 4, 4);
    writes((char *)&words[1] + 4, 4, 4);
    order(1, 2);
    as(2);
    writes(&words[1], 4, 5);
    granule = ambit__shadow_at((uintptr_t)&words[1]);
    assert_true(ambit__shadow_last_write(granule, 0xff, &thread, &epoch));
    assert_int_equal(thread, 2);
}

static void plain_writes_to_atomics_are_noted(void **state) {
    (void)state;
    ambit__granule *granule = ambit__shadow_at((uintptr_t)words);
    writes(words, 4, 1);
    assert_int_equal(granule->renewed, 0); /* nobody asked */
    granule->locations = (struct ambit__location *)words;
    step();
    reads(words, 8, 2);
    atomic_writes(words, 8, 3);
    assert_int_equal(granule->renewed, 0);
    writes((char *)words + 2, 2, 4);
    assert_int_equal(granule->renewed, 0x0c);
    granule->renewed = 0;
    writes((char *)words + 2, 2, 4); /* once more, in the same step */
    assert_int_equal(granule->renewed, 0x0c);
    granule->renewed = 0;
    ambit__shadow_unchecked((uintptr_t)words, 1);
    assert_int_equal(granule->renewed, 0x01);
}

/* ---- Bad pointers ---------------------------------------------------------------------------- */

static void a_null_pointer_is_told_by_its_line(void **state) {
    (void)state;
    assert_failure(reads((void *)16, 4, 1), AMBIT_SCHEDULE_ASSERTION);
    assert_ptr_equal(ambit__found.site, SITE(1));
    assert_told("null pointer");
    assert_failure(writes((void *)0xa5a5808080808080, 8, 2), AMBIT_SCHEDULE_ASSERTION);
    assert_told("no address");
}

static void freed_memory_from_before_is_told(void **state) {
    (void)state;
    const void *site;
    reads(words, 16, 1);
    ambit__shadow_freed((uintptr_t)words, 12, SITE(2));
    assert_failure(reads(words, 8, 3), AMBIT_SCHEDULE_USE_AFTER_FREE);
    assert_ptr_equal(ambit__found.other_site, SITE(2));
    assert_failure(writes((char *)words + 11, 1, 4), AMBIT_SCHEDULE_USE_AFTER_FREE);
    writes((char *)words + 12, 4, 5);
    assert_true(ambit__shadow_was_freed((uintptr_t)words, &site));
    assert_ptr_equal(site, SITE(2));
    assert_false(ambit__shadow_was_freed((uintptr_t)words + 8, &site));
    begin();
    reads(words, 8, 6); /* it is there again */
}

/* ---- Speed, to be read: no test -------------------------------------------------------------- */

static double seconds(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void print_speed(void) {
    enum { ROUNDS = 5000000, SCHEDULES = 20000 };
    begin();
    double start = seconds();
    for (unsigned i = 0; i < ROUNDS; i++) reads(words, 8, 1);
    double same = seconds() - start;
    static uint64_t area[64];
    start = seconds();
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (!(i & 63)) step();
        writes(&area[i & 63], 8, 1);
    }
    double hits = seconds() - start;
    start = seconds();
    for (unsigned i = 0; i < SCHEDULES; i++) {
        end();
        begin();
        for (unsigned j = 0; j < 64; j++) writes(&area[j], 8, 1);
    }
    double first = seconds() - start;
    end();
    (void)fprintf(stderr, "ns: again %.1f, in a new step %.1f, first in a schedule %.1f\n",
                  same * 1e9 / ROUNDS, hits * 1e9 / ROUNDS, first * 1e9 / SCHEDULES / 64);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        TEST(write_and_write_race),
        TEST(read_and_write_race_in_both_orders),
        TEST(reads_do_not_race),
        TEST(what_is_known_does_not_race),
        TEST(what_comes_after_the_release_races),
        TEST(other_bytes_do_not_race),
        TEST(atomics_race_with_plain_accesses_only),
        TEST(an_atomic_read_does_not_race_with_a_plain_one),
        TEST(an_access_over_two_granules_is_two),
        TEST(a_range_tells_where_it_meets),
        TEST(a_plain_write_stands_for_what_it_covers),
        TEST(a_write_of_some_bytes_does_not_stand_for_the_others),
        TEST(an_atomic_write_does_not_hide_one_it_does_not_know),
        TEST(an_atomic_write_does_not_hide_a_plain_one),
        TEST(an_atomic_read_does_not_hide_a_plain_one),
        TEST(a_read_in_the_same_step_does_not_hide_a_write),
        TEST(a_later_read_does_not_hide_a_write),
        TEST(a_thread_may_read_for_ever),
        TEST(too_many_accesses_drive_out_the_oldest_read),
        TEST(a_new_schedule_knows_nothing),
        TEST(the_last_plain_write_is_known),
        TEST(plain_writes_to_atomics_are_noted),
        TEST(a_null_pointer_is_told_by_its_line),
        TEST(freed_memory_from_before_is_told),
    };
    if (argc > 1 && strcmp(argv[1], "--speed") == 0) {
        print_speed();
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
