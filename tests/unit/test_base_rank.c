/* The order of locks is watched in test builds. */
#include "suite.h"

#include <string.h>

#include "base/park.h"

#ifdef AMBIT_TESTING
static ambit__mutex outer = {.rank = AMBIT__RANK_TIMER};
static ambit__spin inner = {.rank = AMBIT__RANK_SLAB};
static ambit__spin parent = {.rank = AMBIT__RANK_CTX}, child = {.rank = AMBIT__RANK_CTX};

AMBIT__UNCHECKED static void the_order_of_the_list_is_fine(void **state) {
    (void)state;
    ambit__mutex_lock(&outer);
    ambit__spin_lock(&parent);
    ambit__spin_lock(&child);
    ambit__spin_lock(&inner);
    ambit__spin_unlock(&inner);
    ambit__spin_unlock(&parent);
    ambit__spin_unlock(&child);
    ambit__mutex_unlock(&outer);
}

AMBIT__UNCHECKED static void the_other_order_stops(void **state) {
    (void)state;
    ambit__spin_lock(&inner);
    assert_stops(ambit__spin_lock(&parent));
    assert_non_null(strstr(suite_bug.message, "ranks"));
    assert_stops(ambit__mutex_lock(&outer));
    ambit__spin_unlock(&inner);
    ambit__mutex_lock(&outer); /* it was given back */
    ambit__mutex_unlock(&outer);
}

AMBIT__UNCHECKED static void two_of_one_rank_stop_but_for_lists(void **state) {
    (void)state;
    ambit__spin second = {.rank = AMBIT__RANK_SLAB};
    ambit__spin_lock(&inner);
    assert_stops(ambit__spin_lock(&second));
    ambit__spin_unlock(&inner);
}

AMBIT__UNCHECKED static void a_lock_that_was_tried_counts_as_held(void **state) {
    (void)state;
    assert_true(ambit__spin_try(&inner));
    assert_stops(ambit__mutex_lock(&outer));
    ambit__spin_unlock(&inner);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_order_of_the_list_is_fine),
        cmocka_unit_test(the_other_order_stops),
        cmocka_unit_test(two_of_one_rank_stop_but_for_lists),
        cmocka_unit_test(a_lock_that_was_tried_counts_as_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
static void locks_have_no_rank_here(void **state) {
    (void)state;
    assert_int_equal(sizeof(ambit__spin), sizeof(uint32_t));
}
int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(locks_have_no_rank_here)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
