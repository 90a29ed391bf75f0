# cmake -D NM= -D OBJCOPY= -D ARCHIVE= -D REAL= -P: renames symbols of the scheduler's library, in place.
#
# Its own calls of what it wraps are to reach the real ones: --wrap would redirect them too, also those of
# memcpy(), which the compiler makes of its own accord. They get the name that the linker has for those.
#
# And what is shared between its files only, ambit__NAME, becomes ambit_schedule__NAME: ambit, which may well be
# under test, has names of that kind too, and a linker would mix them up. The public header's begin with
# ambit__schedule_ and stay.
execute_process(
  COMMAND ${NM} -g --defined-only -P ${ARCHIVE}
  OUTPUT_VARIABLE symbols
  ERROR_VARIABLE said
  RESULT_VARIABLE failed)
if(failed)
  message(FATAL_ERROR "${NM} ${ARCHIVE}: ${said}")
endif()
string(REGEX MATCHALL "(^|\n)ambit__[A-Za-z0-9_]+ " symbols "${symbols}")
list(TRANSFORM symbols STRIP)
list(REMOVE_DUPLICATES symbols)
list(FILTER symbols EXCLUDE REGEX "^ambit__schedule_")
file(READ ${REAL} renames)
foreach(symbol IN LISTS symbols)
  string(REGEX REPLACE "^ambit__" "ambit_schedule__" renamed ${symbol})
  string(APPEND renames "${symbol} ${renamed}\n")
endforeach()
file(WRITE ${ARCHIVE}.renames "${renames}")
# Its code gets a section of its own, whose ends the linker knows: so an address is told to be the program's.
# Compilers put some of it aside, clang with one more dot.
set(sections "")
foreach(section .text .text.unlikely .text.unlikely. .text.hot .text.hot. .text.startup .text.startup.)
  list(APPEND sections --rename-section ${section}=ambit_schedule_text)
endforeach()
execute_process(COMMAND ${OBJCOPY} --redefine-syms=${ARCHIVE}.renames ${sections} ${ARCHIVE} RESULT_VARIABLE failed)
if(failed)
  file(REMOVE ${ARCHIVE}) # half done: to be made again
  message(FATAL_ERROR "${OBJCOPY} failed on ${ARCHIVE}")
endif()
