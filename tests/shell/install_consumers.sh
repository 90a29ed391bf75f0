#!/usr/bin/env bash
# A ten-line consumer, in C11 and in C++17, built by find_package, add_subdirectory and pkg-config, the
# last also from an installed tree that was moved. The same for a test under the controlled scheduler,
# with both compilers; and what is said where it is linked with a sanitizer, or not built at all.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export CMAKE_GENERATOR=Ninja CC=gcc CXX=g++
unset CFLAGS CXXFLAGS LDFLAGS DESTDIR

cat >consumer.c <<'C'
#include <ambit.h>
AMBIT_KEY(number, int);
int main(void) {
    AMBIT_CTX_SCOPE ambit_ctx *ctx = NULL;
    int value = 42;
    if (ambit_ctx_open(ambit_background(), &ctx) || ambit_ctx_put(ctx, &number, &value)) return 1;
    return *ambit_ctx_get(ctx, &number) == 42 ? 0 : 1;
}
C
cp consumer.c consumer.cc

loud() { # NAME, COMMAND...: runs it, and shows what it said only if it fails
    local name=$1
    shift
    "$@" >log 2>&1 || { cat log; echo "$name failed: $*"; exit 1; }
}

loud configure cmake -S "$root" -B lib -DCMAKE_BUILD_TYPE=Release
loud build cmake --build lib
loud install cmake --install lib --prefix "$work/prefix"

project() { # NAME, LINE-THAT-FINDS-AMBIT
    mkdir "$1" && cp consumer.c consumer.cc "$1"
    cat >"$1/CMakeLists.txt" <<CMAKE
cmake_minimum_required(VERSION 3.22)
project(consumer C CXX)
set(CMAKE_CXX_STANDARD 17)
$2
add_executable(consumer consumer.c)
target_link_libraries(consumer ambit::ambit)
add_executable(consumer_cxx consumer.cc)
target_link_libraries(consumer_cxx ambit::ambit)
CMAKE
    loud "$1" cmake -S "$1" -B "$1/build" -DCMAKE_PREFIX_PATH="$work/prefix"
    loud "$1" cmake --build "$1/build"
    loud "$1" "$1/build/consumer"
    loud "$1" "$1/build/consumer_cxx"
}
project found 'find_package(ambit 0.1 REQUIRED)'
project added "add_subdirectory($root ambit)"
# A guest's build has none of our tests, and none of our warnings.
[ ! -e added/build/ambit/tests ] || { echo "add_subdirectory brings the tests"; exit 1; }

by_pkg_config() { # PREFIX
    local flags
    PKG_CONFIG_PATH=$(dirname "$(find "$1" -name ambit.pc)")
    export PKG_CONFIG_PATH
    flags=$(pkg-config --cflags --libs ambit)
    # shellcheck disable=SC2086
    loud pkg-config gcc -std=gnu11 -Wall -Wextra -Werror consumer.c $flags -o consumer
    loud pkg-config ./consumer
    # shellcheck disable=SC2086
    loud pkg-config g++ -std=c++17 -Wall -Wextra -Werror consumer.cc $flags -o consumer_cxx
    loud pkg-config ./consumer_cxx
}
by_pkg_config "$work/prefix"
mv prefix moved
by_pkg_config "$work/moved"

