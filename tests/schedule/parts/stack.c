/* src/census/stack.{c,h} and sample.c: stacks of sampled objects, handed from one to the next beside a
 * walk. A chunk has two stacks here, and there are two chunks.
 *
 * No schedule notices the release of `first_free` in ambit__stack_put() and install(): it is for the
 * child of a fork(), which a schedule doesn't have. */
#include <ambit/schedule.h>

#include "census/slab.h"
#include "census/snapshot.h"
#include "census/stack.h"

AMBIT_SCHEDULE_COVERS("census/stack.c:ambit__stack_write census/stack.c:ambit__stack_read "
                      "census/stack.c:stack_of census/stack.c:ambit__stack_is census/sample.c "
                      "census/snapshot.c:ambit__sampled_read "
                      "census/snapshot.c:ambit__sampled_is_still")

/* A stack with `tag` is full of it, and as deep. */
static void write_tagged(uint32_t number, uint32_t tag) {
    uintptr_t frames[AMBIT__STACK_FRAMES] = {tag, tag, tag};
    ambit__stack_write(number, frames, tag, tag);
}

static uint32_t tag_of(const ambit__stack_copy *copy) {
    ambit_schedule_assert(copy->depth == copy->weight);
    for (uint32_t i = 0; i < copy->depth; i++)
        ambit_schedule_assert(copy->frames[i] == copy->depth);
    return copy->weight;
}

static bool read_tag(uint32_t number, uint32_t *tag) {
    ambit__stack_copy copy;
    if (!ambit__stack_read(number, &copy) || !ambit__stack_is(number, copy.version)) return false;
    *tag = tag_of(&copy);
    return true;
}

/* ---- One stack ------------------------------------------------------------------------------- */

static uint32_t shared;

static void get_shared(void *argument) {
    (void)argument;
    shared = ambit__stack_get();
    write_tagged(shared, 2);
}

static void write_three(void *argument) {
    (void)argument;
    write_tagged(shared, 3);
}

static void write_one_and_three(void *argument) {
    (void)argument;
    write_tagged(shared, 1);
    write_tagged(shared, 3);
}

AMBIT_SCHEDULE_TEST_WITH(copy_is_whole_while_it_is_written, .before = get_shared,
                         .cxx20_release_sequences = true) {
    ambit_schedule_thread writer = ambit_schedule_spawn(write_three, NULL);
    uint32_t tag = 2;
    if (read_tag(shared, &tag)) ambit_schedule_assert(tag == 2 || tag == 3);
    ambit_schedule_join(writer);
    ambit_schedule_assert(read_tag(shared, &tag) && tag == 3);
}

AMBIT_SCHEDULE_TEST_WITH(copy_is_whole_while_it_is_written_twice, .before = get_shared,
                         .cxx20_release_sequences = true) {
    ambit_schedule_thread writer = ambit_schedule_spawn(write_one_and_three, NULL);
    uint32_t tag = 2;
    if (read_tag(shared, &tag)) ambit_schedule_assert(tag >= 1 && tag <= 3);
    ambit_schedule_join(writer);
    ambit_schedule_assert(read_tag(shared, &tag) && tag == 3);
}

/* ---- Who has which --------------------------------------------------------------------------- */

static uint32_t had[2];

static void get_two(void *argument) {
    (void)argument;
    had[0] = ambit__stack_get();
    had[1] = ambit__stack_get();
    ambit_schedule_assert(had[0] && had[1] && had[0] != had[1]);
}

/* Chunks are made at once by both; no stack is had twice, none is lost. */
AMBIT_SCHEDULE_TEST_WITH(all_stacks_are_had_once, .cxx20_release_sequences = true) {
    ambit_schedule_thread other = ambit_schedule_spawn(get_two, NULL);
    uint32_t mine[2] = {ambit__stack_get(), ambit__stack_get()};
    ambit_schedule_join(other);
    uint32_t seen = 1u << had[0] | 1u << had[1] | 1u << mine[0] | 1u << mine[1];
    ambit_schedule_assert(seen == 0x1e); /* 1 to 4 */
    ambit_schedule_assert(ambit__stacks_live() == 4);
    ambit_schedule_assert(!ambit__stack_get() && ambit__stacks_live() == 4);
    ambit__stack_put(mine[0]);
    ambit_schedule_assert(ambit__stack_get() == mine[0]);
}

