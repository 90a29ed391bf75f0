// C++20's std::stop_source and std::stop_token: cancellation only, no values and no deadline.
#include "contestant.h"

#include <memory>
#include <stop_token>
#include <vector>

static std::stop_source &shared_root() {
    static std::stop_source root;
    return root;
}

static void set_up_root(bench_thread *thread) {
    thread->own = new std::stop_token(shared_root().get_token());
}

static const std::stop_token &token_of(bench_thread *thread) {
    return *static_cast<std::stop_token *>(thread->own);
}

// It knows no children: one is chained to its parent by a callback that passes on.
struct pass_on {
    std::stop_source *child;
    void operator()() const { child->request_stop(); }
};

static void open_close(bench_thread *thread, uint64_t iterations) {
    const std::stop_token &root = token_of(thread);
    for (uint64_t i = 0; i < iterations; i++) {
        std::stop_source child;
        std::stop_callback<pass_on> chained(root, pass_on{&child});
        BENCH_KEEP(&child);
        child.request_stop();
    }
}

static void err(bench_thread *thread, uint64_t iterations) {
    const std::stop_token &token = token_of(thread);
    for (uint64_t i = 0; i < iterations; i++) {
        int stopped = token.stop_requested();
        BENCH_KEEP(stopped);
    }
}

struct child_source {
    std::stop_source source;
    std::stop_callback<pass_on> chained;
    explicit child_source(const std::stop_token &parent) : chained(parent, pass_on{&source}) {}
};

static void set_up_depth_5(bench_thread *thread) {
    std::stop_token token = shared_root().get_token();
    for (unsigned depth = 1; depth < 5; depth++)
        token = (new child_source(token))->source.get_token();
    thread->own = new std::stop_token(token);
}

static void on_off_cancel(bench_thread *thread, uint64_t iterations) {
    const std::stop_token &root = token_of(thread);
    uint64_t calls = 0;
    for (uint64_t i = 0; i < iterations; i++) {
        auto count = [&calls] { calls++; };
        std::stop_callback<decltype(count)> callback(root, count);
        BENCH_KEEP(&callback);
    }
    BENCH_REQUIRE(calls == 0);
}

enum { FEW = 1000, MANY = 100000 };

static void cancel_children(uint64_t iterations, unsigned count) {
    std::vector<std::unique_ptr<child_source>> children(count);
    for (uint64_t i = 0; i < iterations; i++) {
        std::stop_source root;
        std::stop_token token = root.get_token();
        for (auto &child : children) child = std::make_unique<child_source>(token);
        root.request_stop();
        BENCH_REQUIRE(children.back()->source.stop_requested());
        for (auto &child : children) child.reset();
    }
}

static void cancel_few(bench_thread *, uint64_t iterations) { cancel_children(iterations, FEW); }
static void cancel_many(bench_thread *, uint64_t iterations) { cancel_children(iterations, MANY); }

static const bench_row rows[] = {{"open-close", open_close, set_up_root, 1},
                                 {"err-depth-1", err, set_up_root, 1},
                                 {"err-depth-5", err, set_up_depth_5, 1},
                                 {"on-off-cancel", on_off_cancel, set_up_root, 1},
                                 {"cancel-1k", cancel_few, nullptr, FEW},
                                 {"cancel-100k", cancel_many, nullptr, MANY},
                                 {nullptr, nullptr, nullptr, 0}};

int main(int argc, char **argv) {
    char about[64];
    snprintf(about, sizeof about, "std::stop_token of libstdc++ %d", _GLIBCXX_RELEASE);
    return bench_main(argc, argv, about, rows);
}
