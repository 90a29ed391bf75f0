/* liburcu as its users write it: its macros that publish and read pointers, and its lists. */
#include <stdlib.h>

#define RCU_MEMB
#include <urcu.h>

#include <urcu/rculist.h>

#include "outcome.h"

struct entry {
    struct cds_list_head in_list;
    int value;
    struct rcu_head freed;
};
static CDS_LIST_HEAD(list);
static struct entry *single;

static struct entry *new_entry(int value) {
    struct entry *entry = malloc(sizeof *entry);
    entry->value = value;
    return entry;
}
static void free_entry(struct rcu_head *head) { free(caa_container_of(head, struct entry, freed)); }

static void walk(void *argument) {
    rcu_register_thread();
    rcu_read_lock();
    struct entry *entry;
    cds_list_for_each_entry_rcu(entry, &list, in_list)
        ambit_schedule_assert(entry->value == 1 || entry->value == 2);
    entry = rcu_dereference(single);
    if (entry) ambit_schedule_assert(entry->value == 3);
    rcu_read_unlock();
    rcu_unregister_thread();
    (void)argument;
}

static bool waits; /* for readers */
static void change_while_they_walk(void *argument) {
    (void)argument;
    rcu_register_thread();
    struct entry *one = new_entry(1), *two = new_entry(2), *third = new_entry(3);
    cds_list_add_rcu(&one->in_list, &list);
    ambit_schedule_thread reader = ambit_schedule_spawn(walk, NULL);
    cds_list_add_tail_rcu(&two->in_list, &list);
    rcu_assign_pointer(single, third);
    cds_list_del_rcu(&one->in_list);
    if (waits) synchronize_rcu();
    free(one);
    cds_list_del_rcu(&two->in_list);
    call_rcu(&two->freed, free_entry);
    rcu_assign_pointer(single, NULL);
    call_rcu(&third->freed, free_entry);
    ambit_schedule_join(reader);
    rcu_barrier();
    rcu_unregister_thread();
}

static void lists_are_no_races(void **state) {
    (void)state;
    waits = true;
    expect_clean(change_while_they_walk);
    waits = false;
    expect_failure(change_while_they_walk, AMBIT_SCHEDULE_USE_AFTER_FREE, "free");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(lists_are_no_races)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
