#!/usr/bin/env bash
# A ten-line consumer, in C11 and in C++17, built by find_package, add_subdirectory and pkg-config, the
# last also from an installed tree that was moved.
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
