#!/usr/bin/env bash
# All C text is in the house format.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
command -v clang-format >/dev/null || exit 77
cd "$root"
find include src tests stress bench -name '*.[ch]' -print0 | xargs -0 clang-format --dry-run -Werror
