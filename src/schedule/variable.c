/* Names for addresses of data: variables with their members, thread-locals, blocks of the heap,
 * stacks.
 *
 * The symbol table knows where a variable starts and ends, the debug information what is inside of
 * it: from its type we go down by the offset, member by member and element by element. */
#define _GNU_SOURCE
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <link.h>
#include <stdlib.h>

#include "schedule/heap.h"
#include "schedule/host.h"
#include "schedule/report.h"

/* Variables that the debug information tells of: where, or how far into the thread-local memory. */
typedef struct variable {
    uintptr_t address;
    Dwarf_Die die;
} variable;
typedef struct index {
    struct index *next;
    Dwfl_Module *module;
    variable *variables;
    size_t count, room;
} index_of_module;

static index_of_module *indexes;

/* ---- Which variable an address belongs to ---------------------------------------------------- */

/* Where a variable is, if that is the same for the whole program. */
static bool static_address(Dwarf_Die *die, Dwarf_Addr bias, uintptr_t *address) {
    Dwarf_Attribute attribute, indirect;
    Dwarf_Op *operations;
    size_t count;
    Dwarf_Addr found;
    if (!dwarf_attr(die, DW_AT_location, &attribute) ||
        dwarf_getlocation(&attribute, &operations, &count) || count == 0)
        return false;
    if (operations[0].atom == DW_OP_addr)
        found = operations[0].number;
    else if (operations[0].atom == DW_OP_addrx) {
        if (dwarf_getlocation_attr(&attribute, &operations[0], &indirect) ||
            dwarf_formaddr(&indirect, &found))
            return false;
    } else if (count == 2 && (operations[1].atom == DW_OP_GNU_push_tls_address ||
                              operations[1].atom == DW_OP_form_tls_address)) {
        *address =
            operations[0].number; /* no variable lies that low, so both may share the index */
        return true;
    } else
        return false;
    *address = found + bias;
    return true;
}

static void note(index_of_module *index, Dwarf_Die *die, uintptr_t address) {
    if (index->count == index->room) {
        size_t room = index->room ? index->room * 2 : 64;
        variable *grown = realloc(index->variables, room * sizeof *grown);
        if (!grown) return;
        index->variables = grown;
        index->room = room;
    }
    index->variables[index->count++] = (variable){address, *die};
}

/* Statics of functions are as deep as their blocks. */
static void collect(index_of_module *index, Dwarf_Die *parent, Dwarf_Addr bias) {
    Dwarf_Die die;
    if (dwarf_child(parent, &die)) return;
    do {
        uintptr_t address;
        int tag = dwarf_tag(&die);
        if (tag == DW_TAG_variable && static_address(&die, bias, &address))
            note(index, &die, address);
        else if (tag == DW_TAG_subprogram || tag == DW_TAG_lexical_block || tag == DW_TAG_namespace)
            collect(index, &die, bias);
    } while (dwarf_siblingof(&die, &die) == 0);
}

static const index_of_module *index_of(Dwfl_Module *module) {
    for (index_of_module *index = indexes; index; index = index->next)
        if (index->module == module) return index;
    index_of_module *index = calloc(1, sizeof *index);
    if (!index) return NULL;
    index->module = module;
    index->next = indexes;
    indexes = index;
    Dwarf_Addr bias;
    for (Dwarf_Die *unit = NULL; (unit = dwfl_module_nextcu(module, unit, &bias));)
        collect(index, unit, bias);
    return index;
}

static bool variable_at(Dwfl_Module *module, uintptr_t address, Dwarf_Die *die) {
    const index_of_module *index = index_of(module);
    for (size_t i = 0; index && i < index->count; i++)
        if (index->variables[i].address == address) {
            *die = index->variables[i].die;
            return true;
        }
    return false;
}

/* ---- Down into a type ------------------------------------------------------------------------ */

static bool type_of(Dwarf_Die *die, Dwarf_Die *type) {
    Dwarf_Attribute attribute;
    return dwarf_formref_die(dwarf_attr_integrate(die, DW_AT_type, &attribute), type) != NULL;
}