# ---- The controlled scheduler.
mv moved prefix
schedule_project() { # NAME, COMPILER, LINE-THAT-FINDS-AMBIT, [OPTION ...]
    mkdir -p "$1" && cp "$root"/examples/schedule/counter* "$1"
    cat >"$1/CMakeLists.txt" <<CMAKE
cmake_minimum_required(VERSION 3.22)
project(consumer C)
enable_testing()
$3
ambit_schedule_test(counter_test SOURCES counter.c counter_test.c COVERS counter.c OPTIONS --schedules 100)
ambit_schedule_test(fixed_test SOURCES counter.c counter_test.c)
target_compile_definitions(fixed_test PRIVATE FIXED)
CMAKE
    CC=$2 cmake -S "$1" -B "$1/build" -DCMAKE_PREFIX_PATH="$work/prefix" "${@:4}" >log 2>&1
}
plays() { # NAME, FOLDER: the bug is found, and gone where it is fixed
    local status=0
    "$2/counter_test" >log 2>&1 || status=$?
    [ $status -eq 1 ] && grep -q 'race' log && grep -q 'counter\.c:' log ||
        { cat log; echo "$1: the bug is not found (status $status)"; exit 1; }
    loud "$1" "$2/fixed_test"
}
for compiler in gcc clang; do
    schedule_project "schedule-$compiler" $compiler 'find_package(ambit 0.1 REQUIRED COMPONENTS schedule)' ||
        { cat log; echo "ambit::schedule is not found"; exit 1; }
    loud "schedule-$compiler" cmake --build "schedule-$compiler/build"
    plays "schedule-$compiler" "schedule-$compiler/build"
done
# As a guest, in a build of another type, whose NDEBUG and -O3 must not get through.
schedule_project guest gcc "add_subdirectory($root ambit)" -DCMAKE_BUILD_TYPE=Release ||
    { cat log; echo "add_subdirectory brings no ambit_schedule_test()"; exit 1; }
loud guest cmake --build guest/build --target counter_test fixed_test
plays guest guest/build

refused() { # WHAT-IT-HAS-TO-SAY, then as schedule_project
    ! schedule_project "${@:2}" || { echo "$2 is configured, and should not be"; exit 1; }
    tr -s '\n ' ' ' <log | grep -qF -- "$1" || { cat log; echo "$2 does not say: $1"; exit 1; }
}
found='find_package(ambit REQUIRED COMPONENTS schedule)'
refused '-fsanitize=thread is set for the whole folder, by CMAKE_C_FLAGS' flags clang "$found" -DCMAKE_C_FLAGS=-fsanitize=thread
refused '-fsanitize=address is set for the whole folder, by add_link_options()' options clang \
    "$found
    add_link_options(-fsanitize=address)"
# Where there is no libdw: said if the scheduler is asked for, and otherwise the rest is there without it.
mkdir pc
cp "$(pkg-config --variable=pcfiledir liburcu-memb)"/liburcu*.pc pc
without="set(ENV{PKG_CONFIG_LIBDIR} $work/pc)
set(AMBIT_JEMALLOC OFF)
add_subdirectory($root ambit)"
refused 'needs libdw' asked clang "set(AMBIT_SCHEDULE ON)
$without"
refused 'Unknown CMake command "ambit_schedule_test"' unasked clang "$without"

for compiler in gcc clang; do
    PKG_CONFIG_PATH=$(dirname "$(find prefix -name ambit-schedule.pc)")
    export PKG_CONFIG_PATH
    mkdir "pc-$compiler"
    for variant in counter:'' fixed:-DFIXED; do
        for source in counter counter_test; do
            # shellcheck disable=SC2046
            loud pkg-config $compiler -c $(pkg-config --cflags ambit-schedule) ${variant#*:} \
                "$root/examples/schedule/$source.c" -o "pc-$compiler/$source.o"
        done
        # shellcheck disable=SC2046
        loud pkg-config $compiler "pc-$compiler"/counter{,_test}.o $(pkg-config --libs ambit-schedule) \
            -o "pc-$compiler/${variant%:*}_test"
    done
    plays "pkg-config with $compiler" "pc-$compiler"
    # The runtime of the sanitizer as well: the linker says so, or the program.
    status=0
    # shellcheck disable=SC2046
    { $compiler -fsanitize=thread "pc-$compiler"/counter{,_test}.o $(pkg-config --libs ambit-schedule) \
        -o both && ./both; } >log 2>&1 || status=$?
    [ $status -ne 0 ] && grep -qE 'linked with the runtime of ThreadSanitizer as well|multiple definition' log ||
        { cat log; echo "two runtimes in one program are not noticed ($status)"; exit 1; }
done
