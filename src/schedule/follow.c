/* placeholder until the real one is merged */
#include "schedule/report.h"
static const ambit__written *at; static size_t left;
void ambit__follow_set(const ambit__written *d, size_t n) { at = d; left = n; }
static const ambit__written *cursor; static size_t rest;
static void begin(uint64_t s) { (void)s; cursor = at; rest = left; }
static unsigned pick(uint32_t enabled, unsigned current) { if (rest && cursor->kind == AMBIT__DECIDE_THREAD) { unsigned c = cursor->chosen; cursor++; rest--; if (enabled >> c & 1) return c; } return enabled >> current & 1 ? current : (unsigned)__builtin_ctz(enabled); }
static unsigned decide(ambit__decision k, unsigned n, unsigned u) { if (rest && cursor->kind == k) { unsigned c = cursor->chosen; cursor++; rest--; if (c < n) return c; } return u; }
const ambit__strategy ambit__strategy_follow = {.name = "follow", .places = true, .begin = begin, .pick = pick, .decide = decide};
void ambit__choices_print(FILE *o, const ambit__written *c, size_t n) { (void)c; (void)fprintf(o, "%zu", n); }
bool ambit__choices_read(const char *t, ambit__written **c, size_t *n) { (void)t; *c = NULL; *n = 0; return false; }
bool ambit__shrink(ambit_schedule_fn *s, void *a, ambit__written *d, size_t *c) { ambit__follow_set(d, *c); return !ambit__play(&ambit__strategy_follow, 0, s, a); }
