/* Names for addresses of code, from the debug information of the program and what it is linked to.
 *
 * A call's own address is its return address less one: the next instruction may belong to another
 * line, or to another function. Where a compiler has inlined, one address stands in several
 * functions: the innermost comes first, then the lines of the calls that were inlined, outwards.
 *
 * clang leaves out the table of which unit an address is in (.debug_aranges), so where libdw does
 * not find the unit we look through them all. */
#define _GNU_SOURCE
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <link.h>
#include <stdlib.h>
#include <unistd.h>

#include "schedule/report.h"

#define PLACES_MOST 24
#define BUCKETS 1024

typedef struct known {
    struct known *next;
    const void *site;
    unsigned count;
    ambit__place places[PLACES_MOST];
} known;

static Dwfl *session;
static known *buckets[BUCKETS];
static char here[4096]; /* the working directory, with a slash */

/* ---- Modules --------------------------------------------------------------------------------- */

/* Debug information in files of its own is taken from this machine only: a report must not wait for
 * a server, which libdwfl asks where DEBUGINFOD_URLS is set. */
static int find_debug_file(Dwfl_Module *module, void **user, const char *name, Dwarf_Addr base,
                           const char *file, const char *link, GElf_Word crc, char **found) {
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): nobody changes it meanwhile */
    if (getenv("DEBUGINFOD_URLS"))
        return dwfl_build_id_find_debuginfo(module, user, name, base, file, link, crc, found);
    return dwfl_standard_find_debuginfo(module, user, name, base, file, link, crc, found);
}

static char *debug_path = NULL; /* the usual one */
static const Dwfl_Callbacks callbacks = {.find_elf = dwfl_linux_proc_find_elf,
                                         .find_debuginfo = find_debug_file,
                                         .debuginfo_path = &debug_path};

static bool look_at_process(void) {
    if (!session) session = dwfl_begin(&callbacks);
    if (!session) return false;
    dwfl_report_begin(session);
    return dwfl_linux_proc_report(session, getpid()) == 0 &&
           dwfl_report_end(session, NULL, NULL) == 0;
}

typedef struct owner {
    uintptr_t address, start; /* of the object that has the address; 0: none */
} owner;

static int find_owner(struct dl_phdr_info *object, size_t bytes, void *argument) {
    owner *wanted = argument;
    uintptr_t start = 0;
    bool found = false;
    (void)bytes;
    for (size_t i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &object->dlpi_phdr[i];
        if (header->p_type != PT_LOAD) continue;
        uintptr_t low = object->dlpi_addr + header->p_vaddr;
        if (!start) start = low;
        if (wanted->address >= low && wanted->address - low < header->p_memsz) found = true;
    }
    if (found) wanted->start = start;
    return found;
}

/* libdwfl knows what of a module was mapped from its file. The zeros behind that are the module's
 * too, so the loader is asked whose an address is; its first address is in the file for sure. */
struct Dwfl_Module *ambit__module_of(uintptr_t address) {
    if (!session && !look_at_process()) return NULL;
    Dwfl_Module *module = dwfl_addrmodule(session, address);
    owner wanted = {.address = address};
    if (module || !dl_iterate_phdr(find_owner, &wanted)) return module;
    module = dwfl_addrmodule(session, wanted.start);
    if (module || !look_at_process()) return module; /* it may have been loaded since */
    return dwfl_addrmodule(session, wanted.start);
}

struct Dwfl_Module *ambit__module_main(void) {
    return ambit__module_of((uintptr_t)&ambit__module_main);
}

static Dwarf_Die *unit_of(Dwfl_Module *module, Dwarf_Addr address, Dwarf_Addr *bias) {
    /* By the table of address ranges: gcc writes one and clang does not, and where code of both
     * meets, the answer may be gcc's unit before the place. */
    Dwarf_Die *unit = dwfl_module_addrdie(module, address, bias);
    if (unit && dwarf_haspc(unit, address - *bias) > 0) return unit;
    unit = NULL;
    while ((unit = dwfl_module_nextcu(module, unit, bias)))
        if (dwarf_haspc(unit, address - *bias) > 0) return unit;
    return NULL;
}

/* ---- Paths ----------------------------------------------------------------------------------- */

/* Takes "/./", "/x/../" and "//" out, in place. */
static void straighten(char *path) {
    char *to = path;
    for (const char *from = path; *from;) {
        if (from[0] == '/' && from[1] == '/') {
            from++;
        } else if (from[0] == '/' && from[1] == '.' && (from[2] == '/' || !from[2])) {
            from += 2;
        } else if (from[0] == '/' && from[1] == '.' && from[2] == '.' && to > path) {
            while (to > path && *--to != '/') {
            }
            from += 3;
        } else {
            do *to++ = *from++;
            while (*from && *from != '/');
        }
    }
    *to = '\0';
}

