// Every macro of the public headers from C++17, and the calls behind them: what a C++ server writes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

extern "C" { // cmocka's header does not say so itself
#include <cmocka.h>
}

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "ambit.h"
#include "shared_key.h"

#define assert_ok(status) assert_int_equal((status), AMBIT_OK)

AMBIT_KEY_DEFINE(shared_value_key, struct shared_value);
AMBIT_KEY(number_key, int);

namespace server {
struct user {
    const char *name;
    unsigned age;
};
AMBIT_KEY(user_key, user);
AMBIT_KEY(label_key, std::string);
struct alignas(64) wide {
    unsigned char bytes[64];
};
AMBIT_KEY(wide_key, wide);
} // namespace server

static ambit_ctx *open_child(ambit_ctx *parent) {
    ambit_ctx *ctx = nullptr;
    assert_ok(ambit_ctx_open(parent, &ctx));
    return ctx;
}

static int nothing_stays(void **) {
    ambit_census *census = nullptr;
    if (ambit_census_take(&census)) return -1;
    uint64_t count = 0;
    for (int kind = 0; kind < AMBIT_KIND_COUNT; kind++)
        count += ambit_census_count(census, static_cast<ambit_kind>(kind));
    ambit_census_free(census);
    return count ? -1 : 0;
}

static void sites_name_the_line(void **) {
    const ambit_site *here = AMBIT_HERE;
    const uint32_t line = __LINE__ - 1;
    assert_int_equal(here->line, line);
    assert_string_equal(here->function, "sites_name_the_line");
    auto inside_a_lambda = [] { return AMBIT_HERE; };
    assert_ptr_equal(inside_a_lambda(), inside_a_lambda());
    assert_ptr_not_equal(inside_a_lambda(), here);
}

static void every_way_of_opening(void **) {
    ambit_ctx *root = open_child(ambit_background());
    ambit_ctx *timed = nullptr, *late = nullptr, *both = nullptr, *apart = nullptr;
    assert_ok(ambit_ctx_open_timeout(root, 3600 * AMBIT_SECOND, &timed));
    assert_ok(ambit_ctx_open_deadline(root, ambit_clock_now_ns() + AMBIT_SECOND, &late));
    assert_ok(ambit_ctx_merge(timed, late, &both));
    assert_ok(ambit_ctx_detach(root, ambit_clock_now_ns() + AMBIT_SECOND, &apart));
    assert_int_equal(ambit_ctx_deadline_ns(both), ambit_ctx_deadline_ns(late));
    ambit_ctx_cancel_value(root, "shutdown", 7);
    assert_int_equal(ambit_ctx_err(both), AMBIT_CANCELLED);
    assert_int_equal(ambit_ctx_cause(both).value, 7);
    assert_string_equal(ambit_ctx_cause(both).text, "shutdown");
    assert_ok(ambit_ctx_err(apart));
    ambit_ctx_cancel(apart, nullptr);
    assert_string_equal(ambit_ctx_cause(apart).text, "cancelled");
    for (ambit_ctx **ctx : {&both, &timed, &late, &apart, &root}) ambit_ctx_close(ctx);
    assert_null(root);
}

static void typed_values(void **) {
    ambit_ctx *ctx = open_child(ambit_background());
    server::user user = {"ada", 36};
    const server::wide wide = {{7}};
    shared_value shared = {1, 2.5};
    int number = 3;
    assert_ok(ambit_ctx_put(ctx, &server::user_key, &user));
    assert_ok(ambit_ctx_put(ctx, &server::wide_key, &wide));
    assert_ok(ambit_ctx_put(ctx, &shared_value_key, &shared));
    assert_ok(ambit_ctx_put(ctx, &number_key, &number));
    assert_int_equal(ambit_ctx_put(ctx, &number_key, &number), AMBIT_EXISTS);
    user.age = 0;
    const server::user *found = ambit_ctx_get(ctx, &server::user_key);
    assert_int_equal(found->age, 36);
    static_assert(std::is_same<decltype(ambit_ctx_get(ctx, &number_key)), const int *>::value,
                  "get has the key's type");
    assert_int_equal(reinterpret_cast<uintptr_t>(ambit_ctx_get(ctx, &server::wide_key)) % 64, 0);
    assert_true(ambit_ctx_get(ctx, &shared_value_key)->precise == 2.5);
    ambit_ctx_close(&ctx);
}

// Objects with destructors: owned, and run last-in first-out.
static void owned_objects_are_destroyed(void **) {
    static std::vector<int> order;
    ambit_ctx *ctx = open_child(ambit_background());
    auto label = std::make_unique<std::string>("a string that is too long to stand in place");
    assert_ok(ambit_ctx_own(ctx, &server::label_key, label.get(), label->size(), [](void *value) {
        order.push_back(1);
        delete static_cast<std::string *>(value);
    }));
    label.release();
    assert_ok(ambit_ctx_defer(
        ctx, [](void *) { order.push_back(2); }, nullptr));
    assert_non_null(ambit_ctx_alloc(ctx, 100));
    assert_int_equal(ambit_ctx_get(ctx, &server::label_key)->size(), 43);
    ambit_ctx_close(&ctx);
    assert_int_equal(order.size(), 2);
    assert_int_equal(order[0], 2);
    assert_int_equal(order[1], 1);
}

