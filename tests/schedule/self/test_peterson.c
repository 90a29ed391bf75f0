/* Peterson's lock as textbooks have it: one function for both threads, so that nobody else touches `turn`. */
#include <stdatomic.h>

#include "outcome.h"

static atomic_int wants[2], turn;
static int data;

static void add(void *argument) {
    int me = argument != NULL, other = 1 - me;
    atomic_store(&wants[me], 1);
    atomic_store(&turn, other);
    while (atomic_load(&wants[other]) && atomic_load(&turn) == other) {
    }
    data++;
    atomic_store(&wants[me], 0);
}
static void lets_one_in(void *argument) {
    (void)argument;
    ambit_schedule_thread first = ambit_schedule_spawn(add, NULL);
    ambit_schedule_thread second = ambit_schedule_spawn(add, &data);
    ambit_schedule_join(first);
    ambit_schedule_join(second);
    ambit_schedule_assert(data == 2);
}
static void a_variable_of_one_function_is_shared(void **state) {
    (void)state;
    expect_clean(lets_one_in);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_variable_of_one_function_is_shared)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