static const char *own_path(const char *path) {
    if (!path) return NULL;
    if (!here[0]) {
        if (!getcwd(here, sizeof here - 1)) here[0] = '\0';
        here[strlen(here)] = '/'; /* the rest is zeros */
    }
    char *own = strdup(path);
    if (!own) return NULL;
    straighten(own);
    size_t prefix = strlen(here);
    if (strncmp(own, here, prefix) == 0) memmove(own, own + prefix, strlen(own + prefix) + 1);
    return own;
}

/* ---- The chain of one address ---------------------------------------------------------------- */

static int attribute_number(Dwarf_Die *die, unsigned name) {
    Dwarf_Attribute attribute;
    Dwarf_Word number;
    if (!dwarf_attr(die, name, &attribute) || dwarf_formudata(&attribute, &number)) return 0;
    return (int)number;
}

static const char *call_file(Dwarf_Die *unit, Dwarf_Die *die) {
    Dwarf_Files *files;
    if (dwarf_getsrcfiles(unit, &files, NULL)) return NULL;
    return dwarf_filesrc(files, (size_t)attribute_number(die, DW_AT_call_file), NULL, NULL);
}

static bool is_function(Dwarf_Die *die) {
    int tag = dwarf_tag(die);
    return tag == DW_TAG_inlined_subroutine || tag == DW_TAG_subprogram;
}

/* The function a die belongs to, by its inlined or own definition. */
static const char *function_of(Dwarf_Die *die) {
    Dwarf_Attribute attribute;
    return dwarf_formstring(dwarf_attr_integrate(die, DW_AT_name, &attribute));
}

static void copy_name(ambit__place *place, const char *name) {
    place->function = name ? strdup(name) : NULL;
}

/* Whether an address is the function's own, and not of one that is inlined there. */
static bool is_in(Dwarf_Die *unit, Dwarf_Addr address, Dwarf_Die *function) {
    Dwarf_Die *scopes = NULL;
    int count = dwarf_haspc(function, address) > 0 ? dwarf_getscopes(unit, address, &scopes) : 0;
    int i = 0;
    while (i < count && !is_function(&scopes[i])) i++;
    bool is = i < count && dwarf_dieoffset(&scopes[i]) == dwarf_dieoffset(function);
    free(scopes);
    return is;
}

static void take_line(Dwarf_Line *line, ambit__place *place) {
    place->file = own_path(dwarf_linesrc(line, NULL, NULL));
    (void)dwarf_lineno(line, &place->line);
    (void)dwarf_linecol(line, &place->column);
}

/* clang says line 0 where it has merged what stood at several lines. Then the nearest line of the
 * function is told, for want of one the function's first. */
static void nearest_line(Dwarf_Die *unit, Dwarf_Addr address, Dwarf_Die *function,
                         ambit__place *place) {
    Dwarf_Lines *lines;
    Dwarf_Line *nearest = NULL;
    Dwarf_Addr at, distance = UINT64_MAX;
    size_t count;
    int number;
    if (dwarf_getsrclines(unit, &lines, &count)) count = 0;
    for (size_t i = 0; i < count; i++) {
        Dwarf_Line *line = dwarf_onesrcline(lines, i);
        if (dwarf_lineaddr(line, &at) || dwarf_lineno(line, &number) || !number) continue;
        Dwarf_Addr away = at > address ? at - address : address - at;
        if (away >= distance || !is_in(unit, at, function)) continue;
        nearest = line;
        distance = away;
    }
    if (nearest) {
        take_line(nearest, place);
        return;
    }
    if (dwarf_decl_line(function, &place->line)) return;
    place->file = own_path(dwarf_decl_file(function));
    (void)dwarf_decl_column(function, &place->column);
}

static unsigned walk_scopes(Dwarf_Die *unit, Dwarf_Addr address, Dwarf_Die *scopes, int count,
                            ambit__place *places) {
    unsigned found = 0;
    for (int i = 0; i < count && found < PLACES_MOST - 1; i++) {
        if (!is_function(&scopes[i])) continue;
        copy_name(&places[found], function_of(&scopes[i]));
        if (places[found].line == 0) nearest_line(unit, address, &scopes[i], &places[found]);
        if (dwarf_tag(&scopes[i]) == DW_TAG_subprogram) return found + 1;
        found++;
        places[found] = (ambit__place){.file = own_path(call_file(unit, &scopes[i])),
                                       .line = attribute_number(&scopes[i], DW_AT_call_line),
                                       .column = attribute_number(&scopes[i], DW_AT_call_column)};
    }
    return found;
}

