#include <ambit/schedule.h>

#include "wakeup.h"

static void worker(void *argument) {
    (void)argument;
    wakeup_wait();
}

AMBIT_SCHEDULE_TEST(wakeup_reaches_who_waits) {
    ambit_schedule_thread waiter = ambit_schedule_spawn(worker, NULL);
    wakeup_set();
    ambit_schedule_join(waiter);
}