/* Without typedef, const, _Atomic and the like. */
static bool bare_type_of(Dwarf_Die *die, Dwarf_Die *type) {
    if (!type_of(die, type)) return false;
    for (;;) switch (dwarf_tag(type)) {
        case DW_TAG_typedef:
        case DW_TAG_const_type:
        case DW_TAG_volatile_type:
        case DW_TAG_atomic_type:
            if (!type_of(type, type)) return false;
            break;
        default:
            return true;
        }
}

static bool size_of(Dwarf_Die *type, size_t *bytes) {
    Dwarf_Word size;
    if (dwarf_aggregate_size(type, &size)) return false;
    *bytes = size;
    return true;
}

/* The member of a structure or union that holds `offset`, which becomes the offset in it. */
static bool member_at(Dwarf_Die *type, size_t *offset, Dwarf_Die *member) {
    if (dwarf_child(type, member)) return false;
    do {
        Dwarf_Attribute attribute;
        Dwarf_Die of;
        Dwarf_Word start = 0;
        size_t bytes;
        if (dwarf_tag(member) != DW_TAG_member) continue;
        if (dwarf_attr(member, DW_AT_data_member_location, &attribute) &&
            dwarf_formudata(&attribute, &start))
            continue;
        if (!bare_type_of(member, &of) || !size_of(&of, &bytes)) continue;
        if (*offset < start || *offset >= start + bytes) continue;
        *offset -= start;
        return true;
    } while (dwarf_siblingof(member, member) == 0);
    return false;
}

static void add(char *text, size_t bytes, const char *format, const char *name, size_t number) {
    size_t length = strlen(text);
    if (name)
        (void)snprintf(text + length, bytes - length, format, name);
    else
        (void)snprintf(text + length, bytes - length, format, number);
}

/* Adds what of the type is at `offset` to the name. Gives back what is left of the offset. */
static size_t descend(Dwarf_Die *start, size_t offset, size_t meant, char *text, size_t bytes) {
    Dwarf_Die type, member;
    bool known = bare_type_of(start, &type);
    while (known) {
        int tag = dwarf_tag(&type);
        size_t whole;
        /* A pointer to an array is one to its first element. */
        if (offset == 0 && !meant && tag != DW_TAG_array_type) break;
        if (offset == 0 && meant && size_of(&type, &whole) && whole <= meant) break;
        if (tag == DW_TAG_structure_type || tag == DW_TAG_union_type) {
            if (!member_at(&type, &offset, &member)) break;
            const char *name = dwarf_diename(&member);
            if (name) add(text, bytes, ".%s", name, 0);
            known = bare_type_of(&member, &type);
        } else if (tag == DW_TAG_array_type) {
            size_t element;
            if (!bare_type_of(&type, &type) || !size_of(&type, &element) || !element) break;
            add(text, bytes, "[%zu]", NULL, offset / element);
            offset %= element;
        } else
            break;
    }
    return offset;
}

/* ---- Names ----------------------------------------------------------------------------------- */

/* Where something is that has no more than a name in the symbol table: the variable's own is
 * better, as compilers add to those of a function's statics. */
typedef struct inside {
    Dwfl_Module *module;
    uintptr_t start;
    const char *name;
    size_t offset, size;
} inside;

static void name_inside(inside it, char *text, size_t bytes) {
    Dwarf_Die die;
    size_t offset = it.offset;
    bool typed = variable_at(it.module, it.start, &die);
    const char *own = typed ? dwarf_diename(&die) : NULL;
    (void)snprintf(text, bytes, "%s", own ? own : it.name);
    if (typed) offset = descend(&die, offset, it.size, text, bytes);
    if (offset) add(text, bytes, " + %zu", NULL, offset);
}

static bool name_static(uintptr_t address, size_t size, char *text, size_t bytes) {
    Dwfl_Module *module = ambit__module_of(address);
    GElf_Off offset;
    GElf_Sym symbol;
    const char *name =
        module ? dwfl_module_addrinfo(module, address, &offset, &symbol, NULL, NULL, NULL) : NULL;
    if (!name) return false;
    if (GELF_ST_TYPE(symbol.st_info) == STT_FUNC) {
        if (offset)
            return false; /* in the middle of code: a return address, or a number by chance */
        (void)snprintf(text, bytes, "%s()", name);
        return true;
    }
    if (GELF_ST_TYPE(symbol.st_info) != STT_OBJECT || offset >= symbol.st_size) return false;
    name_inside((inside){module, address - offset, name, offset, size}, text, bytes);
    return true;
}

