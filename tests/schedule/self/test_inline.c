/* C's inline functions, of which only the linker knows whether there is one to be called: this is linked. */
#include <stdatomic.h>

#include "outcome.h"

static atomic_int sum;

/* Neither static nor extern: all calls of it have to be expanded, and nothing else may want it. */
inline void add_inline(atomic_int *to, int number) { atomic_fetch_add(to, number); }

static void add(void *argument) {
    (void)argument;
    add_inline(&sum, 2);
}
static void adds_up(void *argument) {
    (void)argument;
    ambit_schedule_thread other = ambit_schedule_spawn(add, NULL);
    add_inline(&sum, 1);
    ambit_schedule_join(other);
    ambit_schedule_assert(atomic_load(&sum) == 3);
}
static void an_inline_function_without_a_definition_is_linked(void **state) {
    (void)state;
    expect_clean(adds_up);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_inline_function_without_a_definition_is_linked)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
