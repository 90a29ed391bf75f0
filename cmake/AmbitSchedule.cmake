# Tests under the controlled scheduler; docs/schedule.md is the manual.
#
#   ambit_schedule_test(NAME SOURCES FILE ... [LIBRARIES TARGET ...] [COVERS PATH ...] [OPTIONS WORD ...])
#
# makes the program NAME of the sources: the code under test, and a file with AMBIT_SCHEDULE_TESTs. They
# are compiled with -fsanitize=thread, which must not reach the linker: ambit::schedule stands in for the
# sanitizer's own runtime. LIBRARIES are linked as well; the scheduler sees into those that went through
# ambit_schedule_instrument(). COVERS names files (a part of their path will do) whose memory orders NAME
# --mutants weakens one at a time. NAME is also registered with add_test(), and given the OPTIONS there.
#
#   ambit_schedule_instrument(TARGET)
#
# has a library of yours compiled for such tests. Build a second one for this: what it is made of cannot be
# used without ambit::schedule, or the sanitizer's runtime, any more. Not a shared one: the linker puts ours in
# the place of pthread's and the others' in the program alone, and a shared library has called them already.

# What the compiler is told. assert() is kept in, whatever the build's type: it is what the tests have to
# say. Fortified calls would reach the C library under names that nobody puts anything in the place of; and
# what the compiler makes of memcpy(), or of malloc() and free() in a row, nobody would see. A static variable
# that a single function uses, and writes first, clang takes for the function's own if that one calls
# nothing, shared or not (Peterson's `turn`): so each calls something, on its way in and out, but for inline
# functions (schedule_inline.h). Clang from 17 on can be told to leave variables where they are. And
# thread-local variables are reached by a word in memory and not by the register: see src/schedule/host.c.
# A function, since functions are known everywhere and variables are not.
function(ambit__schedule_flags variable)
  set(${variable} -fsanitize=thread -O1 -g -fno-builtin
      -finstrument-functions -mno-tls-direct-seg-refs -UNDEBUG -U_FORTIFY_SOURCE PARENT_SCOPE)
endfunction()

# Stops if a sanitizer comes with the flags of the whole project. What comes with a library is noticed by
# the program itself, when it starts.
function(ambit__schedule_check_flags name)
  get_directory_property(directory_compile COMPILE_OPTIONS)
  get_directory_property(directory_link LINK_OPTIONS)
  string(TOUPPER "${CMAKE_BUILD_TYPE}" config)
  foreach(variable directory_compile directory_link CMAKE_C_FLAGS CMAKE_CXX_FLAGS CMAKE_EXE_LINKER_FLAGS
                   CMAKE_C_FLAGS_${config} CMAKE_CXX_FLAGS_${config} CMAKE_EXE_LINKER_FLAGS_${config})
    # A generator expression may mean another configuration.
    if("${${variable}}" MATCHES "(^|[; ])(-fsanitize=[^; ]+)")
      string(REPLACE "directory_compile" "add_compile_options()" from ${variable})
      string(REPLACE "directory_link" "add_link_options()" from ${from})
      message(FATAL_ERROR
        "ambit_schedule_test(${name}): ${CMAKE_MATCH_2} is set for the whole folder, by ${from}. The tests of "
        "the controlled scheduler take its place, so they cannot be built together with a sanitizer: leave "
        "them out of this build, or the sanitizer.")
    endif()
  endforeach()
endfunction()

function(ambit_schedule_instrument target)
  if(NOT TARGET ${target})
    message(FATAL_ERROR "ambit_schedule_instrument(${target}): there is no target of this name (yet)")
  endif()
  get_target_property(type ${target} TYPE)
  if(NOT type MATCHES "^(STATIC_LIBRARY|OBJECT_LIBRARY|EXECUTABLE)$")
    message(FATAL_ERROR "ambit_schedule_instrument(${target}): it is a ${type}, expected a STATIC or an OBJECT "
                        "library: in others the calls of pthread and the like would not come by. What is only "
                        "headers needs none: it is compiled with the tests.")
  endif()
  ambit__schedule_check_flags(${target})
  ambit__schedule_flags(flags)
  list(APPEND flags "SHELL:-include \"${CMAKE_CURRENT_FUNCTION_LIST_DIR}/schedule_inline.h\"")
  if(CMAKE_C_COMPILER_ID MATCHES "Clang$")
    # Each place of an operation is one of its own: two of both branches are not made one.
    list(APPEND flags "SHELL:-mllvm -simplifycfg-sink-common=false" "SHELL:-mllvm -simplifycfg-hoist-common=false")
  endif()
  if(CMAKE_C_COMPILER_ID MATCHES "Clang$" AND CMAKE_C_COMPILER_VERSION VERSION_GREATER_EQUAL 17)
    list(APPEND flags -fkeep-persistent-storage-variables)
  endif()
  target_compile_options(${target} PRIVATE ${flags} -fno-lto)
  set_target_properties(${target} PROPERTIES INTERPROCEDURAL_OPTIMIZATION OFF)
endfunction()

function(ambit_schedule_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBRARIES;COVERS;OPTIONS")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "ambit_schedule_test(${name}): what is meant by ${arg_UNPARSED_ARGUMENTS}? Known are "
                        "SOURCES, LIBRARIES, COVERS and OPTIONS.")
  endif()
  if(NOT arg_SOURCES)
    message(FATAL_ERROR "ambit_schedule_test(${name}): no SOURCES")
  endif()
  if(arg_COVERS)
    list(JOIN arg_COVERS " " covers)
    set(covers_file ${CMAKE_CURRENT_BINARY_DIR}/${name}_covers.c)
    file(CONFIGURE OUTPUT ${covers_file} CONTENT
         "#include <ambit/schedule.h>\nAMBIT_SCHEDULE_COVERS(\"@covers@\")\n" @ONLY)
    list(APPEND arg_SOURCES ${covers_file})
  endif()
  add_executable(${name} ${arg_SOURCES})
  ambit_schedule_instrument(${name})
  target_link_libraries(${name} PRIVATE ${arg_LIBRARIES} ambit::schedule)
  add_test(NAME ${name} COMMAND ${name} ${arg_OPTIONS})
endfunction()
