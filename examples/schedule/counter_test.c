#include <ambit/schedule.h>

#include "counter.h"

static void worker(void *argument) {
    (void)argument;
    counter_add();
}

AMBIT_SCHEDULE_TEST(counter_counts_all) {
    ambit_schedule_thread one = ambit_schedule_spawn(worker, NULL);
    ambit_schedule_thread two = ambit_schedule_spawn(worker, NULL);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
    ambit_schedule_assert(counter_read() == 2);
}
