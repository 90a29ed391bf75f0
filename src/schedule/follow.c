/* Plays decisions as they were written down, and writes them as text.
 *
 * Where they do not fit, the usual ones are taken: the same thread goes on, loads see the newest
 * store. Threads are what decisions are held against. A pick takes the next thread that is written,
 * whatever stands before it; another decision takes the next one of its kind, but none behind the
 * next thread. So usual ones need not be written at all where none of another kind follows before
 * the next thread, and a schedule that has lost a few is soon in step again.
 *
 * AS TEXT: a letter for what is decided, and what was, as "t0*5,t1,r2": five times thread 0, then
 * thread 1, then the load sees the store two before the newest. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "schedule/report.h"

static const char letters[] = {
    [AMBIT__DECIDE_THREAD] = 't', [AMBIT__DECIDE_READ] = 'r',  [AMBIT__DECIDE_PLACE] = 'p',
    [AMBIT__DECIDE_WEAK] = 'w',   [AMBIT__DECIDE_EARLY] = 'e', [AMBIT__DECIDE_WAKE] = 'k',
    [AMBIT__DECIDE_LOOP] = 'l',   [AMBIT__DECIDE_USER] = 'c'};
#define KINDS (sizeof letters)

static ambit__written *written;
static size_t written_count, written_room;
static size_t position;

void ambit__follow_set(const ambit__written *decisions, size_t count) {
    if (count > written_room) {
        /* A copy, since they may be those that the next schedule overwrites. */
        free(written);
        written = malloc(count * sizeof *written);
        written_room = written ? count : 0;
        if (!written) {
            (void)fputs("ambit::schedule: no memory for the decisions to follow\n", stderr);
            abort();
        }
    }
    if (count) memcpy(written, decisions, count * sizeof *written);
    written_count = count;
    position = 0;
}

static void follow_begin(uint64_t seed) {
    (void)seed;
    position = 0;
}

static unsigned follow_pick(uint32_t enabled, unsigned current) {
    while (position < written_count && written[position].kind != AMBIT__DECIDE_THREAD) position++;
    if (position < written_count) {
        unsigned chosen = written[position++].chosen;
        if (chosen < AMBIT__THREADS && enabled >> chosen & 1) return chosen;
    }
    return enabled >> current & 1 ? current : (unsigned)__builtin_ctz(enabled);
}

static unsigned follow_decide(ambit__decision kind, unsigned count, unsigned usual) {
    for (size_t i = position; i < written_count && written[i].kind != AMBIT__DECIDE_THREAD; i++) {
        if (written[i].kind != kind) continue;
        position = i + 1;
        return written[i].chosen < count ? written[i].chosen : usual;
    }
    return usual;
}

const ambit__strategy ambit__strategy_follow = {
    .name = "follow", .begin = follow_begin, .pick = follow_pick, .decide = follow_decide};

/* ---- As text --------------------------------------------------------------------------------- */

static bool is_same(const ambit__written *one, const ambit__written *other) {
    return one->kind == other->kind && one->chosen == other->chosen;
}

/* Nothing but usual ones up to the next thread. A choice of the user has none: its usual one may be
 * any. */
static bool says_nothing(const ambit__written *choices, size_t count, size_t from) {
    for (; from < count && choices[from].kind != AMBIT__DECIDE_THREAD; from++)
        if (choices[from].chosen || choices[from].kind == AMBIT__DECIDE_USER) return false;
    return true;
}

void ambit__choices_print(FILE *out, const ambit__written *choices, size_t count) {
    const char *comma = "";
    for (size_t i = 0, end; i < count; i = end) {
        end = i + 1;
        if (choices[i].kind != AMBIT__DECIDE_THREAD && says_nothing(choices, count, i)) continue;
        size_t times = 1;
        /* What says nothing does not interrupt a row of the same. */
        for (; end < count; end++) {
            if (is_same(&choices[i], &choices[end]))
                times++;
            else if (choices[end].kind == AMBIT__DECIDE_THREAD ||
                     !says_nothing(choices, count, end))
                break;
        }
        (void)fprintf(out, "%s%c%u", comma, letters[choices[i].kind], choices[i].chosen);
        if (times > 1) (void)fprintf(out, "*%zu", times);
        comma = ",";
    }
    if (!*comma) (void)fputs("usual", out); /* so that there is a word in its place */
}

/* A number up to `most`; false if there is none. */
static bool read_number(const char **text, unsigned long most, unsigned long *number) {
    if (!isdigit((unsigned char)**text)) return false;
    for (*number = 0; isdigit((unsigned char)**text); ++*text) {
        *number = *number * 10 + (unsigned long)(**text - '0');
        if (*number > most) return false;
    }
    return true;
}

typedef struct reader {
    ambit__written *choices;
    size_t count, room;
} reader;

static bool add(reader *to, ambit__written choice, unsigned long times) {
    if (to->count + times > to->room) {
        size_t room = (to->count + times) * 2;
        ambit__written *grown = realloc(to->choices, room * sizeof *grown);
        if (!grown) return false;
        to->choices = grown;
        to->room = room;
    }
    while (times--) to->choices[to->count++] = choice;
    return true;
}

#define TIMES_MOST 1000000

static bool read_one(const char **text, reader *to) {
    const char *letter = memchr(letters, **text, KINDS);
    unsigned long chosen, times = 1;
    if (!**text || !letter) return false;
    ++*text;
    ambit__decision kind = (ambit__decision)(letter - letters);
    if (!read_number(text, kind == AMBIT__DECIDE_THREAD ? AMBIT__THREADS - 1 : UINT8_MAX, &chosen))
        return false;
    if (**text == '*') {
        ++*text;
        if (!read_number(text, TIMES_MOST, &times) || times == 0) return false;
    }
    if (to->count + times > TIMES_MOST) return false;
    /* 0: of how many is not known. */
    return add(to, (ambit__written){(uint8_t)kind, 0, (uint8_t)chosen}, times);
}

bool ambit__choices_read(const char *text, ambit__written **choices, size_t *count) {
    reader taken = {0};
    bool good = strcmp(text, "usual") == 0;
    for (const char *at = text; !good;) {
        if (!read_one(&at, &taken)) break;
        good = *at == '\0';
        if (!good && *at++ != ',') break;
    }
    /* Something to point to, for what is not NULL is played. */
    if (good) good = taken.choices || add(&taken, (ambit__written){0}, 1);
    if (!good) {
        free(taken.choices);
        return false;
    }
    *choices = taken.choices;
    *count = strcmp(text, "usual") == 0 ? 0 : taken.count;
    return true;
}