/* Fills in the functions, and the places after the first, which has its line already. */
static unsigned walk(Dwarf_Die *unit, Dwarf_Addr address, ambit__place *places) {
    Dwarf_Die *inner = NULL, *scopes = NULL;
    /* What this gives outwards of an inlined function is where it was written, not where it was
     * called: only its first is of use, the second call tells the rest. */
    if (dwarf_getscopes(unit, address, &inner) <= 0) return 0;
    int count = dwarf_getscopes_die(&inner[0], &scopes);
    unsigned found = count > 0 ? walk_scopes(unit, address, scopes, count, places) : 0;
    free(inner);
    free(scopes);
    return found;
}

static unsigned resolve(const void *site, ambit__place *places) {
    memset(places, 0, sizeof *places * PLACES_MOST);
    places[0].function = "?";
    if (!site) return 1;
    Dwarf_Addr address = (uintptr_t)site - 1, bias;
    Dwfl_Module *module = ambit__module_of(address);
    if (!module) return 1;
    Dwarf_Die *unit = unit_of(module, address, &bias);
    unsigned count = 0;
    if (unit) {
        Dwarf_Line *line = dwarf_getsrc_die(unit, address - bias);
        if (line) take_line(line, &places[0]);
        count = walk(unit, address - bias, places);
    }
    if (!count) count = 1;
    for (unsigned i = 0; i < count; i++)
        if (places[i].line == 0) places[i].file = NULL;
    ambit__place *outermost = &places[count - 1];
    if (!outermost->function || strcmp(outermost->function, "?") == 0)
        copy_name(outermost, dwfl_module_addrname(module, address));
    for (unsigned i = 0; i < count; i++)
        if (!places[i].function) places[i].function = "?";
    return count;
}

unsigned ambit__places(const void *site, const ambit__place **places) {
    static const ambit__place unknown = {.function = "?"};
    known **bucket = &buckets[((uintptr_t)site * 0x9E3779B97F4A7C15u >> 40) % BUCKETS];
    known *entry = *bucket;
    while (entry && entry->site != site) entry = entry->next;
    if (!entry) {
        entry = malloc(sizeof *entry);
        if (!entry) {
            *places = &unknown;
            return 1;
        }
        entry->site = site;
        entry->count = resolve(site, entry->places);
        entry->next = *bucket;
        *bucket = entry;
    }
    *places = entry->places;
    return entry->count;
}

/* ---- Texts ----------------------------------------------------------------------------------- */

const char *ambit__function_name(const void *address) {
    if (!address) return NULL;
    Dwfl_Module *module = ambit__module_of((uintptr_t)address);
    if (!module) return NULL;
    GElf_Off offset;
    GElf_Sym symbol;
    const char *name =
        dwfl_module_addrinfo(module, (uintptr_t)address, &offset, &symbol, NULL, NULL, NULL);
    return name && GELF_ST_TYPE(symbol.st_info) == STT_FUNC ? name : NULL;
}

/* "push()+0x1f"; if that is not known either "program+0x1234", for who has the symbols
 * elsewhere. */
static char *without_line(const void *site, char *text, size_t bytes) {
    uintptr_t address = (uintptr_t)site - 1;
    Dwfl_Module *module = site ? ambit__module_of(address) : NULL;
    if (!module) {
        (void)snprintf(text, bytes, "%p", site);
        return text;
    }
    GElf_Off offset = 0;
    GElf_Sym symbol;
    const char *name = dwfl_module_addrinfo(module, address, &offset, &symbol, NULL, NULL, NULL);
    if (name) {
        (void)snprintf(text, bytes, "%s()+0x%lx", name, (unsigned long)offset);
        return text;
    }
    Dwarf_Addr start = 0;
    const char *path = dwfl_module_info(module, NULL, &start, NULL, NULL, NULL, NULL, NULL);
    const char *slash = path ? strrchr(path, '/') : NULL;
    (void)snprintf(text, bytes, "%s+0x%lx", slash ? slash + 1 : "?",
                   (unsigned long)(address - start));
    return text;
}

char *ambit__site_text(const void *site, char *text, size_t bytes) {
    const ambit__place *place;
    (void)ambit__places(site, &place);
    if (!place->file) return without_line(site, text, bytes);
    (void)snprintf(text, bytes, "%s:%d in %s()", place->file, place->line, place->function);
    return text;
}

char *ambit__site_short(const void *site, char *text, size_t bytes) {
    const ambit__place *place;
    (void)ambit__places(site, &place);
    if (!place->file) return without_line(site, text, bytes);
    const char *slash = strrchr(place->file, '/');
    (void)snprintf(text, bytes, "%s:%d", slash ? slash + 1 : place->file, place->line);
    return text;
}
