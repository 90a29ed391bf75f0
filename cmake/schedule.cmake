# The controlled scheduler: a library of its own, ambit::schedule, which the library ambit knows nothing of.
include(GNUInstallDirs)
set(AMBIT_SCHEDULE AUTO CACHE STRING "build the controlled scheduler: ON, OFF, or AUTO for where it can be")
set_property(CACHE AMBIT_SCHEDULE PROPERTY STRINGS AUTO ON OFF)
option(AMBIT_SCHEDULE_TESTS "build its tests, and those of ambit's parts that run under it" OFF)

# It looks up lines in debug information with elfutils' libdw, switches stacks in the way of x86-64, and
# knows Linux' system calls.
pkg_check_modules(LIBDW QUIET IMPORTED_TARGET libdw)
set(ambit_schedule_lacks "")
if(NOT LIBDW_FOUND)
  set(ambit_schedule_lacks "libdw (Debian: libdw-dev, elsewhere elfutils-devel)")
elseif(NOT (CMAKE_SYSTEM_NAME STREQUAL "Linux" AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$"))
  set(ambit_schedule_lacks "Linux on x86-64")
endif()
if(AMBIT_SCHEDULE STREQUAL "AUTO")
  if(ambit_schedule_lacks)
    set(ambit_schedule OFF)
  else()
    set(ambit_schedule ON)
  endif()
else()
  set(ambit_schedule ${AMBIT_SCHEDULE})
endif()
if(ambit_schedule AND ambit_schedule_lacks)
  message(FATAL_ERROR "AMBIT_SCHEDULE is on, and the controlled scheduler needs ${ambit_schedule_lacks}")
endif()
if(AMBIT_SCHEDULE_TESTS AND NOT ambit_schedule)
  message(FATAL_ERROR "AMBIT_SCHEDULE_TESTS is on, and the controlled scheduler is not built: it needs "
                      "${ambit_schedule_lacks}")
endif()
if(NOT ambit_schedule)
  return()
endif()

# What the linker puts ours in the place of: part of the target, so that whoever links it has them all.
set(ambit_schedule_wrap_file ${PROJECT_SOURCE_DIR}/src/schedule/wrap.txt)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${ambit_schedule_wrap_file})
file(STRINGS ${ambit_schedule_wrap_file} ambit_schedule_wraps REGEX "^[A-Za-z_]")
list(TRANSFORM ambit_schedule_wraps REPLACE "[^A-Za-z0-9_].*$" "")
list(REMOVE_DUPLICATES ambit_schedule_wraps)
# In a file, which the linker reads: a line of commands with hundreds of options is one that nobody reads.
list(TRANSFORM ambit_schedule_wraps PREPEND "--wrap=" OUTPUT_VARIABLE ambit_schedule_link)
list(PREPEND ambit_schedule_link --undefined=ambit__schedule_alone) # alone.c is always in
list(JOIN ambit_schedule_link "\n" ambit_schedule_link)
set(ambit_schedule_link_file ${PROJECT_BINARY_DIR}/schedule.link)
file(CONFIGURE OUTPUT ${ambit_schedule_link_file} CONTENT "${ambit_schedule_link}\n" @ONLY)

add_library(ambit_schedule STATIC ${ambit_schedule_sources})
add_library(ambit::schedule ALIAS ambit_schedule)
# No optimisation across files: the linker's --wrap does not see calls that were resolved before it.
set_target_properties(
  ambit_schedule
  PROPERTIES C_STANDARD 11 C_VISIBILITY_PRESET hidden POSITION_INDEPENDENT_CODE ON
             INTERPROCEDURAL_OPTIMIZATION OFF OUTPUT_NAME ambit-schedule EXPORT_NAME schedule)
# The runtime is never under the eyes of a sanitizer, itself least of all, and always fast: these come
# after whatever the build has set.
target_compile_options(ambit_schedule PRIVATE -fno-sanitize=all -O2 -g)
target_include_directories(
  ambit_schedule
  PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>
  PRIVATE src ${URCU_INCLUDE_DIRS})
# Found before liburcu's own headers, and includes those.
target_include_directories(
  ambit_schedule
  INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include/ambit/schedule_liburcu>
            $<INSTALL_INTERFACE:include/ambit/schedule_liburcu>)
target_link_libraries(ambit_schedule PRIVATE $<BUILD_INTERFACE:ambit_warnings>)
target_link_libraries(ambit_schedule PUBLIC $<BUILD_INTERFACE:PkgConfig::LIBDW> $<INSTALL_INTERFACE:dw>
                                            Threads::Threads ${CMAKE_DL_LIBS})
# Not LINKER:, which for clang makes the file's name a word of its own, and then clang reads the file.
target_link_options(
  ambit_schedule
  INTERFACE $<BUILD_INTERFACE:-Wl,@${ambit_schedule_link_file}>
            $<INSTALL_INTERFACE:-Wl,@$<INSTALL_PREFIX>/${CMAKE_INSTALL_LIBDIR}/cmake/ambit/schedule.link>)
set_target_properties(ambit_schedule PROPERTIES INTERFACE_LINK_DEPENDS
                                                $<BUILD_INTERFACE:${ambit_schedule_link_file}>)

# In place, so the whole archive has to be made anew when the list has changed.
list(FILTER ambit_schedule_wraps EXCLUDE REGEX "^__errno_location$") # the runtime reads the program's
list(TRANSFORM ambit_schedule_wraps REPLACE "(.+)" "\\1 __real_\\1" OUTPUT_VARIABLE ambit_schedule_lines)
list(JOIN ambit_schedule_lines "\n" ambit_schedule_lines)
set(ambit_schedule_real ${PROJECT_BINARY_DIR}/schedule_real.txt)
file(CONFIGURE OUTPUT ${ambit_schedule_real} CONTENT "${ambit_schedule_lines}\n" @ONLY)
set_source_files_properties(${ambit_schedule_sources} PROPERTIES OBJECT_DEPENDS ${ambit_schedule_real})
add_custom_command(
  TARGET ambit_schedule POST_BUILD
  COMMAND ${CMAKE_COMMAND} -D NM=${CMAKE_NM} -D OBJCOPY=${CMAKE_OBJCOPY} -D ARCHIVE=$<TARGET_FILE:ambit_schedule> -D
          REAL=${ambit_schedule_real} -P ${PROJECT_SOURCE_DIR}/cmake/schedule_seal.cmake
  VERBATIM)

include(${PROJECT_SOURCE_DIR}/cmake/AmbitSchedule.cmake)
