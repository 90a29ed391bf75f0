/* Read sections that liburcu's headers put inline are invisible to the model, and found out: in the
 * flavours whose words they use. */
#define _LGPL_SOURCE
#include <urcu/urcu-memb.h>

#include <urcu/urcu-bp.h>
#include <urcu/urcu-mb.h>

#include "outcome.h"

static void memb(void *argument) {
    (void)argument;
    urcu_memb_register_thread();
    urcu_memb_read_lock();
    urcu_memb_read_unlock();
    urcu_memb_unregister_thread();
}
static void mb(void *argument) {
    (void)argument;
    urcu_mb_register_thread();
    urcu_mb_read_lock();
    urcu_mb_read_unlock();
    urcu_mb_unregister_thread();
}
static void bp(void *argument) {
    (void)argument;
    urcu_bp_read_lock();
    urcu_bp_read_unlock();
}
static void on_a_thread(void *argument) {
    ambit_schedule_fn *const *scenario = argument;
    ambit_schedule_join(ambit_schedule_spawn(*scenario, NULL));
}
static void inlined_sections_are_told(void **state) {
    (void)state;
    static ambit_schedule_fn *const scenarios[] = {memb, mb, bp};
    for (unsigned i = 0; i < 3; i++) {
        expect_failure(scenarios[i], AMBIT_SCHEDULE_UNSUPPORTED, "_LGPL_SOURCE");
        expect_failure_with(on_a_thread,
                            (ambit_schedule_options){.argument = (void *)(uintptr_t)&scenarios[i]},
                            AMBIT_SCHEDULE_UNSUPPORTED, "_LGPL_SOURCE");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(inlined_sections_are_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