/* How large the executable's thread-local block is: the first object that is told of is the
 * executable. */
static int measure_block(struct dl_phdr_info *object, size_t bytes, void *block) {
    (void)bytes;
    for (size_t i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &object->dlpi_phdr[i];
        size_t align = header->p_align ? header->p_align : 1;
        if (header->p_type == PT_TLS)
            *(size_t *)block = (header->p_memsz + align - 1) / align * align;
    }
    return 1;
}

/* The executable's own thread-locals lie below the thread pointer; `below` is how far. */
static bool name_thread_local(size_t below, size_t size, char *text, size_t bytes) {
    Dwfl_Module *module = ambit__module_main();
    GElf_Addr bias;
    size_t block = 0;
    if (!module || !dwfl_module_getelf(module, &bias)) return false;
    (void)dl_iterate_phdr(measure_block, &block);
    if (below > block) return false;
    size_t at = block - below;
    int symbols = dwfl_module_getsymtab(module);
    for (int i = 1; i < symbols; i++) {
        GElf_Sym symbol;
        const char *name = dwfl_module_getsym(module, i, &symbol, NULL);
        if (!name || GELF_ST_TYPE(symbol.st_info) != STT_TLS || symbol.st_shndx == SHN_UNDEF)
            continue;
        size_t start = symbol.st_value >= bias ? symbol.st_value - bias : symbol.st_value;
        if (at < start || at >= start + symbol.st_size) continue;
        name_inside((inside){module, start, name, at - start, size}, text, bytes);
        return true;
    }
    return false;
}

static bool name_of_thread(uintptr_t address, size_t size, char *text, size_t bytes) {
    for (unsigned i = 0; i < AMBIT__THREADS; i++) {
        uintptr_t low, high, pointer = ambit__host_thread_pointer(i);
        char name[128];
        ambit__host_bounds(i, &low, &high);
        if (address < pointer && name_thread_local(pointer - address, size, name, sizeof name)) {
            (void)snprintf(text, bytes, "%s of thread %u", name, i);
            return true;
        }
        if (address < low || address >= high) continue;
        /* By how far from the top, so that two of them can be told apart. */
        (void)snprintf(text, bytes, "stack of thread %u - %zu", i, (size_t)(high - address));
        return true;
    }
    return false;
}

/* The block that has the address, or else the one before it: nothing else is near. */
static const ambit__block *block_at(uintptr_t address) {
    return ambit__arena_owns(address) ? ambit__arena_block(address) : NULL;
}

bool ambit__address_name(uintptr_t address, size_t size, char *text, size_t bytes) {
    if (address < 4096) return false;
    const ambit__block *block = block_at(address);
    if (block) {
        size_t offset = address - block->address;
        (void)snprintf(text, bytes, "heap %u", ambit__arena_number(block));
        if (offset) add(text, bytes, " + %zu", NULL, offset);
        return true;
    }
    return name_of_thread(address, size, text, bytes) || name_static(address, size, text, bytes);
}

char *ambit__address_text(uintptr_t address, size_t size, char *text, size_t bytes) {
    const ambit__block *block = block_at(address);
    if (block) {
        char from[256], behind[64] = "";
        size_t offset = address - block->address;
        if (offset >= block->bytes && offset)
            (void)snprintf(behind, sizeof behind, "%zu behind the end of ", offset - block->bytes);
        (void)snprintf(text, bytes, "%sheap block %u (%zu bytes from %s)", behind,
                       ambit__arena_number(block), block->bytes,
                       ambit__site_text(block->site, from, sizeof from));
        if (offset && !behind[0]) add(text, bytes, " + %zu", NULL, offset);
    } else if (!ambit__address_name(address, size, text, bytes))
        (void)snprintf(text, bytes, "0x%lx", (unsigned long)address);
    return text;
}