/* Whoever has one writes it alone. */
static unsigned users[5];

static void use_two(void *argument) {
    (void)argument;
    for (int i = 0; i < 2; i++) {
        uint32_t number = ambit__stack_get(), tag = 0;
        ambit_schedule_assert(number);
        users[number]++;
        write_tagged(number, (uint32_t)i + 1);
        ambit_schedule_assert(read_tag(number, &tag) && tag == (uint32_t)i + 1);
        ambit__stack_put(number);
    }
}

AMBIT_SCHEDULE_TEST_WITH(stacks_go_from_hand_to_hand, .before = get_shared,
                         .cxx20_release_sequences = true) {
    ambit_schedule_thread other = ambit_schedule_spawn(use_two, NULL);
    use_two(NULL);
    ambit_schedule_join(other);
    ambit_schedule_assert(users[1] + users[2] + users[3] + users[4] == 4);
    ambit_schedule_assert(ambit__stacks_live() == 1);
    /* All are there still. */
    get_two(NULL);
    ambit_schedule_assert(ambit__stack_get() && !ambit__stack_get());
}

/* ---- Objects and a walk ---------------------------------------------------------------------- */

/* Two sites that open one kind, with stacks that differ in their first frame. All are born at once. */
static const ambit_site red_site = {"red.c", "red", 1}, blue_site = {"blue.c", "blue", 1};
static uintptr_t red_frame, blue_frame;
static ambit__entry *red, *blue;

__attribute__((noinline)) static void red_born(ambit__entry *entry) {
    ambit__slab_born(entry, &red_site, 1);
    __asm__ volatile("" ::: "memory"); /* no tail call */
}

__attribute__((noinline)) static void blue_born(ambit__entry *entry) {
    ambit__slab_born(entry, &blue_site, 1);
    __asm__ volatile("" ::: "memory");
}

static ambit__entry *get_entry(void) {
    return ambit__slab_get(&ambit__slab_timer, AMBIT_KIND_TIMER, ambit__thread_self());
}

static void put_entry(ambit__entry *entry) {
    ambit__slab_put(&ambit__slab_timer, AMBIT_KIND_TIMER, ambit__thread_self(), entry);
}

static void sample_none(void) { ambit__store_relaxed(&ambit__sampling.mean, 0); }

static uintptr_t first_frame(ambit__entry *entry) {
    ambit__stack_copy copy;
    ambit_schedule_assert(ambit__load_relaxed(&entry->stack));
    ambit_schedule_assert(ambit__stack_read(ambit__load_relaxed(&entry->stack), &copy));
    return copy.frames[0];
}

/* Two entries that are free, and their frames known. One stack has been used, by red last. */
static void know_frames(void *argument) {
    (void)argument;
    ambit_schedule_assert(!ambit_census_level_set(AMBIT_LEVEL_EVERY, 1));
    red = get_entry();
    blue = get_entry();
    blue_born(blue);
    blue_frame = first_frame(blue);
    put_entry(blue);
    blue = get_entry();
    red_born(red);
    red_frame = first_frame(red);
    ambit_schedule_assert(red_frame != blue_frame);
}

/* What a walk finds of this site: its own stacks. */
static void walk(void) {
    ambit_census *census;
    ambit_schedule_assert(!ambit_census_take(&census));
    for (size_t i = 0; i < census->stacks_used; i++) {
        const ambit__census_stack *stack = &census->stacks[i];
        ambit_schedule_assert(stack->site == &red_site || stack->site == &blue_site);
        ambit_schedule_assert(stack->frames[0] ==
                              (stack->site == &red_site ? red_frame : blue_frame));
        ambit_schedule_assert(stack->objects == 1);
    }
    ambit_census_free(census);
}

static void hand_on(void *argument) {
    (void)argument;
    put_entry(red);
    blue_born(blue);
}

