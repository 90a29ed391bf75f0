/* Code that nobody sees into, by name: a failure may be one of these, or what is wrong may stand in them and not
 * be found.
 *
 * A function that was compiled with -fsanitize=thread, and calls anything, says first that it is entered. So of
 * those that have called what is under control, the ones without that call were not. Shared libraries do not even
 * come by there; of them those are told that are not the system's. */
#define _GNU_SOURCE
#include <elfutils/libdwfl.h>
#include <link.h>

#include "schedule/report.h"

#define TOLD_MOST 6

void __tsan_func_entry(void *caller);

/* ---- Functions ------------------------------------------------------------------------------- */

typedef struct function {
    uintptr_t start;
    size_t bytes;
    const char *name;
} function;

/* Of the executable only. */
static bool function_at(const void *site, function *found) {
    Dwfl_Module *module = ambit__module_of((uintptr_t)site - 1);
    GElf_Off offset;
    GElf_Sym symbol;
    if (!module || module != ambit__module_main()) return false;
    found->name =
        dwfl_module_addrinfo(module, (uintptr_t)site - 1, &offset, &symbol, NULL, NULL, NULL);
    if (!found->name || !symbol.st_size || offset >= symbol.st_size) return false;
    found->start = (uintptr_t)site - 1 - (uintptr_t)offset;
    found->bytes = symbol.st_size;
    return true;
}

#ifdef __x86_64__
static bool says_it_is_entered(const function *of) {
    const unsigned char *code = (const unsigned char *)of->start;
    for (size_t i = 0; i + 5 <= of->bytes; i++) {
        int32_t distance;
        if (code[i] != 0xe8) continue;
        memcpy(&distance, code + i + 1, sizeof distance);
        if (of->start + i + 5 + (uintptr_t)(intptr_t)distance == (uintptr_t)__tsan_func_entry)
            return true;
    }
    return false;
}
#else
static bool says_it_is_entered(const function *of) { return of != NULL; }
#endif

/* Accesses are made by who is seen, also where a function calls nothing. */
static bool is_call(const ambit__operation *row) {
    return row->site && row->kind >= AMBIT__OP_SPAWN && row->kind < AMBIT__OP_READ_PLAIN &&
           row->kind != AMBIT__OP_EXIT;
}

/* Thousands of rows are of a few lines, and to look up a function takes long. False: it was asked before. */
#define SITES_MOST 256
static bool is_new(const void **sites, unsigned *count, const void *site) {
    for (unsigned i = 0; i < *count; i++)
        if (sites[i] == site) return false;
    if (*count == SITES_MOST) return false;
    sites[(*count)++] = site;
    return true;
}

static unsigned find_functions(function *found) {
    const void *sites[SITES_MOST];
    unsigned count = 0, site_count = 0;
    for (size_t i = 0; i < ambit__row_count && count < TOLD_MOST; i++) {
        function at;
        const ambit__operation *row = &ambit__rows[i];
        if (!is_call(row) || !is_new(sites, &site_count, row->site)) continue;
        if (!function_at(row->site, &at)) continue;
        bool known = says_it_is_entered(&at);
        for (unsigned j = 0; j < count; j++)
            if (found[j].start == at.start) known = true;
        if (!known) found[count++] = at;
    }
    return count;
}

/* ---- Libraries ------------------------------------------------------------------------------- */

/* What every program has, and this library brings. */
static bool is_of_system(const char *file) {
    static const char *const known[] = {
        "linux-vdso", "ld-linux", "libc.",     "libm.",  "libdl.",    "libpthread",
        "librt.",     "libdw",    "libelf",    "libz.",  "liblzma",   "libbz2",
        "libzstd",    "libgcc_s", "libstdc++", "libc++", "libatomic", "libcmocka"};
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
        if (strncmp(file, known[i], strlen(known[i])) == 0) return true;
    return false;
}

typedef struct list {
    const char *files[TOLD_MOST];
    unsigned count;
} list;

static int add_library(struct dl_phdr_info *object, size_t bytes, void *given) {
    (void)bytes;
    list *to = given;
    const char *slash = strrchr(object->dlpi_name, '/');
    const char *file = slash ? slash + 1 : object->dlpi_name;
    if (*file && !is_of_system(file) && to->count < TOLD_MOST) to->files[to->count++] = file;
    return 0;
}

void ambit__black_boxes_print(FILE *out) {
    function functions[TOLD_MOST];
    list libraries = {.count = 0};
    unsigned count = find_functions(functions);
    (void)dl_iterate_phdr(add_library, &libraries);
    if (!count && !libraries.count) return;
    (void)fputs("\n    not seen into, as not compiled with -fsanitize=thread:", out);
    for (unsigned i = 0; i < count; i++)
        (void)fprintf(out, "%s %s()", i ? "," : "", functions[i].name);
    for (unsigned i = 0; i < libraries.count; i++)
        (void)fprintf(out, "%s %s", i || count ? "," : "", libraries.files[i]);
    (void)fputs("\n", out);
}
