/* A server with two leaks, and every report of the census on it.
 *
 *     census [PROFILE]      PROFILE: where to write a profile for `go tool pprof`
 *
 * One request in ten stays open, and one in a hundred is held by a logger that forgets to drop it. */
#include <ambit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void stop_if(ambit_status status, const char *what) {
    if (!status) return;
    fprintf(stderr, "%s: %s\n", what, ambit_strerror(status));
    exit(1);
}

static ambit_ctx *server;

static ambit_ctx *open_request(size_t bytes) {
    ambit_ctx *request = NULL;
    stop_if(ambit_ctx_open_timeout(server, 50 * AMBIT_MILLISECOND, &request), "open");
    void *buffer = ambit_ctx_alloc(request, bytes);
    if (!buffer) exit(1);
    memset(buffer, 0, bytes);
    return request;
}

static void log_request(ambit_ctx *request) {
    ambit_hold *hold = NULL; /* the bug: never dropped */
    stop_if(ambit_ctx_hold(request, &hold), "hold");
}

static void serve_get(int number) {
    ambit_ctx *request = open_request(1000);
    if (number % 100 == 0) log_request(request);
    ambit_ctx_close(&request);
}

static void serve_post(int number) {
    ambit_ctx *request = open_request(4000);
    if (number % 10 == 0) return; /* the bug: an early return without the close */
    ambit_ctx_close(&request);
}

static void serve_many(int requests) {
    for (int number = 0; number < requests; number++) {
        if (number % 2)
            serve_post(number - 1);
        else
            serve_get(number);
    }
}

static void flush_log(ambit_ctx *ctx, void *argument) {
    (void)ctx;
    (void)argument;
    int64_t until_ns = ambit_clock_now_ns() + 150 * AMBIT_MILLISECOND;
    while (ambit_clock_now_ns() < until_ns) {
    }
}

static void cancel_one(void) {
    static ambit_cancel node;
    ambit_ctx *request = open_request(10);
    stop_if(ambit_ctx_on_cancel(request, &node, flush_log, NULL), "on_cancel");
    ambit_ctx_cancel(request, "client went away");
    ambit_ctx_close(&request);
}

static void print_first(const ambit_verdict *verdict, void *user) {
    uint64_t *by_kind = user;
    char line[512];
    if (by_kind[verdict->kind]++) return; /* one of each kind will do here */
    (void)ambit_verdict_format(verdict, line, sizeof line);
    puts(line);
}

static void judge(void) {
    uint64_t by_kind[AMBIT_VERDICT_KINDS] = {0};
    ambit_verdict_limit_set(AMBIT_VERDICT_ZOMBIE, 100 * AMBIT_MILLISECOND);
    ambit_verdict_limit_set(AMBIT_VERDICT_OVERDUE, 50 * AMBIT_MILLISECOND);
    ambit_verdict_limit_set(AMBIT_VERDICT_LARGE, 3000);
    ambit_verdict_limit_set(AMBIT_VERDICT_CHILDREN, 50);
    ambit_verdict_limit_set(AMBIT_VERDICT_CROWDED, 50);
    (void)ambit_verdict_check(print_first, by_kind);
    for (int kind = 0; kind < AMBIT_VERDICT_KINDS; kind++) {
        ambit_verdict_counts counts = ambit_verdict_counts_read((ambit_verdict_kind)kind);
        if (counts.reported)
            printf("%s: %llu reported, %llu returned\n",
                   ambit_verdict_name((ambit_verdict_kind)kind),
                   (unsigned long long)counts.reported, (unsigned long long)counts.returned);
    }
}

int main(int count, char **arguments) {
    ambit_census *before = NULL, *after = NULL;
    stop_if(ambit_ctx_open(ambit_background(), &server), "open");
    ambit_ctx_mark_long_lived(server);
    stop_if(ambit_census_level_set(AMBIT_LEVEL_SAMPLED, 10), "level");
    serve_many(1000);
    stop_if(ambit_census_take(&before), "take");
    serve_many(1000);
    cancel_one();
    stop_if(ambit_census_take(&after), "take");

    puts("== ambit_census_write_text");
    stop_if(ambit_census_write_text(after, ambit_write_to_file, stdout), "text");
    puts("\n== ambit_census_write_growth");
    stop_if(ambit_census_write_growth(before, after, ambit_write_to_file, stdout), "growth");
    puts("\n== ambit_census_write_json");
    stop_if(ambit_census_write_json(after, ambit_write_to_file, stdout), "json");
    puts("\n== ambit_census_write_growth_json");
    stop_if(ambit_census_write_growth_json(before, after, ambit_write_to_file, stdout), "growth");
    puts("\n== ambit_census_write_stacks");
    stop_if(ambit_census_write_stacks(after, ambit_write_to_file, stdout), "stacks");
    puts("\n== ambit_verdict_check");
    judge();
    if (count > 1) {
        FILE *file = fopen(arguments[1], "wb");
        if (!file) return 1;
        stop_if(ambit_census_write_pprof(after, ambit_write_to_file, file), "pprof");
        if (fclose(file)) return 1;
    }
    ambit_census_free(before);
    ambit_census_free(after);
    return 0; /* the leaks are the point */
}