AMBIT_SCHEDULE_TEST_WITH(walk_sees_whose_a_stack_is, .before = know_frames,
                         .cxx20_release_sequences = true) {
    ambit_schedule_thread other = ambit_schedule_spawn(hand_on, NULL);
    walk();
    ambit_schedule_join(other);
    ambit_stack_counts counts;
    ambit_stack_counts_read(&counts);
    ambit_schedule_assert(counts.live == 1 && counts.taken == 3 && counts.missed == 0);
}

/* Red's place is taken by another red, born at the same time, that has no stack. */
static void hand_on_and_come_again(void *argument) {
    hand_on(argument);
    sample_none();
    red_born(red);
}

AMBIT_SCHEDULE_TEST_WITH(walk_sees_that_another_has_no_stack, .before = know_frames,
                         .cxx20_release_sequences = true) {
    ambit_schedule_thread other = ambit_schedule_spawn(hand_on_and_come_again, NULL);
    walk();
    ambit_schedule_join(other);
}

/* Walks that begin with what was there before find a stack in a chunk that is new. */
static void know_frames_and_fill(void *argument) {
    know_frames(argument);
    ambit_schedule_assert(ambit__stack_get() == 2);
}

static void hand_on_in_a_new_chunk(void *argument) {
    (void)argument;
    put_entry(red);
    ambit_schedule_assert(ambit__stack_get() == 1);
    ambit_schedule_assert(get_entry() == red);
    red_born(red);
    ambit_schedule_assert(ambit__load_relaxed(&red->stack) == 3);
}

AMBIT_SCHEDULE_TEST_WITH(walk_finds_a_stack_in_a_new_chunk, .before = know_frames_and_fill,
                         .cxx20_release_sequences = true) {
    ambit_schedule_thread other = ambit_schedule_spawn(hand_on_in_a_new_chunk, NULL);
    walk();
    ambit_schedule_join(other);
}

/* Red has no stack, and its place a number that is blue's by now. Then both go, and red comes again, with
 * that stack. A walk that takes it for the first red, and the stack for blue's, sees that it has one. */
static void know_frames_and_hand_on(void *argument) {
    know_frames(argument);
    hand_on_and_come_again(argument);
    ambit__store_relaxed(&ambit__sampling.mean, 1);
}

static void hand_back(void *argument) {
    (void)argument;
    put_entry(blue);
    put_entry(red);
    (void)get_entry();
    red_born(red);
}

AMBIT_SCHEDULE_TEST_WITH(walk_sees_that_a_stack_came_back, .before = know_frames_and_hand_on,
                         .cxx20_release_sequences = true) {
    ambit__sampled sampled;
    ambit_schedule_assert(
        ambit__sampled_read(red, AMBIT__MARK_SAMPLED, &sampled)); /* the first red's mark */
    ambit_schedule_assert(sampled.stack.frames[0] == blue_frame);
    ambit_schedule_thread other = ambit_schedule_spawn(hand_back, NULL);
    ambit_schedule_assert(!ambit__sampled_is_still(red, &red_site, 1, &sampled));
    ambit_schedule_join(other);
}

/* Or red's place has blue's old number still, and then red comes again with another stack. */
static void know_frames_and_give_on(void *argument) {
    know_frames(argument);
    hand_on(argument);
}

static void come_with_another(void *argument) {
    (void)argument;
    ambit_schedule_assert(get_entry() == red);
    red_born(red);
}

AMBIT_SCHEDULE_TEST_WITH(walk_sees_that_another_has_another_stack,
                         .before = know_frames_and_give_on, .cxx20_release_sequences = true) {
    ambit__sampled sampled;
    ambit_schedule_assert(ambit__sampled_read(red, AMBIT__MARK_SAMPLED, &sampled));
    ambit_schedule_assert(sampled.stack.frames[0] == blue_frame);
    ambit_schedule_thread other = ambit_schedule_spawn(come_with_another, NULL);
    ambit_schedule_assert(!ambit__sampled_is_still(red, &red_site, 1, &sampled));
    ambit_schedule_join(other);
    ambit_schedule_assert(!ambit__sampled_is_still(red, &red_site, 1, &sampled));
}
