# The warnings of our own builds. Users who add ambit to theirs never see them.
add_library(ambit_warnings INTERFACE)
if(ambit_top_level)
  target_compile_options(
    ambit_warnings
    INTERFACE -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef
              $<$<C_COMPILER_ID:Clang>:-Wthread-safety> $<$<C_COMPILER_ID:Clang>:-Watomic-implicit-seq-cst>
              $<$<BOOL:${AMBIT_WERROR}>:-Werror>)
endif()
