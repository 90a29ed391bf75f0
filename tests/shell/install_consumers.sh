#!/usr/bin/env bash
# A ten-line consumer, built by find_package, pkg-config and add_subdirectory, and one in C++17.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat >consumer.c <<'C'
#include <ambit.h>
int main(void) {
    AMBIT_KEY(number, int);
    AMBIT_CTX_SCOPE ambit_ctx *ctx = NULL;
    int value = 42;
    if (ambit_ctx_open(ambit_background(), &ctx) || ambit_ctx_put(ctx, &number, &value)) return 1;
    return *ambit_ctx_get(ctx, &number) == 42 ? 0 : 1;
}
C
sed 's/    AMBIT_KEY/    AMBIT_KEY/' consumer.c >consumer.cc

cmake -S "$root" -B lib -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX="$work/prefix" >log 2>&1 &&
    cmake --build lib >>log 2>&1 && cmake --install lib >>log 2>&1 || { cat log; exit 1; }

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
    { cmake -S "$1" -B "$1/build" -DCMAKE_PREFIX_PATH="$work/prefix" && cmake --build "$1/build"; } \
        >log 2>&1 || { cat log; echo "$1 failed"; exit 1; }
    "$1/build/consumer" && "$1/build/consumer_cxx" || { echo "$1: wrong answer"; exit 1; }
}
project found 'find_package(ambit REQUIRED)'
project added "add_subdirectory($root ambit)"

export PKG_CONFIG_PATH
PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name ambit.pc)")
# shellcheck disable=SC2046
cc consumer.c $(pkg-config --cflags --libs ambit) -o consumer && ./consumer
# shellcheck disable=SC2046
c++ -std=c++17 consumer.cc $(pkg-config --cflags --libs ambit) -o consumer_cxx && ./consumer_cxx