static void callbacks_from_lambdas(void **) {
    ambit_ctx *ctx = open_child(ambit_background());
    std::atomic<int> ran{0};
    ambit_cancel node = {}, removed = {};
    auto count = [](ambit_ctx *, void *argument) { ++*static_cast<std::atomic<int> *>(argument); };
    assert_ok(ambit_ctx_on_cancel(ctx, &node, count, &ran));
    assert_ok(ambit_ctx_on_cancel(ctx, &removed, count, &ran));
    assert_int_equal(ambit_ctx_off_cancel(ctx, &removed), AMBIT_REMOVED);
    std::thread canceller([ctx] { ambit_ctx_cancel(ctx, "from a std::thread"); });
    assert_int_equal(ambit_ctx_wait(ctx), AMBIT_CANCELLED);
    canceller.join();
    assert_int_equal(ambit_ctx_off_cancel(ctx, &node), AMBIT_ALREADY_RAN);
    assert_int_equal(ran.load(), 1);
    int fd = -1;
    assert_ok(ambit_ctx_fd(ctx, &fd));
    assert_true(fd >= 0);
    ambit_ctx_close(&ctx);
}

static int leave(int way, ambit_ctx *outer, ambit_ctx *inner) {
    AMBIT_WITH(outer) {
        AMBIT_WITH(inner) {
            assert_ptr_equal(ambit_ctx_current(), inner);
            if (way == 0) return 1;
            if (way == 1) break;
            if (way == 2) continue;
            if (way == 3) goto out;
            if (way == 4) throw way;
        }
        assert_ptr_equal(ambit_ctx_current(), outer);
    }
out:
    return 0;
}
// An exception leaves the block like a return does.
static void binding_unbinds_however_it_is_left(void **) {
    ambit_ctx *outer = open_child(ambit_background()), *inner = open_child(outer);
    int caught = 0;
    for (int way = 0; way < 5; way++) {
        try {
            (void)leave(way, outer, inner);
        } catch (int) {
            caught++;
        }
        assert_null(ambit_ctx_current());
    }
    assert_int_equal(caught, 1);
    ambit_ctx_close(&inner);
    ambit_ctx_close(&outer);
}

static void open_hold_and_throw(std::atomic<int> *destroyed) {
    AMBIT_CTX_SCOPE ambit_ctx *ctx = open_child(ambit_background());
    AMBIT_HOLD_SCOPE ambit_hold *hold = nullptr;
    assert_ok(ambit_ctx_hold(ctx, &hold));
    assert_ptr_equal(ambit_hold_ctx(hold), ctx);
    assert_ok(ambit_ctx_defer(
        ctx, [](void *argument) { ++*static_cast<std::atomic<int> *>(argument); }, destroyed));
    throw std::string("out of the scope");
}
static void scopes_close_and_drop_when_an_exception_passes(void **) {
    std::atomic<int> destroyed{0};
    for (int i = 0; i < 3; i++) {
        try {
            open_hold_and_throw(&destroyed);
        } catch (const std::string &) {
        }
        assert_int_equal(destroyed.load(), i + 1);
    }
    AMBIT_CTX_SCOPE ambit_ctx *never_opened = nullptr;
    AMBIT_HOLD_SCOPE ambit_hold *never_held = nullptr;
}

static void holds_are_dropped_by_hand(void **) {
    ambit_ctx *ctx = open_child(ambit_background());
    ambit_hold *hold = nullptr;
    assert_ok(ambit_ctx_hold(ctx, &hold));
    ambit_ctx_close(&ctx);
    assert_int_equal(ambit_ctx_err(ambit_hold_ctx(hold)), AMBIT_CANCELLED);
    ambit_ctx_drop(&hold);
    assert_null(hold);
}

static void timers_take_lambdas(void **) {
    std::atomic<int> fired{0};
    ambit_timer soon = {}, never = {};
    auto fire = [](void *argument) { ++*static_cast<std::atomic<int> *>(argument); };
    assert_ok(ambit_timer_arm(ambit_clock_now_ns() + AMBIT_MILLISECOND, fire, &fired, &soon));
    assert_ok(ambit_timer_arm(AMBIT_NEVER - 1, fire, &fired, &never));
    for (int i = 0; i < 10000 && !fired.load(); i++)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    assert_int_equal(fired.load(), 1);
    assert_int_equal(ambit_timer_disarm(never), AMBIT_DISARMED);
    assert_int_equal(ambit_timer_disarm(soon), AMBIT_FIRED);
    ambit_timer_stop();
}

static void the_census_writes_into_a_string(void **) {
    AMBIT_CTX_SCOPE ambit_ctx *ctx = open_child(ambit_background());
    ambit_census *census = nullptr;
    std::string text;
    auto append = [](const char *bytes, size_t length, void *user) {
        static_cast<std::string *>(user)->append(bytes, length);
        return 0;
    };
    assert_ok(ambit_census_take(&census));
    assert_ok(ambit_census_write_text(census, append, &text));
    assert_true(text.find("open_child") != std::string::npos);
    assert_string_equal(ambit_strerror(AMBIT_OK), ambit_strerror(static_cast<ambit_status>(0)));
    ambit_census_free(census);
}

#define CASE(name) cmocka_unit_test_teardown(name, nothing_stays)
int main() {
    const struct CMUnitTest tests[] = {
        CASE(sites_name_the_line),
        CASE(every_way_of_opening),
        CASE(typed_values),
        CASE(owned_objects_are_destroyed),
        CASE(callbacks_from_lambdas),
        CASE(binding_unbinds_however_it_is_left),
        CASE(scopes_close_and_drop_when_an_exception_passes),
        CASE(holds_are_dropped_by_hand),
        CASE(timers_take_lambdas),
        CASE(the_census_writes_into_a_string),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
